package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/talk"
	"github.com/haechi/haechi/lab/trial"
)

// ReturnOptions say what to measure of the return of a site.
type ReturnOptions struct {
	Lab  lab.Options
	Out  string // for the report, as JSON; empty: nowhere
	Seed uint64
	MB   int // how much there is besides messages, where it is to be much; the goals are for 10 GB
	Rows int // that only the burned member holds, where they are to be many
	Workload
	Say func(line string)
}

// goalMB is how large the database is for which must and goal are set.
const goalMB = 10 << 10

// ReturnReport is what was measured.
type ReturnReport struct {
	At      time.Time      `json:"at"`
	Machine Machine        `json:"machine"`
	Seed    uint64         `json:"seed"`
	Clients int            `json:"clients"`
	Rate    float64        `json:"rate"`
	Numbers []ReturnNumber `json:"numbers"`
	Backs   []trial.Back   `json:"returns"`
}

// ReturnNumber is one line of the table.
type ReturnNumber struct {
	Number
	Scaled string `json:"scaled,omitempty"` // what it was measured with, where that is less than what is asked
	Absent string `json:"absent,omitempty"` // why it was not measured; then Measured says nothing
}

// returns is one bench under way.
type returns struct {
	ReturnOptions
	r ReturnReport
}

// measure is a part of the bench.
type measure struct {
	what string
	do   func(*returns, context.Context) error
}

// measures are all of them. One that cannot be done leaves its lines in the table, with the reason.
var measures = []measure{
	{"the lab's own data", (*returns).small},
	{"much data, many rows", (*returns).large},
	{"what it costs in peace", (*returns).peace},
	{"Patroni beside it", (*returns).patroni},
}

// Return measures the return of a site. What fails to run is an error; what is slower than it must be,
// or was not measured, stands in the report.
func Return(ctx context.Context, o ReturnOptions) (ReturnReport, error) {
	b := &returns{o, ReturnReport{At: time.Now().UTC(), Machine: thisMachine(), Seed: o.Seed, Clients: o.Clients, Rate: o.Rate}}
	if o.MB < 16 || o.Rows < 3 {
		return b.r, fmt.Errorf("--mb %d, --rows %d: at least 16 and 3 are needed", o.MB, o.Rows)
	}
	for _, m := range measures {
		b.Say(m.what)
		if err := m.do(b, ctx); err != nil {
			return b.r, errors.Join(fmt.Errorf("%s: %w", m.what, err), b.save())
		}
		if err := b.save(); err != nil {
			return b.r, err
		}
	}
	return b.r, nil
}

func (b *returns) save() error {
	if b.Out == "" {
		return nil
	}
	text, err := json.MarshalIndent(b.r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.Out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(b.Out, append(text, '\n'), 0o644) //nolint:gosec // a report is for everybody
}

// less adds a line of which less is better.
func (b *returns) less(figure, unit string, is, must, goal float64, scaled string) {
	b.add(ReturnNumber{Number: number(figure, unit, is, must, goal), Scaled: scaled})
}

// more adds a line of which more is better.
func (b *returns) more(figure, unit string, is, must, goal float64, scaled string) {
	n := Number{Figure: figure, Unit: unit, Measured: is, Must: must, Goal: goal, More: true, Reached: "no"}
	switch {
	case is >= goal:
		n.Reached = "goal"
	case is >= must:
		n.Reached = "must"
	}
	b.add(ReturnNumber{Number: n, Scaled: scaled})
}

// absent adds a line that was not measured.
func (b *returns) absent(figure, unit string, must, goal float64, more bool, why string) {
	b.add(ReturnNumber{Number: Number{Figure: figure, Unit: unit, Must: must, Goal: goal, More: more, Reached: "no"}, Absent: why})
}

func (b *returns) add(n ReturnNumber) {
	b.r.Numbers = append(b.r.Numbers, n)
	b.Say(n.String())
}

// small returns a site as the demo does.
func (b *returns) small(ctx context.Context) error {
	back, _, err := b.one(ctx, 0, 15)
	if err != nil {
		return err
	}
	b.less("site back with power to redundancy whole, the lab's data", "s", float64(back.Whole), 60, 20, "")
	b.less("failback: longest pause", "s", float64(back.FailbackPause), .5, .2, "")
	return nil
}

// large returns one whose database is large, with many rows that only it held.
func (b *returns) large(ctx context.Context) error {
	back, y, err := b.one(ctx, b.MB, b.Rows)
	if err != nil {
		return err
	}
	scaled := ""
	if b.MB < goalMB {
		scaled = fmt.Sprintf("%d MB instead of 10 GB", b.MB)
	}
	exact := 0.0
	if back.Exact {
		exact = 100
	}
	b.more(fmt.Sprintf("salvage of %d local-only rows: exact", back.Alone), "%", exact, 100, 100, scaled)
	b.less("salvage: time after the member answers", "s", took(back, plan.Salvage), 60, 10, scaled)
	b.less("rejoin of a member: "+how(back), "s", took(back, plan.Rejoin), 60, 15, scaled)
	b.less("verify on three members: time", "s", took(back, plan.Verify), 600, 180, scaled)
	b.absent("verify: planted differences named", "%", 100, 100, true, "nothing plants them here yet")
	writes, latency, ok := living(back, y)
	if !ok {
		b.absent("writes of the living while a member rejoins", "%", 90, 97, true, "it rejoined too quickly to tell")
		b.absent("latency of the living while a member rejoins", "x", 1.5, 1.1, false, "it rejoined too quickly to tell")
		return nil
	}
	b.more("writes of the living while a member rejoins", "%", 100*writes, 90, 97, scaled)
	b.less("latency of the living while a member rejoins, median", "x", latency, 1.5, 1.1, scaled)
	return nil
}

// peace is what slots, canaries and premise checks cost while nothing happens.
func (b *returns) peace(context.Context) error {
	b.absent("cost of slots, canaries and premise checks to throughput", "%", 3, 1, false, "nothing switches them off to compare with")
	return nil
}

// patroni is how long Patroni takes from a member's return until it counts as synchronous again.
func (b *returns) patroni(context.Context) error {
	b.absent("Patroni, the same return: until the member counts again", "s", 0, 0, false, "not tried yet")
	return nil
}

// one burns a site of a lab of its own and brings it back. mb is how much there is besides messages,
// rows how many only the burned member holds.
func (b *returns) one(ctx context.Context, mb, rows int) (back trial.Back, y talk.Tally, err error) {
	o := b.Lab
	o.Profile, o.Seed = "fast", b.Seed
	l, down, err := raise(ctx, o)
	if err != nil {
		return back, y, err
	}
	defer down(&err)
	if err := fill(ctx, l, mb); err != nil {
		return back, y, err
	}
	h, site, from := trial.Haechi{Lab: l}, lab.Pangyo, lab.Ansan
	if _, err := h.Ready(ctx, from); err != nil {
		return back, y, err
	}
	var planted []string
	t := trial.Trial{Lab: l, System: h, Site: site, Gone: true, Seed: b.Seed, Clients: b.Clients, Rate: b.Rate, Say: b.Say, Settle: 10 * time.Second,
		Fault: func(ctx context.Context) (lab.Proof, error) {
			cut, err := l.Sever(ctx, site)
			if err != nil {
				return cut, err
			}
			rows, err := l.PlantAlone(ctx, site, rows/3)
			planted = rows.All()
			if err == nil {
				_, err = l.Fire(ctx, site)
			}
			return cut, err
		},
		After: func(ctx context.Context) (err error) {
			back, err = trial.Comeback{Lab: l, System: h, Site: site, From: from, Store: "talk-db", Say: b.Say, Patience: 20 * time.Minute,
				Power: func(ctx context.Context) (lab.Proof, error) { return l.Rebuild(ctx, site) }}.Run(ctx, planted)
			return err
		},
		Tally: func(seen talk.Tally) { y = seen; back.Measure(seen) },
	}
	f, err := t.Run(ctx)
	if err != nil {
		return back, y, err
	}
	b.r.Backs = append(b.r.Backs, back)
	if !f.OK() || !back.OK(site) {
		return back, y, fmt.Errorf("%d lost, %d twice, %d out of order; missing %v, wrong %v; %s", f.Lost, f.Duplicated, f.OutOfOrder, back.Missing, back.Wrong, strings.Join(f.Trouble, "; "))
	}
	return back, y, nil
}

// fillRows is how many rows of a kilobyte are written at once.
const fillRows = 20_000

// fill writes so many megabytes beside the messages, and waits until every member holds them.
func fill(ctx context.Context, l *lab.Lab, mb int) error {
	if mb == 0 {
		return nil
	}
	if _, err := l.SQL(ctx, lab.Pangyo, "talk", "CREATE TABLE filler (id bigint PRIMARY KEY, body text)"); err != nil {
		return err
	}
	for from := 0; from < mb<<10; from += fillRows {
		to := min(from+fillRows, mb<<10)
		if _, err := l.SQL(ctx, lab.Pangyo, "talk", fmt.Sprintf("INSERT INTO filler SELECT g, repeat(md5(g::text), 30) FROM generate_series(%d, %d) AS g", from+1, to)); err != nil {
			return err
		}
	}
	end, err := l.Position(ctx, lab.Pangyo)
	if err != nil {
		return err
	}
	for _, p := range []lab.Place{lab.Ansan, lab.Anyang} {
		for {
			rows, err := l.SQL(ctx, p, "postgres", "SELECT pg_last_wal_replay_lsn() >= '"+end+"'::pg_lsn")
			if err == nil && len(rows) == 1 && rows[0][0] == "t" {
				break
			}
			if wait(ctx, 100*time.Millisecond) != nil {
				return errors.Join(fmt.Errorf("%s has not replayed what was filled in", p), err)
			}
		}
	}
	return nil
}

// step is the last step of a verb in the run that brought a site back.
func step(back trial.Back, v plan.Verb) (trial.PageStep, bool) {
	for _, s := range slices.Backward(back.Steps) {
		if s.Verb == string(v) {
			return s, true
		}
	}
	return trial.PageStep{}, false
}

// took is how long such a step took, in seconds; negative: there was none.
func took(back trial.Back, v plan.Verb) float64 {
	s, ok := step(back, v)
	if !ok {
		return -1
	}
	return s.Seconds
}

// how is by what a member rejoined, as haechi says.
func how(back trial.Back) string {
	s, _ := step(back, plan.Rejoin)
	if s.Note == "" {
		return "nobody says how"
	}
	return s.Note
}

// leastWindow is how long a window has to be to say anything of a rate.
const leastWindow = 2 * time.Second

// living compares writes and their latency while a member rejoined with those just before the site had
// its power again: as a share, and how many times as long in the middle.
func living(back trial.Back, y talk.Tally) (writes, latency float64, ok bool) {
	s, found := step(back, plan.Rejoin)
	long := time.Duration(s.Seconds * float64(time.Second))
	if !found || long < leastWindow {
		return 0, 0, false
	}
	during := window(y, s.Started, s.Started.Add(long))
	before := window(y, back.Power.Add(-5*time.Second), back.Power)
	if before.rate == 0 || before.middle == 0 {
		return 0, 0, false
	}
	return during.rate / before.rate, float64(during.middle) / float64(before.middle), true
}

// seen is what clients saw in a window.
type seen struct {
	rate   float64       // acknowledgements a second
	middle time.Duration // from when a message was to be sent until it was acknowledged
}

func window(y talk.Tally, from, to time.Time) seen {
	var waits []time.Duration
	for _, a := range y.Acks {
		if a.Acked.After(from) && !a.Acked.After(to) {
			waits = append(waits, a.Acked.Sub(a.Intended))
		}
	}
	if len(waits) == 0 || !to.After(from) {
		return seen{}
	}
	slices.Sort(waits)
	return seen{float64(len(waits)) / to.Sub(from).Seconds(), waits[len(waits)/2]}
}
