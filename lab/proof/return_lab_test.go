//go:build lab

package proof

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/tower/web"
)

// A site that burned has power again while no tower of the others is there to look, and somebody who means
// well starts its database by hand, while clients still go to its address. Nothing is acknowledged there, and reads are answered
// only where the store lets them be old. Once it is looked at again it is stopped, read and brought back.
func TestOldPrimaryReturnsWhileNobodyLooks(t *testing.T) {
	for _, reads := range []string{"any", "fresh"} {
		t.Run(reads, func(t *testing.T) {
			w := raise(t, "fast", func(o *lab.Options) { o.Fresh = reads == "fresh" })
			if _, err := w.SQL(t.Context(), lab.Pangyo, "talk", "CREATE TABLE alone (n int PRIMARY KEY)"); err != nil {
				t.Fatal(err)
			}
			w.served(w.under(func() lab.Proof {
				fire := w.must(w.Fire(t.Context(), lab.Pangyo))
				w.ended(lab.Ansan, 30*time.Second, fire.At, string(plan.LoseSite), run.StatusDone)
				for _, q := range others(lab.Pangyo) {
					w.must(w.KillProcess(t.Context(), q, lab.RoleTower))
				}
				w.must(w.Rebuild(t.Context(), lab.Pangyo))
				w.must(w.StartDatabase(t.Context(), lab.Pangyo))
				only := w.oldAnswers(reads == "fresh")
				w.must(w.Heal(t.Context()))
				back := time.Now()
				for _, q := range others(lab.Pangyo) {
					w.must(w.StartProcess(t.Context(), q, lab.RoleTower))
				}
				w.shows(lab.Ansan, time.Minute, "that pangyo runs, or would, as a primary, and is none", func(n web.Now) bool {
					return says(n, "pangyo", "as a primary of talk-db")
				})
				w.ended(lab.Ansan, 30*time.Second, back, string(plan.FenceOld), run.StatusDone)
				w.whole(4 * time.Minute)
				if kept := w.salvagedOf(lab.Pangyo, back, "alone"); kept < only {
					t.Errorf("%d rows that only the old primary held are kept of %d", kept, only)
				}
				return fire
			}, unmoved))
		})
	}
}

// oldAnswers has clients that know but one address, the old primary's, read and write there for a while: such as ask for
// a server that takes writes, as talk does, and such as ask for nothing. Where reads have to be fresh
// its lines to the other sites are cut, too: only then can nobody tell it that it is old. It returns how many rows
// are seen to stand there alone.
func (w world) oldAnswers(fresh bool) (only int) {
	w.Helper()
	const read = "SELECT count(*) FROM messages"
	clients := map[string]*pgx.ConnConfig{"read-write": w.knowing(lab.Pangyo, true), "any": w.knowing(lab.Pangyo, false)}
	if !fresh { // else its tower may be quicker
		for attrs, c := range clients {
			w.eventually(10*time.Second, "a client with target_session_attrs="+attrs+" reaches the old primary, else the test shows nothing", func() error {
				if heard, err := w.hears(c, read); heard != answered {
					return fmt.Errorf("%s: %w", heard, err)
				}
				return nil
			})
		}
	}
	if fresh {
		cut := w.must(w.CutSite(w.Context(), lab.Pangyo))
		w.eventually(10*time.Second, "reads end there", func() error {
			for attrs, c := range clients {
				if heard, _ := w.hears(c, read); heard == answered {
					return fmt.Errorf("target_session_attrs=%s: it answers", attrs)
				}
			}
			return nil
		})
		w.Logf("reads ended %v after the cut", time.Since(cut.At).Round(time.Millisecond))
	}
	said, n := map[string]int{}, 0
	for begun := time.Now(); time.Since(begun) < long(20*time.Second, 6*time.Second) && w.Context().Err() == nil; {
		for attrs, c := range clients {
			n++
			heard, _ := w.hears(c, fmt.Sprintf("INSERT INTO alone VALUES (%d)", n))
			if said["write "+heard]++; heard == answered {
				w.Errorf("target_session_attrs=%s: the old primary acknowledged a write", attrs)
			}
			heard, err := w.hears(c, read)
			if said["read "+heard]++; fresh && heard == answered || !fresh && heard == refused {
				w.Errorf("target_session_attrs=%s, reads are to be fresh: %v; of a read is heard: %s (%v)", attrs, fresh, heard, err)
			}
		}
	}
	w.Logf("clients of the old primary heard %v", said)
	if fresh {
		return 0 // nobody can look there
	}
	if said["read "+answered] == 0 {
		w.Error("reads may be old, and none was answered")
	}
	if only = w.rows(lab.Pangyo, "SELECT n FROM alone"); only == 0 {
		w.Error("nothing was written by it alone, so the test shows nothing")
	}
	return only
}

// knowing is talk's connection string as somebody has it who knows one member alone, and asks for one that takes writes
// or for nothing.
func (w world) knowing(p lab.Place, writable bool) *pgx.ConnConfig {
	w.Helper()
	c, err := pgx.ParseConfig(w.TalkDSN())
	if err != nil {
		w.Fatal(err)
	}
	c.Host, c.Fallbacks, c.DialFunc = p.Addr(21), nil, w.DialIn(p)
	if !writable {
		c.ValidateConnect = nil
	}
	return c
}

// What a client hears of a statement.
const (
	answered    = "answered"
	unconfirmed = "committed here alone" // a warning: the server did not wait for others
	refused     = "refused"
	nothing     = "nothing" // within a second
)

// hears is what a client hears that connects from within the site, and asks for one thing.
func (w world) hears(c *pgx.ConnConfig, sql string) (heard string, err error) {
	ctx, cancel := context.WithTimeout(w.Context(), time.Second)
	defer cancel()
	c, heard = c.Copy(), answered
	c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if strings.Contains(n.Message, "synchronous replication") {
			heard = unconfirmed
		}
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err == nil {
		_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
		_ = conn.Close(context.WithoutCancel(ctx))
	}
	switch {
	case err == nil:
		return heard, nil
	case ctx.Err() != nil:
		return nothing, err
	}
	return refused, err
}

// Members were found to differ: nobody can move the primary home, and what differs is named. Who is right is for people
// to decide: nothing is changed.
func TestADifferenceForbidsFailback(t *testing.T) {
	w := raise(t, "fast")
	for _, sql := range []string{"CREATE TABLE shelf (id bigint PRIMARY KEY, body text)", "INSERT INTO shelf SELECT i, md5(i::text) FROM generate_series(1, 2000) i"} {
		if _, err := w.SQL(t.Context(), lab.Pangyo, "talk", sql); err != nil {
			t.Fatal(err)
		}
	}
	w.haechi("failover", "talk-db", "--to", "ansan")
	if found, err := w.compare(); err != nil || len(found) > 0 {
		t.Fatalf("before anything was planted: %v %v", found, err)
	}
	if said, err := w.Haechi(t.Context(), "failback", "talk-db", "--check"); err != nil || !strings.Contains(said, "possible, when a person says so") {
		t.Fatalf("before anything was planted: %v: %s", err, said)
	}
	w.lying(func() { w.must(w.LieMissing(t.Context(), lab.Pangyo, "shelf", "id = 500")) })
	since := time.Now()
	found, err := w.compare()
	if diff := cmp.Diff([]string{"pangyo missing talk: public.shelf 500"}, found); diff != "" || err == nil {
		t.Errorf("%v: %s", err, diff)
	}
	said, err := w.Haechi(t.Context(), "failback", "talk-db")
	if text := said + fmt.Sprint(err); err == nil || !strings.Contains(text, "found a difference") || !strings.Contains(text, "pangyo") || !strings.Contains(text, "nothing was changed") {
		t.Errorf("failback is to be refused because members differ: %v: %s", err, said)
	}
	all, err := w.runs(lab.Ansan, since)
	if err != nil || slices.ContainsFunc(all, func(r tale) bool { return r.Plan.Kind != plan.VerifyAll }) {
		t.Errorf("the runs since are %s (%v)", tell(all), err)
	}
	if p, err := w.primary(lab.Sites()...); err != nil || p != lab.Ansan {
		t.Errorf("the primary is %q (%v)", p, err)
	}
	// The index still has the key: a query for that alone would be answered from it.
	if rows := w.rows(lab.Pangyo, "SELECT body FROM shelf WHERE id = 500"); rows != 0 {
		t.Error("somebody has decided who is right")
	}
}
