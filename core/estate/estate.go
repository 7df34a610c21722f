// Package estate holds what there is: sites, hosts, stores, services, names
// and policy, as one checked value. It reads no file and asks no clock.
package estate

import (
	"encoding/json"
	"fmt"
	"time"
)

// Identifiers, as the estate file spells them. Names are unique over the estate.
type (
	SiteID     string
	ObserverID string
	HostID     string
	StoreID    string
	MemberID   string // unique within its store
	ServiceID  string
	NameID     string // a DNS name, absolute, with the final dot
	TowerID    string
)

// Estate is everything described. A value that came out of [Load] satisfies:
//
//  1. every name that is mentioned is declared, and declared once;
//  2. every store has a primary among its members, and 0 <= any <= members besides it;
//  3. there is no ring of domains.
//
// Everything downstream relies on these; nothing else checks them again.
type Estate struct {
	Name      string
	Sites     map[SiteID]Site
	Observers map[ObserverID]Observer
	Domains   map[string]Domain
	Links     map[string]Link
	Pools     map[string]Pool
	Hosts     map[HostID]Host
	Stores    map[StoreID]Store
	Services  map[ServiceID]Service
	Names     map[NameID]Name
	Channels  map[string]Channel
	Teams     map[string]Team
	External  map[string]External
	Towers    map[TowerID]Tower
	Policy    Policy
}

// Site is a data centre.
type Site struct {
	Title   string
	Witness bool // a vote without load
}

// Observer looks from where users are, outside all sites. It has no vote.
type Observer struct {
	Address string
}

// Domain is anything inside a site that fails as one: battery room, UPS, floor.
type Domain struct {
	Site     SiteID
	Kind     string
	Requires []Need
	Limit    string // as written, for example 400kW
}

// Link joins two sites.
type Link struct {
	Between  [2]SiteID
	Gbps     float64
	Latency  time.Duration
	Requires []Need
}

// Pool is a set of identical servers in one site.
type Pool struct {
	Site     SiteID
	Servers  int
	Watts    float64
	Boot     time.Duration
	Requires []Need
}

// Host is one machine that haechi acts on through its agent.
type Host struct {
	Site     SiteID
	Agent    string // host:port of the agent's listener; empty: described only
	Address  string // host:port of what runs there and is spoken to directly (a name server)
	Unit     string // the agent's name for it
	Requires []Need
}

// Store is a replicated data store whose members live in several sites.
type Store struct {
	Engine   string // "postgres"
	Tier     int
	Members  map[MemberID]Member
	Primary  MemberID // at first; afterwards the epoch says
	Any      int      // members besides the primary that hold a write before the client hears of it
	Alone    string   // "refuse" (default) | "allow"
	Reads    string   // "any" (default) | "fresh"
	Lag      time.Duration
	Gbps     float64
	Requires []Need
	After    []Need
	Settings map[string]any // the engine's own settings, checked by its driver
}

// Member is one copy of a store.
type Member struct {
	Site    SiteID
	Host    HostID
	Address string // host:port
	Unit    string // the agent's name for it
}

// Service is what users use, or what other services use.
type Service struct {
	Tier     int // 0 is saved first
	RTO, RPO time.Duration
	Load     float64
	AtLeast  float64 // share of load that is enough; 0 means 1
	Runs     map[string]int
	Requires []Need
	Wants    []Need
	After    []Need
	Team     string
	Probes   []Probe
	Rate     string // Prometheus metric, read from the probe's address at /metrics, that counts acknowledged work
}

// Probe is one way to look at each instance of a service. {address} stands for
// an answer of the service's name.
type Probe struct {
	HTTP string
}

// Name is what users resolve: one answer for each site that may serve.
type Name struct {
	Service ServiceID
	Zone    string // absolute, with the final dot
	TTL     time.Duration
	Servers []HostID            // authoritative servers, each told by itself
	Answers map[SiteID][]string // addresses, "ip" or "ip:port" (the port is for probes only)
	Key     TSIG
}

// TSIG names the key with which name servers accept changes (RFC 8945).
type TSIG struct {
	Name   string // absolute, with the final dot
	Secret Secret // base64, hmac-sha256
}

// Secret says where a secret stands. The estate never holds one.
type Secret struct {
	File    string
	Command []string
}

// Channel is a way to reach people.
type Channel struct {
	Kind     string
	Requires []Need
}

// Team answers pages.
type Team struct{ Channels []string }

// External is a thing outside all sites.
type External struct{}

// Tower is one of haechi's own voters; a component like any other.
type Tower struct {
	Site    SiteID
	Address string // host:port of its peer listener
}

// Policy says what may happen by itself.
type Policy struct {
	Profile        string // "default" | "fast": how long silence lasts before it counts
	SiteLoss       Consent
	SiteLossByTier map[int]Consent
	AcceptDataLoss Consent
	DrillEvery     time.Duration
	Shed           []int
}

// Consent is who has to agree before an act.
type Consent string

// The kinds of consent. When policy is silent, SiteLoss is Auto and
// AcceptDataLoss is TwoPeople.
const (
	Auto      Consent = "auto"
	OnePerson Consent = "one-person"
	TwoPeople Consent = "two-people"
)

// Need is one requirement: a name, or a count out of several needs. A name may
// carry "@same-site".
type Need struct {
	Name    string
	AtLeast int    // with Of
	Of      []Need // nil for a plain name; "any" is AtLeast 1
}

// Duration is a time.Duration that JSON shows as text ("2s").
type Duration time.Duration

// String returns the duration as Go writes it.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the duration as text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the text that MarshalJSON writes.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("duration: %w", err)
	}
	v, err := time.ParseDuration(s)
	*d = Duration(v)
	return err
}
