package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver/postgres/salvage"
)

// Two databases may have a table of the same name: what one of them lost says nothing of the other's rows.
func TestRowsAreComparedWithThoseOfTheirOwnDatabase(t *testing.T) {
	u := stopped(t, nil)
	file := u.writes(t, 2, func(i int) salvage.Row {
		return salvage.Row{Database: []string{"mail", "talk"}[i], Schema: "public", Table: "item", Op: salvage.Insert, Key: []string{"id"}, Told: salvage.Never,
			New: []salvage.Value{salvage.NewValue("id", "integer", "1")}}
	})
	file.Rows = "2"
	p, err := u.pick(file)
	if err != nil {
		t.Fatal(err)
	}
	if others := p.others[tableOfRow(p.chosen[0])]; len(others) != 1 || others[0].Database != "talk" {
		t.Errorf("beside row 2 of talk: %+v", others)
	}
}

// writes makes a salvage of n rows that lies here, and returns what an order says of it.
func (u *Unit) writes(t *testing.T, n int, row func(i int) salvage.Row) agent.Salvaging {
	t.Helper()
	if err := os.MkdirAll(u.Files(), 0o700); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := salvage.NewWriter(&b, salvage.Header{ID: "r-1-a", Store: "talk-db", Member: "a", System: "7", Fork: "0/3000000", At: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := w.Add(row(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(u.Files(), salvageFile("r-1-a")), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	return agent.Salvaging{ID: "r-1-a", Bytes: int64(b.Len()), SHA256: hex.EncodeToString(sum[:])}
}

// What is longest as JSON within JSON still goes into an answer that a tower reads.
func TestAPageOfRowsFitsIntoAnAnswer(t *testing.T) {
	u := stopped(t, nil)
	long := strings.Repeat("\x01", 4*shownValue)
	file := u.writes(t, 2000, func(i int) salvage.Row {
		return salvage.Row{Database: "talk", Schema: "public", Table: "item", Op: salvage.Insert, Key: []string{"id"}, Told: salvage.Never,
			New: []salvage.Value{salvage.NewValue("id", "integer", fmt.Sprint(i)), salvage.NewValue("v", "text", long)}}
	})
	f, err := u.salvageRows(t.Context(), agent.Order{Salvage: &file})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(agent.Answer{Facts: f})
	if err != nil || len(raw) > 1<<20 {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
}

// Rows that are found in their places may be of a try whose wait for the others was cut short: a salvage is not closed
// before others hold them.
func TestRowsThatStandAreHeldByOthersBeforeTheSalvageIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		task := w.task(plan.Apply, nil, "pangyo")
		task.Salvage = w.kept()
		w.members["pangyo"].applied = true
		w.members["ansan"].dead, w.members["anyang"].dead = true, true
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if res, err := w.driver().Do(ctx, task); err == nil || res.Outcome != run.Unknown || res.Salvage != nil {
			t.Errorf("%+v, %v", res, err)
		}
	})
}
