package response_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

var now = time.Date(2022, 10, 15, 6, 0, 0, 0, time.UTC)

// TestScenarios decides for situations that are written down. Refresh with
// -rewrite and read the difference. Where nothing is said all is well: three sites up,
// talk-db (tier 0) led by pangyo, mail-db (tier 1) by ansan, everything armed.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "decide" {
				d.Fatalf(t, "there is no command %s", d.Cmd)
			}
			in := well()
			for line := range strings.Lines(d.Input) {
				words, why, _ := strings.Cut(strings.TrimSpace(line), ": ")
				if f := strings.Fields(words); len(f) > 0 {
					set(t, d, &in, f, why)
				}
			}
			return draw(response.Decide(in), d.HasArg("why"))
		})
	})
}

func draw(all []response.Decision, why bool) string {
	var b strings.Builder
	for _, x := range all {
		fmt.Fprintln(&b, x)
		if why {
			for _, s := range x.Because {
				fmt.Fprintf(&b, "  %s\n", s)
			}
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func well() response.Input {
	in := response.Input{
		Estate: estate.Estate{
			Sites:    map[estate.SiteID]estate.Site{"pangyo": {}, "ansan": {}, "anyang": {}},
			Hosts:    map[estate.HostID]estate.Host{},
			Services: map[estate.ServiceID]estate.Service{"talk": {}},
			Stores:   map[estate.StoreID]estate.Store{},
			Names: map[estate.NameID]estate.Name{"talk.example.": {Service: "talk", Answers: map[estate.SiteID][]string{
				"pangyo": {"10.77.1.5"}, "ansan": {"10.77.2.5"}, "anyang": {"10.77.3.5"},
			}}},
		},
		Now: situation.Situation{
			At: now, Sites: map[estate.SiteID]situation.Verdict{}, Things: map[string]situation.Verdict{}, Facts: map[string]map[string]string{}, Deaf: map[string]time.Time{},
		},
		Stores:    map[estate.StoreID]situation.Store{},
		Armed:     map[string]bool{"*": true},
		Premises:  map[estate.StoreID][]situation.Premise{},
		Withdrawn: map[estate.NameID][]estate.SiteID{},
		Intents:   map[estate.SiteID]situation.Intent{},
		Quorum:    true,
	}
	n := in.Estate.Names["talk.example."]
	for site := range in.Estate.Sites {
		in.Now.Sites[site] = situation.Verdict{Subject: string(site), Site: site, State: situation.Up}
		ns := estate.HostID("ns-" + site)
		in.Estate.Hosts[ns] = estate.Host{Site: site, Address: "10.77.1.53:53"}
		n.Servers = append(n.Servers, ns)
	}
	in.Estate.Names["talk.example."] = n
	addStore(&in, "talk-db", 0, "pangyo")
	addStore(&in, "mail-db", 1, "ansan")
	return in
}

func addStore(in *response.Input, id estate.StoreID, tier int, primary estate.MemberID) {
	s := estate.Store{Engine: "postgres", Tier: tier, Any: 1, Primary: primary, Members: map[estate.MemberID]estate.Member{}}
	r := situation.Store{Epoch: 3, Primary: primary, Any: 1, LeastAny: 1, Verified: now.Add(-time.Hour)}
	for _, site := range []estate.SiteID{"ansan", "anyang", "pangyo"} {
		m := estate.MemberID(site)
		host := estate.HostID("db-" + site)
		in.Estate.Hosts[host] = estate.Host{Site: site, Agent: string(site) + ":9444"}
		s.Members[m] = estate.Member{Site: site, Host: host, Address: "10.77.1.21:5432"}
		if m != primary {
			r.Sync = append(r.Sync, m)
		}
	}
	in.Estate.Stores[id], in.Stores[id] = s, r
	for m := range s.Members {
		target := situation.DatabaseTarget(in.Estate, id, m)
		in.Now.Things[target] = situation.Verdict{Subject: target, Site: s.Members[m].Site, Kind: situation.KindDatabase, State: situation.Up}
		in.Now.Facts[target] = map[string]string{"role": "follower", "answers": "true"}
	}
	f := in.Now.Facts[situation.DatabaseTarget(in.Estate, id, primary)]
	f["role"] = situation.RolePrimary
	for _, m := range r.Sync {
		f["client/"+string(m)] = "streaming quorum bytes=0"
	}
}

// set applies one line: what it is about, then words and key=value pairs, then a reason after ": ".
func set(t *testing.T, d *datadriven.TestData, in *response.Input, f []string, why string) {
	args := map[string]string{}
	for _, w := range f[1:] {
		k, v, _ := strings.Cut(w, "=")
		args[k] = v
	}
	switch f[0] {
	case "no-quorum":
		in.Quorum = false
	case "site":
		v := in.Now.Sites[estate.SiteID(f[1])]
		v.State, v.Since, v.Because = situation.State(f[2]), now.Add(-ago(t, d, args["for"])), []string{"tower-x has heard nothing from " + f[1]}
		if at, ok := args["gone"]; ok {
			v.LastGone = now.Add(-ago(t, d, at))
		}
		in.Now.Sites[v.Site] = v
		goneThings(in, v)
	case "deaf":
		in.Now.Deaf[f[1]] = now.Add(-ago(t, d, args["for"]))
	case "thing":
		v := in.Now.Things[f[1]]
		v.State, v.Since, v.Because = situation.State(f[2]), now.Add(-ago(t, d, args["for"])), []string{"tower-x is refused"}
		in.Now.Things[f[1]] = v
		delete(in.Now.Facts, f[1])
	case "fact":
		if in.Now.Facts[f[1]] == nil {
			in.Now.Facts[f[1]] = map[string]string{}
		}
		in.Now.Facts[f[1]][f[2]] = strings.Join(f[3:], " ")
		if f[2] == "role" && len(f) > 3 && in.Now.Facts[f[1]]["answers"] == "" {
			in.Now.Facts[f[1]]["answers"] = "true" // by its agent
		}
	case "store":
		store(in, estate.StoreID(f[1]), args)
	case "armed":
		in.Armed = map[string]bool{}
		for _, a := range f[1:] {
			in.Armed[a] = true
		}
	case "hold":
		in.Holds = append(in.Holds, response.Hold{Scope: f[1], By: "operator", Why: why})
	case "open":
		in.Open = append(in.Open, open(t, d, f, args))
	case "premise", "borne":
		id := estate.StoreID(f[1])
		in.Premises[id] = append(in.Premises[id], situation.Premise{Text: why, Borne: f[0] == "borne"})
	case "withdrawn":
		for _, s := range f[1:] {
			in.Withdrawn["talk.example."] = append(in.Withdrawn["talk.example."], estate.SiteID(s))
		}
	case "intent":
		in.Intents[estate.SiteID(f[1])] = situation.Intent(f[2])
	case "returning":
		if in.Returning == nil {
			in.Returning = map[estate.NameID][]estate.SiteID{}
		}
		in.Returning["talk.example."] = append(in.Returning["talk.example."], estate.SiteID(f[1]))
	case "policy":
		in.Estate.Policy.SiteLoss = estate.Consent(f[1])
		in.Estate.Policy.SiteReturn = estate.Consent(args["site-return"])
		if tier, ok := args["tier-1"]; ok {
			in.Estate.Policy.SiteLossByTier = map[int]estate.Consent{1: estate.Consent(tier)}
		}
	default:
		d.Fatalf(t, "there is no line %s", f[0])
	}
}

func goneThings(in *response.Input, v situation.Verdict) {
	if !v.Gone() {
		return
	}
	for id, x := range in.Now.Things {
		if x.Site == v.Site {
			x.State = v.State
			in.Now.Things[id] = x
			delete(in.Now.Facts, id)
		}
	}
}

func store(in *response.Input, id estate.StoreID, args map[string]string) {
	s, r := in.Estate.Stores[id], in.Stores[id]
	for _, k := range slices.Sorted(maps.Keys(args)) {
		v := args[k]
		switch k {
		case "primary":
			r.Primary = estate.MemberID(v)
		case "former":
			r.Former = append(r.Former, estate.MemberID(v))
		case "sync":
			r.Sync = nil
			for _, m := range strings.Split(v, ",") {
				r.Sync = append(r.Sync, estate.MemberID(m))
			}
		case "epoch":
			fmt.Sscan(v, &r.Epoch)
		case "alone":
			s.Alone = v
		case "mandate":
			r.Alone, r.LeastAny = true, 0
		case "unproven":
			r.LeastAny = 0
		case "unverified":
			r.Verified = time.Time{}
		case "differs":
			r.Differs = v
		}
	}
	in.Estate.Stores[id], in.Stores[id] = s, r
}

func open(t *testing.T, d *datadriven.TestData, f []string, args map[string]string) response.OpenRun {
	o := response.OpenRun{ID: run.ID(f[1]), Kind: plan.Kind(f[2]), Subject: f[3], Status: run.StatusRunning}
	if s, ok := args["status"]; ok {
		o.Status = run.Status(s)
	}
	if s, ok := args["closed"]; ok {
		o.Closed = now.Add(-ago(t, d, s))
	}
	if s, ok := args["idle"]; ok {
		o.Idle = now.Add(-ago(t, d, s))
	}
	_, o.Short = args["short"]
	o.Member = estate.MemberID(args["member"])
	_, o.Anew = args["anew"]
	_, o.Agreed = args["agreed"]
	if s, ok := args["lost"]; ok {
		o.Lost = strings.Split(s, ",")
	}
	since := func(arg string) map[estate.StoreID]time.Time { // store:since
		id, at, ok := strings.Cut(args[arg], ":")
		if !ok {
			return nil
		}
		return map[estate.StoreID]time.Time{estate.StoreID(id): now.Add(-ago(t, d, at))}
	}
	o.Settled, o.Compares = since("settled"), since("compares")
	if s, ok := args["stores"]; ok {
		o.Stores = []estate.StoreID{}
		for _, id := range strings.Split(s, ",") {
			o.Stores = append(o.Stores, estate.StoreID(id))
		}
	}
	return o
}

func ago(t *testing.T, d *datadriven.TestData, s string) time.Duration {
	if s == "" {
		return time.Second
	}
	out, err := time.ParseDuration(s)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return out
}
