package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/haechi/haechi/core/journal"
)

// How long one attempt may take, at first and at most, and how long all of them
// together where the caller sets no deadline. A proposal that a dying leader has
// swallowed is never answered, so the first attempt is given up about when the next leader stands.
const (
	firstAttempt = 300 * time.Millisecond
	longAttempt  = 2 * time.Second
	defaultLimit = 10 * time.Second
	pause        = 10 * time.Millisecond
)

// readAtOnce is how many records are read in one transaction where it need not be one.
const readAtOnce = 100

// record is a key's value and the revision of its last change, 0 if it does not exist.
type record struct {
	value []byte
	mod   int64
}

type records map[string]record

// writing is what one transaction writes.
type writing struct {
	entries []journal.Entry   // linked to the head by commit
	puts    map[string]string // key to value
	deletes []string
	// early, if set, is called with the linked entries and may add puts that name them.
	early func(linked []journal.Entry, puts map[string]string) error
}

// commit reads keys, lets build decide what to write, and writes it if none of
// the keys has changed meanwhile; otherwise it starts over with what they are
// now. Every transaction has a journal entry: by its hash an attempt whose answer was lost is
// recognised, so nothing is written twice.
//
// An error of build counts only if it rests on a read that the quorum has
// confirmed, since a member's own view may be behind.
func (s *Store) commit(ctx context.Context, keys []string, build func(records) (writing, error)) ([]journal.Entry, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultLimit)
		defer cancel()
	}
	keys = append(slices.Clone(keys), keyHead)
	have, err := s.read(ctx, keys, clientv3.WithSerializable())
	if err != nil {
		return nil, err
	}
	confirmed := false
	for {
		w, err := build(have)
		if err != nil && !confirmed {
			confirmed = true
			if have, err = s.read(ctx, keys); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		linked, now, err := s.attempt(ctx, keys, have, w)
		if err != nil || linked != nil {
			return linked, err
		}
		have, confirmed = now, true
	}
}

// attempt sends one transaction until its outcome is known. It returns the
// linked entries if it was carried out, or else what the keys are now.
func (s *Store) attempt(ctx context.Context, keys []string, have records, w writing) ([]journal.Entry, records, error) {
	head, err := decode[journal.Head](keyHead, have[keyHead].value)
	if err != nil {
		return nil, nil, err
	}
	linked := link(head, w.entries)
	then, err := operations(linked, w)
	if err != nil {
		return nil, nil, err
	}
	var unchanged []clientv3.Cmp
	var otherwise []clientv3.Op
	for _, k := range keys {
		unchanged = append(unchanged, clientv3.Compare(clientv3.ModRevision(k), "=", have[k].mod))
		otherwise = append(otherwise, clientv3.OpGet(k))
	}
	otherwise = append(otherwise, clientv3.OpGet(journalKey(linked[0].Seq)))

	resp, err := retry(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return s.client.Txn(ctx).If(unchanged...).Then(then...).Else(otherwise...).Commit()
	})
	switch {
	case err != nil:
		return nil, nil, err
	case resp.Succeeded:
		return linked, nil, nil
	}
	now := found(keys, resp.Responses)
	if there := resp.Responses[len(keys)].GetResponseRange(); len(there.Kvs) == 1 {
		e, err := decode[journal.Entry](string(there.Kvs[0].Key), there.Kvs[0].Value)
		if err == nil && e.Hash == linked[0].Hash {
			return linked, nil, nil // an attempt whose answer was lost
		}
	}
	return nil, now, nil
}

func link(head journal.Head, entries []journal.Entry) []journal.Entry {
	out := make([]journal.Entry, len(entries))
	for i, e := range entries {
		out[i] = journal.LinkTo(head, e)
		head = out[i].Head()
	}
	return out
}

// operations turns w into etcd's words, in an order that does not vary.
func operations(linked []journal.Entry, w writing) ([]clientv3.Op, error) {
	if len(linked) == 0 {
		return nil, errors.New("state: a change without a journal entry is refused")
	}
	puts := map[string]string{}
	for k, v := range w.puts {
		puts[k] = v
	}
	if w.early != nil {
		if err := w.early(linked, puts); err != nil {
			return nil, err
		}
	}
	for _, e := range linked {
		v, err := encode(e)
		if err != nil {
			return nil, fmt.Errorf("state: journal entry %q: %w", e.Text, err)
		}
		puts[journalKey(e.Seq)] = v
	}
	v, err := encode(linked[len(linked)-1].Head())
	if err != nil {
		return nil, err
	}
	puts[keyHead] = v
	var ops []clientv3.Op
	for _, k := range sortedKeys(puts) {
		ops = append(ops, clientv3.OpPut(k, puts[k]))
	}
	for _, k := range w.deletes {
		if _, ok := puts[k]; !ok {
			ops = append(ops, clientv3.OpDelete(k))
		}
	}
	return ops, nil
}

// read gets keys at one revision.
func (s *Store) read(ctx context.Context, keys []string, opts ...clientv3.OpOption) (records, error) {
	ops := make([]clientv3.Op, len(keys))
	for i, k := range keys {
		ops[i] = clientv3.OpGet(k, opts...)
	}
	resp, err := retry(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return s.client.Txn(ctx).Then(ops...).Commit()
	})
	if err != nil {
		return nil, err
	}
	s.cluster.Store(resp.Header.GetClusterId())
	return found(keys, resp.Responses), nil
}

func found(keys []string, rs []*pb.ResponseOp) records {
	out := records{}
	for i, k := range keys {
		if r := rs[i].GetResponseRange(); len(r.Kvs) == 1 {
			out[k] = record{r.Kvs[0].Value, r.Kvs[0].ModRevision}
		}
	}
	return out
}

// retry calls f until it is answered, each time with a little more patience.
func retry[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	limit := firstAttempt
	for {
		actx, cancel := context.WithTimeout(ctx, limit)
		v, err := f(actx)
		cancel()
		if err == nil {
			return v, nil
		}
		var none T
		if ctx.Err() != nil {
			return none, gaveUp(ctx, err)
		}
		if !retryable(err) {
			return none, final(err)
		}
		if !sleep(ctx, pause) {
			return none, gaveUp(ctx, err)
		}
		limit = min(2*limit, longAttempt)
	}
}

// sleep waits; false means that ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// raw makes the data of a journal entry.
func raw(v any) (json.RawMessage, error) {
	b, err := json.Marshal(v)
	return b, err
}
