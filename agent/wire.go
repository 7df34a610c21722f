// Package agent acts on a host: a closed list of verbs on declared units, one
// at a time, with the least rights. It knows no shell and takes no path from the wire.
package agent

import "time"

// Verb is what an agent can be asked. The list is closed.
type Verb string

// The verbs.
const (
	Status   Verb = "status"   // looks, changes nothing; needs no term
	Position Verb = "position" // looks, changes nothing; what the member holds
	Seal     Verb = "seal"
	Unseal   Verb = "unseal"
	Follow   Verb = "follow"
	Promote  Verb = "promote"
	Start    Verb = "start"
	Stop     Verb = "stop"
	Fence    Verb = "fence"
)

// Order is one request to an agent: POST /v1/order over mTLS, JSON.
type Order struct {
	Version int    `json:"version"` // 1
	Verb    Verb   `json:"verb"`
	Unit    string `json:"unit"`
	Term    uint64 `json:"term"`
	Epoch   uint64 `json:"epoch"`
	Run     string `json:"run,omitempty"`
	Step    int    `json:"step,omitempty"`

	// Follow: whom. Promote: nobody.
	Upstream *Upstream `json:"upstream,omitempty"`
	// Promote: the members that may acknowledge, and how many of them must.
	Sync []string `json:"sync,omitempty"`
	Any  int      `json:"any,omitempty"`
	// Alone with Promote: an empty list is meant; with a mandate that ends by itself.
	Alone   bool          `json:"alone,omitempty"`
	Mandate time.Duration `json:"mandate,omitempty"`
	// Self is the member's own name, which it shows to its upstream.
	Self string `json:"self,omitempty"`
	// Clean with Stop: checkpoint first, then let followers have everything.
	Clean bool `json:"clean,omitempty"`
}

// Upstream is whom a follower receives from.
type Upstream struct {
	Member string `json:"member"`
	Host   string `json:"host"`
	Port   string `json:"port"`
}

// Answer is what an agent says. Code is empty when the order was carried out.
type Answer struct {
	Version int               `json:"version"`
	Code    string            `json:"code,omitempty"` // "old-term", "old-epoch", "unknown-verb", "unknown-unit", "busy", "held", "failed", "unsafe"
	Error   string            `json:"error,omitempty"`
	Term    uint64            `json:"term"`  // highest seen, kept on disk
	Epoch   uint64            `json:"epoch"` // of the unit, kept on disk
	Facts   map[string]string `json:"facts,omitempty"`
}
