package situation_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/situation"
)

// Since when a member receives nothing, its primary says, and nobody else.
func TestSinceWhenAMemberHearsNothing(t *testing.T) {
	e, begun := sitesOf(false, "pangyo", "ansan", "anyang"), time.Unix(0, 0)
	f := situation.New(e, situation.Profiles()["fast"])
	leads := func(clients ...string) map[string]string {
		out := map[string]string{situation.FactRole: situation.RolePrimary, situation.FactAnswers: "true"}
		for i := 0; i < len(clients); i += 2 {
			out[situation.FactClient+clients[i]] = clients[i+1]
		}
		return out
	}
	follows := map[string]string{situation.FactRole: situation.RoleFollower, situation.FactAnswers: "true"}
	const ansan, anyang, pangyo = "ansan/database/talk-db/ansan", "anyang/database/talk-db/anyang", "pangyo/database/talk-db/pangyo"
	both := leads("ansan", "streaming quorum", "anyang", "catchup quorum")
	for second, x := range []struct {
		why  string
		says map[string]map[string]string // by target; others follow
		want map[string]int               // since which second
	}{
		{"all receive", map[string]map[string]string{pangyo: both}, nil},
		{"one does not", map[string]map[string]string{pangyo: leads("anyang", "streaming quorum")}, map[string]int{ansan: 1}},
		{"nor the other", map[string]map[string]string{pangyo: leads("ansan", "startup async")}, map[string]int{ansan: 1, anyang: 2}},
		{"one receives again", map[string]map[string]string{pangyo: leads("ansan", "streaming quorum")}, map[string]int{anyang: 2}},
		{"and not any more: it begins anew", map[string]map[string]string{pangyo: leads()}, map[string]int{ansan: 4, anyang: 2}},
		{"another primary", map[string]map[string]string{anyang: leads()}, map[string]int{ansan: 5, pangyo: 5}},
		{"two of them", map[string]map[string]string{anyang: leads(), pangyo: leads()}, nil},
		{"its agent could not ask", map[string]map[string]string{anyang: {situation.FactRole: situation.RolePrimary}}, nil},
	} {
		at := begun.Add(time.Duration(second) * time.Second)
		for id, tower := range e.Towers {
			v := situation.View{Observer: string(id), Site: tower.Site, Boot: "a", Seq: uint64(second + 1)}
			for _, target := range situation.Targets(e) {
				l := situation.Look{Target: target.ID, Ever: true}
				if target.Kind == situation.KindDatabase {
					if l.Facts = x.says[target.ID]; l.Facts == nil {
						l.Facts = follows
					}
				}
				v.Looks = append(v.Looks, l)
			}
			f.Heard(v, at)
		}
		got := map[string]int{}
		for target, since := range f.At(at).Deaf {
			got[target] = int(since.Sub(begun).Seconds())
		}
		if x.want == nil {
			x.want = map[string]int{}
		}
		if diff := cmp.Diff(x.want, got); diff != "" {
			t.Errorf("%s: %s", x.why, diff)
		}
	}
}

// When a site was gone last is known only to whoever saw it: one that begins to look remembers nothing of it.
func TestWhenASiteWasGoneLast(t *testing.T) {
	e, begun := sitesOf(false, "pangyo", "ansan", "anyang"), time.Unix(0, 0)
	f := situation.New(e, situation.Profiles()["fast"])
	var last time.Time
	for tick := range 80 {
		at := begun.Add(time.Duration(tick) * 100 * time.Millisecond)
		dark := tick >= 10 && tick < 30
		for id, tower := range e.Towers {
			if dark && tower.Site == "pangyo" {
				continue
			}
			v := situation.View{Observer: string(id), Site: tower.Site, Boot: "a", Seq: uint64(tick + 1)}
			for _, target := range situation.Targets(e) {
				l := situation.Look{Target: target.ID, Ever: true}
				if dark && target.Site == "pangyo" {
					l.Silent = time.Duration(tick-9) * 100 * time.Millisecond
				}
				v.Looks = append(v.Looks, l)
			}
			f.Heard(v, at)
		}
		s := f.At(at)
		if v := s.Sites["pangyo"]; v.Gone() {
			last = at
		}
		if v := s.Sites["pangyo"]; !v.LastGone.Equal(last) || !s.Sites["ansan"].LastGone.IsZero() {
			t.Fatalf("after %v pangyo is %s and was gone last at %v, not %v; ansan at %v", at.Sub(begun), v.State, v.LastGone, last, s.Sites["ansan"].LastGone)
		}
		if tick == 79 && (last.IsZero() || s.Sites["pangyo"].State != situation.Up) {
			t.Fatalf("pangyo is %+v: it should have been gone, and be up", s.Sites["pangyo"])
		}
	}
}
