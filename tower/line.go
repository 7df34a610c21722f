package tower

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/web"
)

const (
	// lineEvery is how often it is looked whether the records are this cluster's own, and whether agents that
	// have to be asked what they have seen are there.
	lineEvery = time.Second
	// heardFor is how long what another tower said of its records counts.
	heardFor = time.Minute
	// saysAtStart is how long a tower that starts waits for what the others say of their records.
	saysAtStart = time.Second
)

// turn is what a person who restored or recovered the towers leaves for the tower's next start.
type turn struct {
	Kind state.LineKind  `json:"kind"`
	From string          `json:"from"`
	By   string          `json:"by"`
	Why  string          `json:"why"`
	Lost []estate.SiteID `json:"lost,omitempty"` // sites whose agents are not waited for
	Code string          `json:"code,omitempty"` // of a restore; see [Restoration]
}

func (c Config) turnFile() string { return filepath.Join(c.Data, "turn.json") }

// readTurn returns what was left; where records turn up without a word, somebody has restored them by other means.
func readTurn(file string) (turn, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return turn{Kind: state.Restored, From: "a copy that haechi did not make", By: "somebody", Why: "nobody said"}, nil
	}
	if err != nil {
		return turn{}, err
	}
	var t turn
	if err := json.Unmarshal(raw, &t); err != nil {
		return turn{}, fmt.Errorf("%s cannot be read: %w; remove it, and the records count as restored by other means", file, err)
	}
	return t, nil
}

// keepLine begins a new line where the records are not this cluster's own, and asks the agents what they
// have seen, until ctx ends. In a first line nobody has to wait for that: either agents have seen nothing, or the
// records were lost with every copy, and then they refuse orders before the terms are above theirs.
func (n *Node) keepLine(ctx context.Context) {
	said := ""
	for ctx.Err() == nil {
		pause(ctx, lineEvery)
		err := n.lineUp(ctx)
		if err != nil && err.Error() != said && ctx.Err() == nil {
			n.log.Warn("the records of an older copy", "error", err)
		}
		if said = ""; err != nil {
			said = err.Error()
		}
	}
}

func (n *Node) lineUp(ctx context.Context) error {
	s := n.store.Snapshot()
	if s.Revision == 0 || !n.quorum().Have {
		return nil
	}
	if n.store.Foreign() {
		return n.beginLine(ctx, s)
	}
	if err := os.Remove(n.cfg.turnFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b := n.beliefs()
	first := s.Line.Kind == ""
	if b.snap.Estate.Version == 0 || first && !n.isDriving() {
		return nil
	}
	ask := slices.DeleteFunc(agentHosts(b.targets), func(h estate.HostID) bool {
		return slices.Contains(s.Line.Heard, h) || first && n.asked[h]
	})
	var wait sync.WaitGroup
	errs := make([]error, len(ask))
	for i, host := range ask {
		wait.Go(func() { errs[i] = n.learnFrom(ctx, b.estate, host) })
	}
	wait.Wait()
	if !first {
		return errors.Join(errs...)
	}
	for i, host := range ask {
		n.asked[host] = errs[i] == nil // one that does not answer yet is nothing to speak of where nothing was lost
	}
	return nil
}

// beginLine has all agents of the estate asked before anybody drives, but those in sites that were given up.
func (n *Node) beginLine(ctx context.Context, s state.Snapshot) error {
	t, err := readTurn(n.cfg.turnFile())
	if err != nil {
		return err
	}
	l := state.Line{Kind: t.Kind, From: t.From, By: t.By, Why: t.Why}
	if len(s.EstateRaw) > 0 {
		e, err := estate.Unmarshal(s.EstateRaw)
		if err != nil {
			return err
		}
		for _, host := range agentHosts(situation.Targets(e)) {
			if slices.Contains(t.Lost, e.Hosts[host].Site) {
				l.Waived = append(l.Waived, host)
			} else {
				l.Unasked = append(l.Unasked, host)
			}
		}
	}
	return n.store.BeginLine(ctx, l)
}

// agentHosts are the hosts that have an agent, one for each agent, sorted.
func agentHosts(all []situation.Target) (out []estate.HostID) {
	for _, target := range all {
		if target.Kind == situation.KindAgent {
			out = append(out, estate.HostID(target.Component))
		}
	}
	slices.Sort(out)
	return out
}

// learnFrom asks one agent for the highest term and epochs that it has seen. A unit that it does not serve
// tells its term all the same. Where a person began the line the agent goes by it from its answer on: what others order
// that do not know of it comes too late, so nothing rises above what was told. Two towers that were recovered apart find
// each other out by that, and the one that asked first stands down. A first line is followed with its first order.
func (n *Node) learnFrom(ctx context.Context, e estate.Estate, host estate.HostID) error {
	ctx, cancel := context.WithTimeout(ctx, saysWithin)
	defer cancel()
	c, err := n.agents.at(string(host), e.Hosts[host].Agent)
	if err != nil {
		return err
	}
	h := state.Heard{Host: host, Epochs: map[estate.StoreID]uint64{}}
	units := situation.Units(e, host)
	if len(units) == 0 {
		units = []string{""}
	}
	l, ask := n.store.Snapshot().Line, agent.Order{Version: 1, Verb: agent.Status}
	if l.Kind != "" {
		ask.Line = l.Code
	}
	for _, unit := range units {
		ask.Unit = unit
		a, err := c.Call(ctx, ask)
		if agent.GivenUp(a.Lines, l.Code) {
			return fmt.Errorf("the agent of %s goes by other towers, whose records began after these: this one was given up", host)
		}
		if _, answered := errors.AsType[*agent.Refused](err); err != nil && !answered {
			return fmt.Errorf("ask what terms and epochs were seen: %w", err)
		}
		if ask.Line != "" && a.Release > 1 && !slices.Contains(a.Lines, ask.Line) {
			return fmt.Errorf("the agent of %s does not go by these records, so towers that were given up may still raise what it has seen: %w", host, err)
		}
		h.Term = max(h.Term, a.Term)
		for _, id := range storesOf(e, host, unit) {
			h.Epochs[id] = max(h.Epochs[id], a.Epoch)
		}
	}
	return n.store.Learn(ctx, h)
}

// storesOf are the stores of which an agent serves a member as that unit; unit "": as any.
func storesOf(e estate.Estate, host estate.HostID, unit string) (out []estate.StoreID) {
	at := situation.AgentTarget(e, host)
	for _, id := range e.StoreIDs() {
		for _, m := range e.Stores[id].Members {
			if situation.AgentTarget(e, m.Host) == at && (unit == "" || m.Unit == unit) {
				out = append(out, id)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Waive goes on without asking the agent of a host what it has seen.
func (n *Node) Waive(ctx context.Context, by, host, why string) error {
	s := n.store.Snapshot()
	if !slices.Contains(s.Line.Unasked, estate.HostID(host)) {
		return &web.Refused{Code: web.NotFound, Why: fmt.Sprintf("nobody waits for the agent of %q", host), Do: fmt.Sprintf("those that are waited for: %v", s.Line.Unasked)}
	}
	e, err := estate.Unmarshal(s.EstateRaw)
	if err != nil {
		return err
	}
	return refusal(n.store.Waive(ctx, estate.HostID(host), storesOf(e, estate.HostID(host), ""), by, why))
}

// lines is what other towers say of the records that they go by.
type lines struct {
	mu sync.Mutex // guards what follows
	by map[string]heardLine
}

type heardLine struct {
	number  uint64
	cluster string
	at      time.Time
}

// heard notes what a view says. The view's sender was checked.
func (l *lines) heard(v situation.View) {
	if v.Site == "" || v.Cluster == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = map[string]heardLine{}
	}
	l.by[v.Observer] = heardLine{v.Line, v.Cluster, time.Now()}
}

// other names a tower that goes by other records than those of cluster: newer ones (1), older ones (-1), or ones that
// were restored beside these (0). "": none.
func (l *lines) other(than int, number uint64, cluster string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, tower := range slices.Sorted(maps.Keys(l.by)) {
		h := l.by[tower]
		if h.cluster == cluster || cluster == "" || time.Since(h.at) > heardFor {
			continue
		}
		if cmp.Compare(h.number, number) == than {
			return tower
		}
	}
	return ""
}

// outlived names a tower by whose word the towers go on by newer records than this tower's, or the agent that says so;
// "": none does. Then this tower is one of those that were given up, and starts nothing, even where it has a majority of
// others that were.
func (n *Node) outlived() string {
	b := n.beliefs()
	return cmp.Or(n.others.other(1, b.snap.Line.Number, b.snap.Cluster), b.givenUp)
}

// givenUpBy names an agent that goes by other towers than those of a line, which it went by before; "": none does. Of
// records that are not the cluster's own that is no wonder: its own line has not begun.
func (b *beliefs) givenUpBy(l state.Line) string {
	for _, t := range b.targets {
		if t.Kind == situation.KindAgent && !l.Foreign(b.snap.Cluster) && agent.GivenUp(strings.Fields(b.host(t.ID, agent.FactLines)), l.Code) {
			return "whoever the agent of " + t.Component + " goes by"
		}
	}
	return ""
}

// lineFindings say what is not in order about the records.
func (n *Node) lineFindings() (out []web.Finding) {
	s := n.beliefs().snap
	if by := n.outlived(); by != "" {
		dir := n.cfg.etcd(nil).DataDir
		return []web.Finding{{Subject: n.cfg.Name, Level: web.Bad, Text: fmt.Sprintf("the towers go on without this one, by newer records (%s does): what it holds counts no more, and it starts nothing", by),
			Do: fmt.Sprintf("stop it, mv %s %s.old, start it; it then waits until it is seated anew. Where the others stand down too, two were recovered apart: stop all but the one that is to go on, then have that recover once more", dir, dir)}}
	}
	if by := n.others.other(-1, s.Line.Number, s.Cluster); by != "" {
		out = append(out, web.Finding{Subject: by, Level: web.Warn, Text: "it goes by older records, from before the towers were restored or went on without it: it starts nothing",
			Do: "on its host: stop it, move the directory etcd in its data directory aside, start it; it then waits until it is seated anew"})
	}
	if by := n.others.other(0, s.Line.Number, s.Cluster); by != "" {
		out = append(out, n.apart(by))
	}
	switch {
	case s.Line.Foreign(s.Cluster):
		out = append(out, web.Finding{Subject: "towers", Level: web.Bad, Text: "the records come from another cluster; nobody drives before a majority is there and a new line has begun", Do: "bring the other towers up"})
	case len(s.Line.Unasked) > 0:
		out = append(out, web.Finding{Subject: "towers", Level: web.Bad, Text: fmt.Sprintf("the records were %s by %s; nobody drives before these agents were asked what terms and epochs they have seen: %v", s.Line.Kind, s.Line.By, s.Line.Unasked),
			Do: "bring their hosts up; for one that is lost for good: haechi waive HOST --why REASON"})
	case s.Line.Kind == "" && len(s.Line.Heard) > 0 && len(n.unadopted()) > 0:
		out = append(out, web.Finding{Subject: "towers", Level: web.Warn, Text: fmt.Sprintf("these agents took orders of towers whose records these are not: %v; terms and epochs go on above what they have seen, and of %v nobody knows who may acknowledge", s.Line.Heard, n.unadopted()),
			Do: "where there is a snapshot of the towers' records, go back to that (docs/towers.md); else name in the estate who takes writes now, then haechi adopt STORE"})
	case len(s.Line.Waived) > 0:
		out = append(out, web.Finding{Subject: "towers", Level: web.Warn, Text: fmt.Sprintf("these agents were not asked what they had seen when the records were %s, and are asked as soon as they are there: %v", s.Line.Kind, s.Line.Waived)})
	}
	return out
}

// unadopted are the stores that have not come under an epoch of these records.
func (n *Node) unadopted() []estate.StoreID {
	b := n.beliefs()
	return slices.DeleteFunc(b.estate.StoreIDs(), func(id estate.StoreID) bool { return b.snap.Stores[id].Epoch > 0 })
}

// apart says of a tower that it was restored beside this one: with another code, or it holds what an earlier restore made. Each
// of the two does something only where it is in a majority of its own.
func (n *Node) apart(by string) web.Finding {
	dir := n.cfg.etcd(nil).DataDir
	f := web.Finding{Subject: by, Level: web.Warn, Text: "it and " + n.cfg.Name + " were restored apart from each other, so they are no cluster together",
		Do: "on its host: stop it, move the directory etcd in its data directory aside, start it; it then waits until it is seated anew"}
	if !n.quorum().Have {
		f.Level = web.Bad
		f.Do = fmt.Sprintf("stop %s, mv %s %s.old; where others have a majority, start it, and it waits until it is seated anew; else restore it with the code of the others: haechi tower restore FILE --code CODE", n.cfg.Name, dir, dir)
	}
	return f
}

// Facts of a tower beside its seat: by which records it goes. See situation.View.
const (
	factLine    = "line"
	factCluster = "cluster"
)

// alive is what this tower says to whoever asks whether it lives.
func (n *Node) alive() map[string]string {
	v, seat := n.tellLine(situation.View{}), string(n.seat())
	if n.member != nil && n.member.Failure() != "" {
		seat = response.SeatStopped
	}
	return map[string]string{response.FactSeat: seat, factLine: strconv.FormatUint(v.Line, 10), factCluster: v.Cluster}
}

// askOthers asks the other towers by which records they go, before this one thinks: a majority of those that
// were given up must not begin to act in the moment before they hear of it.
func (n *Node) askOthers() {
	ctx, cancel := context.WithTimeout(n.ctx, saysAtStart)
	defer cancel()
	var wait sync.WaitGroup
	for name, seat := range n.cfg.Cluster {
		if name == n.cfg.Name || seat.Peer == "" {
			continue
		}
		wait.Go(func() {
			facts, err := says(ctx, n.cfg.TLS.pki(), name, seat.Peer)
			if err != nil {
				return
			}
			line, _ := strconv.ParseUint(facts[factLine], 10, 64) // one that does not say goes by the first
			n.others.heard(situation.View{Observer: name, Site: seat.Site, Line: line, Cluster: facts[factCluster]})
		})
	}
	wait.Wait()
}

// tellLine puts into a view by which records this tower goes, and what it understands.
func (n *Node) tellLine(v situation.View) situation.View {
	s := n.beliefs().snap
	v.Line, v.Cluster, v.Speaks = cmp.Or(s.Line.Number, 1), s.Cluster, plan.Release
	return v
}
