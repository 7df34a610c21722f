package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/talk"
)

// Comeback brings a burned site back, from its power to the way home of the primary, and measures it.
// It only gives the machines their power, looks, and orders what a person orders.
type Comeback struct {
	Lab    *lab.Lab
	System Haechi
	Site   lab.Place // that burned
	From   lab.Place // whose tower is looked at
	Store  string
	// Power gives the site its machines and lines back.
	Power    func(context.Context) (lab.Proof, error)
	Patience time.Duration // for each part; default 3 min
	Say      func(line string)
}

// Back is what a comeback measured. Times are in seconds from when the site had its power again.
type Back struct {
	Began    time.Time `json:"began"` // the comeback; nothing was done for it before
	Power    time.Time `json:"power"`
	Up       Seconds   `json:"up_s"`       // the towers believe that the site is up
	Salvaged Seconds   `json:"salvaged_s"` // what only its member held lies in two sites
	Counted  Seconds   `json:"rejoin_s"`   // its member follows, and counts again
	Home     Seconds   `json:"home_s"`     // all users are sent there again
	Whole    Seconds   `json:"whole_s"`    // nothing is missing any more

	Steps []PageStep `json:"steps,omitempty"` // of the run that brought it back

	Planted int      `json:"planted_rows"`  // that the lab left on it alone, the clients' own besides
	Alone   int      `json:"alone_rows"`    // that it alone held, as the lab found by other means
	Rows    int      `json:"salvaged_rows"` // that haechi says it alone held
	Exact   bool     `json:"salvage_exact"` // these are the same, planted ones in what they hold, and of none is said that nobody was told of it where somebody was
	Wrong   []string `json:"wrong,omitempty"`

	Verified bool     `json:"verified"` // all members were compared since, and hold the same
	Missing  []string `json:"missing"`  // until all is as redundant as declared, at the end

	Failback      time.Time `json:"failback,omitzero"` // when it was ordered
	FailbackPause Seconds   `json:"failback_pause_s"`  // the longest between two acknowledgements, from then on
	Primary       string    `json:"primary"`           // at the end
}

// OK says whether all came back: what was found is what there was, compared, whole, and at home.
func (b Back) OK(site lab.Place) bool {
	return b.Exact && b.Verified && len(b.Missing) == 0 && b.Counted != Never && b.Whole != Never && b.FailbackPause != Never && b.Primary == string(site)
}

// Run does it. planted are the messages that the lab left on the site's member alone. What could not
// be measured is Never, and the error says why.
func (c Comeback) Run(ctx context.Context, planted lab.Planted) (Back, error) {
	if c.Patience == 0 {
		c.Patience = 3 * time.Minute
	}
	b := Back{Began: time.Now(), Up: Never, Salvaged: Never, Counted: Never, Home: Never, Whole: Never, FailbackPause: Never, Planted: len(planted.All())}
	alone, err := c.alone(ctx, planted.All())
	if err != nil {
		return b, fmt.Errorf("comeback: what %s alone holds: %w", c.Site, err)
	}
	b.Alone = len(alone)
	c.Say(fmt.Sprintf("in the ashes of %s lie %d rows that nobody else holds, %d of them planted there", c.Site, len(alone), b.Planted))
	p, err := c.Power(ctx)
	if err != nil {
		return b, fmt.Errorf("comeback: power: %w", err)
	}
	b.Power = p.At
	for _, part := range []struct {
		what string
		do   func(context.Context, *Back) error
	}{
		{"the return of the site", c.recovered},
		{"the salvage", func(ctx context.Context, b *Back) error { return c.compare(ctx, b, alone, planted) }},
		{"the way home", c.failback},
		{"the end", c.ends},
	} {
		within, cancel := context.WithTimeout(ctx, c.Patience)
		err := part.do(within, &b)
		cancel()
		if err != nil {
			return b, fmt.Errorf("comeback: %s: %w", part.what, err)
		}
	}
	return b, nil
}

// alone is what the burned member holds and no other does. What was planted must be among it.
func (c Comeback) alone(ctx context.Context, planted []string) ([]lab.AloneRow, error) {
	n, err := c.System.Page(ctx, c.From)
	if err != nil {
		return nil, err
	}
	s, err := n.store(c.Store)
	if err != nil {
		return nil, err
	}
	rows, err := c.Lab.HeldAlone(ctx, c.Site, lab.Place(s.Primary))
	if err != nil {
		return nil, err
	}
	for _, id := range planted {
		if !slices.ContainsFunc(rows, func(r lab.AloneRow) bool { return r.Key == id }) {
			return nil, fmt.Errorf("message %s was planted there, and is not", id)
		}
	}
	return rows, nil
}

// recovered waits for the end of the run that brings the site back.
func (c Comeback) recovered(ctx context.Context, b *Back) error {
	for {
		n, err := c.System.Page(ctx, c.From)
		if err == nil {
			if b.Up == Never && n.up(c.Site) {
				b.Up = since(b.Power, time.Now())
			}
			r, ok := n.latest(string(plan.Recover), string(c.Site), b.Power)
			switch {
			case !ok:
				err = fmt.Errorf("haechi opened no run to bring %s back", c.Site)
			case r.Ended.IsZero():
				err = fmt.Errorf("%s is %s, at %s", r.ID, r.Status, r.At())
			case r.Status != "done":
				return fmt.Errorf("%s ended as %s: %s", r.ID, r.Status, r.Why)
			default:
				b.take(r)
				return nil
			}
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return errors.Join(err, ctx.Err())
		}
	}
}

// take reads off a run when its parts were done.
func (b *Back) take(r PageRun) {
	b.Whole, b.Steps = since(b.Power, r.Ended), r.Steps
	for _, s := range r.Steps {
		end := since(b.Power, s.End())
		switch plan.Verb(s.Verb) {
		case plan.Salvage:
			b.Salvaged = max(b.Salvaged, end)
		case plan.Return:
			b.Counted = max(b.Counted, end)
		case plan.Announce, plan.Watch:
			b.Home = max(b.Home, end)
		}
	}
}

// compare holds what haechi salvaged, and what it says of it, against what there was.
func (c Comeback) compare(ctx context.Context, b *Back, alone []lab.AloneRow, planted lab.Planted) error {
	rows, err := c.salvaged(ctx, b.Power)
	if err != nil {
		return err
	}
	found := map[lab.AloneRow]bool{}
	for _, r := range rows {
		found[lab.AloneRow{Table: r.Schema + "." + r.Table, Key: r.key()}] = true
	}
	b.Wrong = untrue(rows, planted)
	want := map[lab.AloneRow]bool{}
	for _, r := range alone {
		want[r] = true
	}
	for r := range found {
		if !want[r] {
			b.Wrong = append(b.Wrong, fmt.Sprintf("%s %s was salvaged, and others hold it", r.Table, r.Key))
		}
	}
	for r := range want {
		if !found[r] {
			b.Wrong = append(b.Wrong, fmt.Sprintf("%s %s was not salvaged", r.Table, r.Key))
		}
	}
	slices.Sort(b.Wrong)
	b.Rows, b.Exact = len(found), len(b.Wrong) == 0
	c.Say(fmt.Sprintf("haechi salvaged %d rows; exact: %v", b.Rows, b.Exact))
	return nil
}

// untrue are the planted rows that were salvaged with other contents; and those of which it is said that no client was
// ever told that they are saved, though one was: it was answered with a warning, or had opted out of waiting.
func untrue(rows []salvagedRow, planted lab.Planted) (out []string) {
	told := slices.Concat(planted.Cancelled, planted.OptedOut)
	for _, r := range rows {
		id := r.key()
		if want := planted.Body(id); want != "" && !slices.Contains(r.New, value{"body", want}) {
			out = append(out, fmt.Sprintf("%s %s was salvaged with other contents", r.Table, id))
		}
		if r.Told == "never" && slices.Contains(told, id) {
			out = append(out, fmt.Sprintf("%s %s: its client was told that it is saved, and it is said that nobody was", r.Table, id))
		}
	}
	return out
}

// salvaged are the rows of talk in the salvages that were made of the site's member since.
func (c Comeback) salvaged(ctx context.Context, after time.Time) (out []salvagedRow, err error) {
	var all []situation.Salvage
	if err := c.ask(ctx, &all, "salvage", "list"); err != nil {
		return nil, err
	}
	for _, s := range all {
		if string(s.Store) != c.Store || string(s.Member) != string(c.Site) || s.At.Before(after) || s.Rows == 0 {
			continue
		}
		var shown struct {
			Rows []salvagedRow `json:"rows"`
		}
		if err := c.ask(ctx, &shown, "salvage", "show", s.ID); err != nil {
			return nil, err
		}
		for _, r := range shown.Rows {
			if r.Database == "talk" {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// failback orders the way home, as a person does, and waits for its end.
func (c Comeback) failback(ctx context.Context, b *Back) error {
	n, err := c.System.Page(ctx, c.From)
	if err != nil {
		return err
	}
	s, err := n.store(c.Store)
	if err != nil {
		return err
	}
	b.Verified = !s.Verified.IsZero() && s.Differs == "" && s.Verified.After(b.Power)
	b.Failback = time.Now()
	c.Say("a person orders: haechi failback " + c.Store)
	_, err = c.Lab.Haechi(ctx, "failback", c.Store)
	return err
}

// ends reads what is at the end, once nothing is under way any more.
func (c Comeback) ends(ctx context.Context, b *Back) error {
	n, err := c.System.Ready(ctx, c.From)
	for err == nil && len(n.Missing) > 0 { // what has just moved may show for a moment
		if pause(ctx, 100*time.Millisecond) != nil {
			break
		}
		n, err = c.System.Page(ctx, c.From)
	}
	for _, m := range n.Missing {
		b.Missing = append(b.Missing, m.Text)
	}
	if s, none := n.store(c.Store); none == nil {
		b.Primary = s.Primary
	}
	return err
}

// Measure fills in what the clients saw of the way home.
func (b *Back) Measure(y talk.Tally) {
	if !b.Failback.IsZero() {
		b.FailbackPause = seconds(y.After(b.Failback).LongestPause)
	}
}

// ask runs a command of haechi's and reads what it prints as JSON.
func (c Comeback) ask(ctx context.Context, into any, args ...string) error {
	said, err := c.Lab.Haechi(ctx, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(said), into); err != nil {
		return fmt.Errorf("haechi %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// salvagedRow is one row as haechi salvage show prints it.
type salvagedRow struct {
	Database string   `json:"database"`
	Schema   string   `json:"schema"`
	Table    string   `json:"table"`
	Key      []string `json:"key"`
	Old      []value  `json:"old"`
	New      []value  `json:"new"`
	Told     string   `json:"told"`
}

type value struct {
	Column string `json:"column"`
	Text   string `json:"text"`
}

// key is the value of the row's key as it is after the change.
func (r salvagedRow) key() string {
	var out []string
	for _, k := range r.Key {
		for _, v := range append(slices.Clone(r.New), r.Old...) {
			if v.Column == k {
				out = append(out, v.Text)
				break
			}
		}
	}
	return strings.Join(out, ",")
}
