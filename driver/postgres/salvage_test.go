package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver/postgres/salvage"
)

// moved is a store whose primary went over to ansan while pangyo was out of reach; pangyo alone
// holds two rows.
func (w *fakeWorld) moved() {
	ansan, pangyo := w.members["ansan"], w.members["pangyo"]
	ansan.primary, ansan.tl = true, 2
	ansan.mem = memory{Role: asPrimary, Reign: 2, List: []string{"anyang"}, Any: 1}
	pangyo.holds = []situation.Salvage{{Method: situation.Decoded, State: situation.SalvageOpen, Rows: 2, Told: 1, Fork: "0/3000100", End: "0/3000200", SHA256: "aa", Bytes: 4}}
	for name, m := range w.members {
		h := w.estate.Hosts[estate.HostID("db-"+name)]
		h.Site = estate.SiteID(name)
		w.estate.Hosts[estate.HostID("db-"+name)] = h
		m.files = map[string]string{}
	}
	w.store = situation.Store{Epoch: 2, Primary: "ansan", Sync: []estate.MemberID{"anyang"}, Former: []estate.MemberID{"pangyo"}, Any: 1, LeastAny: 1, Next: 2, Timeline: 2,
		Forks: []situation.Fork{{Epoch: 2, Primary: "ansan", Timeline: 2, Oldest: 731, Next: 740}}}
}

// kept is a salvage of pangyo's two rows, beside pangyo and anyang, to be written back on pangyo.
func (w *fakeWorld) kept() situation.Salvage {
	for _, m := range []string{"anyang"} {
		w.members[m].files = map[string]string{"r-0-x.salvage": "rows"}
	}
	return situation.Salvage{ID: "r-0-x", Store: "talk-db", Member: "x", Rows: 2, State: situation.SalvageOpen, SHA256: "aa", Bytes: 4, Holders: []estate.MemberID{"anyang"}}
}

func TestASalvageLiesInTwoSitesBeforeItIsDone(t *testing.T) {
	w := newFakeWorld(t)
	w.moved()
	res, err := w.driver().Do(t.Context(), w.task(plan.Salvage, nil, "pangyo"))
	if err != nil || res.Outcome != run.Done || res.Salvage == nil {
		t.Fatalf("%+v, %v", res, err)
	}
	if s := res.Salvage; s.ID != "r-1-pangyo" || !cmp.Equal(s.Holders, []estate.MemberID{"ansan", "anyang", "pangyo"}) || s.State != situation.SalvageOpen {
		t.Errorf("%+v", s)
	}
	for _, m := range []string{"ansan", "anyang"} {
		if w.members[m].files["r-1-pangyo.salvage"] != "rows" {
			t.Errorf("%s holds %v", m, w.members[m].files)
		}
	}
	o := w.members["pangyo"].heard[1] // the first asks what it is
	want := []agent.Turn{{Timeline: 1, End: "0/3000100", Oldest: 731, Next: 740}, {Timeline: 2}}
	if diff := cmp.Diff(want, o.Salvage.Turns); diff != "" || o.Upstream.Member != "ansan" {
		t.Error(diff, o.Upstream)
	}
	// Another run finds what is kept under the name that it has, and reads nothing again.
	task := w.task(plan.Salvage, nil, "pangyo")
	task.Run = "r-9"
	before := w.acts()
	again, err := w.driver().Do(t.Context(), task)
	if err != nil || again.Salvage.ID != "r-1-pangyo" || w.acts() != before {
		t.Errorf("%+v, %v", again, err)
	}
}

// With nobody elsewhere to hold it the member is not told that it may be rewritten.
func TestASalvageInOneSiteIsNotDone(t *testing.T) {
	w := newFakeWorld(t)
	w.moved()
	d := w.driver()
	d.dial = func(_ estate.HostID, address string) (agent.Caller, error) {
		if address != "pangyo" {
			return speechless{w.members[address]}, nil
		}
		return w.members[address], nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	res, err := d.Do(ctx, w.task(plan.Salvage, nil, "pangyo"))
	if err == nil || res.Outcome != run.NotDone || res.Salvage != nil || w.members["pangyo"].mem.Read.Kept || !strings.Contains(err.Error(), "one site alone") {
		t.Errorf("%+v, %v", res, err)
	}
	if l, err := d.Look(t.Context(), w.task(plan.Salvage, nil, "pangyo")); l.Outcome != run.NotDone {
		t.Errorf("%+v, %v", l, err)
	}
}

// An agent that is restarted meanwhile, the member's or its primary's, is waited for; one that stays away is not.
func TestASalvageWaitsForSilentAgents(t *testing.T) {
	for _, member := range []string{"pangyo", "ansan"} {
		for _, silent := range []time.Duration{pollLost / 2, 10 * pollLost} {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld(t)
				w.moved()
				m := w.members[member]
				m.down = true
				back := time.AfterFunc(silent, func() {
					m.mu.Lock()
					defer m.mu.Unlock()
					m.down = false
				})
				defer back.Stop()
				began := time.Now()
				res, err := w.driver().Do(t.Context(), w.task(plan.Salvage, nil, "pangyo"))
				took := time.Since(began)
				if short := silent < pollLost; short != (err == nil && res.Outcome == run.Done) || !short && (took < pollLost || took > 2*pollLost) {
					t.Errorf("%s is silent for %v: %v %v after %v", member, silent, res.Outcome, err, took)
				}
			})
		}
	}
}

// A member that is being rewritten is for no order but that; what it held was kept before.
func TestAMemberThatIsBeingRewrittenIsNotReadAgain(t *testing.T) {
	w := newFakeWorld(t)
	w.moved()
	d := w.driver()
	first, err := d.Do(t.Context(), w.task(plan.Salvage, nil, "pangyo"))
	if err != nil {
		t.Fatal(err)
	}
	w.members["pangyo"].broken = true
	before := len(w.members["pangyo"].heard)
	again, err := d.Do(t.Context(), w.task(plan.Salvage, nil, "pangyo"))
	if err != nil || !cmp.Equal(again.Salvage, first.Salvage) || len(w.members["pangyo"].heard) != before+1 {
		t.Errorf("%+v, %v", again, err)
	}
}

// speechless answers orders and carries no files.
type speechless struct{ m *fakeMember }

func (s speechless) Call(ctx context.Context, o agent.Order) (agent.Answer, error) {
	return s.m.Call(ctx, o)
}

func TestWhatCannotBeReadIsAskedAbout(t *testing.T) {
	w := newFakeWorld(t)
	w.moved()
	w.members["pangyo"].holds[0] = situation.Salvage{Method: situation.Unreadable, State: situation.SalvageEmpty, Unknown: []string{"what only it holds: the disk is gone"}}
	res, err := w.driver().Do(t.Context(), w.task(plan.Salvage, nil, "pangyo"))
	if err == nil || res.Outcome != run.NotDone || !strings.Contains(res.Ask, "Nothing on it is wiped") || !strings.Contains(res.Ask, "the disk is gone") || w.members["pangyo"].mem.Read.Kept {
		t.Fatalf("%+v, %v", res, err)
	}
	res, err = w.driver().Do(t.Context(), w.task(plan.Salvage, run.Facts{run.FactAccepted + "salvage": "kim,lee"}, "pangyo"))
	if err != nil || res.Outcome != run.Done || res.Salvage.State != situation.SalvageDiscarded || !cmp.Equal(res.Salvage.By, []string{"kim", "lee"}) || !w.members["pangyo"].mem.Read.Kept {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestWhoCountsIsNotSalvaged(t *testing.T) {
	for _, member := range []string{"pangyo", "ansan"} { // the primary, and one that acknowledges for it
		w := newFakeWorld(t)
		if res, err := w.driver().Do(t.Context(), w.task(plan.Salvage, nil, member)); err == nil || res.Outcome != run.NotDone || w.acts() > 0 {
			t.Errorf("%s: %+v, %v", member, res, err)
		}
	}
}

func TestRowsAreBroughtToThePrimaryAndCounted(t *testing.T) {
	w := newFakeWorld(t)
	task := w.task(plan.Apply, nil, "pangyo")
	task.Salvage = w.kept()
	task.Step.Args = map[string]string{plan.ArgRows: "2", plan.ArgBy: "kim"}
	res, err := w.driver().Do(t.Context(), task)
	if err != nil || res.Outcome != run.Done {
		t.Fatalf("%+v, %v", res, err)
	}
	if s := res.Salvage; s.Applied != 1 || s.Written != "2" || s.State != situation.SalvageOpen || !cmp.Equal(s.Holders, []estate.MemberID{"anyang", "pangyo"}) {
		t.Errorf("%+v", s)
	}
	task.Salvage, task.Step.Args = *res.Salvage, nil
	res, err = w.driver().Do(t.Context(), task)
	if s := res.Salvage; err != nil || s.Applied != 2 || s.Written != "1-2" || s.State != situation.SalvageApplied || !cmp.Equal(s.By, []string{"kim"}) {
		t.Errorf("%+v, %v", s, err)
	}
	task.Salvage = *res.Salvage
	if res, err := w.driver().Do(t.Context(), task); err == nil || res.Outcome != run.NotDone {
		t.Errorf("it is closed: %+v, %v", res, err)
	}
}

func TestASalvageIsGivenUpByName(t *testing.T) {
	w := newFakeWorld(t)
	task := w.task(plan.Discard, nil, "pangyo")
	task.Salvage, task.Step.Args = w.kept(), map[string]string{plan.ArgBy: "kim"}
	res, err := w.driver().Do(t.Context(), task)
	if err == nil || res.Outcome != run.NotDone || !strings.Contains(res.Ask, "2 rows") || res.Salvage != nil {
		t.Fatalf("%+v, %v", res, err)
	}
	task.Facts = run.Facts{run.FactAccepted + "discard": "kim,lee"}
	res, err = w.driver().Do(t.Context(), task)
	if err != nil || res.Outcome != run.Done || res.Salvage.State != situation.SalvageDiscarded || !cmp.Equal(res.Salvage.By, []string{"kim", "lee"}) || res.Salvage.Closed.IsZero() {
		t.Errorf("%+v, %v", res, err)
	}
	if w.acts() > 0 {
		t.Error("somebody's server was bothered")
	}
}

// What is read once counts only as long as the data directory is as it was, and once two sites hold it.
func TestNothingIsRewrittenBeforeItsSalvageIsKept(t *testing.T) {
	u := &Unit{set: Settings{Member: "a", Data: t.TempDir()}}
	for what, c := range map[string]struct {
		mem memory
		may bool
	}{
		"not read":                  {memory{Role: asPrimary, Fenced: true}, false},
		"read, in one site":         {memory{Role: asPrimary, Fenced: true, Read: read{Salvage: &situation.Salvage{Method: situation.Unreadable}}}, false},
		"given up":                  {memory{Role: asPrimary, Fenced: true, Read: read{Salvage: &situation.Salvage{Method: situation.Unreadable}, Kept: true}}, true},
		"the disk tells no more":    {memory{Role: asPrimary, Fenced: true, Read: read{Salvage: &situation.Salvage{Method: situation.Decoded}, Kept: true}}, false},
		"a follower that is behind": {memory{Role: asFollower, Read: read{Salvage: &situation.Salvage{Method: situation.Nothing}, Kept: true}}, true},
	} {
		if err := u.mayRewrite(t.Context(), c.mem); (err == nil) != c.may {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestReadingGoesOnBesideOrders(t *testing.T) {
	var r reading
	if begun, _, _, _ := r.ask(); begun {
		t.Error("nothing was begun")
	}
	gate := make(chan struct{})
	work := func(ctx context.Context, say func(string)) (readResult, error) {
		say("half of it")
		gate <- struct{}{}
		select {
		case <-gate:
			return readResult{salvage: situation.Salvage{ID: "x"}}, nil
		case <-ctx.Done():
			return readResult{}, context.Cause(ctx)
		}
	}
	r.begin(work)
	r.begin(func(context.Context, func(string)) (readResult, error) {
		t.Error("begun twice")
		return readResult{}, nil
	})
	<-gate
	f := map[string]string{}
	r.facts(f)
	if begun, over, _, _ := r.ask(); !begun || over || f[factReading] != readingNow || f[factProgress] != "half of it" {
		t.Errorf("%v", f)
	}
	gate <- struct{}{}
	<-r.ended
	if _, over, res, err := r.ask(); !over || err != nil || res.salvage.ID != "x" {
		t.Errorf("%+v, %v", res, err)
	}
	r.forget()
	r.begin(work)
	<-gate
	r.stop()
	if begun, _, _, _ := r.ask(); begun {
		t.Error("it was stopped, and is there still")
	}
}

func TestOrdersThatSalvageNothing(t *testing.T) {
	u := stopped(t, nil)
	if err := os.WriteFile(filepath.Join(u.set.Data, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	up := &agent.Upstream{Member: "b", Host: "10.0.0.1", Port: "5432", Credential: 2, Reign: 2}
	good := agent.Order{Reign: 2, Upstream: up, Salvage: &agent.Salvaging{ID: "r-1-a", Turns: []agent.Turn{{Timeline: 1}}}}
	for what, c := range map[string]struct {
		edit func(*agent.Order)
		mem  memory
		ok   bool
	}{
		"a former primary":     {func(*agent.Order) {}, memory{Role: asPrimary, Reign: 1}, true},
		"one of a later epoch": {func(*agent.Order) {}, memory{Role: asPrimary, Reign: 3, Fenced: true}, false},
		"the standing one":     {func(*agent.Order) {}, memory{Role: asPrimary, Reign: 2}, false},
		"nobody knows it":      {func(*agent.Order) {}, memory{}, false},
		"a path for a name":    {func(o *agent.Order) { o.Salvage.ID = "../x" }, memory{Role: asPrimary, Reign: 1}, false},
		"no name":              {func(o *agent.Order) { o.Salvage = nil }, memory{Role: asPrimary, Reign: 1}, false},
		"no timelines":         {func(o *agent.Order) { o.Salvage = &agent.Salvaging{ID: "x"} }, memory{Role: asPrimary, Reign: 1}, false},
		"nobody to hold it to": {func(o *agent.Order) { o.Upstream = nil }, memory{Role: asPrimary, Reign: 1}, false},
	} {
		o := good
		s := *good.Salvage
		o.Salvage = &s
		c.edit(&o)
		if err := u.maySalvage(o, c.mem); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestWhatIsWrittenBackOnlyOnThePrimary(t *testing.T) {
	u := &Unit{set: Settings{Member: "a"}}
	o := agent.Order{Reign: 2, Salvage: &agent.Salvaging{ID: "r-1-a"}}
	for _, mem := range []memory{{Role: asFollower}, {Role: asPrimary, Reign: 1}, {Role: asPrimary, Reign: 2, Fenced: true}} {
		if err := u.mayApply(t.Context(), o, mem); err == nil {
			t.Errorf("%+v", mem)
		}
	}
	if err := u.mayApply(t.Context(), o, memory{Role: asPrimary, Reign: 2}); err != nil {
		t.Error(err)
	}
}

func TestRowsBesideThePrimarys(t *testing.T) {
	row := salvage.Row{N: 1, Database: "d", Schema: "s", Table: "t", Op: salvage.Insert, Key: []string{"id"}, New: []salvage.Value{salvage.NewValue("id", "int", "1"), salvage.NewValue("v", "text", "new")}}
	key := keyText([]salvage.Value{salvage.NewValue("id", "", "1")})
	has := func(v string, untouched bool) found {
		return found{key: {Values: []salvage.Value{salvage.NewValue("id", "int", "1"), salvage.NewValue("v", "text", v)}, Untouched: untouched}}
	}
	for what, c := range map[string]struct {
		there   found
		differs bool
		op      salvage.Op
		whole   bool
	}{
		"not compared":        {nil, true, salvage.Insert, false},
		"not there":           {found{}, true, salvage.Insert, false},
		"the same":            {has("new", false), false, "", false},
		"as it was":           {has("old", true), true, salvage.Update, true},
		"both sides wrote it": {has("other", false), true, salvage.Update, false},
	} {
		got, differs := differing(row, c.there)
		if differs != c.differs || differs && (got.Op != c.op || got.Whole != c.whole || got.Note == "") {
			t.Errorf("%s: %v %+v", what, differs, got)
		}
	}
}

func TestNamesAndValuesAreQuoted(t *testing.T) {
	tb := table{Schema: `한글 "x"`, Name: "t'; DROP TABLE t; --"}
	if got := tb.sql(); got != `"한글 ""x"""."t'; DROP TABLE t; --"` {
		t.Error(got)
	}
	if got := tuple([]salvage.Value{salvage.NewValue("a", "text", `it's \ "x"`), salvage.NewValue("b", "int", "1")}); got != `('it''s \ "x"','1')` {
		t.Error(got)
	}
	if keyText([]salvage.Value{salvage.NewValue("a", "", "1,2:x")}) == keyText([]salvage.Value{salvage.NewValue("a", "", "1"), salvage.NewValue("b", "", "x")}) {
		t.Error("two keys look alike")
	}
}

// view is a primary in peace: one database whose slot is in place.
func view() slotView {
	return slotView{level: "logical", bound: "4096", most: 10, now: 0x9000000, safe: 0x8fff000, free: 500 << 30, size: 1000 << 30, present: time.Unix(1000, 0),
		dbs: map[uint64]string{5: "postgres"}, slots: map[uint64]slot{5: {name: "haechi_salvage_5", status: "reserved", confirmed: 0x8ff0000, restart: 0x8f00000}}, grants: true}
}

func TestWhatIsDueAboutSlots(t *testing.T) {
	for what, c := range map[string]struct {
		edit   func(*slotView)
		gaveUp map[uint64]givenUp
		acts   string
		says   string
	}{
		"it moves on to what others hold":                    {func(*slotView) {}, nil, "advance 5 0/8FFF000", ""},
		"never beyond what is there":                         {func(v *slotView) { v.safe = v.now + 1 }, nil, "advance 5 0/9000000", ""},
		"nobody holds more":                                  {func(v *slotView) { v.safe = 0x8ff0000 }, nil, "", ""},
		"too few are there":                                  {func(v *slotView) { v.safe = 0 }, nil, "", ""},
		"somebody is at it":                                  {func(v *slotView) { s := v.slots[5]; s.active = true; v.slots[5] = s }, nil, "", ""},
		"a new database":                                     {func(v *slotView) { v.dbs[7], v.safe = "talk", 0 }, nil, "create 7 0/0", ""},
		"a database that takes no connections":               {func(v *slotView) { delete(v.dbs, 5) }, nil, "drop 5 0/0", ""},
		"after a promotion":                                  {func(v *slotView) { v.slots = nil }, nil, "create 5 0/0", ""},
		"nothing bounds slots":                               {func(v *slotView) { v.slots, v.bound = nil, "-1" }, nil, "bound 0 1/0, create 5 0/0", ""},
		"a small disk bounds them more":                      {func(v *slotView) { v.slots, v.bound, v.free, v.size = nil, "-1", 1<<30, 2<<30 }, nil, "bound 0 0/10000000, create 5 0/0", ""},
		"other people's slots, and no bound":                 {func(v *slotView) { v.slots, v.bound, v.others = nil, "-1", 1 }, nil, "", "max_slot_wal_keep_size"},
		"wal_level":                                          {func(v *slotView) { v.slots, v.level = nil, "replica" }, nil, "", "wal_level = logical"},
		"wal_level is lowered, and the server not restarted": {func(v *slotView) { v.level = "about to be another" }, nil, "drop 5 0/0", "would not start again"},
		"no room for one more":                               {func(v *slotView) { v.slots, v.most, v.others = nil, 3, 3 }, nil, "", "max_replication_slots is 3"},
		"it holds back too much":                             {func(v *slotView) { v.now = 0x8f00000 + slotMost + 1 }, nil, "drop 5 0/0", "given up: it held back"},
		"the disk is nearly full":                            {func(v *slotView) { v.free, v.now = 10<<30, 0x8f00000+slotLittle+1 }, nil, "drop 5 0/0", "given up: only"},
		"nearly full, and it holds little":                   {func(v *slotView) { v.free = 10 << 30 }, nil, "advance 5 0/8FFF000", ""},
		"the server has thrown it away":                      {func(v *slotView) { s := v.slots[5]; s.status = "lost"; v.slots[5] = s }, nil, "drop 5 0/0", "given up: the server"},
		"given up a moment ago":                              {func(v *slotView) { v.slots = nil }, map[uint64]givenUp{5: {time.Unix(990, 0), "full"}}, "", "given up: full"},
		"given up for long, the others are here":             {func(v *slotView) { v.slots = nil }, map[uint64]givenUp{5: {time.Unix(100, 0), "full"}}, "create 5 0/0", ""},
		"given up for long, the others are not":              {func(v *slotView) { v.slots, v.safe = nil, 0 }, map[uint64]givenUp{5: {time.Unix(100, 0), "full"}}, "", "given up: full"},
		"given up for long, the disk is full":                {func(v *slotView) { v.slots, v.free = nil, 1 }, map[uint64]givenUp{5: {time.Unix(100, 0), "full"}}, "", "free on the disk"},
	} {
		v := view()
		c.edit(&v)
		acts, missing := decideSlots(v, c.gaveUp)
		var got []string
		for _, a := range acts {
			got = append(got, fmt.Sprintf("%s %d %s", a.verb, a.db, a.to))
		}
		if drawn := strings.Join(got, ", "); drawn != c.acts || c.says == "" != (len(missing) == 0) || !strings.Contains(fmt.Sprint(missing), c.says) {
			t.Errorf("%s: %q, %v, want %q", what, drawn, missing, c.acts)
		}
		if f := factsOfSlots(v, missing); (f["salvage_slot"] == "kept") != (len(missing) == 0) {
			t.Errorf("%s: %v", what, f)
		}
	}
}

func TestHowFarTheRulesNumberOfMembersHasFlushed(t *testing.T) {
	mem := memory{List: []string{"a", "b", "c"}, Any: 2}
	for want, flushed := range map[LSN]map[string]LSN{
		0:  {"a": 30},
		20: {"a": 30, "b": 20, "c": 10},
		30: {"a": 30, "b": 30},
		10: {"a": 10, "b": 30, "stranger": 99, "": 99},
	} {
		if got := flushedBy(flushed, mem); got != want {
			t.Errorf("%v: %d, want %d", flushed, got, want)
		}
	}
	if flushedBy(map[string]LSN{"a": 1}, memory{List: []string{"a"}}) != 0 {
		t.Error("without a rule nothing is safe")
	}
}

func TestWhyAReadingIsTriedAgain(t *testing.T) {
	if !worthRetrying(t.Context(), fmt.Errorf("row: %w", errNotWritten)) || worthRetrying(t.Context(), errors.New("invalid page")) {
		t.Error("a full disk of the agent is no unreadable one of the member")
	}
}

// What is said of a salvage stays small, whatever was found.
func TestARecordOfASalvageStaysSmall(t *testing.T) {
	r := &reader{}
	tables := map[string]int{}
	for i := range 5000 {
		r.note("%d", i)
		tables[fmt.Sprint(i)] = i
	}
	few := fewest(tables)
	if len(r.unknown) != mostNotes+1 || len(few) != mostNotes+1 || few["4999"] != 4999 || few["others"] == 0 {
		t.Errorf("%d notes, %d tables", len(r.unknown), len(few))
	}
}
