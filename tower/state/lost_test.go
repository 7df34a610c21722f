package state_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/state/etcdtest"
)

// flaky is an etcd whose leaders die at bad moments: half of all transactions
// get no answer, and half of those were carried out.
type flaky struct {
	clientv3.KV
	mu  sync.Mutex // guards rnd
	rnd *rand.Rand
}

func (f *flaky) Txn(ctx context.Context) clientv3.Txn { return &flakyTxn{Txn: f.KV.Txn(ctx), f: f} }

type flakyTxn struct {
	clientv3.Txn
	f      *flaky
	writes bool
}

func (t *flakyTxn) If(c ...clientv3.Cmp) clientv3.Txn { t.Txn = t.Txn.If(c...); return t }
func (t *flakyTxn) Else(o ...clientv3.Op) clientv3.Txn {
	t.Txn = t.Txn.Else(o...)
	return t
}
func (t *flakyTxn) Then(o ...clientv3.Op) clientv3.Txn {
	t.writes = o[0].IsPut()
	t.Txn = t.Txn.Then(o...)
	return t
}

func (t *flakyTxn) Commit() (*clientv3.TxnResponse, error) {
	t.f.mu.Lock()
	fate := t.f.rnd.IntN(4)
	t.f.mu.Unlock()
	if !t.writes || fate > 1 {
		return t.Txn.Commit()
	}
	if fate == 0 {
		if _, err := t.Txn.Commit(); err != nil {
			return nil, err
		}
	}
	return nil, rpctypes.ErrTimeoutDueToLeaderFail
}

// Whatever is lost on the way, each entry is in the journal once.
func TestALostAnswerWritesNothingTwice(t *testing.T) {
	c := etcdtest.Client(t)
	c.KV = &flaky{KV: c.KV, rnd: rand.New(rand.NewPCG(1, 2))}
	a, b := open(t, c, "tower-a"), open(t, c, "tower-b")
	d := claimed(t, a)
	const each = 40
	var wg sync.WaitGroup
	for _, w := range []struct {
		name  string
		write func(journal.Entry) error
	}{
		{"guarded", func(e journal.Entry) error { _, err := a.Append(ctx(t), d, []journal.Entry{e}); return err }},
		{"note", func(e journal.Entry) error { _, err := b.Note(ctx(t), e); return err }},
		{"run", func(e journal.Entry) error {
			id, err := a.NextRun(ctx(t))
			if err != nil {
				return err
			}
			return a.AppendBatch(ctx(t), d, opening(t, a, id, "talk-db"))
		}},
	} {
		wg.Go(func() {
			for i := range each {
				if err := w.write(note(fmt.Sprintf("%s %d", w.name, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]int{}
	for _, e := range whole(t, b) {
		seen[e.Subject+e.Text]++
	}
	for text, n := range seen {
		if n != 1 {
			t.Errorf("%q stands %d times in the journal", text, n)
		}
	}
	if want := 1 + 3*each; len(seen) != want {
		t.Errorf("%d entries, want %d", len(seen), want)
	}
	snap := until(t, b, func(s state.Snapshot) bool { return len(s.Index) == each })
	if snap.Stores["talk-db"].Next != each {
		t.Errorf("%d epochs were given for %d runs", snap.Stores["talk-db"].Next, each)
	}
}

// A claim whose answer was lost is known as ours; a second one of the same tower is not taken for it.
func TestALostClaimIsKnownAsOurs(t *testing.T) {
	c := etcdtest.Client(t)
	c.KV = &flaky{KV: c.KV, rnd: rand.New(rand.NewPCG(3, 4))}
	s := open(t, c, "tower-a")
	var d state.Drive
	for want := uint64(1); want <= 30; want++ {
		var won int
		var next state.Drive
		results := make(chan error, 2)
		var mu sync.Mutex
		for range 2 { // two of one tower at a time
			go func() {
				got, err := s.Claim(ctx(t), d)
				mu.Lock()
				if err == nil {
					won, next = won+1, got
				}
				mu.Unlock()
				results <- err
			}()
		}
		for range 2 {
			if err := <-results; err != nil && !errors.Is(err, state.ErrDeposed) {
				t.Fatal(err)
			}
		}
		if won != 1 || next.Term != want {
			t.Fatalf("%d claims of term %d succeeded: %+v", won, want, next)
		}
		d = next
	}
	if got, err := s.Drive(ctx(t)); err != nil || got != d {
		t.Fatalf("drive = %+v, %v", got, err)
	}
	if len(whole(t, s)) != 30 {
		t.Fatal("claims and journal differ")
	}
}

// An event is written by a tower that was deposed while it waited: either it
// stands before the claim of the other, or not at all.
func TestNothingFollowsTheClaimOfAnother(t *testing.T) {
	c := etcdtest.Client(t)
	c.KV = &flaky{KV: c.KV, rnd: rand.New(rand.NewPCG(5, 6))}
	a, b := open(t, c, "tower-a"), open(t, c, "tower-b")
	for range 10 {
		d := claimed(t, a)
		ev := opened(t, a, d)
		over := make(chan error, 1)
		go func() { _, err := b.Claim(ctx(t), d); over <- err }()
		for seq := 2; ; seq++ {
			err := a.AppendBatch(ctx(t), d, event(run.Event{Run: ev.Run, Seq: seq, Kind: run.Began, Step: 1}))
			if err != nil {
				wantIs(t, err, state.ErrDeposed)
				break
			}
		}
		must(t, <-over)
	}
	var term uint64
	for _, e := range whole(t, b) {
		if e.Term < term {
			t.Fatalf("entry %d of term %d stands after term %d", e.Seq, e.Term, term)
		}
		term = e.Term
	}
}
