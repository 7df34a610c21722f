package tower

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/executor"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/web"
)

var _ web.Desk = (*Node)(nil)

// Estate returns the version in force.
func (n *Node) Estate(context.Context) ([]byte, uint64, error) {
	s := n.store.Snapshot()
	return s.EstateRaw, s.Estate.Version, nil
}

// Apply checks the files together and makes them the next version.
func (n *Node) Apply(ctx context.Context, by pki.Identity, files []web.File, ifVersion int64) (web.Applied, error) {
	var in []estate.File
	for _, f := range files {
		in = append(in, estate.File{Name: f.Name, Data: f.Data})
	}
	next, err := estate.Load(in, SettingsChecks())
	if err != nil {
		return web.Applied{}, err
	}
	s := n.store.Snapshot()
	var have estate.Estate
	if s.Estate.Version > 0 {
		if have, err = estate.Unmarshal(s.EstateRaw); err != nil {
			return web.Applied{}, err
		}
		if err := mayLoosen(by, have, next); err != nil {
			return web.Applied{}, err
		}
	}
	if err := keepsStores(by, have, next, s); err != nil {
		return web.Applied{}, err
	}
	if ifVersion < 0 {
		ifVersion = int64(s.Estate.Version)
	}
	diff := estate.Diff(have, next)
	raw, err := estate.Marshal(next)
	if err != nil {
		return web.Applied{}, err
	}
	v, err := n.store.Apply(ctx, raw, by.Name, uint64(ifVersion), s.Opened, diff...)
	if err != nil {
		return web.Applied{}, refusal(err)
	}
	return web.Applied{Version: v.Version, Diff: diff}, nil
}

// mayLoosen refuses a version that asks fewer people, unless an approver applies it: else an
// operator alone could take the others out of what only they may allow.
func mayLoosen(by pki.Identity, have, next estate.Estate) error {
	looser := response.Loosens(have, next)
	if len(looser) == 0 || by.Has(pki.Approver) {
		return nil
	}
	return &web.Refused{Code: web.Forbidden, Why: fmt.Sprintf("policy would ask fewer people (%s), and %s has not the role of approver", strings.Join(looser, "; "), by.Name),
		Do: "let somebody with the roles of operator and approver apply it; nothing was changed"}
}

// keepsStores refuses a version that would change who may acknowledge the writes of a store that is under epochs: the
// rule in force, and who counts, is known to the journal, not to a file. One that names another member changes neither: that
// one is copied first, and counts once it is listed. And of one that does not count nothing is needed; but where it did
// once, what only it holds is read by nobody after that, and an approver has to agree.
func keepsStores(by pki.Identity, have, next estate.Estate, s state.Snapshot) error {
	for _, id := range have.StoreIDs() {
		rec := s.Stores[id]
		if rec.Epoch == 0 {
			continue
		}
		refuse := func(do, format string, args ...any) error {
			return &web.Refused{Code: web.Unmet, Why: fmt.Sprintf("store %s is under epoch %d; ", id, rec.Epoch) + fmt.Sprintf(format, args...), Do: do + "; nothing was changed"}
		}
		now, ok := next.Stores[id]
		old := have.Stores[id]
		switch {
		case !ok:
			return refuse("leave it in", "it cannot be left out")
		case now.Any != old.Any:
			return refuse("leave acknowledge as it is", "its rule (any %d) does not change by a file", rec.Any)
		}
		if r, about := openAbout(s, id); about && !slices.Equal(now.MemberIDs(), old.MemberIDs()) {
			return refuse(fmt.Sprintf("wait for its end, or haechi run abort %s", r), "run %s is about it, and goes by the members that it knows", r)
		}
		for _, m := range old.MemberIDs() {
			_, stays := now.Members[m]
			sv, keeps := keptBy(s, id, m)
			switch {
			case stays:
			case keeps:
				return refuse(fmt.Sprintf("haechi salvage show %s, then apply or discard it; else leave %s in", sv, m), "a copy of salvage %s lies on %s, and people have not decided about its rows", sv, m)
			case m == rec.Primary || slices.Contains(rec.Sync, m):
				return refuse(fmt.Sprintf("where it is gone for good: haechi count-out %s %s, then apply again; else leave it in", id, m), "%s counts there", m)
			case slices.Contains(rec.Former, m) && !by.Has(pki.Approver):
				return &web.Refused{Code: web.Forbidden, Why: fmt.Sprintf("%s counted in %s once, and what only it holds would be read by nobody; %s has not the role of approver", m, id, by.Name),
					Do: "leave it in, or let somebody with the roles of operator and approver apply it; nothing was changed"}
			}
		}
	}
	return nil
}

// keptBy is a salvage of a store that people have still to decide about, and of which a member holds a copy. Nobody
// would reach that copy by a member that the estate does not name.
func keptBy(s state.Snapshot, id estate.StoreID, m estate.MemberID) (string, bool) {
	for _, sv := range slices.Sorted(maps.Keys(s.Salvages)) {
		if r := s.Salvages[sv]; r.Store == id && r.State == situation.SalvageOpen && slices.Contains(r.Holders, m) {
			return sv, true
		}
	}
	return "", false
}

// openAbout is a run that still has something to do with a store.
func openAbout(s state.Snapshot, id estate.StoreID) (run.ID, bool) {
	for _, info := range s.OpenRuns() {
		if r, err := run.Replay(s.Runs[info.ID]); err != nil || about(r, string(id)) {
			return info.ID, true
		}
	}
	return "", false
}

// Plan says what would be done, and changes nothing.
func (n *Node) Plan(_ context.Context, ask web.Ask) (plan.Plan, error) {
	in, err := n.planInput(ask)
	if err != nil {
		return plan.Plan{}, err
	}
	return plan.Make(in)
}

// planInput is what a person's wish means now.
func (n *Node) planInput(ask web.Ask) (plan.Input, error) {
	b := n.beliefs()
	if b.snap.Estate.Version == 0 {
		return plan.Input{}, noEstate()
	}
	in := plan.Input{
		Estate: b.estate, Now: b.now, Stores: b.snap.Stores, Kind: ask.Kind, Subject: ask.Subject,
		Target: estate.MemberID(ask.To), Anew: ask.Anew, Withdrawn: b.snap.Withdrawn, Returning: b.snap.Returning, Intents: b.snap.Intents, Seats: n.seated(b),
	}
	switch ask.Kind {
	case plan.LoseSite:
		in.Lost = append(b.now.Gone(), estate.SiteID(ask.Subject))
		slices.Sort(in.Lost)
		in.Lost = slices.Compact(in.Lost)
	case plan.Failover:
		id := estate.StoreID(ask.Subject)
		rec := b.snap.Stores[id]
		if home := in.Target == b.estate.Stores[id].Primary; rec.Differs != "" && ask.To != "" && (home || slices.Contains(rec.DiffersOn, in.Target)) {
			return plan.Input{}, &web.Refused{Code: web.Unmet, Why: fmt.Sprintf("%s stays with %s: the last comparison found a difference: %s", id, rec.Primary, rec.Differs),
				Do: "find out who is right, mend it, then haechi verify " + ask.Subject + "; nothing was changed"}
		}
	case plan.Restore, plan.GiveUp:
		sv, ok := b.snap.Salvages[ask.Subject]
		if !ok {
			return plan.Input{}, noSalvage(ask.Subject)
		}
		in.Subject, in.Choice = string(sv.Store), plan.Choice{Salvage: sv, Rows: ask.Rows, Overwrite: ask.Overwrite}
	}
	return in, nil
}

func noEstate() error {
	return &web.Refused{Code: web.Unmet, Why: "there is no estate yet", Do: "apply one: haechi estate apply FILE"}
}

// Start opens a run for a person's wish.
func (n *Node) Start(ctx context.Context, by string, ask web.Ask) (run.ID, error) {
	if ask.Kind == plan.LoseSite {
		return "", &web.Refused{Code: web.BadRequest, Why: "a site is not lost by order", Do: "evacuate it while it lives: haechi evacuate " + ask.Subject}
	}
	if err := mayOrder(n.store.Snapshot(), ask); err != nil {
		return "", err
	}
	d, err := n.drive(ctx)
	if err != nil {
		return "", err
	}
	s, err := n.shows(ctx, d)
	if err != nil {
		return "", refusal(err)
	}
	if err := mayOrder(s, ask); err != nil {
		return "", err
	}
	in, err := n.planInput(ask)
	if err != nil {
		return "", err
	}
	in.Because, in.Choice.By = []string{by + " asked for it"}, by
	first := []journal.Entry{{Kind: "decision", Subject: ask.Subject, Text: fmt.Sprintf("%s orders: %s %s", by, ask.Kind, ask.Subject)}}
	known := func(id run.ID) bool { return !s.Index[id].Opened.IsZero() }
	opening := func(ctx context.Context) (executor.Opening, error) {
		p, err := n.plan(ctx, in)
		return executor.Opening{Plan: p, Estate: in.Estate, Version: s.Estate.Version, By: by, Basis: s.Acts}, err
	}
	id, err := n.open(ctx, d, known, first, func(ctx context.Context) (run.ID, error) {
		o, err := opening(ctx)
		if err != nil {
			return "", err
		}
		takes, err := beside(s, o.Plan)
		if err := errors.Join(err, n.beliefs().understood(o.Plan)); err != nil {
			return "", err
		}
		if len(takes) > 0 {
			return n.exec.Supersede(ctx, d.Term, takes, executor.Successor{Plan: opening})
		}
		return n.exec.Open(ctx, d.Term, o)
	})
	return id, refusal(err)
}

// drive returns this tower's drive, claiming it where nobody drives.
func (n *Node) drive(ctx context.Context) (state.Drive, error) {
	ctx, cancel := context.WithTimeout(ctx, claimFor)
	defer cancel()
	for q := n.quorum(); !q.Have; q = n.quorum() { // a new leader is found in less
		if pause(ctx, uneasy); ctx.Err() != nil {
			return state.Drive{}, refusal(fmt.Errorf("%w: %s", state.ErrNoQuorum, q.Why))
		}
	}
	if d, ok := n.driving(); ok {
		return d, nil
	}
	for _, f := range n.lineFindings() {
		if f.Level == web.Bad {
			return state.Drive{}, &web.Refused{Code: web.Unmet, Why: f.Text, Do: f.Do}
		}
	}
	s := n.store.Snapshot()
	if s.Drive.Tower != "" && s.Drive.Tower != n.cfg.Name && n.trusted(s.Drive) {
		return state.Drive{}, &web.Refused{Code: web.NotDriver, Why: s.Drive.Tower + " drives", Do: "ask it", Tower: s.Drive.Tower}
	}
	d, err := n.claim(ctx, s.Drive)
	if errors.Is(err, state.ErrDeposed) {
		// What this tower knew was old: it has just started, or was cut off.
		return d, &web.Refused{Code: web.NotDriver, Why: "another tower drives: " + err.Error(), Do: "ask the others"}
	}
	return d, refusal(err)
}

// shows waits until the records show that d drives, and with it all that was written before.
func (n *Node) shows(ctx context.Context, d state.Drive) (state.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, claimFor)
	defer cancel()
	for s := range n.store.Watch(ctx) {
		if s.Drive == d {
			return s, nil
		}
		if s.Drive.Term > d.Term {
			return s, fmt.Errorf("%w: %s", state.ErrDeposed, s.Drive.Tower)
		}
	}
	return state.Snapshot{}, fmt.Errorf("%w: the records do not show who drives", state.ErrNoQuorum)
}

// Arm lets haechi act by itself. It is refused while a premise of a store fails.
func (n *Node) Arm(ctx context.Context, by, what string) error {
	b := n.beliefs()
	if b.snap.Estate.Version == 0 {
		return noEstate()
	}
	if err := armable(b.estate, what); err != nil {
		return err
	}
	var unmet []string
	for _, id := range slices.Sorted(maps.Keys(b.premises)) {
		if no := situation.Forbidding(b.premises[id]); len(no) > 0 {
			unmet = append(unmet, fmt.Sprintf("%s: %s", id, strings.Join(no, "; ")))
		}
	}
	if len(unmet) > 0 {
		return &web.Refused{Code: web.Unmet, Why: "a premise of automatic promotion does not hold: " + strings.Join(unmet, "; "), Do: "mend it, then arm; haechi doctor lists all"}
	}
	return refusal(n.store.Arm(ctx, what, by))
}

func armable(e estate.Estate, what string) error {
	if _, ok := e.Sites[estate.SiteID(what)]; ok || what == "*" || strings.HasPrefix(what, "tier-") {
		return nil
	}
	return &web.Refused{Code: web.NotFound, Why: fmt.Sprintf("%q is neither a site, nor tier-N, nor '*'", what), Do: fmt.Sprintf("the sites are %v", e.SiteIDs())}
}

// Disarm takes it back.
func (n *Node) Disarm(ctx context.Context, by, what string) error {
	return refusal(n.store.Disarm(ctx, what, by))
}

// Hold stops all acts. Where there is no quorum it stops this tower's own. Once the records
// hold it, they alone count, so that any tower can release it: a run that was decided before is
// refused there.
func (n *Node) Hold(ctx context.Context, by, why string) error {
	n.held.Store(&why)
	_, err := n.store.Hold(ctx, state.Hold{By: by, Why: why})
	if err == nil {
		n.held.Store(nil)
	}
	return refusal(err)
}

// Release ends every hold.
func (n *Node) Release(ctx context.Context, by string) error {
	n.held.Store(nil)
	var errs []error
	for id := range n.store.Snapshot().Holds {
		if err := n.store.Release(ctx, id, by); !errors.Is(err, state.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return refusal(errors.Join(errs...))
}

// Runs lists open runs, then the newest closed ones.
func (n *Node) Runs(context.Context) ([]web.Run, error) { return n.Now().Runs, nil }

// Run returns one, also one that the page has forgotten.
func (n *Node) Run(ctx context.Context, id run.ID) (web.Run, error) {
	s := n.store.Snapshot()
	events, ok := s.Runs[id]
	if !ok {
		var err error
		if events, err = n.store.Events(ctx, id); err != nil {
			return web.Run{}, refusal(err)
		}
	}
	out, err := webRun(events, n.now())
	out.Foreseen = n.audits.foresight.of(id)
	return out, err
}

// Steer leaves a person's word for the tower that drives.
func (n *Node) Steer(ctx context.Context, by string, id run.ID, how web.Steering) error {
	_, err := n.store.Ask(ctx, state.Ask{Verb: string(how), Run: id, By: by})
	return refusal(err)
}

// Journal returns entries as this tower's member has them.
func (n *Node) Journal(ctx context.Context, from uint64, limit int) ([]journal.Entry, error) {
	return n.store.Journal(ctx, max(from, 1), limit)
}

// JournalHead returns the journal's end as the quorum has it.
func (n *Node) JournalHead(ctx context.Context) (journal.Head, error) {
	ctx, cancel := context.WithTimeout(ctx, claimFor)
	defer cancel()
	head, err := n.store.JournalHead(ctx)
	return head, refusal(err)
}

// refusal turns what the records refuse into the asker's business.
func refusal(err error) error {
	code := web.Code("")
	do := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, state.ErrNoQuorum):
		code, do = web.NoQuorum, "it may have happened: look (haechi status), then ask a tower that reaches the others"
	case errors.Is(err, state.ErrOutOfLine):
		code, do = web.Unmet, "haechi doctor says which agents are waited for"
	case errors.Is(err, state.ErrNoSpace):
		code, do = web.NoQuorum, "make room on the towers' disks: haechi doctor"
	case errors.Is(err, errUnwritten):
		code, do = web.NotDriver, "ask the others"
	case errors.Is(err, state.ErrDeposed), errors.Is(err, state.ErrConflict), errors.Is(err, state.ErrStale), errors.Is(err, executor.ErrDeposed), errors.Is(err, executor.ErrRefused):
		code, do = web.Conflict, "look again, then ask again"
	case errors.Is(err, state.ErrNotFound):
		code = web.NotFound
	case errors.Is(err, state.ErrClosed):
		code = web.Conflict
	default:
		return err
	}
	return &web.Refused{Code: code, Why: err.Error(), Do: do}
}
