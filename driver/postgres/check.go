package postgres

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/verify"
)

// How a job that reads a member goes.
const (
	checkShare = 0.2       // of a processor, where nobody says
	checkRate  = 128 << 20 // bytes a second
	leastShare = 0.01
	// unasked is after how long a job ends that nobody asks after: its run is over, or rests, or no tower is there.
	unasked = 20 * time.Second
)

// checks is the job that reads this member's pages and indexes, one at a time.
type checks struct {
	mu    sync.Mutex // guards what follows
	job   *checkJob
	owner string
}

// checkJob is one job. It outlives the order that began it, and ends when nobody has asked for
// it for a while: then its owner has ended, or rests.
type checkJob struct {
	pace   pace
	cancel context.CancelCauseFunc
	done   chan struct{}
	owed   time.Duration // of rest, by the job itself

	mu    sync.Mutex // guards what follows
	state verify.Check
	asked time.Time
}

// tell adds to a look how far the job is.
func (c *checks) tell(f map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.job == nil {
		return
	}
	if s := c.job.now(); !s.Over() && s.Error == "" {
		f["check/phase"], f["check/bytes"], f["check/of"] = s.Phase, fmt.Sprint(s.Done), fmt.Sprint(s.All)
	}
}

// check begins a job, or says how far it is. The same order again does not begin another one.
func (u *Unit) check(ctx context.Context, o agent.Order, mem memory) (map[string]string, error) {
	if o.Run == "" {
		return nil, agent.Refuse(agent.BadOrder, "check: the order names no run, and a job needs an owner")
	}
	if mem.Fenced || !u.up() {
		return nil, agent.Refuse(agent.Unsafe, "%s is fenced, or does not run: only a server that answers can be checked", u.set.Member)
	}
	from, err := parseCursor(o.Resume)
	if err != nil {
		return nil, agent.Refuse(agent.BadOrder, "check: %v", err)
	}
	p, err := newPace(o.Pace)
	if err != nil {
		return nil, agent.Refuse(agent.BadOrder, "check: %v", err)
	}
	if err := wanted(ctx, "check"); err != nil {
		return nil, err
	}
	c, owner := &u.checks, fmt.Sprintf("%s/%d", o.Run, o.Step)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.job == nil || c.owner != owner || c.job.stopped() {
		if c.job != nil {
			c.job.cancel(errors.New("another run has it read now"))
			<-c.job.done
		}
		c.owner, c.job = owner, u.beginCheck(from, p, mem.Role == asPrimary)
	}
	raw, err := json.Marshal(c.job.ask())
	if err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	return map[string]string{agent.FactCheck: string(raw), "member": u.set.Member}, nil
}

func (u *Unit) beginCheck(from cursor, p pace, primary bool) *checkJob {
	ctx, cancel := context.WithCancelCause(context.Background())
	j := &checkJob{pace: p, cancel: cancel, done: make(chan struct{}), asked: time.Now()}
	j.state = verify.Check{Job: rand.Text(), Phase: from.phase, Cursor: from.String()}
	go func() {
		defer close(j.done)
		defer cancel(nil)
		runtime.LockOSThread() // so that it is known how long it waited for a processor
		defer runtime.UnlockOSThread()
		if err := u.readAll(ctx, j, from, primary); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			j.edit(func(s *verify.Check) { s.Error = err.Error() })
		}
	}()
	return j
}

// readAll reads pages, then indexes.
func (u *Unit) readAll(ctx context.Context, j *checkJob, from cursor, primary bool) error {
	if from.phase == verify.PhasePages {
		if err := u.readPages(ctx, j, from); err != nil {
			return fmt.Errorf("pages: %w", err)
		}
		from = cursor{phase: verify.PhaseIndexes}
	}
	if from.phase == verify.PhaseIndexes {
		if err := u.readIndexes(ctx, j, from, primary); err != nil {
			return fmt.Errorf("indexes: %w", err)
		}
	}
	j.edit(func(s *verify.Check) { s.Phase, s.Cursor = verify.PhaseDone, cursor{phase: verify.PhaseDone}.String() })
	return nil
}

// ask is how far the job is; whoever asks keeps it alive.
func (j *checkJob) ask() verify.Check {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked = time.Now()
	return j.copyLocked()
}

func (j *checkJob) now() verify.Check {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.copyLocked()
}

func (j *checkJob) copyLocked() verify.Check {
	s := j.state
	s.Found, s.LeftOut = append([]verify.Finding(nil), s.Found...), append([]verify.Omission(nil), s.LeftOut...)
	return s
}

func (j *checkJob) edit(f func(*verify.Check)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f(&j.state)
}

// stopped says that the job came to an end before all was read.
func (j *checkJob) stopped() bool { return j.now().Error != "" }

// mostFound bounds what one job names.
const mostFound = 200

// found names something, unless too much is named already.
func (j *checkJob) found(f verify.Finding) {
	j.edit(func(s *verify.Check) {
		switch {
		case len(s.Found) < mostFound:
			s.Found = append(s.Found, f)
		case len(s.Found) == mostFound:
			s.Found = append(s.Found, verify.Finding{Kind: f.Kind, Member: f.Member, Table: "and more", Why: "only so many are named"})
		}
	})
}

// rest waits as long as the pace asks for after some work, of which so much was passed waiting for a processor. It ends the job once nobody asks any more.
func (j *checkJob) rest(ctx context.Context, took, waited time.Duration, bytes int64) error {
	j.mu.Lock()
	idle := time.Since(j.asked)
	j.mu.Unlock()
	if idle > unasked {
		return fmt.Errorf("nobody has asked for it for %v: its run is over, or rests", idle.Round(time.Second))
	}
	return j.pace.rest(ctx, &j.owed, j.pace.after(took-waited, took, bytes))
}

// pace bounds what a job takes.
type pace struct {
	share float64 // of a processor
	rate  int64   // bytes a second
}

// newPace takes what an order asks for, and what nobody asks for from here.
func newPace(p *agent.Pace) (pace, error) {
	out := pace{checkShare, checkRate}
	if p == nil {
		return out, nil
	}
	if p.Share != 0 {
		out.share = p.Share
	}
	if p.Rate != 0 {
		out.rate = p.Rate
	}
	if !(out.share >= leastShare && out.share <= 1) || out.rate < 1<<20 {
		return out, fmt.Errorf("a share of %v of a processor and %d bytes a second: the share is between %v and 1, the rate at least 1 MB", out.share, out.rate, leastShare)
	}
	return out, nil
}

// after is the rest that belongs to some work that took so long: so that work is its share of all time, and bytes
// come at their rate. How long it took without waiting for a processor stands for the processor's time, which is less.
func (p pace) after(worked, took time.Duration, bytes int64) time.Duration {
	byShare := time.Duration(float64(worked)/p.share) - took
	byRate := time.Duration(float64(bytes)/float64(p.rate)*float64(time.Second)) - took
	return max(byShare, byRate, 0)
}

// restOnce is how much rest is taken at once: who rests after each small piece of work spends its time on waking up.
const restOnce = 50 * time.Millisecond

// rest takes what is owed, once that is worth it.
func (p pace) rest(ctx context.Context, owed *time.Duration, more time.Duration) error {
	if *owed += more; *owed < restOnce {
		return ctx.Err()
	}
	now := *owed
	*owed = 0
	return pause(ctx, now)
}

// cursor is where a job is: all before it was read.
type cursor struct {
	phase string // see verify.Check
	at    string // pages: the file, below the data directory; indexes: the database's ID
	n     uint64 // pages: the block within the file; indexes: the index's ID
}

// String writes the cursor as one word a field.
func (c cursor) String() string {
	if c.at == "" {
		return c.phase
	}
	return fmt.Sprintf("%s %s %d", c.phase, c.at, c.n)
}

// parseCursor reads what String writes; nothing is the beginning.
func parseCursor(s string) (cursor, error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return cursor{phase: verify.PhasePages}, nil
	}
	c := cursor{phase: words[0]}
	if len(words) == 3 {
		c.at = words[1]
		if _, err := fmt.Sscanf(words[2], "%d", &c.n); err != nil {
			return c, fmt.Errorf("%q is no place in a check: %w", s, err)
		}
	}
	known := c.phase == verify.PhasePages || c.phase == verify.PhaseIndexes || c.phase == verify.PhaseDone
	if !known || len(words) != 1 && len(words) != 3 || strings.Contains(c.at, "..") {
		return c, fmt.Errorf("%q is no place in a check", s)
	}
	return c, nil
}
