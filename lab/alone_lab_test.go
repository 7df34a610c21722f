//go:build lab

package lab

import (
	"slices"
	"testing"

	"github.com/haechi/haechi/lab/talk"
)

// What is planted on a primary that nobody hears any more is what the lab finds in its ashes, and nothing else.
func TestWhatIsPlantedLiesInTheAshes(t *testing.T) {
	l := raise(t, Options{Only: []Role{RolePostgres}})
	if err := talk.Migrate(t.Context(), l.DSN(Pangyo, "talk")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.SQL(t.Context(), Pangyo, "talk", "INSERT INTO messages (id, room, author, body) VALUES (gen_random_uuid(), 'r', 'everybody', 'held by all')"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Sever(t.Context(), Pangyo); err != nil {
		t.Fatal(err)
	}
	rows, err := l.PlantAlone(t.Context(), Pangyo, 4)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Fire(t.Context(), Pangyo); err != nil {
		t.Fatal(err)
	}
	if _, err := l.SQL(t.Context(), Ansan, "postgres", "SELECT pg_promote()"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.SQL(t.Context(), Ansan, "postgres", "CHECKPOINT"); err != nil {
		t.Fatal(err)
	}
	held, err := l.HeldAlone(t.Context(), Pangyo, Ansan)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range held {
		if r.Table != "public.messages" {
			t.Errorf("%+v", r)
		}
		got = append(got, r.Key)
	}
	want := rows.All()
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("planted %v\nfound   %v", want, got)
	}
}
