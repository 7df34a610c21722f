package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestWhatIsHashedDependsOnNoSetting(t *testing.T) {
	columns := []column{{`id`, 23, false, "1"}, {`"이름"`, 25, true, "2"}, {`f`, 701, false, "3"}, {`n`, 1700, false, "5"}, {`j`, 3802, false, "6"}}
	want := `hashint8extended(hash_record_extended(ROW(id, "이름" COLLATE "C", float8send(f), numeric_send(n), (j)::text COLLATE "C"), 0), 0)`
	if got := hashOf(columns); got != want {
		t.Error(got)
	}
	if got := hashOf(nil); got != "0::int8" {
		t.Error(got)
	}
}

func TestAKeyIsNamedByItsColumns(t *testing.T) {
	columns := []column{{`id`, 23, false, "1"}, {`"이름"`, 25, true, "3"}}
	for numbers, want := range map[string]string{"": "", "1": "id", "3 1": `ROW("이름", id)`, "0": "", "2": ""} {
		if got := keyOf(columns, numbers); got != want {
			t.Errorf("%q: %q, want %q", numbers, got, want)
		}
	}
}

func TestAShapeChangesWithFileAndColumns(t *testing.T) {
	c := []column{{`id`, 23, false, "1"}}
	seen := map[string]bool{}
	for _, s := range []string{shapeOf("100", c), shapeOf("101", c), shapeOf("100", nil), shapeOf("100", []column{{`id`, 20, false, "1"}}), shapeOf("100", []column{{`x`, 23, false, "1"}})} {
		if seen[s] {
			t.Errorf("%s twice", s)
		}
		seen[s] = true
	}
}

func TestOnlyWhatTimeDoesNotMendIsLasting(t *testing.T) {
	for code, want := range map[string]bool{"XX001": true, "XX000": true, "58P01": true, "22021": true, "54000": true,
		"40001": false, "57014": false, "55P03": false, "53200": false, "57P01": false} {
		if lasting(code) != want {
			t.Errorf("%s: %v", code, !want)
		}
	}
}

func TestOnlyALookThatReplayEndedIsBegunAgain(t *testing.T) {
	conflict := fmt.Errorf("local query: %w", &pgconn.PgError{Code: "40001"})
	if !inTheWay(conflict) || inTheWay(&pgconn.PgError{Code: "57014"}) || inTheWay(errors.New("40001")) || inTheWay(nil) {
		t.Error("which errors are replay's is not told apart")
	}
}

func TestWhatIsNotComparedSaysWhy(t *testing.T) {
	for _, c := range []struct {
		kind, persistence, method string
		populated                 bool
		want                      string
	}{
		{"r", "p", "heap", true, ""}, {"m", "p", "heap", true, ""}, {"r", "u", "heap", true, "not logged"}, {"f", "p", "", true, "foreign"},
		{"r", "p", "columnar", true, `"columnar"`}, {"m", "p", "heap", false, "holds nothing yet"},
	} {
		if got := skip(c.kind, c.persistence, c.method, c.populated); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
