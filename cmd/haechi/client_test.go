package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/history"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	hrun "github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/web"
)

// desk is a tower's desk: set only the functions the test is about.
type desk struct {
	web.Desk
	NowFunc     func() web.Now
	StartFunc   func(by string, ask web.Ask) (hrun.ID, error)
	RunFunc     func(id hrun.ID) (web.Run, error)
	HoldFunc    func(by, why string) error
	PlanFunc    func(web.Ask) (plan.Plan, error)
	JournalFunc func(from uint64) ([]journal.Entry, error)
	HeadFunc    func() (journal.Head, error)
	DoctorFunc  func() []web.Finding
	EstateFunc  func() (raw []byte, version uint64, err error)
	ApplyFunc   func(files []web.File) (web.Applied, error)
	AuditFunc   func() web.Audit
	SalvageFunc func(id string, from int) (web.SalvageRows, error)
	HistoryFunc func(id estate.StoreID) (history.Life, error)
}

func (d desk) Salvage(_ context.Context, id string, from int) (web.SalvageRows, error) {
	return d.SalvageFunc(id, from)
}

func (d desk) Salvages(context.Context) ([]situation.Salvage, error) {
	one, err := d.SalvageFunc("r-000012-a", 1)
	return []situation.Salvage{one.Salvage}, err
}

func (d desk) History(_ context.Context, id estate.StoreID) (history.Life, error) {
	return d.HistoryFunc(id)
}

func (d desk) Audit() web.Audit { return d.AuditFunc() }

func (d desk) Now() web.Now { return d.NowFunc() }

func (d desk) Start(_ context.Context, by string, ask web.Ask) (hrun.ID, error) {
	return d.StartFunc(by, ask)
}

func (d desk) Run(_ context.Context, id hrun.ID) (web.Run, error) { return d.RunFunc(id) }

func (d desk) Hold(_ context.Context, by, why string) error { return d.HoldFunc(by, why) }

func (d desk) Plan(_ context.Context, ask web.Ask) (plan.Plan, error) { return d.PlanFunc(ask) }

func (d desk) Journal(_ context.Context, from uint64, _ int) ([]journal.Entry, error) {
	return d.JournalFunc(from)
}

func (d desk) JournalHead(context.Context) (journal.Head, error) { return d.HeadFunc() }

func (d desk) Doctor(context.Context) ([]web.Finding, error) { return d.DoctorFunc(), nil }

func (d desk) Estate(context.Context) ([]byte, uint64, error) { return d.EstateFunc() }

func (d desk) Apply(_ context.Context, _ pki.Identity, files []web.File, _ int64) (web.Applied, error) {
	return d.ApplyFunc(files)
}

// town is an authority, one person's file, and towers.
type town struct {
	t      *testing.T
	dir    string
	towers []string
}

func newTown(t *testing.T, roles ...string) *town {
	t.Helper()
	tn := &town{t: t, dir: t.TempDir()}
	if err := pki.NewCA(tn.path("ca")); err != nil {
		t.Fatal(err)
	}
	tn.issue(pki.Identity{Kind: pki.Person, Name: "kim", Roles: roles}, "kim")
	return tn
}

func (tn *town) path(name string) string { return filepath.Join(tn.dir, name) }

func (tn *town) issue(id pki.Identity, out string) pki.Files {
	tn.t.Helper()
	f, err := pki.Issue(tn.path("ca"), id, tn.path(out), nil, nil, 0)
	if err != nil {
		tn.t.Fatal(err)
	}
	return f
}

// tower starts one that has this desk.
func (tn *town) tower(d web.Desk) {
	tn.t.Helper()
	tn.serve(web.API(d, slog.New(slog.DiscardHandler)))
}

func (tn *town) serve(h http.Handler) {
	tn.t.Helper()
	f := tn.issue(pki.Identity{Kind: pki.Tower, Name: fmt.Sprintf("tower-%d", len(tn.towers))}, fmt.Sprintf("tower-%d", len(tn.towers)))
	conf, err := pki.ServerTLS(f, pki.Only(pki.Person))
	if err != nil {
		tn.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tn.t.Fatal(err)
	}
	srv := &http.Server{Handler: h, TLSConfig: conf, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	go func() { _ = srv.ServeTLS(l, "", "") }() // ends with Close
	tn.t.Cleanup(func() { _ = srv.Close() })
	tn.towers = append(tn.towers, l.Addr().String())
}

// dead adds a tower that nobody answers for.
func (tn *town) dead() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tn.t.Fatal(err)
	}
	tn.towers = append(tn.towers, l.Addr().String())
	_ = l.Close()
}

// haechi runs the command line as kim.
func (tn *town) haechi(args ...string) (stdout string, err error) {
	tn.t.Helper()
	file := tn.path("config.yaml")
	text := fmt.Sprintf("towers: [%s]\ntls: {ca: kim/ca.pem, cert: kim/cert.pem, key: kim/key.pem}\n", strings.Join(tn.towers, ", "))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tn.t.Fatal(err)
	}
	var out bytes.Buffer
	err = run(tn.t.Context(), append([]string{"--config", file}, args...), &out, &out)
	return out.String(), err
}

func peace() web.Now {
	return web.Now{
		At: time.Now(), Tower: "tower-ansan", Estate: web.EstateRef{Name: "talk", Version: 3}, Quorum: web.Quorum{Have: true}, Armed: []string{"*"},
		Sites:  []web.Site{{ID: "pangyo", State: "up", Intent: "serving", Because: []string{"3 of 3 hear it"}}},
		Stores: []web.Store{{ID: "talk-db", Epoch: 2, Primary: "a", Writes: web.WritesAcknowledged, Members: []web.Member{{ID: "a", Site: "pangyo", Role: web.RolePrimary}}}},
	}
}

// The first tower's site burned: the next one answers.
func TestSurvivingTowerAnswers(t *testing.T) {
	tn := newTown(t, pki.Viewer)
	tn.dead()
	tn.tower(desk{NowFunc: peace})
	out, err := tn.haechi("status")
	if err != nil || !strings.Contains(out, "ALL SITES UP") || !strings.Contains(out, "talk-db in pangyo") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = tn.haechi("status", "--output", "json")
	var n web.Now
	if err != nil || json.Unmarshal([]byte(out), &n) != nil || n.Estate.Version != 3 {
		t.Errorf("%v\n%s", err, out)
	}
}

// A tower without the quorum is believed only where no other one answers.
func TestATowerWithTheQuorumIsBelieved(t *testing.T) {
	tn := newTown(t, pki.Viewer)
	alone := func() web.Now {
		n := peace()
		n.Tower, n.Quorum = "given-up", web.Quorum{Why: "the towers go on without this one"}
		n.Headline.Text = "NO QUORUM"
		return n
	}
	tn.tower(desk{NowFunc: alone})
	for range 2 {
		out, err := tn.haechi("status")
		if err != nil || !strings.Contains(out, "NO QUORUM") || !strings.Contains(out, "as given-up sees it") {
			t.Errorf("%v\n%s", err, out)
		}
		tn.dead()
	}
	tn.tower(desk{NowFunc: peace})
	if out, err := tn.haechi("status"); err != nil || !strings.Contains(out, "ALL SITES UP") || strings.Contains(out, "given-up") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestLostSiteDoesNotServe(t *testing.T) {
	tn := newTown(t, pki.Viewer)
	tn.tower(desk{NowFunc: func() web.Now {
		n := peace()
		n.Sites = append(n.Sites, web.Site{ID: "ansan", State: "lost", Intent: "serving"}, web.Site{ID: "anyang", State: "lost", Intent: "draining"})
		return n
	}})
	out, err := tn.haechi("status")
	if err != nil || strings.Count(out, "serving") != 1 || !strings.Contains(out, "draining") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNoTowerAnswers(t *testing.T) {
	tn := newTown(t, pki.Viewer)
	tn.dead()
	tn.dead()
	_, err := tn.haechi("status")
	if err == nil || !strings.Contains(err.Error(), "no tower answers") || strings.Count(err.Error(), "127.0.0.1:") < 2 {
		t.Errorf("%v", err)
	}
	if code(err) != 1 {
		t.Errorf("code %d", code(err))
	}
}

// A tower that does not drive sends us on; the run is followed to its end.
func TestEvacuateIsFollowed(t *testing.T) {
	tn := newTown(t, pki.Viewer, pki.Operator)
	tn.tower(desk{
		StartFunc: func(string, web.Ask) (hrun.ID, error) {
			return "", &web.Refused{Code: web.NotDriver, Why: "tower-1 drives"}
		},
		RunFunc: func(hrun.ID) (web.Run, error) {
			return web.Run{}, &web.Refused{Code: web.NoQuorum, Why: "cut off"}
		},
	})
	var asked atomic.Int64
	tn.tower(desk{
		StartFunc: func(by string, ask web.Ask) (hrun.ID, error) {
			if by != "kim" || ask != (web.Ask{Kind: plan.Evacuate, Subject: "pangyo"}) {
				t.Errorf("%s asks %+v", by, ask)
			}
			return "r-000004", nil
		},
		RunFunc: func(id hrun.ID) (web.Run, error) {
			r := web.Run{ID: string(id), Kind: "evacuate", Subject: "pangyo", Status: web.RunRunning, Started: time.Unix(1, 0),
				Steps: []web.Step{{ID: 1, Verb: "halt", Component: "talk-db", State: web.StepDone, Seconds: 0.25}, {ID: 2, Verb: "promote", Component: "talk-db", State: web.StepRunning}}}
			if asked.Add(1) > 2 {
				r.Status, r.Ended = web.RunDone, time.Unix(2, 0)
				r.Steps[1].State, r.Steps[1].Seconds = web.StepDone, 0.5
			}
			return r, nil
		},
	})
	out, err := tn.haechi("evacuate", "pangyo")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0.25 s  halt", "0.50 s  promote", "r-000004: done in 1.00 s"} {
		if strings.Count(out, want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, out)
		}
	}
}

// A run that ends badly is an error for the shell.
func TestFailedRunIsAnError(t *testing.T) {
	tn := newTown(t, pki.Operator)
	tn.tower(desk{
		StartFunc: func(string, web.Ask) (hrun.ID, error) { return "r-1", nil },
		RunFunc: func(hrun.ID) (web.Run, error) {
			return web.Run{ID: "r-1", Status: web.RunFailed, Why: "ansan refused", Started: time.Unix(1, 0), Ended: time.Unix(2, 0)}, nil
		},
	})
	_, err := tn.haechi("failover", "talk-db", "--to", "ansan")
	if err == nil || !strings.Contains(err.Error(), "ansan refused") {
		t.Errorf("%v", err)
	}
}

// An order that was sent and not answered is not sent again elsewhere.
func TestUnansweredOrderIsInDoubt(t *testing.T) {
	tn := newTown(t, pki.Operator)
	tn.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	tn.tower(desk{}) // would panic when asked to start
	_, err := tn.haechi("evacuate", "pangyo")
	if err == nil || !strings.Contains(err.Error(), "may have done it") {
		t.Errorf("%v", err)
	}
}

func TestRoleIsRefused(t *testing.T) {
	tn := newTown(t, pki.Viewer)
	tn.tower(desk{})
	_, err := tn.haechi("evacuate", "pangyo")
	if err == nil || !strings.Contains(err.Error(), "kim has not the role of operator") || !strings.Contains(err.Error(), "what to do:") {
		t.Errorf("%v", err)
	}
}

func TestStrangersCertificateIsRefused(t *testing.T) {
	tn, other := newTown(t, pki.Viewer), newTown(t, pki.Viewer)
	tn.tower(desk{NowFunc: peace})
	other.towers = tn.towers
	_, err := other.haechi("status")
	if err == nil || !strings.Contains(err.Error(), "another CA") {
		t.Errorf("%v", err)
	}
}

// A hold is told to every tower, and one that took it is enough.
func TestHoldIsToldEverywhere(t *testing.T) {
	tn := newTown(t, pki.Operator)
	var told atomic.Int64
	hold := desk{HoldFunc: func(by, why string) error {
		if by != "kim" || why != "rewiring" {
			t.Errorf("%s holds: %s", by, why)
		}
		told.Add(1)
		return nil
	}}
	tn.tower(hold)
	tn.dead()
	tn.tower(hold)
	out, err := tn.haechi("hold", "--why", "rewiring")
	if err != nil || told.Load() != 2 || strings.Count(out, ": done") != 2 {
		t.Errorf("%v, %d told\n%s", err, told.Load(), out)
	}
}

// Each tower is asked, what they say twice is told once, and one that is not there is told, too.
func TestDoctorAsksEveryTower(t *testing.T) {
	tn := newTown(t, pki.Viewer)
	for i := range 2 {
		tn.tower(desk{DoctorFunc: func() []web.Finding {
			return []web.Finding{
				{Subject: fmt.Sprint("tower-", i), Level: web.Warn, Text: "its certificate ends on 2026-12-01", Do: "haechi pki renew"},
				{Subject: "pangyo/dns/ns", Level: web.Warn, Text: fmt.Sprintf("dead: tower-a: silent for %d.5 s", i)},
			}
		}})
	}
	tn.dead()
	out, err := tn.haechi("doctor")
	for want, count := range map[string]int{"tower-0": 1, "tower-1": 1, "pangyo/dns/ns": 1, "does not answer": 1} {
		if err != nil || strings.Count(out, want) != count {
			t.Errorf("%q is not there %d times: %v\n%s", want, count, err, out)
		}
	}
	tn.towers = tn.towers[2:]
	if _, err := tn.haechi("doctor"); err == nil || !strings.Contains(err.Error(), "no tower answers") {
		t.Errorf("%v", err)
	}
}

func TestPlanIsShown(t *testing.T) {
	tn := newTown(t, pki.Viewer)
	tn.tower(desk{PlanFunc: func(ask web.Ask) (plan.Plan, error) {
		if ask.Subject == "nowhere" {
			return plan.Plan{}, &plan.Stuck{Component: "nowhere", Because: plan.NotDeclared, Why: "there is no such site", Out: "haechi estate show"}
		}
		return plan.Plan{Kind: ask.Kind, Subject: ask.Subject, Hash: "0123456789abcdef", Steps: []plan.Step{{ID: 1, Verb: plan.Seal, Component: "talk-db", Reason: plan.PrimaryLost}}}, nil
	}})
	if out, err := tn.haechi("plan", "--lose", "pangyo"); err != nil || !strings.Contains(out, "seal") {
		t.Errorf("%v\n%s", err, out)
	}
	_, err := tn.haechi("plan", "--lose", "nowhere")
	if err == nil || !strings.Contains(err.Error(), "there is no such site") || !strings.Contains(err.Error(), "what to do: haechi estate show") {
		t.Errorf("%v", err)
	}
}

// Without files it is the estate in force that is audited, by a tower.
func TestAuditOfTheEstateInForce(t *testing.T) {
	tn := newTown(t, pki.Viewer)
	found := web.Audit{At: time.Unix(1, 0), Version: 7, Report: audit.Report{Estate: "talk", Components: 3, Scenarios: 9, Findings: []audit.Finding{
		{Rule: audit.Stale, Severity: audit.Medium, Component: "ns-pangyo", Cause: "ns-pangyo", Message: "ns-pangyo is declared, but not what is seen", Remedy: "bring it back"}}}}
	tn.tower(desk{AuditFunc: func() web.Audit { return found }})
	out, err := tn.haechi("audit")
	for _, want := range []string{"version 7 of the estate, in force", "talk: 3 components, 9 scenarios", "stale: ns-pangyo is declared"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%q is not there: %v\n%s", want, err, out)
		}
	}
	if _, err := tn.haechi("audit", "--fail-on", "medium"); err == nil || code(err) != 1 || !strings.Contains(err.Error(), "1 finding at or above medium") {
		t.Errorf("%v", err)
	}
	found = web.Audit{Why: "there is no estate yet"}
	if _, err := tn.haechi("audit"); err == nil || !strings.Contains(err.Error(), "there is no estate yet") {
		t.Errorf("%v", err)
	}
}

// What would be lost is compared with the version that was in force before; nothing that the audit
// says keeps a version from being applied.
func TestApplySaysWhatWouldBeLost(t *testing.T) {
	const sound = "haechi: v1\nestate: e\nsites: {a: {}, b: {}}\npools: {a/web: {site: a, servers: 1}, b/web: {site: b, servers: 1}}\nservices: {web: {runs: {a/web: 1, b/web: 1}}}\n"
	e, err := estate.Load([]estate.File{{Name: "e", Data: []byte(sound)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := estate.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var inForce []byte
	version, applied := uint64(1), 0
	tn := newTown(t, pki.Operator, pki.Viewer)
	tn.tower(desk{
		EstateFunc: func() ([]byte, uint64, error) { return inForce, version, nil },
		ApplyFunc: func([]web.File) (web.Applied, error) {
			applied++
			return web.Applied{Version: version + 1, Diff: []string{"pool b/web removed"}}, nil
		},
	})
	next := tn.path("estate.yaml")
	if err := os.WriteFile(next, []byte(strings.NewReplacer(", b/web: 1}", "}").Replace(sound)), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		name    string
		raw     []byte
		version uint64
		want    []string
	}{
		{"a version before", raw, 1, []string{"pool b/web removed", "version 2 is in force", "NEW\n", "CRITICAL site-loss: web is down when a is lost", "web, when a is lost: down, was up", "GONE\n"}},
		{"the first version", nil, 0, []string{"version 1 is in force", "CRITICAL site-loss: web is down when a is lost"}},
		{"a version that cannot be read", []byte(`{"haechi": "v9"}`), 4, []string{"version 5 is in force", "what would be lost cannot be compared: read version 4"}},
	} {
		inForce, version = c.raw, c.version
		out, err := tn.haechi("estate", "apply", next)
		if err != nil || applied != i+1 {
			t.Fatalf("%s: applied %d times: %v\n%s", c.name, applied, err, out)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is not there:\n%s", c.name, want, out)
			}
		}
	}
	inForce, version = raw, 1
	if out, err := tn.haechi("estate", "diff", next); err != nil || !strings.Contains(out, "CRITICAL site-loss: web is down when a is lost") {
		t.Errorf("diff: %v\n%s", err, out)
	}
	if out, err := tn.haechi("estate", "apply", "-o", "json", next); err != nil || strings.Contains(out, "CRITICAL") || !strings.Contains(out, `"version": 2`) {
		t.Errorf("as JSON: %v\n%s", err, out)
	}
}

// salvaged is a salvage of 250 rows, a hundred to a page.
func salvaged(id string, from int) (web.SalvageRows, error) {
	if id != "r-000012-a" {
		return web.SalvageRows{}, &web.Refused{Code: web.NotFound, Why: "there is no salvage " + id}
	}
	out := web.SalvageRows{Salvage: situation.Salvage{ID: id, Store: "talk-db", Member: "a", State: situation.SalvageOpen, Method: situation.Decoded, Rows: 250, Told: 200,
		Unknown: []string{"3 of its transactions changed definitions"}, Holders: []estate.MemberID{"a", "b"}}}
	for n := from; n <= 250 && n < from+100; n++ {
		out.Rows = append(out.Rows, web.SalvageRow{N: n, Database: "talk", Schema: "한글", Table: "a.b", Op: "insert", Told: "unknown", Because: "nobody saw", Stands: web.StandsChanged,
			New: []web.SalvageValue{{Column: "id", Text: fmt.Sprint(n)}, {Column: "v", State: "null"}, {Column: "b", Text: strings.Repeat("가", 100), Bytes: 5000}},
			Now: []web.SalvageValue{{Column: "id", Text: fmt.Sprint(n)}, {Column: "v", Text: "theirs"}}})
	}
	if from+100 <= 250 {
		out.Next = from + 100
	}
	return out, nil
}

func TestASalvageIsShownPageByPage(t *testing.T) {
	tn := newTown(t, pki.Viewer, pki.Operator)
	tn.tower(desk{SalvageFunc: salvaged})
	out, err := tn.haechi("salvage", "list")
	if err != nil || !strings.Contains(out, "r-000012-a") || !strings.Contains(out, "250") || !strings.Contains(out, "open: to be decided") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = tn.haechi("salvage", "show", "r-000012-a", "--from", "2", "--limit", "150")
	if err != nil || strings.Count(out, "insert talk.") != 150 || !strings.Contains(out, "--from 152") || !strings.Contains(out, "v=NULL") || !strings.Contains(out, "(5000 bytes)") ||
		!strings.Contains(out, "nobody saw") || !strings.Contains(out, `v="theirs"`) || !strings.Contains(out, "changed definitions") || !strings.Contains(out, "of 200 a client may have been told") || !strings.Contains(out, "kept by a,b") ||
		!strings.Contains(out, "to decide: haechi salvage apply r-000012-a --rows") {
		t.Errorf("%v\n%.3000s", err, out)
	}
	out, err = tn.haechi("salvage", "show", "r-000012-a", "--output", "json")
	var s web.SalvageRows
	if err != nil || json.Unmarshal([]byte(out), &s) != nil || len(s.Rows) != 250 || s.Next != 0 || s.Salvage.ID != "r-000012-a" {
		t.Errorf("%v, %d rows, next %d", err, len(s.Rows), s.Next)
	}
	if _, err = tn.haechi("salvage", "show", "r-9-x"); err == nil || !strings.Contains(err.Error(), "no salvage r-9-x") {
		t.Errorf("%v", err)
	}
}

func TestASalvageIsDecidedAbout(t *testing.T) {
	tn := newTown(t, pki.Viewer, pki.Operator)
	var asks []web.Ask
	tn.tower(desk{StartFunc: func(_ string, ask web.Ask) (hrun.ID, error) { asks = append(asks, ask); return "r-000013", nil }})
	for _, args := range [][]string{{"apply", "r-000012-a"}, {"apply", "r-000012-a", "--all", "--rows", "1"}, {"apply", "r-000012-a", "--rows", "one"}} {
		if _, err := tn.haechi(append([]string{"salvage"}, args...)...); code(err) != 2 {
			t.Errorf("%v: %v", args, err)
		}
	}
	for _, args := range [][]string{{"apply", "r-000012-a", "--rows", "1,3-5", "--overwrite"}, {"apply", "r-000012-a", "--all"}, {"discard", "r-000012-a"}} {
		if out, err := tn.haechi(append(append([]string{"salvage"}, args...), "--no-wait")...); err != nil || !strings.Contains(out, "r-000013 has begun") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	if len(asks) != 3 || asks[0].Rows != "1,3-5" || !asks[0].Overwrite || asks[1].Rows != "" || asks[1].Kind != plan.Restore || asks[2].Kind != plan.GiveUp || asks[2].Subject != "r-000012-a" {
		t.Errorf("%+v", asks)
	}
}
