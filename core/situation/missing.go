package situation

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// FarBehind is how many bytes a follower may be behind before it counts as one copy less: some
// seconds of a busy store, so that a burst of writes is nobody's business.
const FarBehind = 64 << 20

// Standing is everything that says how redundant an estate is now.
type Standing struct {
	Estate    estate.Estate
	Now       Situation
	Stores    map[estate.StoreID]Store
	Withdrawn map[estate.NameID][]estate.SiteID
	Returning map[estate.NameID][]estate.SiteID
	Intents   map[estate.SiteID]Intent
	Votes     map[estate.TowerID]bool // who votes; nil: not known
}

// LackKind is what kind of thing is missing.
type LackKind string

// What may be missing.
const (
	LackSite      LackKind = "site"      // it is not up
	LackPrimary   LackKind = "primary"   // a store has none that is seen to be it
	LackRule      LackKind = "rule"      // fewer hold a write than declared
	LackMember    LackKind = "member"    // it is not counted
	LackStreaming LackKind = "streaming" // it is counted, and does not receive, or is far behind
	LackVerified  LackKind = "verified"  // nobody knows whether all members hold the same, or they do not
	LackAgent     LackKind = "agent"     // nothing could be ordered there
	LackAnswers   LackKind = "answers"   // users are not sent there
	LackServer    LackKind = "server"    // a name server is silent, or old
	LackVoter     LackKind = "voter"     // a tower is gone, or has no vote
)

// Lack is one thing that is missing until the estate is as redundant as declared.
type Lack struct {
	Kind      LackKind      `json:"kind"`
	Component string        `json:"component"`      // store, name, host, tower or site
	Site      estate.SiteID `json:"site,omitempty"` // where it is missing; empty: in no one site
	Text      string        `json:"text"`
}

// Missing lists what is missing until the estate is as redundant as declared: sites, then stores,
// names and towers, each by name. What people emptied is missing on purpose, and not listed.
func Missing(s Standing) (out []Lack) {
	for _, id := range s.Estate.SiteIDs() {
		if v := s.Now.Sites[id]; v.State != Up {
			out = append(out, Lack{LackSite, string(id), id, fmt.Sprintf("%s is %s", id, state(v))})
		}
	}
	for _, id := range s.Estate.StoreIDs() {
		out = append(out, s.store(id)...)
	}
	for _, id := range s.Estate.NameIDs() {
		out = append(out, s.name(id)...)
	}
	out = append(out, s.hosts()...)
	for _, id := range sortedIDs(s.Estate.Towers) {
		out = append(out, s.tower(id)...)
	}
	return out
}

// InSite keeps what is missing in a site, or in no one site: what the return of that site can help.
func InSite(all []Lack, site estate.SiteID) []Lack {
	return slices.DeleteFunc(slices.Clone(all), func(l Lack) bool { return l.Site != "" && l.Site != site })
}

// state is what is believed, in words.
func state(v Verdict) State {
	if v.State == "" {
		return Unknown
	}
	return v.State
}

// store says what one store lacks.
func (s Standing) store(id estate.StoreID) (out []Lack) {
	e, rec := s.Estate.Stores[id], s.Stores[id]
	lack := func(k LackKind, at estate.SiteID, format string, args ...any) {
		out = append(out, Lack{k, string(id), at, fmt.Sprintf(format, args...)})
	}
	if rec.Epoch == 0 {
		lack(LackPrimary, "", "%s was never adopted, so nobody knows who may acknowledge", id)
		return out
	}
	primary := s.Now.Facts[DatabaseTarget(s.Estate, id, rec.Primary)]
	if primary[FactRole] != RolePrimary || primary[FactAnswers] != "true" {
		lack(LackPrimary, e.Members[rec.Primary].Site, "%s: its primary %s does not answer as one", id, rec.Primary)
	}
	switch {
	case rec.Alone:
		lack(LackRule, "", "%s: %s acknowledges alone, under a mandate", id, rec.Primary)
	case rec.Any < e.Any || rec.LeastAny < rec.Any:
		lack(LackRule, "", "%s: a write may be held by fewer than %d besides the primary", id, e.Any)
	}
	for _, m := range e.MemberIDs() {
		if m != rec.Primary {
			if k, why := s.member(id, m, primary); why != "" {
				lack(k, e.Members[m].Site, "%s: %s %s", id, m, why)
			}
		}
	}
	switch {
	case rec.Differs != "":
		lack(LackVerified, "", "%s: its members differ: %s", id, rec.Differs)
	case rec.Verified.IsZero() && rec.Epoch > 1 && len(e.Members) > 1:
		lack(LackVerified, "", "%s: its members were not compared since one of them came back", id)
	}
	return out
}

// member says why a member that should follow is no whole copy; empty: it is one. primary is what
// the store's primary says of itself.
func (s Standing) member(id estate.StoreID, m estate.MemberID, primary map[string]string) (LackKind, string) {
	rec := s.Stores[id]
	own := s.Now.Facts[DatabaseTarget(s.Estate, id, m)]
	c, connected := ClientOf(primary, m)
	switch {
	case slices.Contains(rec.Former, m):
		return LackMember, "is not counted: it went another way, and has not come back"
	case !slices.Contains(rec.Sync, m):
		return LackMember, "is not counted: it is not on the list of those who hold a write"
	case own[FactSealed] == "true" || own[FactSealed] == "begun":
		return LackStreaming, "is sealed"
	case !connected || c.State != "streaming":
		return LackStreaming, fmt.Sprintf("does not receive from %s", rec.Primary)
	case c.Bytes >= FarBehind:
		return LackStreaming, fmt.Sprintf("is %d MB behind %s", c.Bytes>>20, rec.Primary)
	}
	return "", ""
}

// name says which answers of a name are missing, and which of its servers.
func (s Standing) name(id estate.NameID) (out []Lack) {
	n := s.Estate.Names[id]
	for _, site := range s.Estate.SiteIDs() {
		if want := s.Intents[site]; want == Draining || want == Drained || len(n.Answers[site]) == 0 || !slices.Contains(s.Withdrawn[id], site) {
			continue
		}
		users := "no"
		if slices.Contains(s.Returning[id], site) {
			users = "only some"
		}
		out = append(out, Lack{LackAnswers, string(id), site, fmt.Sprintf("%s: %s users are sent to %s", id, users, site)})
	}
	return out
}

// hosts says which name servers and agents cannot do their part.
func (s Standing) hosts() (out []Lack) {
	agents := map[string]bool{}
	for _, host := range sortedIDs(s.Estate.Hosts) {
		h := s.Estate.Hosts[host]
		if target := AgentTarget(s.Estate, host); target != "" && !agents[target] {
			agents[target] = true
			if v := s.Now.Things[target]; v.State != Up {
				out = append(out, Lack{LackAgent, string(host), h.Site, fmt.Sprintf("the agent of %s is %s", host, state(v))})
			}
		}
		if len(s.Estate.NamesOf(host)) == 0 || h.Address == "" {
			continue
		}
		target := DNSTarget(s.Estate, host)
		switch v := s.Now.Things[target]; {
		case s.Now.Facts[target][FactLocked] == "true":
			out = append(out, Lack{LackServer, string(host), h.Site, fmt.Sprintf("the name server %s answers nobody before it is level with the others", host)})
		case v.State != Up:
			out = append(out, Lack{LackServer, string(host), h.Site, fmt.Sprintf("the name server %s is %s", host, state(v))})
		}
	}
	return out
}

// tower says whether a tower is there and votes.
func (s Standing) tower(id estate.TowerID) []Lack {
	t := s.Estate.Towers[id]
	if t.Address != "" {
		if v := s.Now.Things[TowerTarget(s.Estate, id)]; v.State != Up {
			return []Lack{{LackVoter, string(id), t.Site, fmt.Sprintf("%s is %s", id, state(v))}}
		}
	}
	if s.Votes != nil && !s.Votes[id] {
		return []Lack{{LackVoter, string(id), t.Site, fmt.Sprintf("%s has no vote", id)}}
	}
	return nil
}

func sortedIDs[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// Client is one that receives from a primary, as that one says.
type Client struct {
	State    string // "streaming", "catchup", …
	Sync     string // "quorum", "sync", "async", …
	Bytes    int64  // behind; -1: not known
	ReplayMS int64  // how long ago what it shows now was written; -1: not known
}

// ClientOf reads what a primary says of a member that receives from it; false: it says nothing.
func ClientOf(primary map[string]string, m estate.MemberID) (Client, bool) {
	words := strings.Fields(primary[FactClient+string(m)])
	if len(words) < 2 {
		return Client{Bytes: -1, ReplayMS: -1}, false
	}
	c := Client{State: words[0], Sync: words[1], Bytes: -1, ReplayMS: -1}
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		n, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case key == "bytes":
			c.Bytes = int64(n)
		case key == "replay_lag_ms":
			c.ReplayMS = int64(n)
		}
	}
	return c, true
}
