package postgres

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
)

// fakeMember is a member that only remembers, behind a real agent server. Its facts
// are what a server that is in perfect order would show.
type fakeMember struct {
	name string
	w    *fakeWorld
	srv  *agent.Server

	mu       sync.Mutex
	mem      memory
	lsn      LSN
	received LSN // where it is not lsn
	tl       uint64
	primary  bool
	down     bool                // its agent cannot be reached
	dead     bool                // its server does not run
	dies     int                 // how many promotions its server does not survive
	hang     bool                // its agent takes the order and says nothing
	rejoins  []map[string]string // what its agent says to orders to rejoin, one after the other; then that it has
	unsafe   string              // why it is not brought back at all
	refuses  string              // why it is not rewritten while it counts
	stale    int                 // in how many looks it goes on counting on whom it lists no more, and acknowledges on that one's word
	flushed  LSN                 // where it is behind its primary
	acts     int
	heard    []agent.Order
	holds    []situation.Salvage // what it finds when it is read, in turn
	applied  bool
	broken   bool // it is being rewritten
	files    map[string]string
	told     func(agent.Order) (map[string]string, error) // answers digest and check
}

type fakeWorld struct {
	members map[string]*fakeMember
	store   situation.Store
	estate  estate.Estate
}

// newFakeWorld is an adopted store: pangyo under epoch 1, ansan and anyang acknowledge.
func newFakeWorld(t *testing.T) *fakeWorld {
	t.Helper()
	w := &fakeWorld{members: map[string]*fakeMember{}, estate: estate.Estate{Stores: map[estate.StoreID]estate.Store{}, Hosts: map[estate.HostID]estate.Host{}}}
	st := estate.Store{Engine: Engine, Primary: "pangyo", Any: 1, Members: map[estate.MemberID]estate.Member{}}
	for i, n := range []string{"pangyo", "ansan", "anyang"} {
		m := &fakeMember{name: n, w: w, lsn: LSN(0x3000000 + 0x100*i), tl: 1}
		m.mem = memory{Role: asFollower, Upstream: &agent.Upstream{Member: "pangyo", Credential: 1, Reign: 1}}
		if n == "pangyo" {
			m.mem, m.primary = memory{Role: asPrimary, Reign: 1, List: []string{"ansan", "anyang"}, Any: 1}, true
		}
		srv, err := agent.NewServer(filepath.Join(t.TempDir(), "state.json"), "", map[string]agent.Unit{"talk-db": m}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		m.srv = srv
		w.members[n] = m
		host := estate.HostID("db-" + n)
		st.Members[estate.MemberID(n)] = estate.Member{Site: estate.SiteID(n), Host: host, Address: "10.0.0.1:5432", Unit: "talk-db"}
		w.estate.Hosts[host] = estate.Host{Agent: n}
	}
	w.estate.Stores["talk-db"] = st
	w.store = situation.Store{Epoch: 1, Primary: "pangyo", Sync: []estate.MemberID{"ansan", "anyang"}, Any: 1, LeastAny: 1, Next: 2, Timeline: 1}
	return w
}

func (w *fakeWorld) driver() *Driver {
	return New(func(_ estate.HostID, address string) (agent.Caller, error) { return w.members[address], nil })
}

// task is a step of a run under epoch 2.
func (w *fakeWorld) task(v plan.Verb, f run.Facts, members ...string) driver.Task {
	return driver.Task{Run: "r-1", Step: plan.Step{ID: 1, Verb: v, Component: "talk-db", Members: members}, Term: 3, Epoch: 2,
		Facts: f, Estate: w.estate, Store: w.store}
}

// Call is the wire, without a wire.
func (m *fakeMember) Call(ctx context.Context, o agent.Order) (agent.Answer, error) {
	m.mu.Lock()
	down, hang := m.down, m.hang
	m.heard = append(m.heard, o)
	m.mu.Unlock()
	switch {
	case down, ctx.Err() != nil:
		return agent.Answer{}, agent.ErrUnreached
	case hang:
		<-ctx.Done()
		return agent.Answer{}, ctx.Err()
	}
	a := m.srv.Carry(ctx, o)
	if a.Code != "" {
		return a, &agent.Refused{Host: m.name, Order: o, Answer: a}
	}
	return a, nil
}

func (m *fakeMember) Look(_ context.Context, o agent.Order, _ *agent.Memory) (map[string]string, error) {
	if o.Verb == agent.Digest && o.Salvage == nil {
		return m.told(o)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if o.Verb == agent.Digest {
		return map[string]string{"stand": map[bool]string{true: "2", false: "0"}[m.applied], "of": "2"}, nil
	}
	return m.facts(), nil
}

// Fetch and Deposit make it a porter.
func (m *fakeMember) Fetch(_ context.Context, f agent.File, w io.Writer) error {
	m.mu.Lock()
	text, ok := m.files[f.Name]
	ok = ok && !m.down
	m.mu.Unlock()
	if !ok {
		return fmt.Errorf("%s: no %s here", m.name, f.Name)
	}
	_, err := io.WriteString(w, text)
	return err
}

func (m *fakeMember) Deposit(_ context.Context, _ uint64, f agent.File, r io.ReadCloser) error {
	defer r.Close()
	raw, err := io.ReadAll(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err != nil:
		return err
	case m.down:
		return agent.ErrUnreached
	case m.files[f.Name] == string(raw):
		return nil
	}
	m.acts++
	m.files = map[string]string{f.Name: string(raw)}
	return nil
}

func (m *fakeMember) facts() map[string]string {
	if m.dead {
		f := map[string]string{"running": "false", "answers": "false"}
		m.mem.facts(f)
		return f
	}
	f := map[string]string{"running": yes(!m.mem.Fenced), "answers": yes(!m.mem.Fenced), "in_recovery": yes(!m.primary), "lsn": m.lsn.String(), "replayed": m.lsn.String(),
		"timeline": number(m.tl), "final": "true", "replayed_all": "true", "credential": "1"}
	if m.received != 0 {
		f["received"] = m.received.String()
	}
	f["sync_names"], _ = m.mem.names()
	if m.mem.Alone != nil {
		f["mandate_ms"] = "5000"
	}
	if m.primary {
		f["credential"] = number(m.mem.Reign)
		f["history"] = map[bool]string{true: "1", false: "1@0/3000100 2"}[m.tl == 1]
		for _, n := range m.mem.List {
			if m.w.members[n].mem.Fenced || m.w.members[n].dead {
				continue // it does not run
			}
			f["client/"+n] = "streaming quorum flush_lsn=" + cmp.Or(m.w.members[n].flushed, m.lsn).String()
			if m.mem.Alone != nil {
				f["client/"+n] = "streaming async flush_lsn=" + m.lsn.String()
			}
		}
	}
	if m.primary {
		for n, other := range m.w.members { // those that receive and are not listed
			if up := other.mem.Upstream; up != nil && up.Member == m.name && f["client/"+n] == "" && !other.mem.Fenced && !other.dead {
				f["client/"+n] = "streaming async flush_lsn=" + m.lsn.String()
				if m.stale--; m.stale >= 0 {
					f["client/"+n] = "streaming quorum flush_lsn=" + m.lsn.String()
					m.lsn += 0x100
				}
			}
		}
	}
	if m.mem.Upstream != nil && !m.primary && !m.mem.Fenced && !m.mem.Sealed {
		f["receiver"] = "streaming"
	}
	m.mem.facts(f)
	if m.broken {
		f["broken"] = "copy"
	}
	if len(m.rejoins) > 0 {
		f["rejoin/phase"] = "copying" // for as long as nobody asks by the order itself
	}
	return f
}

func (m *fakeMember) Do(_ context.Context, o agent.Order, _ *agent.Memory) (map[string]string, error) {
	if o.Verb == agent.Check {
		return m.told(o)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.mem
	switch o.Verb {
	case agent.Seal:
		if m.mem.Role == asPrimary && m.mem.Halted == nil {
			return nil, agent.Refuse(agent.Unsafe, "primary")
		}
		m.mem.Role = asFollower
		m.mem.Before, m.mem.Sealed, m.mem.SealedEpoch, m.mem.Proven = goBackTo(m.mem, o.Reign), true, o.Epoch, true
	case agent.Unseal:
		if m.mem.Role == asPrimary {
			return nil, agent.Refuse(agent.Unsafe, "promotion has begun")
		}
		m.mem.Upstream, m.mem.Before, m.mem.Sealed = goBackTo(m.mem, o.Reign), nil, false
	case agent.Follow:
		m.mem.Upstream, m.mem.Sealed = o.Upstream, false
	case agent.Promote:
		if o.Alone {
			u := &Unit{set: Settings{Member: m.name}, nft: func(context.Context, string) (string, error) { return "", nil }}
			if err := u.mayBeAlone(o, m.mem); err != nil {
				return nil, err
			}
			m.mem.Alone = &alone{Epoch: o.Epoch}
			break
		}
		u := &Unit{set: Settings{Member: m.name}}
		if err := u.mayBePromoted(o, m.mem); err != nil && (m.dead || !m.primary) {
			return nil, err
		}
		m.dies--
		m.dead = m.dies >= 0
		if !m.primary {
			m.tl++
			m.mem.Reign = o.Epoch
		}
		m.mem.Halted = nil
		m.primary, m.mem.Role, m.mem.Sealed, m.mem.List, m.mem.Any = true, asPrimary, false, o.Sync, o.Any
		m.mem.Alone = nil
	case agent.Fence:
		m.mem.Fenced = true
	case agent.Rejoin:
		if m.unsafe != "" {
			return nil, agent.Refuse(agent.Unsafe, "%s", m.unsafe)
		}
		if o.Counted && m.refuses != "" {
			return map[string]string{"rejoin/method": byCopy}, agent.Refuse(agent.Unsafe, "%s", m.refuses)
		}
		if len(m.rejoins) > 0 {
			f := m.rejoins[0]
			m.rejoins = m.rejoins[1:]
			return f, nil
		}
		if o.Anew {
			m.mem.Anew = o.Run
		}
		m.mem.Role, m.mem.Reign, m.mem.Upstream, m.mem.Fenced, m.dead, m.primary = asFollower, 0, o.Upstream, false, false, false
		if !gocmp.Equal(before, m.mem) {
			m.acts++
		}
		f := m.facts()
		f["rejoined"], f["rejoin/method"], f["rejoin/reason"] = "true", byRewind, "its log goes on beyond the fork"
		return f, nil
	case agent.Salvage:
		return m.salvage(o)
	case agent.Apply:
		if m.files[salvageFile(o.Salvage.ID)] == "" {
			return nil, agent.Refuse(agent.BadOrder, "it does not lie here")
		}
		if !m.applied {
			m.applied = true
			m.acts++
		}
		return map[string]string{"written": "2", "stand": "2"}, nil
	default:
		return nil, fmt.Errorf("the fake does not %s", o.Verb)
	}
	if !gocmp.Equal(before, m.mem) {
		m.acts++
	}
	return m.facts(), nil
}

// salvage finds what it holds, the first time only that it takes a while.
func (m *fakeMember) salvage(o agent.Order) (map[string]string, error) {
	f := m.facts()
	switch s := m.mem.Read.Salvage; {
	case !m.mem.Fenced:
		m.mem.Fenced = true
		m.acts++
		f[factReading] = readingNow
		return f, nil
	case s == nil:
		found := m.holds[0]
		found.ID, found.Member, found.Store = o.Salvage.ID, estate.MemberID(m.name), "talk-db"
		m.mem.Read.Salvage, m.mem.Read.Kept = &found, found.Rows == 0 && found.Method != situation.Unreadable
		m.files = map[string]string{salvageFile(found.ID): "rows"}
		m.acts++
	case o.Salvage.Accepted != "" && s.Accepted == "" && s.Method == situation.Unreadable:
		s.Accepted, m.mem.Read.Kept = o.Salvage.Accepted, true
		m.acts++
	case len(o.Salvage.Holders) > 1 && !m.mem.Read.Kept:
		for _, h := range o.Salvage.Holders {
			s.Holders = append(s.Holders, estate.MemberID(h))
		}
		m.mem.Read.Kept = true
		m.acts++
	}
	f = m.facts()
	f[factReading] = readingDone
	if m.mem.Read.Salvage.Method == situation.Unreadable && m.mem.Read.Salvage.Accepted == "" {
		f[factReading] = readingAsks
	}
	return f, nil
}

func (w *fakeWorld) acts() int {
	n := 0
	for _, m := range w.members {
		m.mu.Lock()
		n += m.acts
		m.mu.Unlock()
	}
	return n
}
