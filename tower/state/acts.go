package state

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/run"
)

// maxEstate bounds the bytes of one version of the estate, as it is stored.
const maxEstate = 1 << 20

// act writes what a person did, from any tower that has the quorum. build gets
// the key's record and the term that holds.
func (s *Store) act(ctx context.Context, key string, build func(have record, e journal.Entry, w *writing) (journal.Entry, error)) ([]journal.Entry, error) {
	return s.actOn(ctx, []string{key}, func(have records, e journal.Entry, w *writing) (journal.Entry, error) { return build(have[key], e, w) })
}

// actOn is act about several keys.
func (s *Store) actOn(ctx context.Context, keys []string, build func(have records, e journal.Entry, w *writing) (journal.Entry, error)) ([]journal.Entry, error) {
	return s.commit(ctx, compactKeys(append([]string{keyDrive}, keys...)), func(have records) (w writing, err error) {
		d, err := decode[Drive](keyDrive, have[keyDrive].value)
		if err != nil {
			return w, err
		}
		e, err := build(have, s.entry(d.Term, "", "", ""), &w)
		if err != nil {
			return w, err
		}
		w.entries = []journal.Entry{e}
		return w, w.put(keyActs, Mark{By: e.Text, At: e.At})
	})
}

// Apply stores raw as the next version of the estate if the version that holds
// is still ifVersion (0: none yet), else it fails with [ErrConflict]. The bytes were
// checked by the caller against a snapshot, of which ifOpened is [Snapshot.Opened]: has a run been opened since, which
// goes by the version before and may have changed any record, nothing is written and the error is [ErrStale]. Notes are
// added to the journal's text.
func (s *Store) Apply(ctx context.Context, raw []byte, by string, ifVersion uint64, ifOpened int64, notes ...string) (EstateVersion, error) {
	if len(raw) > maxEstate {
		return EstateVersion{}, fmt.Errorf("state: apply estate: it has %d KB, %d KB at most can be stored", len(raw)>>10, maxEstate>>10)
	}
	var v EstateVersion
	_, err := s.actOn(ctx, []string{keyEstate, keyNextRun}, func(have records, e journal.Entry, w *writing) (journal.Entry, error) {
		now, err := decode[EstateVersion](keyEstate, have[keyEstate].value)
		if err != nil {
			return e, err
		}
		if now.Version != ifVersion {
			return e, fmt.Errorf("state: apply estate over version %d: %w: version %d of %s holds", ifVersion, ErrConflict, now.Version, now.By)
		}
		if have[keyNextRun].mod != ifOpened {
			return e, fmt.Errorf("state: apply estate: a run was opened meanwhile: %w", ErrStale)
		}
		v = EstateVersion{Version: now.Version + 1, By: by, At: e.At, Bytes: len(raw)}
		e.Kind, e.Subject = "estate", fmt.Sprint(v.Version)
		e.Text = fmt.Sprintf("%s applied version %d of the estate", by, v.Version)
		if len(notes) > 0 {
			e.Text += ": " + strings.Join(notes, "; ")
		}
		if err := w.put(keyEstate, v); err != nil {
			return e, err
		}
		w.puts[estateKey(v.Version)] = string(raw)
		return e, nil
	})
	return v, err
}

// EstateAt returns the bytes of one version, for a run that pins it. Versions never change.
func (s *Store) EstateAt(ctx context.Context, version uint64) ([]byte, error) {
	key := estateKey(version)
	for _, opts := range [][]clientv3.OpOption{{clientv3.WithSerializable()}, nil} {
		have, err := s.read(ctx, []string{key}, opts...)
		if err != nil {
			return nil, fmt.Errorf("estate version %d: %w", version, err)
		}
		if r, ok := have[key]; ok {
			return r.value, nil
		}
	}
	return nil, fmt.Errorf("state: estate version %d: %w", version, ErrNotFound)
}

// Arm lets haechi act by itself for what: a site, "tier-N", or "*".
func (s *Store) Arm(ctx context.Context, what, by string) error {
	_, err := s.act(ctx, keyArmed+what, func(_ record, e journal.Entry, w *writing) (journal.Entry, error) {
		e.Kind, e.Subject, e.Text = "armed", what, fmt.Sprintf("%s armed %s", by, what)
		return e, w.put(keyArmed+what, Mark{by, e.At})
	})
	return err
}

// Disarm takes back what Arm gave. Disarming what is not armed is journaled too.
func (s *Store) Disarm(ctx context.Context, what, by string) error {
	_, err := s.act(ctx, keyArmed+what, func(_ record, e journal.Entry, w *writing) (journal.Entry, error) {
		e.Kind, e.Subject, e.Text = "armed", what, fmt.Sprintf("%s disarmed %s", by, what)
		w.deletes = []string{keyArmed + what}
		return e, nil
	})
	return err
}

// Hold stops acts within h.Scope until it is released. ID and At are filled.
func (s *Store) Hold(ctx context.Context, h Hold) (Hold, error) {
	if h.Scope == "" {
		h.Scope = "*"
	}
	_, err := s.act(ctx, keyDrive, func(_ record, e journal.Entry, w *writing) (journal.Entry, error) {
		h.At = e.At
		e.Kind, e.Subject, e.Text = "hold", h.Scope, fmt.Sprintf("%s holds %s: %s", h.By, h.Scope, h.Why)
		w.early = func(linked []journal.Entry, puts map[string]string) (err error) {
			h.ID = fmt.Sprintf("h-%06d", linked[0].Seq)
			puts[keyHolds+h.ID], err = encode(h)
			return err
		}
		return e, nil
	})
	return h, err
}

// Release ends a hold; [ErrNotFound] if there is none of that ID.
func (s *Store) Release(ctx context.Context, id, by string) error {
	_, err := s.act(ctx, keyHolds+id, func(have record, e journal.Entry, w *writing) (journal.Entry, error) {
		h, err := decode[Hold](keyHolds+id, have.value)
		if err != nil {
			return e, err
		}
		if have.mod == 0 {
			return e, fmt.Errorf("state: hold %s: %w", id, ErrNotFound)
		}
		e.Kind, e.Subject, e.Text = "hold", h.Scope, fmt.Sprintf("%s released the hold of %s on %s (%s)", by, h.By, h.Scope, h.Why)
		w.deletes = []string{keyHolds + id}
		return e, nil
	})
	return err
}

// Ask leaves a person's wish for the tower that drives. ID and At are filled.
// A wish about a run that is not open fails with [ErrNotFound] or [ErrClosed].
func (s *Store) Ask(ctx context.Context, a Ask) (Ask, error) {
	key := keyDrive
	if a.Run != "" {
		key = indexKey(a.Run)
	}
	_, err := s.act(ctx, key, func(have record, e journal.Entry, w *writing) (journal.Entry, error) {
		if a.Run != "" {
			info, err := decode[RunInfo](key, have.value)
			if err != nil {
				return e, err
			}
			if err := askable(a.Run, info); err != nil {
				return e, err
			}
		}
		a.At = e.At
		e.Kind, e.Subject, e.Text = "ask", a.about(), a.text()
		w.early = func(linked []journal.Entry, puts map[string]string) (err error) {
			a.ID = fmt.Sprintf("a-%012d", linked[0].Seq)
			puts[keyAsks+a.ID], err = encode(a)
			return err
		}
		return e, nil
	})
	return a, err
}

func askable(id run.ID, info RunInfo) error {
	switch {
	case info.ID == "":
		return fmt.Errorf("state: run %s: %w", id, ErrNotFound)
	case !info.Open():
		return fmt.Errorf("state: run %s: %w (%s)", id, ErrClosed, info.Why)
	}
	return nil
}

func (a Ask) about() string {
	if a.Run != "" {
		return string(a.Run)
	}
	return a.Subject
}

func (a Ask) text() string {
	t := fmt.Sprintf("%s asks: %s %s", a.By, a.Verb, a.about())
	if a.Why != "" {
		t += ": " + a.Why
	}
	return t
}
