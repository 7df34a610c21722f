package seats

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/estate"
)

// read makes towers of text: "a1 voter well, b1 voter lost, d1 outside waits".
func read(text string) (all []Tower) {
	for _, one := range strings.Split(text, ", ") {
		f := strings.Fields(one)
		t := Tower{ID: estate.TowerID(f[0]), Site: estate.SiteID(f[0][:1]), Is: State(f[1])}
		for _, word := range f[2:] {
			t.Well, t.Waits, t.Lost = t.Well || word == "well", t.Waits || word == "waits", t.Lost || word == "lost"
		}
		all = append(all, t)
	}
	return all
}

func draw(path []Change) string {
	var out []string
	for _, c := range path {
		out = append(out, fmt.Sprintf("%s %s", c.Tower, c.To))
	}
	return strings.Join(out, ", ")
}

func TestPath(t *testing.T) {
	for name, tt := range map[string]struct{ have, want string }{
		"Whole":              {"a1 voter well, b1 voter well, c1 voter well", ""},
		"AwayForAMoment":     {"a1 voter, b1 voter well, c1 voter well, d1 learner well", ""},
		"LostWithoutSpare":   {"a1 voter lost, b1 voter well, c1 voter well", ""},
		"SpareOfTheSameSite": {"a1 voter lost, b1 voter well, b2 learner well, c1 voter well", ""},
		"LostWithSpare":      {"a1 voter lost, b1 voter well, c1 voter well, d1 learner well", "d1 voter, a1 outside"},
		"SpareWaits":         {"a1 voter lost, b1 voter well, c1 voter well, d1 outside waits", "d1 learner, d1 voter, a1 outside"},
		"ItComesBack":        {"a1 outside waits, b1 voter well, c1 voter well, d1 voter well", "a1 learner"},
		"DiskLost":           {"a1 voter waits, b1 voter well, c1 voter well", "a1 outside, a1 learner, a1 voter"},
		"DiskOfALearnerLost": {"a1 voter well, b1 voter well, c1 voter well, d1 learner waits", "d1 outside, d1 learner"},
		"NoMajority":         {"a1 voter waits, b1 voter lost, c1 voter well, d1 outside waits", ""},
		"TwoOfFiveInOneSite": {"a1 voter lost, a2 voter lost, b1 voter well, c1 voter well, d1 voter well", "a1 outside, a2 outside"},
		"AfterOneWasLeft":    {"a1 outside waits, b1 outside waits, c1 voter well", "a1 learner, a1 voter, b1 learner, b1 voter"},
		"OneCameBack":        {"a1 outside waits, b1 outside lost, c1 voter well", "a1 learner"},
		"PlaceIsTaken":       {"a1 voter lost, b1 voter well, b2 learner well, c1 voter well, d1 outside waits", "b2 outside, d1 learner, d1 voter, a1 outside, b2 learner"},
		"SiteHoldsHalf":      {"a1 voter well, a2 voter well, b1 voter well, c1 voter well", "a2 outside, a2 learner"},
		"LearnerIsLost":      {"a1 voter well, b1 voter well, c1 voter well, d1 learner lost", "d1 outside"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := draw(Path(read(tt.have))); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestFirst(t *testing.T) {
	for have, want := range map[string]string{
		"a1 b1 c1":          "[a1 b1 c1]",
		"a1 b1 c1 d1":       "[a1 b1 c1]",
		"a1 a2 b1 c1":       "[a1 b1 c1]",
		"a1 a2 b1 b2 c1":    "[a1 a2 b1 b2 c1]",
		"a1 a2 b1 b2 c1 c2": "[a1 a2 b1 b2 c1]",
		"a1 a2 a3 b1 c1":    "[a1 b1 c1]",
		"a1 b1":             "[a1 b1]",
		"a1 a2 b1":          "[a1 a2 b1]",
		"a1":                "[a1]",
	} {
		towers := map[estate.TowerID]estate.SiteID{}
		for _, id := range strings.Fields(have) {
			towers[estate.TowerID(id)] = estate.SiteID(id[:1])
		}
		if got := fmt.Sprint(First(towers)); got != want {
			t.Errorf("of %s: %s, want %s", have, got, want)
		}
	}
}

func anyTowers(t *rapid.T) (all []Tower) {
	sites := rapid.IntRange(1, 5).Draw(t, "sites")
	for i := range rapid.IntRange(1, 8).Draw(t, "towers") {
		tower := Tower{ID: estate.TowerID(fmt.Sprintf("t%d", i)), Site: estate.SiteID(fmt.Sprintf("s%d", rapid.IntRange(1, sites).Draw(t, "site")))}
		tower.Is = rapid.SampledFrom([]State{Voter, Voter, Voter, Outside}).Draw(t, "is")
		if !hasLearner(all) && tower.Is == Outside && rapid.Bool().Draw(t, "learns") {
			tower.Is = Learner
		}
		switch rapid.SampledFrom([]string{"well", "well", "well", "waits", "away", "lost"}).Draw(t, "how") {
		case "well":
			tower.Well, tower.Waits = tower.Is != Outside, tower.Is == Outside
		case "waits":
			tower.Waits = true
		case "lost":
			tower.Lost = true
		}
		all = append(all, tower)
	}
	return all
}

// TestEachChangeIsSafe: whatever the towers are, the voters can agree before and after each change, no site
// comes to hold a majority by one, there is at most one learner, and it comes to an end.
func TestEachChangeIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := anyTowers(t)
		for n := 0; ; n++ {
			c, ok := Next(all)
			if !ok {
				break
			}
			if n > most*len(all) {
				t.Fatalf("it does not end: %v", c)
			}
			if !majorityWell(all) {
				t.Fatalf("%v without a majority in %+v", c, all)
			}
			i := slices.IndexFunc(all, func(one Tower) bool { return one.ID == c.Tower })
			if all[i].Is == c.To || all[i].Is == Outside && c.To == Voter || all[i].Is == Voter && c.To == Learner {
				t.Fatalf("%v is no single change of %+v", c, all[i])
			}
			if all[i].Is == Voter && all[i].Well && !overloaded(all, all[i].Site) {
				t.Fatalf("%v takes the vote of a tower that is well: %+v", c, all)
			}
			next := Applied(all, c)
			if !majorityWell(next) {
				t.Fatalf("after %v the voters cannot agree: %+v", c, next)
			}
			if !all[i].Waits && !spread(all, next) {
				t.Fatalf("%v gives a site a majority: %+v", c, next)
			}
			if learners := len(slices.DeleteFunc(slices.Clone(next), func(t Tower) bool { return t.Is != Learner })); learners > 1 {
				t.Fatalf("%d learners after %v", learners, c)
			}
			all = next
		}
	})
}

func overloaded(all []Tower, s estate.SiteID) bool {
	v := voters(all)
	return 2*inSite(v, s) >= len(v)
}

// TestTheEndBearsTheNextLoss: where towers that answer stand in three sites and all others are given up,
// the path ends where the loss of any site leaves a majority.
func TestTheEndBearsTheNextLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := anyTowers(t)
		for i := range all {
			if one := &all[i]; !one.Well && !one.Waits {
				one.Lost = true
			}
		}
		living := slices.DeleteFunc(slices.Clone(all), func(t Tower) bool { return t.Lost })
		if !majorityWell(all) || len(sitesOf(living)) < 3 {
			t.Skip("nothing to reach")
		}
		for _, c := range Path(all) {
			all = Applied(all, c)
		}
		if missing := Missing(all); len(missing) > 0 {
			t.Fatalf("%v in %+v", missing, all)
		}
	})
}

func TestFirstBearsALoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		towers := map[estate.TowerID]estate.SiteID{}
		for _, one := range anyTowers(t) {
			towers[one.ID] = one.Site
		}
		var all []Tower
		for _, id := range First(towers) {
			all = append(all, Tower{ID: id, Site: towers[id], Is: Voter, Well: true})
		}
		var sites []estate.SiteID
		for _, s := range towers {
			sites = append(sites, s)
		}
		slices.Sort(sites)
		if len(slices.Compact(sites)) >= 3 && (len(Missing(all)) > 0 || len(all)%2 == 0) {
			t.Fatalf("%v: %v", all, Missing(all))
		}
	})
}

func TestMissingSaysWhy(t *testing.T) {
	for have, want := range map[string]string{
		"a1 voter well, b1 voter well, c1 voter well":                   "",
		"a1 voter well, b1 voter well, c1 voter well, d1 learner well":  "",
		"a1 voter waits, b1 voter well, c1 voter well":                  "a1 has lost its data, and waits until it is seated anew; without b 1 of 3 votes would be left, and 2 are needed; without c 1 of 3 votes would be left, and 2 are needed",
		"a1 voter lost, b1 voter well, c1 voter well, d1 outside waits": "a1 has a vote and does not answer; without b 1 of 3 votes would be left, and 2 are needed; without c 1 of 3 votes would be left, and 2 are needed; d1 stands by without a vote",
		"a1 voter well, a2 voter well, b1 voter well":                   "without a 1 of 3 votes would be left, and 2 are needed",
	} {
		if got := strings.Join(Missing(read(have)), "; "); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", have, got, want)
		}
	}
}

func TestVotes(t *testing.T) {
	for have, want := range map[string]string{
		"a1 voter well, b1 voter well, c1 voter well":                                    "",
		"a1 voter lost, b1 voter well, c1 voter well":                                    "", // that it is gone is seen
		"a1 voter waits, b1 voter well, c1 voter well":                                   "a1",
		"a1 outside waits, b1 voter well, c1 voter well":                                 "a1",
		"a1 learner well, b1 voter well, c1 voter well":                                  "a1",
		"a1 voter well, b1 voter well, c1 voter well, d1 learner well":                   "",
		"a1 voter well, b1 voter well, c1 voter well, d1 learner waits":                  "d1",
		"a1 outside waits, b1 voter well, c1 voter well, d1 voter well":                  "",
		"a1 voter well, a2 outside waits, a3 learner well, b1 voter well, c1 voter well": "",
		"a1 voter well, a2 voter well, b1 voter well, c1 learner well":                   "c1",
		"a1 voter well, b1 voter well, c1 voter well, d1 learner well, e1 outside waits": "d1 e1",
		"a1 voter well, b1 outside waits":                                                "b1",
	} {
		var without []string
		votes := Votes(read(have))
		for _, tower := range read(have) {
			if !votes[tower.ID] {
				without = append(without, string(tower.ID))
			}
		}
		if got := strings.Join(without, " "); got != want {
			t.Errorf("%s: %q do not, want %q", have, got, want)
		}
	}
	for _, unknown := range [][]Tower{nil, read("a1 outside, b1 outside")} {
		if Votes(unknown) != nil {
			t.Errorf("what is not known is told: %v", unknown)
		}
	}
}
