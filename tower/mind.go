package tower

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/executor"
	"github.com/haechi/haechi/tower/state"
)

// How often the mind believes anew. While all that it hears of is well nothing is urgent; as
// soon as anything is silent or refuses, each view counts.
const (
	breath = 10 * time.Millisecond  // at least between two beliefs, so that views that come together are believed together
	uneasy = 25 * time.Millisecond  // at most, while something is not well
	atRest = 200 * time.Millisecond // at most, else
)

// mind is the goroutine that believes and decides. Only think touches its fields;
// everybody else sees the beliefs that it publishes.
type mind struct {
	n      *Node
	fold   *situation.Fold
	b      beliefs
	known  known
	ill    map[string]bool             // observers that see something that is not well
	last   time.Time                   // when it believed last
	judged time.Time                   // when it judged the premises last; zero: records have changed since
	opened map[run.ID]response.OpenRun // by this tower, until the snapshot shows them
	said   map[string]bool             // decisions that were journaled, as long as they stay
	since  map[string]time.Time        // when a decision that is not acted on was first made
	failed map[string]time.Time        // until when a decision that could not be carried out is left
	told   map[string]string           // why there was no plan, as it was journaled
	runs   map[run.ID]response.OpenRun // as the snapshot shows them
	busy   bool                        // a decision is being carried out
	done   chan settled
}

// settled is what became of a decision.
type settled struct {
	key string
	run *response.OpenRun
	err error
}

func newMind(n *Node) *mind {
	p, _ := situation.Named("")
	return &mind{n: n, fold: situation.New(estate.Estate{}, p), b: beliefs{profile: p, views: map[string]timedView{}},
		known: known{}, ill: map[string]bool{}, opened: map[run.ID]response.OpenRun{}, said: map[string]bool{}, since: map[string]time.Time{}, failed: map[string]time.Time{}, told: map[string]string{}, done: make(chan settled, 8)}
}

// think runs until ctx ends.
func (m *mind) think(ctx context.Context) {
	snaps := m.n.store.Watch(ctx)
	t := time.NewTimer(0)
	defer t.Stop()
	for due := m.n.now(); ; {
		select {
		case <-ctx.Done():
			return
		case s, ok := <-snaps:
			if !ok {
				return
			}
			m.learn(s)
			due = m.last
		case v := <-m.n.views:
			if soon := m.last.Add(breath); m.hear(v) && soon.Before(due) {
				due = soon
			}
		case s := <-m.done:
			m.settle(ctx, s)
			due = m.last
		case <-t.C:
		}
		if wait := due.Sub(m.n.now()); wait > 0 {
			t.Reset(wait)
			continue
		}
		m.drain()
		m.believe()
		m.decide(ctx)
		due = m.last.Add(m.pace())
		t.Reset(m.pace())
	}
}

// drain hears what has arrived meanwhile, so that it is believed together.
func (m *mind) drain() {
	for {
		select {
		case v := <-m.n.views:
			m.hear(v)
		default:
			return
		}
	}
}

// pace is how long a belief holds while nothing arrives.
func (m *mind) pace() time.Duration {
	if slices.Contains(slices.Collect(maps.Values(m.ill)), true) {
		return uneasy
	}
	return atRest
}

// hear takes a view in and says whether it is urgent: somebody sees, or has just seen,
// something that is not well.
func (m *mind) hear(v situation.View) bool {
	at := m.n.now()
	if !m.fold.Heard(v, at) {
		return false
	}
	m.b.views = maps.Clone(m.b.views)
	m.b.views[v.Observer] = timedView{v, at}
	was := m.ill[v.Observer]
	m.ill[v.Observer] = slices.ContainsFunc(v.Looks, func(l situation.Look) bool {
		return l.Refused || !l.Ever || l.Silent >= m.b.profile.Rest+m.b.profile.Every
	})
	return was || m.ill[v.Observer]
}

// learn takes a new snapshot of the records.
func (m *mind) learn(s state.Snapshot) {
	if s.Estate.Version != m.b.snap.Estate.Version && len(s.EstateRaw) > 0 {
		e, err := estate.Unmarshal(s.EstateRaw)
		if err != nil {
			m.n.log.Error("the estate in force cannot be read; the one before stays", "version", s.Estate.Version, "error", err)
		} else {
			m.adopt(e)
		}
	}
	for id := range m.opened {
		if _, shown := s.Index[id]; shown {
			delete(m.opened, id)
		}
	}
	m.replay(s)
	m.b.snap, m.judged = s, time.Time{}
	m.n.deposed(s.Drive)
}

// replay keeps what the response knows of runs; only those with new events are read again.
func (m *mind) replay(s state.Snapshot) {
	runs := make(map[run.ID]response.OpenRun, len(s.Runs))
	for id, events := range s.Runs {
		if old, ok := m.runs[id]; ok && len(m.b.snap.Runs[id]) == len(events) {
			runs[id] = old
			continue
		}
		r, err := run.Replay(events)
		if err != nil {
			m.n.log.Error("a run in the records cannot be read", "run", id, "error", err)
			info := s.Index[id]
			// Of a newer release, perhaps: what it is about is left to it.
			runs[id] = response.OpenRun{ID: id, Kind: info.Kind, Subject: info.Subject, Status: run.StatusRunning, Closed: info.Closed}
			continue
		}
		runs[id] = openRun(r)
	}
	m.runs = runs
}

func (m *mind) adopt(e estate.Estate) {
	p, err := situation.Named(e.Policy.Profile)
	if err != nil {
		m.n.log.Error("profile", "error", err)
		p, _ = situation.Named("")
	}
	m.fold.Estate(e, p)
	m.b.estate, m.b.profile, m.b.targets = e, p, situation.Targets(e)
	m.n.look(e, p, m.b.targets)
}

// believe makes and publishes what is believed now. What members say of themselves changes
// slowly, so the premises are judged once for each look at them.
func (m *mind) believe() {
	m.last = m.n.now()
	m.b.now = m.fold.At(m.last)
	m.known.learn(m.b.estate, m.b.now)
	if m.last.Sub(m.judged) >= m.b.profile.Every {
		m.b.premises, m.judged = m.known.premises(m.b.estate, m.b.snap.Stores), m.last
		m.b.canaries = m.known.canaries(m.b.estate, m.b.snap.Stores)
		m.b.givenUp = m.b.givenUpBy(m.b.snap.Line)
	}
	b := m.b
	m.n.believed.Store(&b)
}

// decide does what the response says, or has it done by whoever drives.
func (m *mind) decide(ctx context.Context) {
	m.n.isolation.consider(ctx, m.n.believed.Load())
	quorum := m.n.quorum().Have
	if by := m.n.outlived(); by != "" {
		m.n.standDown(by)
	}
	drive, driving := m.n.driving()
	if quorum && !driving && !m.n.trusted(m.b.snap.Drive) {
		m.n.claimSoon(ctx, m.b.snap.Drive)
		return
	}
	if !driving || m.b.snap.Drive != drive || m.b.snap.Estate.Version == 0 {
		return // until the records show the claim, they may lack what was written just before it
	}
	m.n.carryAll(ctx, drive, m.b.snap)
	if m.busy || m.n.held.Load() != nil {
		return
	}
	in := m.b.input(quorum, m.runs, m.opened)
	in.Seats = m.n.seated(&m.b)
	decisions := response.Decide(in)
	m.forget(decisions)
	for _, d := range decisions {
		switch d.Act {
		case response.Start, response.Supersede, response.Ask:
			if m.said[d.Key()] || m.last.Before(m.failed[d.Key()]) {
				continue
			}
			m.start(ctx, d)
			return // the rest after this one, when its run is known
		case response.Drop:
			if m.said[d.Key()] || m.last.Before(m.failed[d.Key()]) {
				continue
			}
			m.drop(ctx, d)
			return
		default:
			m.say(ctx, d)
		}
	}
}

// forget drops what is no longer decided, so that it is journaled again when it comes back.
func (m *mind) forget(now []response.Decision) {
	gone := func(key string) bool {
		return !slices.ContainsFunc(now, func(d response.Decision) bool { return d.Key() == key })
	}
	maps.DeleteFunc(m.said, func(key string, _ bool) bool { return gone(key) })
	maps.DeleteFunc(m.since, func(key string, _ time.Time) bool { return gone(key) })
	maps.DeleteFunc(m.failed, func(key string, _ time.Time) bool { return gone(key) })
	maps.DeleteFunc(m.told, func(key, _ string) bool { return gone(key) })
}

// lasting is how long something that is not acted on has to stay before it is journaled:
// what was seen just before a step's end often contradicts it for a moment.
const lasting = time.Second

// say journals once what is not done, and why.
func (m *mind) say(ctx context.Context, d response.Decision) {
	if m.since[d.Key()].IsZero() {
		m.since[d.Key()] = m.b.now.At
	}
	if m.said[d.Key()] || m.b.now.At.Sub(m.since[d.Key()]) < lasting {
		return
	}
	m.said[d.Key()] = true
	m.append(ctx, entry(d))
}

func entry(d response.Decision) journal.Entry {
	word := map[response.Act]string{response.Would: "would start", response.Refuse: "does not start", response.Start: "starts",
		response.Supersede: "starts in place of others", response.Ask: "asks before"}[d.Act]
	what := strings.TrimSpace(fmt.Sprintf("%s %s %s", word, d.Kind, d.Subject))
	return journal.Entry{Kind: "decision", Subject: d.Subject, Text: fmt.Sprintf("haechi %s: %s", what, strings.Join(d.Because, "; "))}
}

// start opens the run that a decision asks for, beside the mind, which goes on looking.
func (m *mind) start(ctx context.Context, d response.Decision) {
	drive, ok := m.n.driving()
	if !ok {
		return
	}
	m.busy = true
	b, opened := m.b, maps.Clone(m.opened)
	known := func(id run.ID) bool {
		_, own := opened[id]
		return own || b.shows(id)
	}
	m.n.spawn(ctx, func(ctx context.Context) {
		o, err := m.n.respond(ctx, drive, &b, known, d)
		m.done <- settled{d.Key(), o, err}
	})
}

// drop takes the question of a run back, beside the mind.
func (m *mind) drop(ctx context.Context, d response.Decision) {
	m.busy = true
	m.n.spawn(ctx, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, claimFor)
		defer cancel()
		err := m.n.exec.Tell(ctx, d.Run, executor.Request{Kind: run.Aborted, By: "haechi", Why: strings.Join(d.Because, "; ")})
		m.done <- settled{d.Key(), nil, err}
	})
}

// settle takes in what became of a decision. One that opened a run is made again only if
// the response still wants it when the run is known; one that cannot be planned is said once.
func (m *mind) settle(ctx context.Context, s settled) {
	m.busy = false
	switch {
	case s.err == nil && s.run == nil:
		m.said[s.key] = true
	case s.err == nil:
		m.opened[s.run.ID] = *s.run
	case errors.Is(s.err, plan.ErrNothing):
		m.said[s.key] = true
	case errors.Is(s.err, executor.ErrRefused):
		m.failed[s.key] = m.n.now().Add(again) // decided on what has changed since
		m.n.log.Info("respond", "decision", s.key, "why", s.err)
	default:
		m.failed[s.key] = m.n.now().Add(lasting)
		m.stuck(ctx, s)
		m.n.log.Warn("respond", "decision", s.key, "error", s.err)
	}
}

// stuck journals once that there is no plan, what stands in the way, and the way out.
func (m *mind) stuck(ctx context.Context, s settled) {
	no, ok := errors.AsType[*plan.Stuck](s.err)
	if !ok || m.told[s.key] == no.Error() {
		return
	}
	m.told[s.key] = no.Error()
	m.append(ctx, journal.Entry{Kind: "decision", Subject: no.Component, Text: fmt.Sprintf("no plan for %s: %s; the way out: %s", no.Component, no.Why, no.Out)})
}

// append journals beside the mind, while this tower drives.
func (m *mind) append(ctx context.Context, e journal.Entry) {
	drive, ok := m.n.driving()
	if !ok {
		return
	}
	m.n.spawn(ctx, func(ctx context.Context) {
		if _, err := m.n.store.Append(ctx, drive, []journal.Entry{e}); err != nil {
			m.n.log.Warn("journal a decision", "text", e.Text, "error", err)
		}
	})
}

// respond plans and opens the run of one decision. known says of a run whether the decision
// took it into account.
func (n *Node) respond(ctx context.Context, d state.Drive, b *beliefs, known func(run.ID) bool, what response.Decision) (*response.OpenRun, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var p plan.Plan
	next := func(ctx context.Context) (o executor.Opening, err error) {
		in := plan.Input{Estate: b.estate, Now: b.now, Kind: what.Kind, Subject: what.Subject, Lost: what.Lost, Target: what.Member, Because: what.Because, Intents: b.snap.Intents}
		if what.Kind == plan.LoseSite || what.Kind == plan.Recover {
			in.StoresOnly = what.StoresOnly()
		}
		if p, err = n.plan(ctx, in); err != nil && (len(p.Steps) == 0 || !errors.As(err, new(*plan.Stuck))) {
			return o, err
		}
		o = executor.Opening{Plan: p, Estate: b.estate, Version: b.snap.Estate.Version, Basis: b.snap.Acts}
		if what.Act == response.Ask {
			o.Ask, o.People = strings.Join(what.Because, "; "), what.People
		}
		return o, nil
	}
	id, err := n.open(ctx, d, known, verdicts(b, what), func(ctx context.Context) (run.ID, error) {
		if len(what.Supersedes) > 0 {
			return n.exec.Supersede(ctx, d.Term, what.Supersedes, executor.Successor{Takes: components(what), Lost: what.Lost, Plan: next})
		}
		o, err := next(ctx)
		if err != nil {
			return "", err
		}
		return n.exec.Open(ctx, d.Term, o)
	})
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what.Kind, what.Subject, err)
	}
	o := openRun(run.Run{ID: id, Plan: p})
	return &o, nil
}

// verdicts are the entries that stand in the journal before the run that rests on them.
func verdicts(b *beliefs, what response.Decision) (out []journal.Entry) {
	for _, site := range what.Lost {
		v := b.now.Sites[site]
		out = append(out, journal.Entry{Kind: "verdict", Subject: string(site), Text: fmt.Sprintf("%s is %s since %s: %s", site, v.State, v.Since.UTC().Format("15:04:05.000"), strings.Join(v.Because, "; "))})
	}
	return append(out, entry(what))
}

// components are what a successor takes over as it stands.
func components(d response.Decision) (out []string) {
	for _, id := range d.Stores {
		out = append(out, string(id))
	}
	return out
}
