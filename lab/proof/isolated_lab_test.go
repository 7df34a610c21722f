//go:build lab

package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/talk"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/tower/web"
)

// Row 4: the primary's site is cut from both others, lives on, and users still reach it. Names
// leave within 2 s, also where 1.7 s of silence count.
func TestIsolatedPrimaryAcknowledgesNothing(t *testing.T) {
	for _, profile := range some(t, []string{"fast", "default"}) {
		t.Run(profile, func(t *testing.T) { isolate(t, profile, false) })
	}
}

// Row 5: the same, while everything that waits there is cancelled and sent again.
func TestCancelledWaitsOfAnIsolatedPrimaryAreNoAcknowledgement(t *testing.T) {
	isolate(t, "fast", true)
}

func isolate(t *testing.T, profile string, cancelWaits bool) {
	w := raise(t, profile)
	if _, err := w.SQL(t.Context(), lab.Pangyo, "talk", "CREATE TABLE alone (n int PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	f := w.under(func() lab.Proof {
		p := w.must(w.CutSite(t.Context(), lab.Pangyo))
		stop := w.pester(cancelWaits)
		w.sends(lab.Pangyo, 10*time.Second, others(lab.Pangyo)...)
		left := time.Since(p.At).Round(time.Millisecond)
		t.Logf("the isolated site's own name server sends users elsewhere %v after the cut", left)
		most := 2 * time.Second
		if slow { // it stands still for tenths of a second
			most += time.Second
		}
		if left > most {
			t.Errorf("the isolated site's name server sent users there for %v, must be at most %v", left, most)
		}
		w.eventually(20*time.Second, "the others take over", func() error {
			_, err := w.primary(others(lab.Pangyo)...)
			return err
		})
		t.Logf("another is primary %v after the cut", time.Since(p.At).Round(time.Millisecond))
		for _, q := range others(lab.Pangyo) {
			w.sends(q, 5*time.Second, others(lab.Pangyo)...)
		}
		w.ended(lab.Ansan, 20*time.Second, p.At, "lose-site", run.StatusDone)
		w.writesNothing(lab.Pangyo)
		said := stop()
		t.Logf("of its sends users heard %v", said)
		if said["acknowledged"] > 0 {
			t.Errorf("the isolated site acknowledged %d sends", said["acknowledged"])
		}
		if said["refused"]+said["unconfirmed"] == 0 {
			t.Errorf("the isolated site's gateway answered no send, so the test shows nothing: %v", said)
		}
		only := w.rows(lab.Pangyo, "SELECT n FROM alone")
		if only == 0 {
			t.Error("nothing was written by the isolated primary alone, so the test shows nothing")
		}
		pestered := w.rows(lab.Pangyo, "SELECT id FROM messages WHERE room = 'pester'")
		if cancelWaits && (said["cancelled"] == 0 || said["unconfirmed"] == 0 || pestered == 0) {
			t.Errorf("no wait was cancelled for which an id was sent again, so the test shows nothing: %v, %d messages stand there", said, pestered)
		}
		w.must(w.Heal(t.Context()))
		w.fenced(lab.Pangyo, p.At, only)
		return p
	}, gone(lab.Pangyo))
	w.served(f)
}

// Row 4, reads: fresh: a member in an isolated site answers nobody, not even reads, within 2 s. Where
// it still counts when the others are heard again, it answers again; where it was
// overtaken it does not.
func TestIsolatedSiteEndsReadsThatMustBeFresh(t *testing.T) {
	w := raise(t, "fast", func(o *lab.Options) { o.Fresh = true })
	answers := func(p lab.Place) error {
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		_, err := w.SQL(ctx, p, "talk", "SELECT count(*) FROM messages")
		return err
	}
	ends := func(p lab.Place) lab.Proof {
		if err := answers(p); err != nil {
			t.Fatalf("%s answers no reads before anything happened: %v", p, err)
		}
		cut := w.must(w.CutSite(t.Context(), p))
		w.eventually(5*time.Second, "reads end in "+string(p), func() error {
			if answers(p) == nil {
				return errors.New("it answers")
			}
			return nil
		})
		took := time.Since(cut.At).Round(time.Millisecond)
		t.Logf("%s answers no reads %v after the cut", p, took)
		if took > 2*time.Second {
			t.Errorf("%s answered reads for %v, must be at most 2 s", p, took)
		}
		return cut
	}
	ends(lab.Ansan)
	if err := answers(lab.Anyang); err != nil {
		t.Errorf("a site that is not isolated answers no reads: %v", err)
	}
	w.must(w.Heal(t.Context()))
	w.eventually(20*time.Second, "ansan answers again", func() error { return answers(lab.Ansan) })
	w.sound()
	if p, err := w.primary(lab.Sites()...); err != nil || p != lab.Pangyo {
		t.Errorf("the primary is %q (%v)", p, err)
	}
	cut := ends(lab.Pangyo)
	w.ended(lab.Ansan, 20*time.Second, cut.At, "lose-site", run.StatusDone)
	w.must(w.Heal(t.Context()))
	w.ended(lab.Ansan, 30*time.Second, cut.At, "fence-old", run.StatusDone)
	w.always(5*time.Second, "the former primary answers nobody, until it is a follower", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		rows, err := w.SQL(ctx, lab.Pangyo, "talk", "SELECT pg_is_in_recovery()")
		if err == nil && rows[0][0] != "t" {
			return errors.New("it does")
		}
		return nil
	})
}

// pester sends messages to the isolated site's gateway, each again and again with
// its id, and writes there by SQL; with cancel it ends every wait for a
// follower. The function that it returns ends that, and says how often users heard what, and
// how many waits were cancelled.
func (w world) pester(cancelWaits bool) func() map[string]int {
	ctx, cancel := context.WithCancel(w.Context())
	var all sync.WaitGroup
	var mu sync.Mutex
	said := map[string]int{}
	count := func(what string, n int) {
		mu.Lock()
		defer mu.Unlock()
		said[what] += n
	}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DialContext: w.DialIn(lab.Users)}}
	pests, pause := 4, time.Duration(0)
	if slow { // each send that is cancelled costs its gateway a session
		pests, pause = 1, 250*time.Millisecond
	}
	for i := range pests {
		url := fmt.Sprintf("http://%s/rooms/pester/messages/00000000-0000-4000-8000-%012d", lab.Pangyo.GatewayAddr(), i)
		all.Go(func() {
			for ctx.Err() == nil {
				count(send(ctx, client, url), 1)
				w.while(pause)
			}
		})
	}
	all.Go(func() {
		within, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if _, err := w.SQL(within, lab.Pangyo, "talk", "INSERT INTO alone VALUES (1)"); err == nil {
			w.Error("the isolated primary acknowledged a write by SQL")
		}
	})
	if cancelWaits {
		all.Go(func() { count("cancelled", w.cancelWaits(ctx, lab.Pangyo)) })
	}
	return func() map[string]int {
		cancel()
		all.Wait()
		return said
	}
}

// cancelWaits ends every wait for a follower in p until the context ends, and says how many those were.
func (w world) cancelWaits(ctx context.Context, p lab.Place) (n int) {
	conn, err := pgx.Connect(ctx, w.DSN(p, "postgres"))
	if err != nil {
		w.Errorf("the waits in %s are not cancelled: %v", p, err)
		return 0
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for ctx.Err() == nil {
		tag, err := conn.Exec(ctx, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
		if err != nil && ctx.Err() == nil {
			w.Errorf("the waits in %s are not cancelled: %v", p, err)
			return n
		}
		n += int(tag.RowsAffected())
		w.while(20 * time.Millisecond)
	}
	return n
}

// send sends a message once, and says what the user heard.
func send(ctx context.Context, c *http.Client, url string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader([]byte(`{"author": "pest", "body": "again"}`)))
	if err != nil {
		return err.Error()
	}
	resp, err := c.Do(req)
	if err != nil {
		return "nothing"
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(resp.Body)
	switch {
	case resp.StatusCode == http.StatusOK:
		return "acknowledged"
	case resp.StatusCode == http.StatusServiceUnavailable && bytes.Contains(said, []byte("did not confirm")):
		return "unconfirmed"
	case resp.StatusCode == http.StatusServiceUnavailable:
		return "refused"
	}
	return resp.Status
}

// writesNothing fails the test if a write in p is acknowledged.
func (w world) writesNothing(p lab.Place) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Second)
	defer cancel()
	if _, err := w.SQL(ctx, p, "talk", "INSERT INTO alone VALUES (2)"); err == nil {
		w.Errorf("a write in %s is acknowledged", p)
	}
}

// rows counts what a member answers.
func (w world) rows(p lab.Place, sql string) int {
	w.Helper()
	rows, err := w.SQL(w.Context(), p, "talk", sql)
	if err != nil {
		w.Fatal(err)
	}
	return len(rows)
}

// fenced waits until a former primary is stopped, and then back as a follower of the one that took over; never as a
// primary. What only it held must have been salvaged before it was rewritten.
func (w world) fenced(p lab.Place, since time.Time, only int) {
	w.Helper()
	w.ended(lab.Ansan, 30*time.Second, since, string(plan.FenceOld), run.StatusDone)
	now, err := w.primary(others(p)...)
	if n, e := w.now(lab.Ansan); err != nil || e != nil || n.Stores[0].Primary != string(now) {
		w.Errorf("the primary is %q, the towers show %s (%v, %v)", now, brief(n), err, e)
	}
	w.eventually(4*time.Minute, string(p)+" is brought back", func() error {
		if yes, err := w.IsPrimary(w.Context(), p); err == nil && yes {
			w.Fatalf("%s is primary again", p)
		}
		n, err := w.now(lab.Ansan)
		if err != nil || !slices.ContainsFunc(n.Missing, func(l web.Lack) bool { return string(l.Site) == string(p) }) {
			return err
		}
		return fmt.Errorf("missing are %v", n.Missing)
	})
	if kept := w.salvagedOf(p, since, "alone"); kept < only {
		w.Errorf("%d rows that only %s held are kept of %d", kept, p, only)
	}
	if rows, err := w.SQL(w.Context(), now, "postgres", "SELECT application_name FROM pg_stat_replication WHERE sync_state = 'quorum'"); err != nil || !strings.Contains(fmt.Sprint(rows), string(p)) {
		w.Errorf("%s is not counted: %v (%v)", p, rows, err)
	}
}

// Row 6: the link between two sites is cut, and the third sees both.
func TestOneCutLinkMovesNothing(t *testing.T) {
	w := raise(t, "fast")
	f := w.under(func() lab.Proof {
		p := w.must(w.CutLink(t.Context(), lab.Pangyo, lab.Ansan))
		w.always(long(30*time.Second, 6*time.Second), "nothing moves", func() error { return w.noRuns(lab.Anyang, p.At) })
		w.must(w.Heal(t.Context()))
		return p
	}, unmoved)
	if f.LongestPause > 1 {
		t.Errorf("writes paused for %.2f s", f.LongestPause)
	}
	w.stays(lab.Pangyo, f.At)
}

// Row 6, for longer: whom the cut keeps from its primary is not brought back at once, and not by people.
func TestWhoReceivesNothingIsBroughtBackAndNobodyIsAsked(t *testing.T) {
	w := raise(t, "fast")
	w.gather(lab.Ansan) // a tower that does not reach its agent would wait until the line is there again
	var back run.ID
	f := w.under(func() lab.Proof {
		p := w.must(w.CutLink(t.Context(), lab.Pangyo, lab.Ansan))
		w.eventually(2*time.Minute, "a run is to bring ansan back", func() error {
			all, err := w.runs(lab.Anyang, p.At)
			for _, r := range all {
				if back = r.ID; r.Plan.Kind != plan.BringBack || r.Opened.Sub(p.At) < 30*time.Second {
					t.Fatalf("the runs are %s, the first %v after the cut", tell(all), r.Opened.Sub(p.At))
				}
				return nil
			}
			return errors.Join(errors.New("there is no run"), err)
		})
		w.must(w.Heal(t.Context()))
		return p
	}, unmoved)
	w.served(f)
	r := w.finishes(lab.Anyang, back, 4*time.Minute)
	asked := slices.ContainsFunc(r.events, func(ev run.Event) bool { return ev.Kind == run.Asked })
	if r.Status() != run.StatusDone || asked {
		t.Errorf("it is %s (%s); people were asked: %v", r.Status(), r.Closed, asked)
	}
	w.stays(lab.Pangyo, f.At)
}

// Row 7: one-way cuts, each direction, between the primary's site and one or both others.
func TestOneWayCutsNeverMakeTwo(t *testing.T) {
	w := raise(t, "fast")
	type variant struct {
		name string
		cuts [][2]lab.Place
	}
	for _, c := range some(t, []variant{
		{"ToOne", [][2]lab.Place{{lab.Pangyo, lab.Ansan}}},
		{"FromOne", [][2]lab.Place{{lab.Ansan, lab.Pangyo}}},
		{"ToTheOther", [][2]lab.Place{{lab.Pangyo, lab.Anyang}}},
		{"FromTheOther", [][2]lab.Place{{lab.Anyang, lab.Pangyo}}},
		{"ToBoth", [][2]lab.Place{{lab.Pangyo, lab.Ansan}, {lab.Pangyo, lab.Anyang}}},
		{"FromBoth", [][2]lab.Place{{lab.Ansan, lab.Pangyo}, {lab.Anyang, lab.Pangyo}}},
		{"ToOneFromTheOther", [][2]lab.Place{{lab.Pangyo, lab.Ansan}, {lab.Anyang, lab.Pangyo}}},
	}) {
		t.Run(c.name, func(t *testing.T) {
			w := world{w.Lab, t}
			if p, err := w.primary(lab.Sites()...); err != nil || p != lab.Pangyo {
				w = raiseAgain(w)
			}
			oneWay(w, c.name, c.cuts)
		})
	}
}

// raiseAgain gives a test a lab in which everything is as at first.
func raiseAgain(w world) world {
	w.Helper()
	for _, do := range []func(context.Context) error{w.Down, w.Up} {
		if err := do(w.Context()); err != nil {
			w.Fatal(err)
		}
	}
	w.sound()
	return w
}

func oneWay(w world, name string, cuts [][2]lab.Place) {
	f := w.under(func() lab.Proof {
		var p lab.Proof
		for _, c := range cuts {
			p = w.must(w.CutOneWay(w.Context(), c[0], c[1]))
		}
		w.eventually(30*time.Second, "service goes on, or a tower says why not", func() error {
			acked, err := w.acknowledges()
			if len(acked) > 0 {
				w.Logf("%v acknowledges", acked)
				return nil
			}
			if w.saysWhyNot(p.At) {
				return nil
			}
			return fmt.Errorf("nobody acknowledges, and no tower says why not (%w)", err)
		})
		w.always(long(20*time.Second, 4*time.Second), "never two acknowledge", func() error {
			for range 2 { // the first of two may have handed over between the looks
				if acked, _ := w.acknowledges(); len(acked) < 2 {
					return nil
				}
			}
			return errors.New("two acknowledge, one after the other and again")
		})
		w.must(w.Heal(w.Context()))
		w.eventually(30*time.Second, "one primary is left", func() error {
			_, err := w.primary(lab.Sites()...)
			return err
		})
		return p
	}, func(t *trial.Trial) { t.Seed = seedOf(name) }, unmoved)
	w.served(f)
}

// saysWhyNot is whether a tower shows that writes wait or that there is no primary, and the journal has a
// decision about it since an instant.
func (w world) saysWhyNot(since time.Time) bool {
	for _, q := range lab.Sites() {
		n, err := w.now(q)
		if err != nil || n.Headline.Level != web.Bad || n.Stores[0].Writes != web.WritesWaiting && n.Stores[0].Writes != web.WritesNone {
			continue
		}
		all, err := w.journalOf(q)
		for _, e := range all {
			if err == nil && e.Kind == "decision" && e.At.After(since) && (e.Subject == "talk-db" || e.Subject == string(lab.Pangyo)) {
				w.Logf("the tower in %s says: %s; the journal: %s", q, brief(n), e.Text)
				return true
			}
		}
	}
	return false
}

// seedOf gives each load on one database messages of its own.
func seedOf(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return h.Sum64()
}

// acknowledges tries a write on every member that says it is primary, and returns those that acknowledged it.
func (w world) acknowledges() (out []lab.Place, err error) {
	for _, p := range lab.Sites() {
		yes, e := w.IsPrimary(w.Context(), p)
		if e != nil || !yes {
			continue
		}
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		if _, e = w.SQL(ctx, p, "talk", "CREATE TABLE IF NOT EXISTS beat (n int); INSERT INTO beat VALUES (1)"); e == nil {
			out = append(out, p)
		}
		err = errors.Join(err, e)
		cancel()
	}
	return out, err
}

// Row 8: users cannot reach a site, and the other sites can. Its tower drives: what observers
// on users' networks see has to come to it through the others.
func TestSiteCutOffFromUsersLosesTrafficAndKeepsData(t *testing.T) {
	w := raise(t, "fast")
	w.gather(lab.Pangyo)
	healed := make(chan error, 1)
	f := w.under(func() lab.Proof {
		p := w.must(w.CutUsers(t.Context(), lab.Pangyo))
		for _, q := range others(lab.Pangyo) {
			w.sends(q, 10*time.Second, others(lab.Pangyo)...)
		}
		t.Logf("names were withdrawn %v after the cut", time.Since(p.At).Round(time.Millisecond))
		return p
	}, func(t *trial.Trial) {
		t.Settle = 3 * time.Second
		t.Watch = func(e talk.Event) { // the judge wants to ask in every site
			if e.Kind == "all-served-after" {
				go func() {
					_, err := w.Heal(w.Context())
					healed <- err
				}()
			}
		}
	})
	w.served(f)
	if err := <-healed; err != nil {
		t.Fatal(err)
	}
	w.stays(lab.Pangyo, f.At)
	w.ended(lab.Ansan, 10*time.Second, f.At, "cut-users", run.StatusDone)
	for _, q := range lab.Sites() { // users come back by themselves
		w.sends(q, time.Minute, lab.Sites()...)
	}
}
