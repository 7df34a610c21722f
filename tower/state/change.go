package state

import (
	"errors"
	"fmt"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// Change is one record that is written together with journal entries.
type Change interface {
	// key names a record that the change has to see before it is written; "" for none.
	key() string
	// apply adds the change to w; have is the record under key.
	apply(have record, w *writing) error
}

// StorePut says what the towers agree about a store from now on. Next never
// falls, and a lower Epoch than the recorded one is refused with [ErrOldEpoch]. Where the record is
// not what it Was any more, but for Next, nothing is written and the error is [ErrConflict].
type StorePut struct {
	ID         estate.StoreID
	Was, Store situation.Store
}

func (c StorePut) key() string { return storeKey(c.ID) }

func (c StorePut) apply(have record, w *writing) error {
	value := have.value
	if changed, ok := w.puts[c.key()]; ok { // an epoch was handed out in the same transaction
		value = []byte(changed)
	}
	old, err := decode[situation.Store](c.key(), value)
	if err != nil {
		return err
	}
	if c.Store.Epoch < old.Epoch {
		return fmt.Errorf("state: store %s: epoch %d: %w (%d)", c.ID, c.Store.Epoch, ErrOldEpoch, old.Epoch)
	}
	if same, err := sameStore(c.Was, old); err != nil || !same {
		return errors.Join(err, fmt.Errorf("state: store %s: %w: another run has changed its record since", c.ID, ErrConflict))
	}
	c.Store.Next = max(c.Store.Next, old.Next, c.Store.Epoch)
	return w.put(c.key(), c.Store)
}

// sameStore says whether two records are the same, but for the highest epoch that was handed out.
func sameStore(a, b situation.Store) (bool, error) {
	a.Next, b.Next = 0, 0
	as, err := encode(a)
	if err != nil {
		return false, err
	}
	bs, err := encode(b)
	return as == bs, err
}

// IntentPut says what is wanted of a site from now on.
type IntentPut struct {
	Site   estate.SiteID
	Intent situation.Intent
}

func (c IntentPut) key() string                      { return "" }
func (c IntentPut) apply(_ record, w *writing) error { return w.put(intentKey(c.Site), c.Intent) }

// SalvagePut is a salvage as it is from now on; see [situation.Salvage.Over] for what stays of before.
type SalvagePut struct{ Salvage situation.Salvage }

func (c SalvagePut) key() string { return salvageKey(c.Salvage.ID) }

func (c SalvagePut) apply(have record, w *writing) error {
	before, err := decode[situation.Salvage](c.key(), have.value)
	if err != nil {
		return err
	}
	return w.put(c.key(), c.Salvage.Over(before))
}

// AskDone takes a person's wish off the list. The entries that go with it say
// what was made of it. A wish that is gone already fails with [ErrConflict], so
// that none is fulfilled twice.
type AskDone struct{ ID string }

func (c AskDone) key() string { return keyAsks + c.ID }

func (c AskDone) apply(have record, w *writing) error {
	if have.mod == 0 {
		return fmt.Errorf("state: ask %s: %w: it was taken already", c.ID, ErrConflict)
	}
	w.deletes = append(w.deletes, c.key())
	return nil
}

func (w *writing) put(key string, v any) error {
	b, err := encode(v)
	if err != nil {
		return fmt.Errorf("state: %s: %w", key, err)
	}
	if w.puts == nil {
		w.puts = map[string]string{}
	}
	w.puts[key] = b
	return nil
}

func keysOf(changes []Change) []string {
	var out []string
	for _, c := range changes {
		if k := c.key(); k != "" {
			out = append(out, k)
		}
	}
	return out
}

func applyAll(changes []Change, have records, w *writing) error {
	for _, c := range changes {
		if err := c.apply(have[c.key()], w); err != nil {
			return err
		}
	}
	return nil
}
