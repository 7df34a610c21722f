package situation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

func TestOldAndForeignViewsAreIgnored(t *testing.T) {
	e, at := sitesOf(false, "pangyo", "ansan", "anyang"), time.Unix(0, 0)
	f := situation.New(e, situation.Profiles()["fast"])
	for _, x := range []struct {
		what string
		view situation.View
		want bool
	}{
		{"first", situation.View{Observer: "tower-ansan", Site: "ansan", Boot: "a", Seq: 7}, true},
		{"the same again", situation.View{Observer: "tower-ansan", Site: "ansan", Boot: "a", Seq: 7}, false},
		{"overtaken on the way", situation.View{Observer: "tower-ansan", Site: "ansan", Boot: "a", Seq: 6}, false},
		{"restarted", situation.View{Observer: "tower-ansan", Site: "ansan", Boot: "b", Seq: 1}, true},
		{"from before the restart", situation.View{Observer: "tower-ansan", Site: "ansan", Boot: "a", Seq: 8}, false},
		{"another's site", situation.View{Observer: "tower-ansan", Site: "pangyo", Boot: "b", Seq: 2}, false},
		{"a tower that says it stands where users are", situation.View{Observer: "tower-ansan", Boot: "b", Seq: 2}, false},
		{"unknown", situation.View{Observer: "tower-seoul", Site: "ansan", Boot: "a", Seq: 1}, false},
		{"of users", situation.View{Observer: "isp-a", Boot: "a", Seq: 1}, true},
	} {
		if got := f.Heard(x.view, at); got != x.want {
			t.Errorf("%s: taken in = %v", x.what, got)
		}
	}
}

// Where an observer was stopped its silences begin anew. That is no sign of life.
func TestWaivedSilenceIsNoAnswer(t *testing.T) {
	e, at := sitesOf(false, "pangyo", "ansan", "anyang"), time.Unix(0, 0)
	f := situation.New(e, situation.Profiles()["fast"])
	seen := func(not string, waived time.Duration) (out []situation.Look) {
		for _, x := range situation.Targets(e) {
			l := situation.Look{Target: x.ID, Ever: true, Silent: 10 * time.Millisecond, Facts: map[string]string{"role": "primary"}}
			if string(x.Site) == not {
				l.Silent, l.Waived = 600*time.Millisecond, 0
				if waived > 0 {
					l.Silent, l.Waived = 10*time.Millisecond, waived
				}
			}
			out = append(out, l)
		}
		return out
	}
	tell := func(seq uint64, waived time.Duration) situation.Situation {
		f.Heard(situation.View{Observer: "tower-ansan", Site: "ansan", Boot: "a", Seq: seq, Looks: seen("pangyo", 0)}, at)
		f.Heard(situation.View{Observer: "tower-anyang", Site: "anyang", Boot: "a", Seq: seq, Looks: seen("pangyo", waived)}, at)
		return f.At(at)
	}
	if got := tell(1, 0); got.Sites["pangyo"].State != situation.Lost {
		t.Fatalf("pangyo is %+v", got.Sites["pangyo"])
	}
	at = at.Add(100 * time.Millisecond)
	got := tell(2, 20*time.Second)
	if v := got.Sites["pangyo"]; v.State != situation.Lost || strings.Contains(strings.Join(v.Because, ";"), "tower-anyang sees") {
		t.Errorf("pangyo is %+v", v)
	}
	if facts := got.Facts["pangyo/database/talk-db/pangyo"]; len(facts) > 0 {
		t.Errorf("a server that is gone says %v", facts)
	}
}

func TestFactsComeFromTheFreshestTowerAndTheAgent(t *testing.T) {
	e, at := sitesOf(false, "pangyo", "ansan", "anyang"), time.Unix(0, 0)
	f := situation.New(e, situation.Profiles()["fast"])
	look := func(target string, silent time.Duration, facts map[string]string) situation.Look {
		return situation.Look{Target: target, Ever: true, Silent: silent, Said: silent, Facts: facts}
	}
	const db, agent, dns = "pangyo/database/talk-db/pangyo", "pangyo/agent/db-pangyo", "pangyo/dns/ns-pangyo"
	f.Heard(situation.View{Observer: "tower-ansan", Site: "ansan", Boot: "a", Seq: 1, Looks: []situation.Look{
		look(db, 90*time.Millisecond, map[string]string{"lsn": "0/1"}),
		look(agent, 10*time.Millisecond, map[string]string{"talk-db/role": "primary", "named/state": "locked", "other/x": "y"}),
	}}, at)
	f.Heard(situation.View{Observer: "tower-anyang", Site: "anyang", Boot: "a", Seq: 1, Looks: []situation.Look{
		look(db, 20*time.Millisecond, map[string]string{"lsn": "0/2"}),
	}}, at)
	f.Heard(situation.View{Observer: "isp-a", Boot: "a", Seq: 1, Looks: []situation.Look{
		look(db, 0, map[string]string{"lsn": "0/3"}),
	}}, at)
	got := f.At(at).Facts
	if diff := cmp.Diff(map[string]string{"lsn": "0/2", "role": "primary"}, got[db]); diff != "" {
		t.Errorf("of the member: %s", diff)
	}
	if diff := cmp.Diff(map[string]string{"state": "locked"}, got[dns]); diff != "" {
		t.Errorf("of the name server: %s", diff)
	}
	if got := f.At(at.Add(time.Second)).Facts; len(got) != 0 {
		t.Errorf("facts of what does not answer any more: %v", got)
	}
}

// A tower that has asked for facts lately knows better than one that has only seen life
// since, also when the one that knows is lost together with what it looked at: else a
// setting that makes acknowledgements worthless would be forgotten with the site.
func TestFactsAreNeverReplacedByOlderOnes(t *testing.T) {
	e, at, p := sitesOf(false, "pangyo", "ansan", "anyang"), time.Unix(0, 0), situation.Profiles()["fast"]
	f := situation.New(e, p)
	const agent, db = "pangyo/agent/db-pangyo", "pangyo/database/talk-db/pangyo"
	says := func(tower string, seq uint64, silent, said time.Duration, list string) situation.View {
		return situation.View{Observer: "tower-" + tower, Site: estate.SiteID(tower), Boot: "a", Seq: seq, Looks: []situation.Look{
			{Target: agent, Ever: true, Silent: silent, Said: said, Facts: map[string]string{"talk-db/sync_names": list}},
		}}
	}
	f.Heard(says("pangyo", 1, 20*time.Millisecond, 20*time.Millisecond, "ANY 1 (*)"), at)
	for d := time.Duration(0); d < p.Silence; d += 10 * time.Millisecond { // ansan sees the fire a little later, and asked before
		f.Heard(says("ansan", 2+uint64(d), 5*time.Millisecond+d, 400*time.Millisecond+d, "ANY 1 (ansan)"), at.Add(d))
		if got := f.At(at.Add(d)).Facts[db]["sync_names"]; got != "ANY 1 (*)" && d+5*time.Millisecond < p.Silence {
			t.Fatalf("after %v the list is %q again", d, got)
		}
	}
}

func TestMemoryOfAnEstateOutlivesItsNextVersion(t *testing.T) {
	e, p := sitesOf(false, "pangyo", "ansan", "anyang"), situation.Profiles()["fast"]
	w := newWorld(e, p)
	w.run(time.Second)
	w.fire("pangyo")
	w.run(time.Second)
	f := w.folds["tower-ansan"]
	f.Estate(e, p)
	if got := f.At(w.now).Sites["pangyo"].State; got != situation.Lost {
		t.Fatalf("pangyo is %s after the estate was applied again", got)
	}
	delete(e.Sites, "pangyo")
	f.Estate(e, p)
	if _, ok := f.At(w.now).Sites["pangyo"]; ok {
		t.Fatal("there is a verdict on a site that is no more")
	}
}

func BenchmarkAt(b *testing.B) {
	w := newWorld(sitesOf(false, "pangyo", "ansan", "anyang"), situation.Profiles()["fast"])
	w.run(time.Second)
	f := w.folds["tower-ansan"]
	b.ReportAllocs()
	for b.Loop() {
		f.At(w.now)
	}
}
