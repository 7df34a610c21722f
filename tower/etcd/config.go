// Package etcd is the member of the towers' state cluster that lives inside a
// tower: its life cycle, its health, and a client that reaches it without a socket. It
// knows nothing of what is kept in it; tower/state does.
package etcd

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/haechi/haechi/pki"
)

// Config says how one member runs. Names of members are names of towers.
type Config struct {
	Name    string
	DataDir string
	// PeerListen and the values of InitialCluster are host:port. InitialCluster holds
	// every tower that may ever be a member, this one too.
	PeerListen     string
	InitialCluster map[string]string
	// Voters are those of them that vote from a first start on; nil: all. See [Prepare].
	Voters []string
	// ClientListen is host:port of a listener for etcdctl, behind mutual TLS. Empty
	// means none; haechi itself needs none.
	ClientListen string
	// Heartbeat is how often a leader shows that it lives, Election how long its
	// silence is borne. See [Fast] and [Default].
	Heartbeat, Election time.Duration
	// TLS is this tower's identity. Without it every address must be loopback.
	TLS pki.Files
	Log *slog.Logger
}

// Times of a profile.
type Times struct{ Heartbeat, Election time.Duration }

// The times of the two profiles. Election is well below the silence after which a
// site counts as lost (0.5 s and 2 s), so that a leader stands when it does.
var (
	Fast    = Times{70 * time.Millisecond, 350 * time.Millisecond}
	Default = Times{100 * time.Millisecond, 1000 * time.Millisecond}
)

// What keeps a member small. A journal entry is about 1 KB and a transaction
// writes three keys, so the quota holds several hundred thousand entries.
const (
	quotaBytes      = 512 << 20
	maxRequestBytes = 8 << 20 // a run over hundreds of stores, which is written at once, is the largest thing
	// What begins together is written together: a run over hundreds of stores, or a new line of the records. etcd's own
	// 128 operations would bear about 40 stores; the bytes above are what bounds it here.
	maxOperations   = 8192
	walSegmentBytes = 16 << 20 // two are kept allocated; etcd's own 64 MB would be 128 MB of disk at rest
	snapshotEvery   = 2000     // transactions held in memory for followers that are behind
	catchUp         = 500
	keepRevisions   = "2000" // of each key's past, for watchers that lag
)

// Validate returns everything that is wrong with c at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{field}, args...)...))
	}
	if c.Name == "" {
		bad("name", "is required")
	}
	if c.DataDir == "" {
		bad("data_dir", "is required")
	}
	if _, ok := c.InitialCluster[c.Name]; !ok && c.Name != "" {
		bad("initial_cluster", "does not hold this tower, %q; it holds %s", c.Name, strings.Join(c.names(), ", "))
	}
	if c.Heartbeat < time.Millisecond {
		bad("heartbeat", "%v is shorter than 1 ms", c.Heartbeat)
	}
	if c.Election < 5*c.Heartbeat {
		bad("election", "%v is shorter than five heartbeats (%v), so one lost packet would depose a leader", c.Election, 5*c.Heartbeat)
	}
	for field, addr := range c.addresses() {
		if host, _, err := net.SplitHostPort(addr); err != nil {
			bad(field, "%q is not host:port", addr)
		} else if !c.secure() && !loopback(host) {
			bad(field, "%s is not loopback, and there are no certificates (haechi pki issue makes them)", addr)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("etcd member: %w", err)
	}
	return nil
}

func (c Config) secure() bool { return c.TLS != pki.Files{} }

func (c Config) names() []string { return slices.Sorted(maps.Keys(c.InitialCluster)) }

// addresses returns every address of c by the field that holds it.
func (c Config) addresses() map[string]string {
	out := map[string]string{"peer_listen": c.PeerListen}
	for name, addr := range c.InitialCluster {
		out["initial_cluster."+name] = addr
	}
	if c.ClientListen != "" {
		out["client_listen"] = c.ClientListen
	}
	return out
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && a.IsLoopback())
}

// embedded translates c into etcd's own words.
func (c Config) embedded() *embed.Config {
	e := embed.NewConfig()
	e.Name, e.Dir = c.Name, c.DataDir
	e.InitialClusterToken = "haechi"
	e.ListenPeerUrls = []url.URL{c.url(c.PeerListen)}
	e.AdvertisePeerUrls = []url.URL{c.url(c.InitialCluster[c.Name])}
	e.InitialCluster = c.urls(c.first())
	// Who may become a member, and when one may leave, core/seats says. etcd's own check refuses even a
	// learner while one of three is away, which is when one is needed.
	e.StrictReconfigCheck = false
	e.ListenClientUrls, e.AdvertiseClientUrls = nil, nil
	if c.ClientListen != "" {
		e.ListenClientUrls = []url.URL{c.url(c.ClientListen)}
		e.AdvertiseClientUrls = e.ListenClientUrls
	}
	if c.secure() {
		e.PeerTLSInfo, e.ClientTLSInfo = c.tlsInfo(), c.tlsInfo()
		e.TlsMinVersion = "TLS1.3"
	}
	e.TickMs = uint(c.Heartbeat.Milliseconds())
	e.ElectionMs = uint(c.Election.Milliseconds())
	e.PreVote = true
	e.SnapshotCount, e.SnapshotCatchUpEntries = snapshotEvery, catchUp
	e.QuotaBackendBytes = quotaBytes
	e.MaxRequestBytes, e.MaxTxnOps = maxRequestBytes, maxOperations
	e.AutoCompactionMode, e.AutoCompactionRetention = embed.CompactorModeRevision, keepRevisions
	e.EnableGRPCGateway = false
	e.EnablePprof = false
	return e
}

func (c Config) url(addr string) url.URL {
	if c.secure() {
		return url.URL{Scheme: "https", Host: addr}
	}
	return url.URL{Scheme: "http", Host: addr}
}

// first are the members of a first start, by name.
func (c Config) first() map[string]string {
	if c.Voters == nil {
		return c.InitialCluster
	}
	out := map[string]string{}
	for _, name := range c.Voters {
		out[name] = c.InitialCluster[name]
	}
	return out
}

// urls writes members as etcd wants them.
func (c Config) urls(members map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		u := c.url(members[name])
		out = append(out, name+"="+u.String())
	}
	return strings.Join(out, ",")
}

// tlsInfo lets only the towers of this cluster in, by the common name of their
// certificates: an agent's certificate of the same CA is refused. etcd reads certificate and key
// anew with each connection, the CA at the start only. It checks addresses of those that it
// dials, so towers' certificates carry their IPs; whoever dials is known by name, since
// its address may be translated on the way.
func (c Config) tlsInfo() transport.TLSInfo {
	var allowed []string
	for _, name := range c.names() {
		allowed = append(allowed, pki.Identity{Kind: pki.Tower, Name: name}.CommonName())
	}
	return transport.TLSInfo{
		CertFile: c.TLS.Cert, KeyFile: c.TLS.Key, TrustedCAFile: c.TLS.CA,
		ClientCertAuth: true, AllowedCNs: allowed, SkipClientSANVerify: true,
	}
}
