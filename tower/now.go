package tower

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/seats"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/web"
)

// journalShown is how many entries the page shows.
const journalShown = 50

// Now is what this tower believes and does, for people. It does not block.
func (n *Node) Now() web.Now {
	b := n.beliefs()
	at := n.now()
	out := web.Now{
		At: at, Tower: n.cfg.Name, Profile: b.profile.Name,
		Estate:  web.EstateRef{Name: b.estate.Name, Version: b.snap.Estate.Version},
		Driver:  web.Driver{Tower: b.snap.Drive.Tower, Term: b.snap.Drive.Term},
		Quorum:  n.quorum(),
		Armed:   slices.Sorted(maps.Keys(b.snap.Armed)),
		Journal: n.tail.lines(), Rate: n.rate.at(at), Warnings: n.warnings(b, at), Audit: n.Audit().Brief(),
	}
	for _, id := range slices.Sorted(maps.Keys(b.snap.Holds)) {
		h := b.snap.Holds[id]
		out.Holds = append(out.Holds, web.Hold{By: h.By, Why: h.Why, Since: h.At})
	}
	stand := stand(n.seated(b))
	for _, id := range b.estate.SiteIDs() {
		out.Sites = append(out.Sites, b.webSite(id, stand))
	}
	for _, id := range slices.Sorted(maps.Keys(b.estate.Observers)) {
		out.Observers = append(out.Observers, web.Observer{ID: string(id), SilentMS: n.silentMS(string(id), at)})
	}
	for _, id := range b.estate.StoreIDs() {
		out.Stores = append(out.Stores, b.webStore(id))
	}
	for _, id := range b.estate.NameIDs() {
		out.Names = append(out.Names, b.webName(id))
	}
	if b.snap.Estate.Version > 0 {
		out.Missing = situation.Missing(n.standing(b))
	}
	for _, events := range b.snap.Runs {
		if r, err := webRun(events, at); err == nil {
			out.Runs = append(out.Runs, r)
		}
	}
	slices.SortFunc(out.Runs, func(a, c web.Run) int {
		if a.Open() != c.Open() {
			if a.Open() {
				return -1
			}
			return 1
		}
		return cmp.Compare(c.ID, a.ID)
	})
	return out
}

// stand says what towers are that do not simply vote.
func stand(all []seats.Tower) map[string]string {
	out := map[string]string{}
	for _, t := range all {
		switch {
		case t.Waits && t.Is != seats.Outside:
			out[string(t.ID)] = "lost its data, waits to be seated"
		case t.Waits:
			out[string(t.ID)] = "waits to be seated"
		case t.Is == seats.Learner:
			out[string(t.ID)] = "stands by"
		case t.Is == seats.Outside:
			out[string(t.ID)] = "no vote"
		}
	}
	return out
}

func (b *beliefs) webSite(id estate.SiteID, stand map[string]string) web.Site {
	v := b.now.Sites[id]
	out := web.Site{
		ID: string(id), Title: b.estate.Sites[id].Title, State: string(cmp.Or(v.State, situation.Unknown)),
		Since: v.Since, Because: v.Because, Intent: string(cmp.Or(b.snap.Intents[id], situation.Serving)),
	}
	for _, t := range b.targets {
		if t.Site != id {
			continue
		}
		thing := b.now.Things[t.ID]
		row := web.Target{Kind: string(t.Kind), Component: t.Component, State: string(cmp.Or(thing.State, situation.Unknown)), SilentMS: b.silence(t.ID), Held: b.host(t.ID, agent.FactHeld) == "true"}
		if thing.State != situation.Up {
			row.Why = strings.Join(thing.Because, "; ")
		}
		if t.Kind == situation.KindTower {
			out.TowerUp = out.TowerUp || thing.State == situation.Up
			row.Seat = stand[t.Component]
		}
		out.Targets = append(out.Targets, row)
	}
	return out
}

// silence is for how long nobody heard a target, by the views that this tower has; -1: never.
func (b *beliefs) silence(target string) int64 {
	best := time.Duration(-1)
	for _, v := range b.views {
		for _, l := range v.view.Looks {
			if l.Target != target || !l.Ever {
				continue
			}
			if since := l.Silent + l.Waived + b.now.At.Sub(v.at); best < 0 || since < best {
				best = since
			}
		}
	}
	if best < 0 {
		return -1
	}
	return best.Milliseconds()
}

func (b *beliefs) webStore(id estate.StoreID) web.Store {
	s, rec := b.estate.Stores[id], b.snap.Stores[id]
	out := web.Store{ID: string(id), Engine: s.Engine, Epoch: rec.Epoch, Primary: string(cmp.Or(rec.Primary, s.Primary)),
		Any: s.Any, Alone: rec.Alone, Writes: b.writes(id), Home: b.homeward(id), Canary: b.canaries[id]}
	for _, p := range b.premises[id] {
		out.Unmet = append(out.Unmet, p.String())
	}
	out.Verified, out.Differs, out.Salvages = rec.Verified, rec.Differs, b.salvages(id)
	primary := b.facts(id, estate.MemberID(out.Primary))
	if why := silentCanary(primary); why != "" {
		out.Canary = strings.TrimSuffix(why+"; "+out.Canary, "; ")
	}
	for _, m := range s.MemberIDs() {
		out.Members = append(out.Members, b.webMember(id, m, primary))
	}
	return out
}

// standing is what the estate's redundancy rests on now.
func (n *Node) standing(b *beliefs) situation.Standing {
	return situation.Standing{Estate: b.estate, Now: b.now, Stores: b.snap.Stores, Withdrawn: b.snap.Withdrawn, Returning: b.snap.Returning, Intents: b.snap.Intents, Votes: seats.Votes(n.seated(b))}
}

// salvages are a store's: those that people have to look at first, then the newest.
func (b *beliefs) salvages(id estate.StoreID) (out []situation.Salvage) {
	for _, s := range b.snap.Salvages {
		if s.Store == id {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(x, y situation.Salvage) int {
		if open := x.State == situation.SalvageOpen; open != (y.State == situation.SalvageOpen) {
			return map[bool]int{true: -1, false: 1}[open]
		}
		return cmp.Or(y.At.Compare(x.At), cmp.Compare(y.ID, x.ID))
	})
	return out
}

// writes says whether the store acknowledges now, as far as its primary says.
func (b *beliefs) writes(id estate.StoreID) string {
	s, rec := b.estate.Stores[id], b.snap.Stores[id]
	if rec.Alone {
		return web.WritesAlone
	}
	f := b.facts(id, cmp.Or(rec.Primary, s.Primary))
	switch {
	case len(f) == 0:
		return web.WritesUnknown
	case f[situation.FactRole] != situation.RolePrimary:
		return web.WritesNone
	case f[situation.FactAnswers] != "true":
		return web.WritesUnknown
	case b.acknowledging(id) < s.Any:
		return web.WritesWaiting
	}
	return web.WritesAcknowledged
}

// acknowledging counts the members that stream from the primary and may acknowledge.
func (b *beliefs) acknowledging(id estate.StoreID) int {
	s, rec := b.estate.Stores[id], b.snap.Stores[id]
	f := b.facts(id, cmp.Or(rec.Primary, s.Primary))
	count := 0
	for _, m := range s.MemberIDs() {
		if c, ok := situation.ClientOf(f, m); ok && c.State == "streaming" && c.Sync != "async" {
			count++
		}
	}
	return count
}

func (b *beliefs) webMember(id estate.StoreID, m estate.MemberID, primary map[string]string) web.Member {
	rec := b.snap.Stores[id]
	f := b.facts(id, m)
	out := web.Member{ID: string(m), Site: string(b.estate.Stores[id].Members[m].Site), Role: web.RoleUnknown, LagBytes: -1, LagMS: -1, CanaryMS: canaryMS(primary, f),
		Sync: slices.Contains(rec.Sync, m), Jobs: webJobs(f), ReplayBlocked: f["replay_blocked_by"] != "", Note: f["error"]}
	switch {
	case slices.Contains(rec.Former, m):
		out.Role = web.RoleFormer
	case len(f) == 0 && b.dead(id, m):
		out.Role = web.RoleDown
	case f["sealed"] == "true":
		out.Role = web.RoleSealed
	case f["running"] == "false":
		out.Role = web.RoleDown
	case f["role"] != "":
		out.Role = f["role"]
	}
	if out.Role == web.RolePrimary {
		out.LagBytes, out.LagMS = 0, 0
		return out
	}
	out.Streaming = f["receiver"] == "streaming"
	if c, ok := situation.ClientOf(primary, m); ok {
		out.LagBytes, out.LagMS = c.Bytes, c.ReplayMS
	}
	return out
}

// Facts that an agent says of a member while it is at something long: "rejoin/phase",
// "rejoin/bytes", "rejoin/of", "rejoin/eta_s", and the same of the others.
var jobs = []string{"salvage", "rejoin", "check"}

// webJobs are what a member's agent says that it is at.
func webJobs(f map[string]string) (out []web.Job) {
	for _, what := range jobs {
		phase := f[what+"/phase"]
		if phase == "" {
			continue
		}
		j := web.Job{What: what, Phase: phase, ETAS: -1}
		if f[what+"/over"] == "true" { // all that is left to say is how it ended
			out = append(out, j)
			continue
		}
		j.Bytes, _ = strconv.ParseInt(f[what+"/bytes"], 10, 64) // 0 where it is not said
		j.Of, _ = strconv.ParseInt(f[what+"/of"], 10, 64)
		if eta, err := strconv.ParseFloat(f[what+"/eta_s"], 64); err == nil {
			j.ETAS = eta
		}
		out = append(out, j)
	}
	return out
}

func (b *beliefs) dead(id estate.StoreID, m estate.MemberID) bool {
	switch b.now.Things[situation.DatabaseTarget(b.estate, id, m)].State {
	case situation.Dead, situation.Lost, situation.Isolated:
		return true
	}
	return false
}

func (b *beliefs) webName(id estate.NameID) web.Name {
	name := b.estate.Names[id]
	out := web.Name{Name: string(id)}
	for _, site := range slices.Sorted(maps.Keys(name.Answers)) {
		out.Answers = append(out.Answers, web.Answer{Site: string(site), Addresses: name.Answers[site], Serving: !slices.Contains(b.snap.Withdrawn[id], site), Part: slices.Contains(b.snap.Returning[id], site)})
	}
	for _, host := range name.Servers {
		state := string(cmp.Or(b.now.Things[situation.DNSTarget(b.estate, host)].State, situation.Unknown))
		if b.now.Facts[situation.DNSTarget(b.estate, host)]["locked"] == "true" {
			state = "old"
		}
		out.Servers = append(out.Servers, web.NameServer{Host: string(host), Site: string(b.estate.SiteOf(host)), State: state})
	}
	return out
}

// webRun draws a run from its events.
func webRun(events []run.Event, at time.Time) (web.Run, error) {
	r, err := run.Replay(events)
	if err != nil {
		return web.Run{}, err
	}
	out := web.Run{ID: string(r.ID), Kind: string(r.Plan.Kind), Subject: r.Plan.Subject, Status: string(r.Status()), Started: r.Opened,
		Driver: r.Tower, Because: r.Plan.Because, Plan: r.Plan.Hash}
	if r.Closed != "" {
		out.Ended = r.Last
		if r.Closed != "done" {
			out.Why = r.Closed
		}
	}
	questions := r.Questions()
	for _, id := range slices.Sorted(maps.Keys(questions)) {
		out.Ask = strings.TrimPrefix(fmt.Sprintf("%s; %s", out.Ask, questions[id].Why), "; ")
	}
	for i, s := range r.Plan.Steps {
		p := r.Steps[i]
		row := web.Step{ID: s.ID, Verb: string(s.Verb), Component: s.Component, Reason: string(s.Reason), State: stepState(p.State), Started: p.Began, Note: p.Why}
		switch {
		case p.Took() > 0:
			row.Seconds = p.Took().Seconds()
		case !p.Began.IsZero() && r.Closed == "" && p.Ended.IsZero():
			row.Seconds = at.Sub(p.Began).Seconds()
		}
		row.Report = report(p.Facts)
		out.Steps = append(out.Steps, row)
	}
	return out, nil
}

func stepState(s run.StepState) string {
	switch s {
	case run.Waiting, run.Ready:
		return web.StepWaiting
	case run.Doing, run.Undoing:
		return web.StepRunning
	case run.IsDone:
		return web.StepDone
	case run.InDoubt, run.UndoInDoubt:
		return web.StepUnknown
	case run.Undone:
		return web.StepUndone
	}
	return web.StepNotDone
}
