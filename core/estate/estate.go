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
	Name      string                  `json:"estate,omitempty"`
	Sites     map[SiteID]Site         `json:"sites,omitempty"`
	Observers map[ObserverID]Observer `json:"observers,omitempty"`
	Domains   map[string]Domain       `json:"domains,omitempty"`
	Links     map[string]Link         `json:"links,omitempty"`
	Pools     map[string]Pool         `json:"pools,omitempty"`
	Hosts     map[HostID]Host         `json:"hosts,omitempty"`
	Stores    map[StoreID]Store       `json:"stores,omitempty"`
	Services  map[ServiceID]Service   `json:"services,omitempty"`
	Names     map[NameID]Name         `json:"names,omitempty"`
	Channels  map[string]Channel      `json:"channels,omitempty"`
	Teams     map[string]Team         `json:"teams,omitempty"`
	External  map[string]External     `json:"external,omitempty"`
	Towers    map[TowerID]Tower       `json:"towers,omitempty"`
	Scenarios map[string][]string     `json:"scenarios,omitempty"` // components that may be lost together, besides what is always tried
	Accepted  []Accepted              `json:"accepted,omitempty"`
	Policy    Policy                  `json:"policy,omitzero"`
}

// Accepted is a risk that somebody has taken on, for a time. It is shown, never hidden.
type Accepted struct {
	Rule      string    `json:"rule,omitempty"`
	Component string    `json:"component,omitempty"`
	Owner     string    `json:"owner,omitempty"`
	Until     time.Time `json:"until,omitzero"` // the first day on which it is over, at midnight UTC
	Why       string    `json:"why,omitempty"`
}

// Backup is a copy of a store that a bad delete does not reach.
type Backup struct {
	At      string        `json:"at,omitempty"`      // the site, external or other component that it lies in
	Offline bool          `json:"offline,omitempty"` // nothing that runs can write to it
	Every   time.Duration `json:"every,omitempty"`   // how old the newest may be by plan
	Last    time.Time     `json:"last,omitzero"`     // when the newest was made, where that is known
}

// Site is a data centre.
type Site struct {
	Title   string `json:"title,omitempty"`
	Witness bool   `json:"witness,omitempty"` // a vote without load
}

// Observer looks from where users are, outside all sites. It has no vote.
type Observer struct {
	Address string `json:"address,omitempty"`
}

// Domain is anything inside a site that fails as one: battery room, UPS, floor.
type Domain struct {
	Site     SiteID `json:"site,omitempty"`
	Kind     string `json:"kind,omitempty"`
	Requires []Need `json:"requires,omitempty"`
	Limit    string `json:"limit,omitempty"` // as written, for example 400kW
}

// Link joins two sites.
type Link struct {
	Between  [2]SiteID     `json:"between,omitempty"`
	Gbps     float64       `json:"gbps,omitempty"`
	Latency  time.Duration `json:"latency,omitempty"`
	Requires []Need        `json:"requires,omitempty"`
}

// Pool is a set of identical servers in one site.
type Pool struct {
	Site     SiteID        `json:"site,omitempty"`
	Servers  int           `json:"servers,omitempty"`
	Watts    float64       `json:"watts,omitempty"`
	Boot     time.Duration `json:"boot,omitempty"`
	Requires []Need        `json:"requires,omitempty"`
}

// Host is one machine that haechi acts on through its agent.
type Host struct {
	Site     SiteID `json:"site,omitempty"`
	Agent    string `json:"agent,omitempty"`   // host:port of the agent's listener; empty: described only
	Address  string `json:"address,omitempty"` // host:port of what runs there and is spoken to directly (a name server)
	Unit     string `json:"unit,omitempty"`    // the agent's name for it
	Requires []Need `json:"requires,omitempty"`
}

// Store is a replicated data store whose members live in several sites.
type Store struct {
	Engine   string              `json:"engine,omitempty"` // "postgres"
	Tier     int                 `json:"tier,omitempty"`
	Members  map[MemberID]Member `json:"members,omitempty"`
	Primary  MemberID            `json:"primary,omitempty"` // at first; afterwards the epoch says
	Any      int                 `json:"any,omitempty"`     // members besides the primary that hold a write before the client hears of it
	Alone    string              `json:"alone,omitempty"`   // "refuse" (default) | "allow"
	Reads    string              `json:"reads,omitempty"`   // "any" (default) | "fresh"
	Lag      time.Duration       `json:"lag,omitempty"`
	Gbps     float64             `json:"gbps,omitempty"`
	Requires []Need              `json:"requires,omitempty"`
	After    []Need              `json:"after,omitempty"`
	Backup   []Backup            `json:"backup,omitempty"`
	Settings map[string]any      `json:"settings,omitempty"` // the engine's own settings, checked by its driver
}

// Member is one copy of a store.
type Member struct {
	Site    SiteID `json:"site,omitempty"`
	Host    HostID `json:"host,omitempty"`
	Address string `json:"address,omitempty"` // host:port
	Unit    string `json:"unit,omitempty"`    // the agent's name for it
}

// Service is what users use, or what other services use.
type Service struct {
	Tier     int            `json:"tier,omitempty"` // 0 is saved first
	RTO      *time.Duration `json:"rto,omitempty"`  // nil: nothing is promised
	RPO      *time.Duration `json:"rpo,omitempty"`  // nil: nothing is promised
	Load     float64        `json:"load,omitempty"`
	AtLeast  float64        `json:"atleast,omitempty"` // share of load that is enough; 0 means 1
	Runs     map[string]int `json:"runs,omitempty"`
	Requires []Need         `json:"requires,omitempty"`
	Wants    []Need         `json:"wants,omitempty"`
	After    []Need         `json:"after,omitempty"`
	Team     string         `json:"team,omitempty"`
	Probes   []Probe        `json:"probes,omitempty"`
	Rate     string         `json:"rate,omitempty"` // Prometheus metric, read from the probe's address at /metrics, that counts acknowledged work
}

// Probe is one way to look at each instance of a service. {address} stands for
// an answer of the service's name.
type Probe struct {
	HTTP  string        `json:"http,omitempty"`
	Every time.Duration `json:"every,omitempty"` // 0: as the profile says
}

// Name is what users resolve: one answer for each site that may serve.
type Name struct {
	Service ServiceID           `json:"service,omitempty"`
	Zone    string              `json:"zone,omitempty"` // absolute, with the final dot
	TTL     time.Duration       `json:"ttl,omitempty"`
	Servers []HostID            `json:"servers,omitempty"` // authoritative servers, each told by itself
	Answers map[SiteID][]string `json:"answers,omitempty"` // addresses, "ip" or "ip:port" (the port is for probes only)
	Key     TSIG                `json:"key,omitzero"`
}

// TSIG names the key with which name servers accept changes (RFC 8945).
type TSIG struct {
	Name   string `json:"name,omitempty"`  // absolute, with the final dot
	Secret Secret `json:"secret,omitzero"` // base64, hmac-sha256
}

// Secret says where a secret stands. The estate never holds one.
type Secret struct {
	File    string   `json:"file,omitempty"`
	Command []string `json:"command,omitempty"`
}

// Channel is a way to reach people.
type Channel struct {
	Kind     string `json:"kind,omitempty"`
	Requires []Need `json:"requires,omitempty"`
}

// Team answers pages.
type Team struct {
	Channels []string `json:"channels,omitempty"`
}

// External is a thing outside all sites.
type External struct{}

// Tower is one of haechi's own; a component like any other. Which of them vote core/seats says.
type Tower struct {
	Site    SiteID `json:"site,omitempty"`
	Address string `json:"address,omitempty"` // host:port of its peer listener
}

// Policy says what may happen by itself.
type Policy struct {
	Profile        string          `json:"profile,omitempty"` // "default" | "fast": how long silence lasts before it counts
	SiteLoss       Consent         `json:"site-loss,omitempty"`
	SiteLossByTier map[int]Consent `json:"site-loss-by-tier,omitempty"`
	SiteReturn     Consent         `json:"site-return,omitempty"` // empty: auto
	AcceptDataLoss Consent         `json:"accept-data-loss,omitempty"`
	Answer         time.Duration   `json:"answer,omitempty"` // in which people answer, in 95 of 100 cases; 0: as simulate.Defaults says
	DrillEvery     time.Duration   `json:"drill-every,omitempty"`
	BackupEvery    time.Duration   `json:"backup-every,omitempty"`
	ReseatAfter    time.Duration   `json:"reseat-after,omitempty"` // how long a tower is gone before its vote is given to another; 0: as core/response says
	Shed           []int           `json:"shed,omitempty"`
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
	Name    string `json:"name,omitempty"`
	AtLeast int    `json:"atleast,omitempty"` // with Of
	Of      []Need `json:"of,omitempty"`      // nil for a plain name; "any" is AtLeast 1
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
