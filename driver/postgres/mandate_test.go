package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// fakeKernel is nftables that only listens.
type fakeKernel struct {
	scripts []string
	table   string // what "list" says; empty: there is none
	err     error
	before  func() // called before each script
}

func (k *fakeKernel) nft(_ context.Context, script string) (string, error) {
	if k.before != nil {
		k.before()
	}
	k.scripts = append(k.scripts, script)
	switch {
	case k.err != nil:
		return "", k.err
	case strings.HasPrefix(script, "list"):
		if k.table == "" {
			return "", errors.New("no such file or directory")
		}
		return k.table, nil
	}
	return "", nil
}

// aloneUnit is a member that was made primary under epoch 3, with its memory.
func aloneUnit(t *testing.T, k *fakeKernel, mem memory) (*Unit, *agent.Memory, func() memory) {
	t.Helper()
	dir := t.TempDir()
	u := &Unit{set: Settings{Store: "talk-db", Member: "pangyo", Port: 5432, Data: dir, Passfile: filepath.Join(dir, "passfile")},
		local: &local{socket: dir, port: 5432}, log: slog.New(slog.DiscardHandler), nft: k.nft}
	raw, err := json.Marshal(mem)
	if err != nil {
		t.Fatal(err)
	}
	m := agent.NewMemory(func() uint64 { return 3 }, func() json.RawMessage { return raw }, func(r json.RawMessage) error { raw = r; return nil })
	return u, m, func() memory {
		now, err := recall(m)
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
}

var primary3 = memory{Role: asPrimary, Reign: 3, List: []string{"ansan", "anyang"}, Any: 1}

func withAlone(mem memory, a *alone) memory { mem.Alone = a; return mem }

func renewal(d time.Duration) agent.Order {
	return agent.Order{Verb: agent.Promote, Epoch: 3, Reign: 3, Alone: true, Renew: true, Mandate: d}
}

func TestTheKernelIsToldWholeTablesOnly(t *testing.T) {
	want := `table inet haechi_talk-db_5432
delete table inet haechi_talk-db_5432
table inet haechi_talk-db_5432 {
	set mandate {
		type inet_service
		flags timeout
		elements = { 5432 timeout 5000ms }
	}
	chain input {
		type filter hook input priority -10
		tcp dport 5432 tcp dport != @mandate drop
	}
	chain output {
		type filter hook output priority -10
		tcp sport 5432 tcp sport != @mandate drop
	}
}
`
	table := Settings{Store: "talk-db", Port: 5432}.table()
	if diff := cmp.Diff(want, mandateScript(table, 5432, 5*time.Second)); diff != "" {
		t.Error(diff)
	}
	if shut := mandateScript(table, 5432, 0); strings.Contains(shut, "elements") {
		t.Error(shut)
	}
}

func TestWhoMustNotGoOnAlone(t *testing.T) {
	order := func(edit func(*agent.Order)) agent.Order {
		o := agent.Order{Epoch: 3, Reign: 3, Alone: true, Mandate: 5 * time.Second}
		edit(&o)
		return o
	}
	as := order(func(*agent.Order) {})
	fenced, follower := primary3, memory{Role: asFollower, List: []string{"pangyo"}, Any: 1}
	fenced.Fenced = true
	for name, tt := range map[string]struct {
		order agent.Order
		mem   memory
		none  bool
		want  agent.Code
		says  string
	}{
		"the primary":          {as, primary3, false, "", ""},
		"no way to end it":     {as, primary3, true, agent.Unsafe, "set mandate: nft"},
		"a follower":           {as, follower, false, agent.Unsafe, "pangyo is follower"},
		"an old primary":       {order(func(o *agent.Order) { o.Reign = 4 }), primary3, false, agent.Unsafe, "the promotion that stands is of epoch 4"},
		"nobody stands":        {order(func(o *agent.Order) { o.Reign = 0 }), primary3, false, agent.Unsafe, ""},
		"fenced":               {as, fenced, false, agent.Unsafe, "fenced"},
		"never had a list":     {as, memory{Role: asPrimary, Reign: 3}, false, agent.Unsafe, "no way back"},
		"for ever":             {order(func(o *agent.Order) { o.Mandate = time.Hour }), primary3, false, agent.BadOrder, "between 1s and 1m0s"},
		"no time":              {order(func(o *agent.Order) { o.Mandate = 0 }), primary3, false, agent.BadOrder, "a mandate of 0s"},
		"and with others":      {order(func(o *agent.Order) { o.Sync, o.Any = []string{"ansan"}, 1 }), primary3, false, agent.BadOrder, "which of the two"},
		"a renewal of nothing": {order(func(o *agent.Order) { o.Renew = true }), primary3, false, agent.Unsafe, "no mandate to renew"},
		"a renewal at the end": {order(func(o *agent.Order) { o.Renew = true }), withAlone(primary3, &alone{3, true}), false, agent.Unsafe, "no mandate to renew"},
		"a renewal":            {order(func(o *agent.Order) { o.Renew = true }), withAlone(primary3, &alone{3, false}), false, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := &fakeKernel{}
			u, m, now := aloneUnit(t, k, tt.mem)
			if tt.none {
				u.nft = nil
			}
			err := u.mayBeAlone(tt.order, tt.mem)
			r, _ := errors.AsType[*agent.Refusal](err)
			if (err == nil) != (tt.want == "") || err != nil && (r == nil || r.Code != tt.want || !strings.Contains(r.Why, tt.says)) {
				t.Errorf("%v", err)
			}
			if tt.want == "" {
				return
			}
			if _, err := u.Do(t.Context(), withVerb(tt.order), m); err == nil {
				t.Error("it was done")
			}
			if len(k.scripts) > 0 || !cmp.Equal(now(), tt.mem) {
				t.Errorf("refused, and %q, %+v", k.scripts, now())
			}
		})
	}
}

func withVerb(o agent.Order) agent.Order { o.Verb = agent.Promote; return o }

func TestARenewalTellsTheKernelAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{}
		u, m, now := aloneUnit(t, k, withAlone(primary3, &alone{Epoch: 3}))
		left := func() string {
			f := map[string]string{}
			u.mandateFacts(now(), f)
			return f["mandate_ms"]
		}
		f, err := u.Do(t.Context(), renewal(5*time.Second), m)
		if err != nil || f["alone"] != "true" || f["mandate_ms"] != "5000" {
			t.Fatalf("%v %v", f, err)
		}
		time.Sleep(2 * time.Second)
		if left() != "3000" {
			t.Error(left())
		}
		if _, err := u.Do(t.Context(), renewal(5*time.Second), m); err != nil || left() != "5000" {
			t.Error(left(), err)
		}
		time.Sleep(time.Minute)
		if left() != "0" {
			t.Error(left())
		}
		if len(k.scripts) != 2 || k.scripts[0] != k.scripts[1] {
			t.Errorf("%q", k.scripts)
		}
		k.err = errors.New("not permitted")
		if _, err := u.Do(t.Context(), renewal(5*time.Second), m); err == nil || left() != "0" {
			t.Errorf("%v %v", left(), err)
		}
	})
}

// What a server that is down would begin with is taken back before the port is opened.
func TestAServerThatIsDownIsNotAloneAnyMore(t *testing.T) {
	k := &fakeKernel{}
	u, m, now := aloneUnit(t, k, withAlone(primary3, &alone{Epoch: 3}))
	k.before = func() {
		raw, err := os.ReadFile(filepath.Join(u.set.Data, autoConf))
		if err != nil || !strings.Contains(string(raw), `synchronous_standby_names = 'ANY 1 ("ansan","anyang")'`) || !now().Alone.Ending {
			t.Errorf("the port is opened before the list stands: %s %v", raw, err)
		}
	}
	f, err := u.Do(t.Context(), agent.Order{Verb: agent.Fence, Epoch: 3}, m)
	if err != nil || f["alone"] != "false" || f["running"] != "false" {
		t.Errorf("%v %v", f, err)
	}
	if want := []string{noMandateScript("haechi_talk-db_5432")}; !slices.Equal(k.scripts, want) || now().Alone != nil {
		t.Errorf("%q %+v", k.scripts, now())
	}
	// A table that cannot be removed does not stop a fence; it lets nothing through.
	k.err, k.before = errors.New("not permitted"), nil
	u, m, now = aloneUnit(t, k, withAlone(primary3, &alone{Epoch: 3}))
	if f, err := u.Do(t.Context(), agent.Order{Verb: agent.Fence, Epoch: 3}, m); err != nil || f["alone"] != "true" {
		t.Errorf("%v %v", f, err)
	}
}

// After its machine started again, the kernel knows nothing of a member that was alone.
func TestAnAgentThatStartsKeepsThePortShut(t *testing.T) {
	k := &fakeKernel{}
	u, m, _ := aloneUnit(t, k, withAlone(primary3, &alone{Epoch: 3}))
	if err := u.Wake(t.Context(), m); err != nil || len(k.scripts) != 2 || k.scripts[1] != mandateScript("haechi_talk-db_5432", 5432, 0) {
		t.Errorf("%v %q", err, k.scripts)
	}
	k.scripts, k.table = nil, "table inet x {\n set mandate {\n elements = { 5432 timeout 5s expires 4s868ms }\n"
	if err := u.Wake(t.Context(), m); err != nil || len(k.scripts) != 1 {
		t.Errorf("%v %q", err, k.scripts)
	}
	f := map[string]string{}
	u.mandateFacts(memory{Alone: &alone{}}, f)
	if left := toNumber(f["mandate_ms"]); left < 4000 || left > 4868 {
		t.Error(f)
	}
	k.scripts = nil
	u, m, _ = aloneUnit(t, k, primary3)
	if err := u.Wake(t.Context(), m); err != nil || len(k.scripts) > 0 {
		t.Errorf("it was not alone: %v %q", err, k.scripts)
	}
}

func TestAProofFromBeforeIsWorthNothing(t *testing.T) {
	u := &Unit{}
	before := u.rules
	u.forgetRule()
	if u.rules == before || u.proven != 0 {
		t.Error("a proof that goes on beside would count")
	}
}

// allowAlone is what the executor writes down before the step.
func (w *fakeWorld) allowAlone() {
	st := w.estate.Stores["talk-db"]
	st.Alone = "allow"
	w.estate.Stores["talk-db"] = st
	w.store.Alone, w.store.LeastAny = true, 0
}

func TestAloneAndTogetherAgain(t *testing.T) {
	w := newFakeWorld(t)
	d := w.driver()
	all := []string{"ansan", "anyang", "pangyo"}
	if res, err := d.Do(t.Context(), w.task(plan.Alone, nil, all...)); err == nil || res.Outcome != run.NotDone || w.acts() > 0 {
		t.Fatalf("the estate refuses: %v %v", res.Outcome, err)
	}
	w.allowAlone()
	res, err := d.Do(t.Context(), w.task(plan.Alone, nil, all...))
	if err != nil || res.Outcome != run.Done || res.Store == nil || !res.Store.Alone || res.Store.LeastAny != 0 {
		t.Fatalf("%+v %v", res, err)
	}
	w.store = *res.Store
	if err := d.Renew(t.Context(), w.task(plan.Alone, nil, "pangyo")); err != nil {
		t.Error(err)
	}
	heard := w.members["pangyo"].heard
	if last := heard[len(heard)-1]; !last.Renew || last.Mandate != 5*time.Second || last.Epoch != 2 || last.Reign != 1 || last.Term != 3 {
		t.Errorf("%+v", last)
	}
	res, err = d.Do(t.Context(), w.task(plan.Together, nil, all...))
	want := situation.Store{Epoch: 1, Primary: "pangyo", Sync: w.store.Sync, Any: 1, LeastAny: 1, Next: 2, Timeline: 1}
	if err != nil || res.Outcome != run.Done || !cmp.Equal(want, *res.Store) {
		t.Fatalf("%+v %v", res, err)
	}
	// A renewal that comes late makes nobody alone again.
	if err := d.Renew(t.Context(), w.task(plan.Alone, nil, "pangyo")); err == nil || w.members["pangyo"].mem.Alone != nil {
		t.Errorf("%v %+v", err, w.members["pangyo"].mem)
	}
}

func TestTogetherWaitsForTheOthersBeforeWritesDo(t *testing.T) {
	w := newFakeWorld(t)
	w.allowAlone()
	w.members["pangyo"].mem.Alone = &alone{Epoch: 2}
	w.members["ansan"].mem.Fenced, w.members["anyang"].mem.Fenced = true, true
	ctx, cancel := context.WithTimeout(t.Context(), spare+50*time.Millisecond)
	defer cancel()
	res, err := w.driver().Do(ctx, w.task(plan.Together, nil, "ansan", "anyang", "pangyo"))
	if err == nil || res.Outcome != run.NotDone || res.Store != nil || w.acts() > 0 {
		t.Errorf("%+v %v, %d acts", res, err, w.acts())
	}
	// Taken back, it waits for them all the same; what it wrote alone stays at stake.
	res, err = w.driver().Undo(t.Context(), w.task(plan.Alone, nil, "ansan", "anyang", "pangyo"))
	if err != nil || res.Outcome != run.Done || res.Store.Alone || res.Store.LeastAny != 0 || w.members["pangyo"].mem.Alone != nil {
		t.Errorf("%+v %v", res, err)
	}
}

func TestAnAgentThatRefusesToBeAloneIsForPeople(t *testing.T) {
	w := newFakeWorld(t)
	w.allowAlone()
	w.members["pangyo"].mem.Fenced = true
	res, err := w.driver().Do(t.Context(), w.task(plan.Alone, nil, "pangyo"))
	if err == nil || res.Outcome != run.NotDone || !strings.Contains(res.Ask, "fenced") {
		t.Errorf("%+v %v", res, err)
	}
}
