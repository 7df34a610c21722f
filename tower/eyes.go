package tower

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver/dns"
	"github.com/haechi/haechi/driver/postgres"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/probe"
)

// peerSilence is how long a view may take to be acknowledged by another tower.
const peerSilence = time.Second

// eyes is this tower's own prober, made anew when the profile changes.
type eyes struct {
	files    pki.Files
	observer string
	site     estate.SiteID
	boot     string
	out      func(situation.View)
	log      *slog.Logger
	extra    func() map[situation.Kind]probe.Looker // beside gateways and name servers
	zone     func(host string) string

	targets atomic.Pointer[[]situation.Target]
	ends    atomic.Pointer[time.Time] // of the own certificate; nil: not known

	mu   sync.Mutex // guards what follows
	name string     // of the profile that is in use
	stop context.CancelFunc
	done chan struct{}
}

func boot() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// look takes targets and a profile into use.
func (e *eyes) look(p situation.Profile, targets []situation.Target) error {
	e.targets.Store(&targets)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.name == p.Name {
		return nil
	}
	e.closeLocked()
	lookers := map[situation.Kind]probe.Looker{situation.KindGateway: probe.Gateway(), situation.KindDNS: probe.DNS(e.zone)}
	if e.extra != nil {
		for kind, l := range e.extra() {
			lookers[kind] = l
		}
	}
	prober, err := probe.New(probe.Config{Observer: e.observer, Site: e.site, Boot: e.boot, Profile: p, Lookers: lookers, Out: e.tell, Log: e.log,
		Targets: func() []situation.Target { return *e.targets.Load() }})
	if err != nil {
		return err
	}
	// A prober numbers its views from one, so each one is a boot of its own.
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var kept sync.WaitGroup
		kept.Go(func() { e.readEnd(ctx) })
		_ = prober.Run(ctx)
		kept.Wait()
	}()
	e.name, e.stop, e.done, e.boot = p.Name, stop, done, boot()
	return nil
}

// tell hands a view on, with the end of the certificate that it is sent with.
func (e *eyes) tell(v situation.View) {
	if end := e.ends.Load(); end != nil {
		v.Ends = *end
	}
	e.out(v)
}

// endEvery is how often the own certificate is read. It is not read for each view: a disk that
// hangs must not make an observer late.
const endEvery = time.Minute

func (e *eyes) readEnd(ctx context.Context) {
	for ctx.Err() == nil {
		if end, err := pki.Expiry(e.files); err == nil {
			e.ends.Store(&end)
		}
		pause(ctx, endEvery)
	}
}

func (e *eyes) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closeLocked()
	return nil
}

func (e *eyes) closeLocked() {
	if e.stop != nil {
		e.stop()
		<-e.done
		e.stop = nil
	}
}

func (n *Node) startEyes() (func() error, error) {
	n.eyes = &eyes{files: n.cfg.TLS.pki(), observer: n.cfg.Name, site: n.cfg.Site, boot: boot(), log: n.log, extra: n.lookers, zone: n.zoneOf,
		out: func(v situation.View) {
			v = n.tellLine(v)
			n.hear(v)
			n.sender.Send(v)
		}}
	n.spawn(n.ctx, func(ctx context.Context) { n.rate.read(ctx, n.now) })
	return n.eyes.close, nil
}

// look points the tower's eyes at what the estate says.
func (n *Node) look(e estate.Estate, p situation.Profile, targets []situation.Target) {
	n.seen.Store(&e)
	n.logins.Store(logins(e))
	n.rate.set(counters(e, targets))
	if err := n.eyes.look(p, targets); err != nil {
		n.log.Error("look", "error", err)
	}
}

// lookers are those that need this tower's own certificate or the estate's accounts.
func (n *Node) lookers() map[situation.Kind]probe.Looker {
	return map[situation.Kind]probe.Looker{
		situation.KindTower: n.towerLooker(probe.Tower(func(tower string) (*tls.Config, error) {
			return pki.ClientTLS(n.cfg.TLS.pki(), pki.Named(pki.Tower, tower))
		})),
		situation.KindDatabase: probe.Database(func(component string) string { return (*n.logins.Load())[component] }),
		situation.KindAgent: probe.Agent(probe.AgentConfig{
			Dial: func(host, address string) (agent.Caller, error) {
				return agent.NewLooker(host, address, n.cfg.TLS.pki())
			},
			Units: func(host string) []string {
				return situation.Units(n.beliefs().estate, estate.HostID(host))
			},
		}),
	}
}

// towerLooker asks the other towers. That we live we know.
func (n *Node) towerLooker(direct probe.Looker) probe.Looker {
	direct = seldom(direct, n.tookView)
	return probe.LookFunc(func(ctx context.Context, t situation.Target) (map[string]string, error) {
		if t.Component == n.cfg.Name {
			return nil, nil
		}
		return direct.Look(ctx, t)
	})
}

// tookView is when a tower last acknowledged a view of ours, if it still does.
func (n *Node) tookView(t situation.Target) (time.Time, bool) {
	c, p := n.sender.Contacts()[t.Component], n.beliefs().profile
	return c.Answered, c.Error == "" && n.now().Sub(c.Answered) < p.Rest+p.Every && n.cfg.Cluster[t.Component].Peer == t.Address
}

// askAnyway is how often a tower that takes our views is asked what it says of itself.
const askAnyway = time.Second

var errNotAsked = errors.New("it takes our views, and was not asked")

// seldom looks directly once in askAnyway while a target has answered us in another way, and always else.
// To answer costs both of them as much as to look, many times a second.
func seldom(direct probe.Looker, answered func(situation.Target) (time.Time, bool)) probe.Looker {
	var mu sync.Mutex
	asked := map[string]time.Time{} // by target: when what it said was asked for
	return probe.LookFunc(func(ctx context.Context, t situation.Target) (map[string]string, error) {
		began := time.Now()
		mu.Lock()
		fresh := began.Sub(asked[t.ID]) < askAnyway
		mu.Unlock()
		if at, ok := answered(t); ok && fresh {
			return nil, &probe.Partly{At: at, Err: errNotAsked}
		}
		facts, err := direct.Look(ctx, t)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			asked[t.ID] = began
		}
		return facts, err
	})
}

// zoneOf is the zone that a name server is asked for. It comes from the estate that the eyes
// were pointed by, which the beliefs may not show yet: a server that is asked for a zone
// which it does not serve refuses, and would be taken for one that is locked.
func (n *Node) zoneOf(host string) string {
	e := n.seen.Load()
	for _, id := range e.NamesOf(estate.HostID(host)) {
		return e.Names[id].Zone
	}
	return "."
}

// logins are the connection strings of each store's members, without host and port.
func logins(e estate.Estate) *map[string]string {
	out := map[string]string{}
	for id, s := range e.Stores {
		m, errs := postgres.MonitorOf(s.Settings)
		if len(errs) > 0 || m.User == "" {
			continue
		}
		password, err := dns.ReadSecret(context.Background(), m.Password)
		if err != nil {
			continue // the member is still knocked at
		}
		for member := range s.Members {
			out[fmt.Sprintf("%s/%s", id, member)] = fmt.Sprintf("user=%s dbname=%s password=%s sslmode=prefer",
				quote(m.User), quote(m.Database), quote(strings.TrimSpace(string(password))))
		}
	}
	return &out
}

// quote writes a value as libpq's connection strings want it.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
