package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haechi/haechi/agent"
)

// How long things take at most, or are waited for.
const (
	// answerSoon is how long an order to rejoin waits for an attempt that is over at once.
	answerSoon = 400 * time.Millisecond
	// joinFor is how long a server that is up may take until it receives from its primary.
	joinFor = time.Minute
	// awake is how often the source is asked for nothing but whether it is still there.
	awake = 2 * time.Second
)

// errGivenUp ends an attempt for which another order will not wait.
var errGivenUp = errors.New("another order took its place")

// returning is the attempt to bring the member back that is under way in this process, at most one.
type returning struct {
	mu   sync.Mutex // guards what follows
	now  *attempt
	last map[string]string // how the member came back, for whoever did not hear the end of it, and
	run  string            // in which run
}

// attempt is one try to bring the member back, in a goroutine of its own. It is begun by an order and asked after
// by the same order; it ends with this process, and the next one begins again with what lies there.
type attempt struct {
	order  agent.Order
	began  time.Time
	taken  *taken
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error // once done is closed

	seen, of atomic.Int64 // bytes of the work done, and of all of it; of 0: not known yet

	mu      sync.Mutex // guards what follows
	asked   time.Time  // after it, by its order
	phase   string     // what it is at, in words
	method  string
	reason  string
	corrupt []string // pages of the source whose checksum is wrong
}

func (r *returning) current() *attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// over forgets an attempt that has ended.
func (r *returning) over(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now == a {
		r.now, r.last, r.run = nil, a.summary(), a.order.Run
	}
}

// how says how the member came back in a run, where this process saw it.
func (r *returning) how(f map[string]string, run string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if run == r.run {
		maps.Copy(f, r.last)
	}
}

// facts say how far the attempt is. Of one that ended well there is nothing more to say.
func (r *returning) facts(f map[string]string) {
	a := r.current()
	if a == nil {
		return
	}
	select {
	case <-a.done:
		if a.err == nil {
			r.over(a)
			return
		}
	default:
	}
	a.facts(f)
}

// rejoin begins to bring the member back to o.Upstream, or says how far that is. It is done when the member
// receives from there. Nothing that it holds alone is rewritten unless o.Kept says that it is kept.
func (u *Unit) rejoin(ctx context.Context, o agent.Order, mem memory, m *agent.Memory) (map[string]string, error) {
	if err := u.mayRejoin(o, mem); err != nil {
		return nil, err
	}
	a := u.back.current()
	if a != nil && !a.serves(o) {
		if err := u.endAttempt(ctx, a); err != nil {
			return nil, err
		}
		a = nil
	}
	if a == nil {
		var err error
		if mem, err = recall(m); err != nil { // an attempt that has just ended wrote it
			return nil, err
		}
		if due := mem.due(o); due != mem.Due {
			mem.Due = due
			if err := m.Save(mem); err != nil {
				return nil, err
			}
		}
		if f, ok := u.isBack(ctx, o, mem); ok {
			return f, nil
		}
		if a, err = u.beginAttempt(ctx, o, mem, m); err != nil {
			return nil, err
		}
	}
	return u.hearAttempt(ctx, a, m)
}

// mayRejoin refuses an impossible upstream, and a member that nobody stopped from being a primary.
func (u *Unit) mayRejoin(o agent.Order, mem memory) error {
	if err := checkUpstream(o.Upstream, u.set.Member); err != nil {
		return err
	}
	switch {
	case o.Anew && o.Run == "":
		return agent.Refuse(agent.BadOrder, "rejoin: the order to make %s anew names no run, so nobody could tell once it is done", u.set.Member)
	case o.Reign == 0 || o.Upstream.Reign != o.Reign || o.Upstream.Credential != o.Reign:
		return agent.Refuse(agent.BadOrder, "rejoin: %s is primary under epoch %d, the promotion that stands is of epoch %d", o.Upstream.Member, o.Upstream.Reign, o.Reign)
	case mem.Role == asPrimary && mem.Reign == o.Reign:
		return agent.Refuse(agent.Unsafe, "rejoin: %s is itself the primary of epoch %d", u.set.Member, o.Reign)
	case mem.Role == asPrimary && mem.Reign > o.Reign:
		return agent.Refuse(agent.Unsafe, "rejoin: %s was made primary under epoch %d, and the towers know of epoch %d only: their records are older than the store", u.set.Member, mem.Reign, o.Reign)
	case mem.Role == asPrimary && !mem.Fenced && mem.Halted == nil && u.back.current() == nil && u.postmaster() != 0:
		return agent.Refuse(agent.Unsafe, "rejoin: %s runs as a primary of epoch %d: fence it first", u.set.Member, mem.Reign)
	case mem.Sealed && o.Counted:
		return agent.Refuse(agent.Unsafe, "rejoin: %s counts, and is sealed for a run: let it go first", u.set.Member)
	}
	return nil
}

// isBack says whether the member receives from where it is to come back to.
func (u *Unit) isBack(ctx context.Context, o agent.Order, mem memory) (map[string]string, bool) {
	if mem.toCopy(o) || mem.Rebuild != nil || mem.Fenced || mem.Sealed || mem.Role != asFollower || mem.Upstream == nil || mem.Upstream.Member != o.Upstream.Member ||
		mem.Upstream.Reign != o.Reign || !u.up() {
		return nil, false
	}
	mem.Before = mem.Upstream // so that one look is enough
	f, err := u.streams(ctx, mem)
	if err != nil || f["streaming"] != "true" {
		return nil, false
	}
	f["rejoined"] = "true"
	u.back.how(f, o.Run)
	return f, true
}

// toCopy says whether an order has the member copied whatever is known of it, and its run has not done so yet; or an
// earlier one had it counted out for that, and has ended before.
func (mem memory) toCopy(o agent.Order) bool {
	return o.Anew && mem.Anew != o.Run || !o.Counted && mem.Due != ""
}

// due is the run for which the member has to be made anew, once an order was heard. That is remembered before it is
// counted out for it. While it counts, an order that does not say so takes it back: others may rest on its word, and it has
// to be started.
func (mem memory) due(o agent.Order) string {
	switch {
	case o.Anew && mem.Anew != o.Run:
		return o.Run
	case !o.Anew && o.Counted:
		return ""
	}
	return mem.Due
}

// beginAttempt remembers that the member is being brought back, then begins.
func (u *Unit) beginAttempt(ctx context.Context, o agent.Order, mem memory, m *agent.Memory) (*attempt, error) {
	if err := wanted(ctx, "rejoin"); err != nil {
		return nil, err
	}
	next := &rebuild{Stage: choosing, From: o.Upstream.Member, Reign: o.Reign, Kept: o.Kept, Since: time.Now().UTC()}
	if was := mem.Rebuild; was != nil {
		next.Kept = cmp.Or(o.Kept, was.Kept)
		if was.broken() {
			next.Stage, next.Since, next.Bare = was.Stage, was.Since, was.Bare
		}
	}
	mem.Rebuild = next
	if err := m.Save(mem); err != nil {
		return nil, err
	}
	job, cancel := context.WithCancelCause(context.Background())
	a := &attempt{order: o, began: time.Now(), asked: time.Now(), taken: newTaken(o.Rate), cancel: cancel, done: make(chan struct{}), phase: choosing}
	u.back.mu.Lock()
	u.back.now = a
	u.back.mu.Unlock()
	go func() {
		defer close(a.done)
		defer cancel(nil)
		a.err = u.bringBack(job, a, mem, m)
		if a.err != nil {
			u.log.Warn("rejoin", "from", o.Upstream.Member, "method", a.method, "error", a.err)
		}
	}()
	return a, nil
}

// hearAttempt says what an attempt came to, or how far it is.
func (u *Unit) hearAttempt(ctx context.Context, a *attempt, m *agent.Memory) (map[string]string, error) {
	a.heard()
	soon := time.NewTimer(answerSoon)
	defer soon.Stop()
	select {
	case <-a.done:
	case <-soon.C:
	case <-ctx.Done():
	}
	f := map[string]string{"running": yes(u.postmaster() != 0)}
	a.facts(f)
	select {
	case <-a.done:
	default:
		return f, nil
	}
	u.back.over(a)
	mem, err := recall(m)
	if err != nil {
		return nil, err
	}
	mem.facts(f)
	if a.err == nil {
		f["rejoined"] = "true"
		return f, nil
	}
	if refusal, ok := errors.AsType[*agent.Refusal](a.err); ok && !mem.Rebuild.broken() {
		return f, u.forgetRebuild(mem, m, refusal)
	}
	// The answer carries an error, so what goes with it stands in the facts.
	f["failed"], f["again"] = a.err.Error(), yes(passing(a.err))
	return f, nil
}

// forgetRebuild takes back that a member is being brought back, where nothing was rewritten.
func (u *Unit) forgetRebuild(mem memory, m *agent.Memory, why error) error {
	mem.Rebuild = nil
	if err := m.Save(mem); err != nil {
		return errors.Join(why, err)
	}
	return why
}

// serves says whether an attempt is about the same as an order.
func (a *attempt) serves(o agent.Order) bool {
	return a.order.Reign == o.Reign && *a.order.Upstream == *o.Upstream && a.order.Kept == o.Kept && a.order.Counted == o.Counted && a.order.Rate == o.Rate &&
		a.order.Anew == o.Anew && (!o.Anew || a.order.Run == o.Run)
}

// endAttempt ends an attempt and waits until nothing of it goes on.
func (u *Unit) endAttempt(ctx context.Context, a *attempt) error {
	a.cancel(errGivenUp)
	select {
	case <-a.done:
		u.back.over(a)
		return nil
	case <-ctx.Done():
		return agent.Refuse(agent.Busy, "the attempt to bring %s back has not ended yet: %v", u.set.Member, context.Cause(ctx))
	}
}

// giveWay lets an order pass a member that is being brought back: one that is being rewritten is for no order
// but a fence, which ends that; one of which nothing is rewritten yet is what it was before.
func (u *Unit) giveWay(ctx context.Context, o agent.Order, mem *memory, m *agent.Memory) error {
	if mem.Rebuild == nil {
		return nil
	}
	if mem.Rebuild.broken() && o.Verb != agent.Fence {
		return agent.Refuse(agent.Unsafe, "%s is being made anew by a %s since %s, which has not ended: nothing but that can be done with it",
			u.set.Member, mem.Rebuild.Stage, mem.Rebuild.Since.Format("2006-01-02 15:04:05"))
	}
	if a := u.back.current(); a != nil {
		if err := u.endAttempt(ctx, a); err != nil {
			return err
		}
	}
	var next memory // as the attempt left it
	if err := m.Load(&next); err != nil {
		return err
	}
	*mem = next
	switch {
	case mem.Rebuild == nil:
		return nil
	case mem.Rebuild.broken() && o.Verb != agent.Fence:
		return agent.Refuse(agent.Unsafe, "%s is being made anew by a %s: nothing but that can be done with it", u.set.Member, mem.Rebuild.Stage)
	case mem.Rebuild.broken():
		return nil
	}
	mem.Rebuild = nil
	return m.Save(*mem)
}

// readBefore answers an order to salvage a member that is being rewritten: what only it held was kept before
// that began (kept says in which salvage), or it was known to hold nothing.
func (mem memory) readBefore() map[string]string {
	f := map[string]string{"running": "false", "kept": mem.Rebuild.Kept}
	mem.facts(f)
	return f
}

// heard notes that somebody asks after the attempt.
func (a *attempt) heard() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = time.Now()
}

// idle is for how long nobody has asked after it.
func (a *attempt) idle() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Since(a.asked)
}

// at says what the attempt is at.
func (a *attempt) at(phase string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.phase = phase
}

// by says by which way the member comes back, and why.
func (a *attempt) by(method, reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.method, a.reason = method, reason
}

// soonest is when the end of an attempt is foretold that has done less than a twentieth.
const soonest = 30 * time.Second

// facts are what people and the tower want to know of an attempt; of one that did not end well, why.
func (a *attempt) facts(f map[string]string) {
	maps.Copy(f, a.summary())
	a.mu.Lock()
	f["rejoin/phase"] = a.phase
	a.mu.Unlock()
	seen, of := a.seen.Load(), a.of.Load()
	f["rejoin/bytes"] = fmt.Sprint(seen)
	select {
	case <-a.done:
		f["rejoin/over"] = "true"
		if a.err != nil {
			f["rejoin/phase"] = "not done: " + a.err.Error()
		}
	default:
		if took := time.Since(a.began); seen < of && (seen > of/20 || seen > 0 && took > soonest) { // the first bytes say nothing
			f["rejoin/eta_s"] = fmt.Sprintf("%.0f", took.Seconds()*float64(of-seen)/float64(seen))
		}
	}
}

// summary is what is worth knowing of an attempt after its end.
func (a *attempt) summary() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := map[string]string{"rejoin/method": a.method, "rejoin/reason": a.reason, "rejoin/taken": fmt.Sprint(a.taken.bytes.Load()), "rejoin/of": fmt.Sprint(a.of.Load())}
	if len(a.corrupt) > 0 {
		f["rejoin/corrupt"] = fmt.Sprint(a.corrupt)
	}
	return f
}
