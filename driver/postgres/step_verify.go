package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/count"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/verify"
	"github.com/haechi/haechi/driver"
)

// Facts of a comparison.
const (
	// factComparing is how far it is: all that stands before its place was compared, and what was
	// found there stands in it, so that it goes on from there under whoever drives.
	factComparing = "comparing"
	// FactReport is what it came to, as JSON of a verify.Summary.
	FactReport = "report"
)

// comparing is what is kept of a comparison that goes on.
type comparing struct {
	Members  []string                `json:"members"`          // the primary first; with others it is another comparison
	Silent   []verify.Omission       `json:"silent,omitempty"` // followers that it began with, and that fell silent
	Reign    uint64                  `json:"reign"`            // of the primary
	Begun    time.Time               `json:"begun"`
	Seconds  float64                 `json:"seconds"`            // that it took so far
	Database string                  `json:"database,omitempty"` // all before it are done
	Place    verify.Place            `json:"place"`              // in that database
	Found    verify.Report           `json:"found"`              // there, up to the place
	Rows     bool                    `json:"rows,omitempty"`     // all databases are done
	Done     verify.Report           `json:"done"`               // in those before
	Counts   map[string]verify.Count `json:"counts,omitempty"`
	Checks   map[string]verify.Check `json:"checks,omitempty"`
}

// doVerify compares the members that count and answer, row by row; then each reads its own pages and indexes. It
// changes nothing but the record: who is right people decide. Who did not answer is named, and the record does not say
// that all hold the same.
func (s *step) doVerify(ctx context.Context) (driver.Result, error) {
	members, left := s.comparable()
	if len(members) < 2 {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("verify: %s has no member that counts beside its primary %s: %s", s.Step.Component, s.Store.Primary, left.words())
	}
	bounds, errs := PaceOf(s.store.Settings)
	if len(errs) > 0 {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("verify: %w", errors.Join(errs...))
	}
	p, err := newPace(&bounds)
	if err != nil {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("verify: %w", err)
	}
	c := s.recallComparing(members)
	v := &comparer{step: s, c: c, bounds: bounds, pace: p, size: sizeFirst, since: time.Now(), told: time.Now(), before: c.Seconds}
	if err := v.all(ctx); err != nil {
		return driver.Result{Outcome: run.NotDone, Facts: v.facts()}, fmt.Errorf("verify: %w", err)
	}
	return v.result(left)
}

// lookVerify cannot see whether a comparison was made: it leaves nothing behind.
func (s *step) lookVerify() (driver.Result, error) {
	return driver.Result{Outcome: run.NotDone, Note: "comparing changes nothing, so it is gone on with"}, nil
}

// omissions are members that are not compared, with the reason.
type omissions []verify.Omission

func (o omissions) words() string {
	var out []string
	for _, one := range o {
		out = append(out, one.Name+" "+one.Why)
	}
	return strings.Join(out, "; ")
}

// comparable are the members to be compared, the primary first, and those of the store that are not.
func (s *step) comparable() (members []string, left omissions) {
	primary := string(s.Store.Primary)
	members = []string{primary}
	for _, id := range s.store.MemberIDs() {
		m := string(id)
		switch {
		case m == primary:
		case s.former(m):
			left = append(left, verify.Omission{Name: m, Why: "is not counted, and may have gone another way"})
		case !slices.Contains(s.Store.Sync, estate.MemberID(m)):
			left = append(left, verify.Omission{Name: m, Why: "does not follow under this epoch"})
		case !slices.Contains(s.Step.Members, m):
			left = append(left, verify.Omission{Name: m, Why: "could not be reached when this was planned"})
		default:
			members = append(members, m)
		}
	}
	return members, left
}

// recallComparing is how far an earlier try came, if it was about the same members.
func (s *step) recallComparing(members []string) *comparing {
	c := &comparing{}
	if raw := s.Facts[factComparing]; raw != "" && json.Unmarshal([]byte(raw), c) == nil && len(c.Members) > 0 &&
		slices.Equal(c.began(), slices.Sorted(slices.Values(members))) && c.Members[0] == members[0] && c.Reign == s.Store.Epoch {
		return c
	}
	return &comparing{Members: members, Reign: s.Store.Epoch, Begun: time.Now().UTC().Truncate(time.Second)}
}

// began are the members with which a comparison began, sorted.
func (c *comparing) began() []string {
	out := slices.Clone(c.Members)
	for _, o := range c.Silent {
		out = append(out, o.Name)
	}
	slices.Sort(out)
	return out
}

// comparer carries one comparison.
type comparer struct {
	*step
	c      *comparing
	bounds agent.Pace
	pace   pace
	owed   time.Duration // of rest
	size   uint32        // how many blocks to ask of next
	since  time.Time     // when this try began
	before float64       // seconds that others spent
	told   time.Time     // when progress was told last
}

// all compares what is left, then has the members read themselves.
func (v *comparer) all(ctx context.Context) error {
	if !v.c.Rows {
		if err := v.databases(ctx); err != nil {
			return err
		}
		v.c.Rows, v.c.Database, v.c.Place, v.c.Found = true, "", verify.Place{}, verify.Report{}
		v.tell("the rows are compared", true)
	}
	return v.checks(ctx)
}

// facts are what is kept of it now.
func (v *comparer) facts() run.Facts {
	v.c.Seconds = v.before + time.Since(v.since).Seconds()
	raw, err := json.Marshal(v.c)
	if err != nil { // it holds nothing that JSON cannot
		return nil
	}
	return run.Facts{factComparing: string(raw)}
}

// tellEvery is how often progress is told at most. It grows with the time that it takes: a
// comparison of a night tells a hundred times, too.
const tellEvery = 10 * time.Second

// tell notes how far it is, once in a while, or now.
func (v *comparer) tell(note string, now bool) {
	every := max(tellEvery, time.Since(v.since)/20)
	if v.Tell == nil || !now && time.Since(v.told) < every {
		return
	}
	v.told = time.Now()
	if n := len(v.c.Done.Found) + len(v.c.Found.Found); n > 0 {
		note += "; " + count.Of(n, "difference") + " so far"
	}
	v.Tell(v.facts(), note)
}

// result puts the whole together.
func (v *comparer) result(left omissions) (driver.Result, error) {
	sum := verify.Summary{Primary: v.c.Members[0], Followers: v.c.Members[1:], Begun: v.c.Begun, Databases: v.c.Counts, Checks: map[string]verify.Check{}}
	sum.Join("", v.c.Done)
	for _, m := range slices.Sorted(maps.Keys(v.c.Checks)) {
		c := v.c.Checks[m]
		sum.Join("", verify.Report{Found: c.Found, LeftOut: c.LeftOut})
		c.Found, c.LeftOut = nil, nil
		sum.Checks[m] = c
	}
	left = slices.Concat(left, v.c.Silent)
	for _, o := range left {
		sum.LeaveOut(o.Name, o.Why)
	}
	v.facts()
	sum.Seconds = v.c.Seconds
	raw, err := json.Marshal(sum)
	if err != nil {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("verify: %w", err)
	}
	rec := v.Store
	rec.LeftOut = nil
	for _, o := range left {
		rec.LeftOut = append(rec.LeftOut, estate.MemberID(o.Name))
	}
	switch {
	case sum.Differs():
		rec.Differs, rec.DiffersOn = differWords(sum), differsOn(sum)
	case sum.Settled() && len(left) == 0:
		rec.Verified, rec.Differs, rec.DiffersOn = sum.Begun, "", nil
	}
	return driver.Result{Outcome: run.Done, Store: &rec, Note: verifiedNote(sum, left), Facts: run.Facts{factComparing: "", FactReport: string(raw)}}, nil
}

// differWords says in one line what differs.
func differWords(sum verify.Summary) string {
	var first []string
	for _, f := range sum.Found {
		if f.Kind != verify.Unsettled && len(first) < 3 {
			first = append(first, f.String())
		}
	}
	words := strings.Join(first, "; ")
	if n := len(sum.Found) - len(first); n > 0 {
		words += fmt.Sprintf("; and %d more", n)
	}
	if n := sum.Everywhere(); n > 0 {
		words += fmt.Sprintf("; %d of them on every follower: there it may be %s that is wrong", n, sum.Primary)
	}
	return words
}

// differsOn are the followers on which something was found that is proven to differ; none where that is all of them, since
// then it may be the primary that is wrong.
func differsOn(sum verify.Summary) (out []estate.MemberID) {
	for _, f := range sum.Found {
		if f.Kind != verify.Unsettled && slices.Contains(sum.Followers, f.Member) && !slices.Contains(out, estate.MemberID(f.Member)) {
			out = append(out, estate.MemberID(f.Member))
		}
	}
	if len(out) == len(sum.Followers) {
		return nil
	}
	slices.Sort(out)
	return out
}

// verifiedNote is for the journal.
func verifiedNote(sum verify.Summary, left omissions) string {
	note := fmt.Sprintf("%s, %s, %s: ", count.Of(sum.Tables, "table"), count.Of(int(sum.Rows), "row"), count.Of(sum.Sequences, "sequence"))
	switch {
	case sum.Differs():
		note += differWords(sum) + ". Who is right a person decides; nothing was changed"
	case !sum.Settled():
		note += "no difference is proven, and " + count.Of(len(sum.Found), "row") + " could not be settled: compare again"
	case len(left) > 0:
		note += listed(append([]string{sum.Primary}, sum.Followers...)) + " hold the same"
	default:
		note += "all members hold the same"
	}
	if len(left) > 0 {
		note += "; not all members were compared, and who was not has still to be: " + left.words()
	}
	return note
}

// errMoved: the comparison is about a primary that is none any more.
var errMoved = errors.New("the primary is another one than when this began")
