package plan_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
)

// TestScenarios reads testdata/scenarios; -rewrite refreshes it. The language:
//
//	estate                  an estate, one thing a line:
//	  site pangyo
//	  store talk-db pangyo,ansan,anyang any=1 [tier=1] [needs=a,b]   members are named after their sites, the first is primary
//	  service talk needs=talk-db [tier=0] [probed]
//	  name talk.example. service=talk pangyo,ansan,anyang [ttl=2]    a server and an answer in each
//	  profile fast
//	record talk-db sync=… any=… least=… epoch=… primary=… former=… alone
//	believe pangyo=lost ansan/agent/db-ansan=dead
//	fact pangyo/database/talk-db/pangyo halted_epoch=2    what it says of itself; nothing without a value
//	withdrawn talk.example. pangyo
//	returning talk.example. pangyo
//	intent pangyo drained
//	plan KIND SUBJECT [lost=a,b] [only=…] [to=…] [at=…] [describe]
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/scenarios", func(t *testing.T, path string) {
		w := newWorld()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "estate":
				w = newWorld()
				for line := range strings.Lines(d.Input) {
					w.declare(t, strings.Fields(line))
				}
			case "record":
				w.record(t, d)
			case "believe":
				w.believe(d)
			case "fact":
				w.fact(d.CmdArgs[0].Key, d.CmdArgs[1].Key, strings.Join(d.CmdArgs[1].Vals, " "))
			case "withdrawn":
				name := estate.NameID(d.CmdArgs[0].Key)
				w.in.Withdrawn[name] = append(w.in.Withdrawn[name], estate.SiteID(d.CmdArgs[1].Key))
			case "returning":
				name := estate.NameID(d.CmdArgs[0].Key)
				w.in.Returning[name] = append(w.in.Returning[name], estate.SiteID(d.CmdArgs[1].Key))
			case "intent":
				w.in.Intents[estate.SiteID(d.CmdArgs[0].Key)] = situation.Intent(d.CmdArgs[1].Key)
			case "plan":
				return w.plan(d)
			default:
				t.Fatalf("no such command: %s", d.Cmd)
			}
			return "ok\n"
		})
	})
}

// failer is what testing.T and rapid.T have in common here.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is what a scenario builds up.
type world struct{ in plan.Input }

func newWorld() *world {
	return &world{plan.Input{
		Estate: estate.Estate{Sites: map[estate.SiteID]estate.Site{}, Hosts: map[estate.HostID]estate.Host{}, Stores: map[estate.StoreID]estate.Store{},
			Services: map[estate.ServiceID]estate.Service{}, Names: map[estate.NameID]estate.Name{}},
		Now:       situation.Situation{Sites: map[estate.SiteID]situation.Verdict{}, Things: map[string]situation.Verdict{}, Facts: map[string]map[string]string{}},
		Stores:    map[estate.StoreID]situation.Store{},
		Withdrawn: map[estate.NameID][]estate.SiteID{},
		Returning: map[estate.NameID][]estate.SiteID{},
		Intents:   map[estate.SiteID]situation.Intent{},
	}}
}

// options reads key=value words.
func options(words []string) map[string]string {
	out := map[string]string{}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		out[k] = v
	}
	return out
}

func number(s string, otherwise int) int {
	var n int
	if _, err := fmt.Sscan(s, &n); err != nil {
		return otherwise
	}
	return n
}

func names[S ~string](s string) []S {
	var out []S
	for _, x := range strings.Split(s, ",") {
		if x != "" {
			out = append(out, S(x))
		}
	}
	return out
}

func needs(s string) []estate.Need {
	var out []estate.Need
	for _, n := range names[string](s) {
		out = append(out, estate.Need{Name: n})
	}
	return out
}

func (w *world) declare(t failer, f []string) {
	t.Helper()
	e, opt := &w.in.Estate, options(f[2:])
	switch f[0] {
	case "profile":
		e.Policy.Profile = f[1]
	case "site":
		e.Sites[estate.SiteID(f[1])] = estate.Site{}
	case "store":
		w.store(estate.StoreID(f[1]), names[estate.SiteID](f[2]), number(opt["any"], 1), number(opt["tier"], 0), needs(opt["needs"]))
	case "service":
		s := estate.Service{Tier: number(opt["tier"], 0), Requires: needs(opt["needs"])}
		if _, ok := opt["probed"]; ok {
			s.Probes = []estate.Probe{{HTTP: "http://{address}/healthz"}}
		}
		e.Services[estate.ServiceID(f[1])] = s
	case "name":
		n := estate.Name{Service: estate.ServiceID(opt["service"]), Answers: map[estate.SiteID][]string{}, TTL: time.Duration(number(opt["ttl"], 0)) * time.Second}
		for _, site := range names[estate.SiteID](f[3]) {
			host := estate.HostID("ns-" + site)
			e.Hosts[host] = estate.Host{Site: site}
			n.Servers = append(n.Servers, host)
			n.Answers[site] = []string{"192.0.2.1"}
		}
		e.Names[estate.NameID(f[1])] = n
	default:
		t.Fatalf("no such thing: %s", f[0])
	}
}

// store declares a store whose members are named after their sites, and adopts it.
func (w *world) store(id estate.StoreID, sites []estate.SiteID, any, tier int, requires []estate.Need) {
	s := estate.Store{Engine: "postgres", Any: any, Tier: tier, Requires: requires, Members: map[estate.MemberID]estate.Member{}}
	rec := situation.Store{Epoch: 1, Next: 1, Any: any, LeastAny: any}
	for i, site := range sites {
		host, m := estate.HostID("db-"+site), estate.MemberID(site)
		w.in.Estate.Hosts[host] = estate.Host{Site: site, Agent: string(site) + ":9444"}
		s.Members[m] = estate.Member{Site: site, Host: host}
		if i == 0 {
			s.Primary, rec.Primary = m, m
		} else {
			rec.Sync = append(rec.Sync, m)
		}
	}
	w.in.Estate.Stores[id], w.in.Stores[id] = s, rec
}

func (w *world) record(t *testing.T, d *datadriven.TestData) {
	t.Helper()
	id := estate.StoreID(d.CmdArgs[0].Key)
	rec := w.in.Stores[id]
	for _, a := range d.CmdArgs[1:] {
		v := strings.Join(a.Vals, ",")
		switch a.Key {
		case "sync":
			rec.Sync = names[estate.MemberID](v)
		case "former":
			rec.Former = names[estate.MemberID](v)
		case "primary":
			rec.Primary = estate.MemberID(v)
		case "any":
			rec.Any = number(v, 0)
		case "least":
			rec.LeastAny = number(v, 0)
		case "epoch":
			rec.Epoch = uint64(number(v, 0))
		case "alone":
			rec.Alone = true
		default:
			t.Fatalf("no such field: %s", a.Key)
		}
	}
	w.in.Stores[id] = rec
}

func (w *world) fact(target, key, value string) {
	if w.in.Now.Facts[target] == nil {
		w.in.Now.Facts[target] = map[string]string{}
	}
	w.in.Now.Facts[target][key] = value
}

func (w *world) believe(d *datadriven.TestData) {
	for _, a := range d.CmdArgs {
		v := situation.Verdict{Subject: a.Key, State: situation.State(a.Vals[0]), Since: time.Unix(0, 0)}
		if strings.Contains(a.Key, "/") {
			w.in.Now.Things[a.Key] = v
		} else {
			w.in.Now.Sites[estate.SiteID(a.Key)] = v
		}
	}
}

func (w *world) plan(d *datadriven.TestData) string {
	in := w.in
	in.Kind, in.Subject = plan.Kind(d.CmdArgs[0].Key), d.CmdArgs[1].Key
	draw := plan.Plan.String
	for _, a := range d.CmdArgs[2:] {
		v := strings.Join(a.Vals, ",")
		switch a.Key {
		case "lost":
			in.Lost = names[estate.SiteID](v)
		case "only":
			in.StoresOnly = names[estate.StoreID](v)
		case "at":
			in.At = estate.SiteID(v)
		case "to":
			in.Target = estate.MemberID(v)
		case "anew":
			in.Anew = true
		case "describe":
			in.Because, draw = []string{"three towers hear nothing of it"}, plan.Describe
		}
	}
	p, err := plan.Make(in)
	var stuck *plan.Stuck
	if errors.As(err, &stuck) && !slices.Contains(p.Blocked, *stuck) {
		return "the error is not in the list of the blocked"
	}
	if err != nil && (stuck == nil || len(p.Blocked) < 2) {
		return "error: " + err.Error() + "\n"
	}
	return draw(p)
}
