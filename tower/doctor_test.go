package tower

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/web"
)

// believing is what a tower believes of one store whose members a and b say these facts.
func believing(t *testing.T, epoch uint64, a, b map[string]string) *beliefs {
	t.Helper()
	e, err := estate.Load([]estate.File{{Name: "estate.yaml", Data: []byte(`haechi: v1
estate: test
sites: {a: {}, b: {}}
hosts: {db-a: {site: a, agent: "127.0.0.1:2"}, db-b: {site: b, agent: "127.0.0.1:3"}}
stores:
  talk-db: {engine: postgres, primary: a, acknowledge: {any: 1}, members: {a: {site: a, host: db-a, address: "127.0.0.1:5", unit: db}, b: {site: b, host: db-b, address: "127.0.0.1:6", unit: db}}}
`)}}, SettingsChecks())
	must(t, err)
	now := situation.Situation{Things: map[string]situation.Verdict{}, Facts: map[string]map[string]string{}}
	for host, f := range map[estate.HostID]map[string]string{"db-a": a, "db-b": b} {
		agent := situation.AgentTarget(e, host)
		now.Things[agent] = situation.Verdict{State: situation.Up}
		now.Facts[agent] = map[string]string{"db/held": f["held"]}
		now.Facts[situation.DatabaseTarget(e, "talk-db", estate.MemberID(strings.TrimPrefix(string(host), "db-")))] = f
	}
	rec := situation.Store{Epoch: epoch, Primary: "a", Any: 1, LeastAny: 1, Sync: []estate.MemberID{"b"}}
	return &beliefs{estate: e, now: now, targets: situation.Targets(e), snap: state.Snapshot{Stores: map[estate.StoreID]situation.Store{"talk-db": rec}}}
}

// sound are a member's facts with nothing wrong.
func sound(recovery, made string) map[string]string {
	return map[string]string{"answers": "true", "running": "true", "in_recovery": recovery, "fsync": "on", "full_page_writes": "on", "checksums": "on",
		"replication_role": "ok", "synchronous_commit": "on", "agent/role": made, "agent/reign": "1", "sealed": "false"}
}

// Each fault of a member is told with what to do, before adoption and after it, and once.
func TestDoctorOfMembers(t *testing.T) {
	for name, c := range map[string]struct {
		epoch uint64
		want  web.Finding
	}{
		"before adoption": {0, web.Finding{Subject: "talk-db/b", Level: web.Warn, Text: "fsync is off", Do: "set fsync = on"}},
		"adopted":         {1, web.Finding{Subject: "talk-db", Level: web.Bad, Text: "b: fsync is off", Do: "set fsync = on, and reload; until then there is no automatic promotion"}},
	} {
		t.Run(name, func(t *testing.T) {
			bad := sound("true", "follower")
			bad["fsync"] = "off"
			b := believing(t, c.epoch, sound("false", "primary"), bad)
			k := known{}
			k.learn(b.estate, b.now)
			b.premises = k.premises(b.estate, b.snap.Stores)
			var said []web.Finding
			for _, f := range b.storeFindings("talk-db") {
				if strings.Contains(f.Text, "fsync") {
					said = append(said, f)
				}
			}
			if len(said) != 1 || said[0].Subject != c.want.Subject || said[0].Level != c.want.Level || !strings.HasPrefix(said[0].Text, c.want.Text) || !strings.HasPrefix(said[0].Do, c.want.Do) {
				t.Errorf("%+v", said)
			}
		})
	}
}

// What people have to decide about a store's data is told where they look for what is unsafe.
func TestDoctorOfWhatMembersHold(t *testing.T) {
	b := believing(t, 1, sound("false", "primary"), sound("true", "follower"))
	quiet := len(b.storeFindings("talk-db"))
	rec := b.snap.Stores["talk-db"]
	rec.Differs = "1 row of messages on b"
	b.snap.Stores["talk-db"] = rec
	b.snap.Salvages = map[string]situation.Salvage{
		"r-3-b": {ID: "r-3-b", Store: "talk-db", State: situation.SalvageOpen}, "r-4-b": {ID: "r-4-b", Store: "talk-db", State: situation.SalvageOpen},
		"r-5-b": {ID: "r-5-b", Store: "mail-db", State: situation.SalvageOpen},
	}
	f := b.storeFindings("talk-db")
	if len(f) != quiet+2 || f[0].Level != web.Bad || !strings.Contains(f[0].Text, "1 row of messages on b") || !strings.Contains(f[0].Do, "haechi rejoin talk-db MEMBER --anew") ||
		f[1].Level != web.Warn || f[1].Do != "haechi salvage list" {
		t.Errorf("%+v", f)
	}
	rec.Differs = ""
	b.snap.Stores["talk-db"] = rec
	b.snap.Salvages = map[string]situation.Salvage{"r-3-b": {ID: "r-3-b", Store: "talk-db", State: situation.SalvageApplied}}
	if f := b.storeFindings("talk-db"); len(f) != quiet {
		t.Errorf("%+v", f)
	}
}

// Where the agent is not there, that is what is wrong, not what it does not say.
func TestDoctorOfASilentAgent(t *testing.T) {
	b := believing(t, 0, sound("false", ""), nil)
	if f := b.storeFindings("talk-db"); len(f) != 2 || f[1].Subject != "talk-db/b" || f[1].Text != "its agent says nothing of it" {
		t.Errorf("%+v", f)
	}
	b.now.Things[situation.AgentTarget(b.estate, "db-b")] = situation.Verdict{State: situation.Dead}
	if f := b.storeFindings("talk-db"); len(f) != 1 {
		t.Errorf("%+v", f)
	}
}

func TestHeldHostIsShown(t *testing.T) {
	b := believing(t, 0, map[string]string{"held": "true"}, nil)
	for _, s := range []struct {
		site estate.SiteID
		held bool
	}{{"a", true}, {"b", false}} {
		for _, row := range b.webSite(s.site, nil).Targets {
			if row.Held != (s.held && row.Kind == "agent") {
				t.Errorf("%s: %+v", s.site, row)
			}
		}
	}
}

// Certificates of others are told before they end: of agents by their facts, of towers and
// observers by their views.
func TestCertificatesThatEndSoon(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	soon, later := at.Add(pki.ExpiresSoon-time.Hour), at.Add(pki.ExpiresSoon+time.Hour)
	b := believing(t, 0, nil, nil)
	b.now.Facts[situation.AgentTarget(b.estate, "db-a")]["db/certificate_ends"] = soon.Format(time.RFC3339)
	b.now.Facts[situation.AgentTarget(b.estate, "db-b")]["db/certificate_ends"] = later.Format(time.RFC3339)
	b.views = map[string]timedView{"isp": {view: situation.View{Ends: at}}, "tower-a": {view: situation.View{Ends: soon}}, "tower-b": {view: situation.View{Ends: later}}, "tower-c": {}}
	want := []web.Finding{
		{Subject: "isp", Level: web.Bad, Text: "its certificate expired on 2026-03-01 00:00:00", Do: renew},
		{Subject: "a/agent/db-a", Level: web.Warn, Text: "its certificate ends on 2026-03-14", Do: renew},
	}
	if got := b.expiring("tower-a", at); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// The default election is fit for the default profile, and not for the fast one.
func TestElectionThatIsTooSlow(t *testing.T) {
	for profile, c := range map[string]struct {
		times etcd.Times
		slow  bool
	}{"default": {etcd.Default, false}, "fast": {etcd.Default, true}} {
		p, err := situation.Named(profile)
		must(t, err)
		f, slow := slowElection(Config{Name: "tower-a", Etcd: Etcd{Heartbeat: c.times.Heartbeat, Election: c.times.Election}}, p)
		if slow != c.slow || slow && !strings.Contains(f.Do, "election: 350ms") {
			t.Errorf("%s: %v %+v", profile, slow, f)
		}
	}
}
