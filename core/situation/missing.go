package situation

import (
	"cmp"
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
	Votes     map[estate.TowerID]bool // which towers vote, or stand by where enough others do; nil: not known
}

// LackKind is what kind of thing is missing.
type LackKind string

// What may be missing.
const (
	LackSite      LackKind = "site"      // it is not up
	LackPrimary   LackKind = "primary"   // a store has none that is seen to be it
	LackRule      LackKind = "rule"      // fewer hold a write than declared
	LackMember    LackKind = "member"    // it is not counted, or is being made anew
	LackStreaming LackKind = "streaming" // it is counted, and does not run, does not receive, or is far behind
	LackVerified  LackKind = "verified"  // nobody knows whether all members hold the same
	LackDiffers   LackKind = "differs"   // they do not
	LackAgent     LackKind = "agent"     // nothing could be ordered there
	LackAnswers   LackKind = "answers"   // users are not sent there
	LackServer    LackKind = "server"    // a name server is silent, or old
	LackGateway   LackKind = "gateway"   // what users reach of a service does not answer
	LackVoter     LackKind = "voter"     // a tower is gone, or has no vote
)

// Lack is one thing that is missing until the estate is as redundant as declared.
type Lack struct {
	Kind      LackKind        `json:"kind"`
	Component string          `json:"component"`        // store, name, host, service, tower or site
	Member    estate.MemberID `json:"member,omitempty"` // of a store: which one should follow, and is no whole copy
	Site      estate.SiteID   `json:"site,omitempty"`   // where it is missing; empty: in no one site
	Text      string          `json:"text"`
}

// Missing lists what is missing until the estate is as redundant as declared: sites, then stores, names,
// hosts, gateways and towers, each by name. Answers that people took out are missing on purpose, and not listed.
func Missing(s Standing) (out []Lack) {
	for _, id := range s.Estate.SiteIDs() {
		if v := s.Now.Sites[id]; v.State != Up {
			out = append(out, Lack{Kind: LackSite, Component: string(id), Site: id, Text: fmt.Sprintf("%s is %s", id, state(v))})
		}
	}
	for _, id := range s.Estate.StoreIDs() {
		out = append(out, s.OfStore(id)...)
	}
	for _, id := range s.Estate.NameIDs() {
		out = append(out, s.name(id)...)
	}
	out = slices.Concat(out, s.hosts(), s.gateways())
	for _, id := range sortedIDs(s.Estate.Towers) {
		out = append(out, s.tower(id)...)
	}
	return out
}

// InSite keeps what is missing in a site, or in no one site: what the return of that site can help. A store
// that was never adopted waits for people, wherever it stands; and the comparison of one of which more is missing
// elsewhere waits for that.
func InSite(all []Lack, site estate.SiteID) []Lack {
	elsewhere := map[string]bool{}
	for _, l := range all {
		elsewhere[l.Component] = elsewhere[l.Component] || l.Site != "" && l.Site != site
	}
	return slices.DeleteFunc(slices.Clone(all), func(l Lack) bool {
		return l.Site != "" && l.Site != site || l.Site == "" && (l.Kind == LackPrimary || l.Kind == LackVerified && elsewhere[l.Component])
	})
}

// state is what is believed, in words.
func state(v Verdict) State {
	if v.State == "" {
		return Unknown
	}
	return v.State
}

// OfStore says what one store lacks.
func (s Standing) OfStore(id estate.StoreID) (out []Lack) {
	e, rec := s.Estate.Stores[id], s.Stores[id]
	lack := func(k LackKind, m estate.MemberID, at estate.SiteID, format string, args ...any) {
		out = append(out, Lack{Kind: k, Component: string(id), Member: m, Site: at, Text: string(id) + ": " + fmt.Sprintf(format, args...)})
	}
	if rec.Epoch == 0 {
		lack(LackPrimary, "", "", "it was never adopted, so nobody knows who may acknowledge: haechi adopt %s", id)
		return out
	}
	primary := s.Now.Facts[DatabaseTarget(s.Estate, id, rec.Primary)]
	if primary[FactRole] != RolePrimary || primary[FactAnswers] != "true" {
		lack(LackPrimary, "", e.Members[rec.Primary].Site, "its primary %s does not answer as one", rec.Primary)
	}
	switch {
	case rec.Alone:
		lack(LackRule, "", "", "%s acknowledges alone, under a mandate", rec.Primary)
	case rec.Any < e.Any || rec.LeastAny < rec.Any:
		lack(LackRule, "", "", "a write may be held by fewer than %d besides the primary", e.Any)
	}
	for _, m := range e.MemberIDs() {
		if m != rec.Primary {
			if k, why := s.member(id, m, primary); why != "" {
				lack(k, m, e.Members[m].Site, "%s %s", m, why)
			}
		}
	}
	switch {
	case rec.Differs != "":
		lack(LackDiffers, "", "", "its members differ: %s", rec.Differs)
	case rec.Verified.IsZero() && len(rec.LeftOut) > 0:
		lack(LackVerified, "", "", "its members were compared, but for %s: haechi verify %s", listed(rec.LeftOut), id)
	case rec.Verified.IsZero() && rec.Epoch > 1 && len(e.Members) > 1:
		lack(LackVerified, "", "", "its members were not compared since one of them came back: haechi verify %s", id)
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
	case own[FactBroken] != "":
		return LackMember, fmt.Sprintf("is being made anew (%s)", own[FactBroken])
	case slices.Contains(rec.Former, m) && own[FactMade] == RolePrimary:
		return LackMember, "is not counted: it was the primary, and has not come back since"
	case slices.Contains(rec.Former, m):
		return LackMember, "is not counted: nothing rests on its word until it has come back"
	case !slices.Contains(rec.Sync, m):
		return LackMember, "is not counted: it is not on the list of those who hold a write"
	case len(own) == 0:
		return LackStreaming, "does not answer"
	case own[FactRunning] == "false":
		return LackStreaming, "does not run"
	case own[FactSealed] == "true" || own[FactSealed] == "begun":
		return LackStreaming, "is sealed"
	case connected && c.State == "catchup":
		return LackStreaming, fmt.Sprintf("catches up with %s", rec.Primary)
	case (!connected || c.State != "streaming") && own[FactAnswers] == "true" && own[FactReceiver] == "":
		return LackStreaming, fmt.Sprintf("does not receive from %s: it runs, and has no connection to it", rec.Primary)
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
		out = append(out, Lack{Kind: LackAnswers, Component: string(id), Site: site, Text: fmt.Sprintf("%s: %s users are sent to %s", id, users, site)})
	}
	return out
}

// hosts says which name servers and agents cannot do their part. It is asked often, and there are many.
func (s Standing) hosts() (out []Lack) {
	serves := map[estate.HostID]bool{}
	for _, n := range s.Estate.Names {
		for _, host := range n.Servers {
			serves[host] = true
		}
	}
	type place struct {
		site  estate.SiteID
		agent string
	}
	seen := map[place]bool{} // hosts that share an agent share the target of the first of them: see AgentTarget
	for _, host := range sortedIDs(s.Estate.Hosts) {
		h := s.Estate.Hosts[host]
		lack := func(k LackKind, format string, args ...any) {
			out = append(out, Lack{Kind: k, Component: string(host), Site: h.Site, Text: fmt.Sprintf(format, args...)})
		}
		if p := (place{h.Site, h.Agent}); h.Agent != "" && !seen[p] {
			seen[p] = true
			if v := s.Now.Things[id(h.Site, KindAgent, string(host))]; v.State != Up {
				lack(LackAgent, "the agent of %s is %s", host, state(v))
			}
		}
		if !serves[host] || h.Address == "" {
			continue
		}
		target := DNSTarget(s.Estate, host)
		switch v := s.Now.Things[target]; {
		case s.Now.Facts[target][FactLocked] == "true":
			lack(LackServer, "the name server %s answers nobody before it is level with the others", host)
		case v.State != Up:
			lack(LackServer, "the name server %s is %s", host, state(v))
		}
	}
	return out
}

// gateways says where what users reach of a service does not answer; once for each site.
func (s Standing) gateways() (out []Lack) {
	all := gateways(s.Estate)
	slices.SortFunc(all, func(a, b Target) int { return cmp.Compare(a.ID, b.ID) })
	for _, t := range all {
		v := s.Now.Things[t.ID]
		l := Lack{Kind: LackGateway, Component: t.Component, Site: t.Site, Text: fmt.Sprintf("the gateway of %s in %s is %s", t.Component, t.Site, state(v))}
		if v.State != Up && !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}

// tower says whether a tower is there and votes.
func (s Standing) tower(id estate.TowerID) []Lack {
	t := s.Estate.Towers[id]
	l := Lack{Kind: LackVoter, Component: string(id), Site: t.Site}
	if t.Address != "" {
		if v := s.Now.Things[TowerTarget(s.Estate, id)]; v.State != Up {
			l.Text = fmt.Sprintf("%s is %s", id, state(v))
			return []Lack{l}
		}
	}
	if s.Votes != nil && !s.Votes[id] {
		l.Text = fmt.Sprintf("%s has no vote", id)
		return []Lack{l}
	}
	return nil
}

func listed(members []estate.MemberID) string {
	var out []string
	for _, m := range members {
		out = append(out, string(m))
	}
	return strings.Join(out, ", ")
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
