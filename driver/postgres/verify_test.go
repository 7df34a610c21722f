package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/verify"
)

// books is what a fake member holds: one row in each block of one table, which nobody writes.
type books struct {
	primary bool
	blocks  uint32
	rows    map[uint32]string // by block, where it is not what everybody has
	seq     int64
	fails   int // checks that end early

	mu    sync.Mutex
	asked []verify.Span // of sums
	jobs  int
	at    int // of the job
}

func (b *books) row(block uint32) (string, bool) {
	if r, ok := b.rows[block]; ok {
		return r, r != ""
	}
	return "row", true
}

// told answers as a member's agent does.
func (b *books) told(o agent.Order) (map[string]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o.Verb == agent.Check {
		return b.check(o)
	}
	var out any
	switch q := o.Question; q.Want {
	case agent.WantDatabases:
		out = []string{"shop"}
	case agent.WantTables:
		tables := []verify.Table{}
		if q.After == 0 {
			tables = []verify.Table{{ID: 7, Name: "public.orders", Blocks: b.blocks, Shape: "s"}}
		}
		out = tables
	case agent.WantSequences:
		a := verify.SequencesAnswer{From: 5, To: 5}
		if q.After == 0 {
			a.Sequences = []verify.Sequence{{ID: 9, Name: "public.orders_id_seq", Last: b.seq, Step: 1, Cache: 1}}
		}
		out = a
	default:
		a := verify.Answer{From: 5, To: 5, Snap: verify.Snapshot{Xmin: 100, Xmax: 100}, Main: b.primary, Took: time.Millisecond}
		for _, s := range q.Spans {
			a.Part = append(a.Part, b.part(s, q.Want))
			if q.Want == agent.WantSums {
				b.asked = append(b.asked, s)
			}
		}
		out = a
	}
	raw, err := json.Marshal(out)
	return map[string]string{agent.FactDigest: string(raw)}, err
}

func (b *books) part(s verify.Span, want agent.Want) verify.Part {
	p := verify.Part{Shape: "s", Blocks: b.blocks}
	to := s.To
	if to == 0 {
		to = b.blocks
	}
	for block := s.From; block < to; block++ {
		r, ok := b.row(block)
		if !ok {
			continue
		}
		p.Count++
		if r != "row" {
			p.Sum += fmt.Sprint(block, r)
		}
		if want == agent.WantRows {
			p.Rows = append(p.Rows, verify.Row{At: fmt.Sprintf("(%d,1)", block), Xmin: 50, Hash: r, Key: fmt.Sprint(block)})
		}
	}
	return p
}

// check is a job of two steps, which ends early as often as it is to.
func (b *books) check(o agent.Order) (map[string]string, error) {
	c := verify.Check{Phase: verify.PhasePages, Job: fmt.Sprint("job ", b.jobs), Pages: int64(b.at)}
	switch b.at++; {
	case b.fails > 0 && b.at > 1:
		b.fails--
		b.jobs, b.at, c.Error = b.jobs+1, 0, "the disk is slow"
	case b.at > 2:
		c.Phase, c.Indexes = verify.PhaseDone, 3
	}
	raw, err := json.Marshal(c)
	return map[string]string{agent.FactCheck: string(raw)}, err
}

// libraries gives each member of a fake world its books.
func libraries(w *fakeWorld) map[string]*books {
	out := map[string]*books{}
	for n, m := range w.members {
		out[n] = &books{primary: m.primary, blocks: 2000, rows: map[uint32]string{}, seq: 40}
		m.told = out[n].told
	}
	return out
}

func summaryOf(t *testing.T, f run.Facts) verify.Summary {
	t.Helper()
	var s verify.Summary
	if err := json.Unmarshal([]byte(f[FactReport]), &s); err != nil {
		t.Fatalf("%v: %v", f, err)
	}
	return s
}

func TestMembersThatHoldTheSameAreVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		libraries(w)["anyang"].seq = 72 // by what is fetched at once
		w.store.Differs = "something, once"
		res, err := w.driver().Do(t.Context(), w.task(plan.Verify, nil, "pangyo", "ansan", "anyang"))
		if err != nil || res.Outcome != run.Done {
			t.Fatal(res, err)
		}
		s := summaryOf(t, res.Facts)
		if res.Store == nil || res.Store.Verified.IsZero() || res.Store.Differs != "" || s.Rows != 2000 || s.Tables != 1 || s.Sequences != 1 || len(s.LeftOut) > 0 ||
			s.Checks["ansan"].Indexes != 3 || !strings.Contains(res.Note, "all members hold the same") {
			t.Errorf("%+v\n%+v\n%s", res.Store, s, res.Note)
		}
		if look, err := w.driver().Look(t.Context(), w.task(plan.Verify, res.Facts, "pangyo", "ansan", "anyang")); err != nil || look.Outcome != run.NotDone {
			t.Error(look, err)
		}
	})
}

func TestWhatDiffersIsNamedAndNothingIsChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		l := libraries(w)
		l["ansan"].rows[1234] = ""
		l["anyang"].rows[7], l["anyang"].seq = "row?", 3
		before := w.store
		res, err := w.driver().Do(t.Context(), w.task(plan.Verify, nil, "pangyo", "ansan", "anyang"))
		if err != nil || res.Outcome != run.Done {
			t.Fatal(res, err)
		}
		var got []string
		for _, f := range summaryOf(t, res.Facts).Found {
			got = append(got, fmt.Sprint(f.Member, " ", f.Kind, " ", f.Table, " ", f.Key))
		}
		slices.Sort(got)
		want := []string{"ansan missing shop: public.orders 1234", "anyang behind shop: public.orders_id_seq ", "anyang different shop: public.orders 7"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		before.Differs = res.Store.Differs
		if len(res.Store.DiffersOn) > 0 {
			t.Errorf("all of them differ, so it may be the primary: %v", res.Store.DiffersOn)
		}
		if diff := cmp.Diff(before, *res.Store); diff != "" || res.Store.Differs == "" || !strings.Contains(res.Note, "a person decides") {
			t.Errorf("%s\n%s", diff, res.Note)
		}
		if w.acts() > 0 {
			t.Error("something was done to a member")
		}
	})
}

// What all followers hold alike, and the primary otherwise, may be the primary's fault: it says so.
func TestWhatDiffersEverywhereMayBeThePrimarys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		l := libraries(w)
		l["pangyo"].rows[12], l["ansan"].rows[40] = "turned", ""
		res, err := w.driver().Do(t.Context(), w.task(plan.Verify, nil, "pangyo", "ansan", "anyang"))
		if err != nil || !strings.Contains(res.Note, "1 of them on every follower: there it may be pangyo that is wrong") {
			t.Error(res.Note, err)
		}
	})
}

// Who differs is remembered, so that nobody is promoted who lacks what others hold, and forgotten once all hold the same.
func TestWhoDiffersIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		l := libraries(w)
		l["ansan"].rows[40] = ""
		for _, want := range [][]estate.MemberID{{"ansan"}, nil} {
			res, err := w.driver().Do(t.Context(), w.task(plan.Verify, nil, "pangyo", "ansan", "anyang"))
			if err != nil || !slices.Equal(res.Store.DiffersOn, want) {
				t.Errorf("%v, want %v; %s %v", res.Store.DiffersOn, want, res.Note, err)
			}
			w.store = *res.Store
			delete(l["ansan"].rows, 40) // as everywhere
		}
	})
}

func TestAStoreSaysWhatAComparisonMayTake(t *testing.T) {
	p, errs := PaceOf(map[string]any{"verify": map[string]any{"share": 0.5, "rate": uint64(64)}})
	if len(errs) > 0 || p.Share != 0.5 || p.Rate != 64<<20 {
		t.Error(p, errs)
	}
	for _, bad := range []any{"fast", map[string]any{"share": 7}, map[string]any{"rate": 0.1}, map[string]any{"shares": 1}, map[string]any{"share": "half"}} {
		if _, errs := PaceOf(map[string]any{"verify": bad}); len(errs) == 0 {
			t.Errorf("%v was taken", bad)
		}
	}
	if p, errs := PaceOf(nil); len(errs) > 0 || p != (agent.Pace{}) {
		t.Error(p, errs)
	}
}

// A comparison that is cut short goes on from what it told, and does not ask again for what it had.
func TestAComparisonGoesOnFromItsFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		l := libraries(w)
		l["ansan"].rows[1990], l["ansan"].rows[1999] = "", ""
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(25*time.Millisecond, cancel) // a question takes 1 ms, and the rest after it four
		res, err := w.driver().Do(ctx, w.task(plan.Verify, nil, "pangyo", "ansan", "anyang"))
		if res.Outcome != run.NotDone || !errors.Is(err, context.Canceled) || res.Facts[factComparing] == "" {
			t.Fatal(res, err)
		}
		var at comparing
		if err := json.Unmarshal([]byte(res.Facts[factComparing]), &at); err != nil || at.Place.Block == 0 {
			t.Fatalf("%+v %v", at, err)
		}
		l["pangyo"].asked = nil
		res, err = w.driver().Do(t.Context(), w.task(plan.Verify, res.Facts, "pangyo", "ansan", "anyang"))
		if err != nil || len(summaryOf(t, res.Facts).Found) != 2 || summaryOf(t, res.Facts).Rows != 2000 {
			t.Fatal(res, err)
		}
		for _, s := range l["pangyo"].asked {
			if s.From < at.Place.Block {
				t.Errorf("asked again for %+v, though all before block %d was settled", s, at.Place.Block)
			}
		}
	})
}

func TestWhoDoesNotCountIsNotComparedAndThatIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		libraries(w)
		w.store.Former, w.store.Sync = []estate.MemberID{"anyang"}, []estate.MemberID{"ansan"}
		res, err := w.driver().Do(t.Context(), w.task(plan.Verify, nil, "pangyo", "ansan", "anyang"))
		if err != nil || res.Outcome != run.Done || !res.Store.Verified.IsZero() || !strings.Contains(res.Note, "anyang is not counted") {
			t.Error(res.Note, err)
		}
		w.store.Former, w.store.Sync = []estate.MemberID{"anyang", "ansan"}, nil
		if res, err := w.driver().Do(t.Context(), w.task(plan.Verify, nil, "pangyo", "ansan", "anyang")); err == nil || res.Outcome != run.NotDone || !strings.Contains(err.Error(), "no member that counts") {
			t.Error(res, err)
		}
	})
}

// A follower whose site burns in the middle is left out, and the rest compared from where it was: who was left out is
// named, and the record does not say that all hold the same. What was found on it stays found.
func TestAFollowerThatFallsSilentIsLeftOut(t *testing.T) {
	both := []string{"ansan missing 1990", "anyang different 3"}
	for how, want := range map[string][]string{"FromTheBegin": both[:1], "Agent": both[:1], "Server": both[:1], "AfterItsRows": both} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld(t)
				l := libraries(w)
				l["anyang"].rows[3], l["ansan"].rows[1990] = "turned", ""
				anyang := w.members["anyang"]
				burn := func() {
					anyang.mu.Lock()
					defer anyang.mu.Unlock()
					anyang.down = how != "Server"
				}
				told, burned := anyang.told, false
				anyang.told = func(o agent.Order) (map[string]string, error) {
					switch q := o.Question; {
					case how == "AfterItsRows" && q.Want == agent.WantSequences, how != "AfterItsRows" && q.Want == agent.WantSums && q.Spans[0].From > 0:
						burned = true
						burn()
					}
					if burned {
						return nil, errors.New("connection refused")
					}
					return told(o)
				}
				if how == "FromTheBegin" {
					burn()
				}
				began := time.Now()
				res, err := w.driver().Do(t.Context(), w.task(plan.Verify, nil, "pangyo", "ansan", "anyang"))
				if err != nil || res.Outcome != run.Done {
					t.Fatal(res, err)
				}
				if took := time.Since(began); took < silentFor || took > 2*silentFor {
					t.Errorf("it took %v", took)
				}
				s := summaryOf(t, res.Facts)
				var got []string
				for _, f := range s.Found {
					got = append(got, fmt.Sprint(f.Member, " ", f.Kind, " ", f.Key))
				}
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				if !slices.Equal(s.Followers, []string{"ansan"}) || s.Rows != 2000 || len(s.LeftOut) != 1 || s.LeftOut[0].Name != "member anyang" || !strings.Contains(s.LeftOut[0].Why, "has not answered for 1m0s") {
					t.Errorf("%+v", s)
				}
				if !strings.Contains(res.Note, "not all members were compared, and who was not has still to be: anyang has not answered") {
					t.Error(res.Note)
				}
				if s.Checks["anyang"].Phase != "" {
					t.Error("its pages are asked for")
				}
			})
		})
	}
}

// Where all that answer hold the same, that is said of them alone.
func TestWhoWasLeftOutIsNotVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		libraries(w)
		w.members["anyang"].down = true
		res, err := w.driver().Do(t.Context(), w.task(plan.Verify, nil, "pangyo", "ansan", "anyang"))
		if err != nil || res.Outcome != run.Done || !res.Store.Verified.IsZero() || !strings.Contains(res.Note, "pangyo, ansan hold the same; not all members were compared") {
			t.Error(res, err)
		}
		if !slices.Equal(res.Store.LeftOut, []estate.MemberID{"anyang"}) {
			t.Errorf("the record says that %v were left out", res.Store.LeftOut)
		}
		w.store, w.members["anyang"].down = *res.Store, false
		if res, err = w.driver().Do(t.Context(), w.task(plan.Verify, nil, "pangyo", "ansan", "anyang")); err != nil || res.Store.Verified.IsZero() || len(res.Store.LeftOut) > 0 {
			t.Error(res, err)
		}
	})
}

// One that is silent for a while, as while its agent is restarted, is waited for.
func TestAShortSilenceLeavesNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		libraries(w)
		anyang := w.members["anyang"]
		anyang.down = true
		time.AfterFunc(silentFor/2, func() {
			anyang.mu.Lock()
			defer anyang.mu.Unlock()
			anyang.down = false
		})
		res, err := w.driver().Do(t.Context(), w.task(plan.Verify, nil, "pangyo", "ansan", "anyang"))
		if err != nil || res.Store.Verified.IsZero() {
			t.Error(res, err)
		}
	})
}

// With nobody left to compare with, or without the primary, the try is over, and says who was silent.
func TestNothingIsComparedWithNobody(t *testing.T) {
	for _, down := range [][]string{{"pangyo"}, {"ansan", "anyang"}} {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeWorld(t)
			libraries(w)
			for _, m := range down {
				w.members[m].down = true
			}
			began := time.Now()
			res, err := w.driver().Do(t.Context(), w.task(plan.Verify, nil, "pangyo", "ansan", "anyang"))
			if took := time.Since(began); err == nil || res.Outcome != run.NotDone || took > 3*silentFor {
				t.Errorf("%v after %v: %+v", err, took, res)
			}
		})
	}
}

// Whoever carries it on goes on without those that had fallen silent before: what was passed was not compared on them.
func TestWhoFellSilentStaysLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		l := libraries(w)
		w.members["anyang"].down = true
		ctx, cancel := context.WithTimeout(t.Context(), silentFor+10*time.Second)
		defer cancel()
		task := w.task(plan.Verify, nil, "pangyo", "ansan", "anyang")
		told := run.Facts{}
		task.Tell = func(f run.Facts, _ string) {
			if told[factComparing] = f[factComparing]; strings.Contains(f[factComparing], "silent") {
				cancel()
			}
		}
		if res, err := w.driver().Do(ctx, task); err == nil || res.Outcome != run.NotDone {
			t.Fatal(res, err)
		}
		w.members["anyang"].down = false
		l["anyang"].asked = nil
		res, err := w.driver().Do(t.Context(), w.task(plan.Verify, told, "pangyo", "ansan", "anyang"))
		if err != nil || !res.Store.Verified.IsZero() || !strings.Contains(res.Note, "anyang has not answered") || len(l["anyang"].asked) > 0 {
			t.Error(res, err, l["anyang"].asked)
		}
	})
}

func TestAPrimaryThatIsNoneAnyMoreIsNotCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		l := libraries(w)
		l["pangyo"].primary, l["ansan"].primary = false, true
		if res, err := w.driver().Do(t.Context(), w.task(plan.Verify, nil, "pangyo", "ansan", "anyang")); !errors.Is(err, errMoved) || res.Outcome != run.NotDone {
			t.Error(res, err)
		}
	})
}

// A job that ends early is begun again where it was; one that comes no further is left out, and the
// comparison of rows stands.
func TestAJobThatEndsEarlyIsGoneOnWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		l := libraries(w)
		l["ansan"].fails, l["anyang"].fails = 2, 1000
		res, err := w.driver().Do(t.Context(), w.task(plan.Verify, nil, "pangyo", "ansan", "anyang"))
		if err != nil || res.Outcome != run.Done {
			t.Fatal(res, err)
		}
		s := summaryOf(t, res.Facts)
		if s.Checks["ansan"].Indexes != 3 || len(s.LeftOut) != 1 || !strings.Contains(s.LeftOut[0].Why, "the disk is slow") || s.LeftOut[0].Name != "pages and indexes of anyang" {
			t.Errorf("%+v", s)
		}
	})
}
