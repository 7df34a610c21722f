package plan

import (
	"errors"
	"strings"
	"testing"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/seats"
)

func towersOf(text string) (all []seats.Tower) {
	for _, one := range strings.Split(text, ", ") {
		f := strings.Fields(one)
		t := seats.Tower{ID: estate.TowerID("tower-" + f[0]), Site: estate.SiteID(f[0]), Is: seats.State(f[1])}
		for _, word := range f[2:] {
			t.Well, t.Waits, t.Lost = t.Well || word == "well", t.Waits || word == "waits", t.Lost || word == "lost"
		}
		all = append(all, t)
	}
	return all
}

// A lasting loss with a spare in another site: it votes before the lost one is taken out.
func TestReseatAfterALastingLoss(t *testing.T) {
	p, err := Make(Input{Kind: Reseat, Subject: Towers, Seats: towersOf("a voter lost, b voter well, c voter well, d outside waits")})
	if err != nil {
		t.Fatal(err)
	}
	want := `reseat towers
01 seat tower-d @d to=voter (returned) limit 5m0s
02 seat tower-a to=outside after 1 (site-lost) limit 5m0s
`
	if p.String() != want {
		t.Fatalf("got\n%swant\n%s", p, want)
	}
}

func TestATowerThatLostItsDataIsOneStep(t *testing.T) {
	p, err := Make(Input{Kind: Reseat, Subject: Towers, Seats: towersOf("a voter waits, b voter well, c voter well")})
	if err != nil {
		t.Fatal(err)
	}
	if want := "reseat towers\n01 seat tower-a @a to=voter (returned) limit 5m0s\n"; p.String() != want {
		t.Fatalf("got\n%swant\n%s", p, want)
	}
}

func TestReseatWhereNothingIsToBeDone(t *testing.T) {
	if _, err := Make(Input{Kind: Reseat, Subject: Towers, Seats: towersOf("a voter well, b voter well, c voter well")}); !errors.Is(err, ErrNothing) {
		t.Fatalf("err = %v", err)
	}
	_, err := Make(Input{Kind: Reseat, Subject: Towers})
	if stuck, ok := errors.AsType[*Stuck](err); !ok || !strings.Contains(stuck.Out, "haechi tower recover") {
		t.Fatalf("err = %v", err)
	}
}

// A plan about a site brings only its own towers back.
func TestSeatStepsOfOneSite(t *testing.T) {
	m := &maker{in: Input{Seats: towersOf("a voter waits, b voter well, c voter well, d outside waits")}}
	if got := m.seatSteps("a"); len(got) != 1 || m.steps[0].Component != "tower-a" {
		t.Fatalf("%v: %v", got, m.steps)
	}
	if got := m.seatSteps("b"); len(got) != 0 {
		t.Fatalf("%v: %v", got, m.steps)
	}
}
