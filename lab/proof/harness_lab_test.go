//go:build lab

package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/web"
)

// world is a lab that is up, and a test that acts in it.
type world struct {
	*lab.Lab
	*testing.T
}

// slow is a machine on which a new process is dear.
var slow = trial.PageCost() > trial.DearPage

// raise brings a lab up for one test, with a profile, and takes it down afterwards. The logs of
// a test that failed are kept in $HAECHI_LOGS, if that is set. What is of a lab's own is set by change.
func raise(t *testing.T, profile string, change ...func(*lab.Options)) world {
	t.Helper()
	var story []string
	o := lab.Options{Dir: "/var/tmp/haechi-proof", Name: "proof", Profile: profile, Seed: 1, Progress: func(line string) { story = append(story, line) }}
	for _, c := range change {
		c(&o)
	}
	l, err := lab.New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := world{l, t}
	if err := l.Up(t.Context()); err != nil {
		w.keepLogs()
		t.Fatalf("%v\n%s", err, strings.Join(story, "\n"))
	}
	t.Cleanup(func() {
		if t.Failed() {
			w.keepLogs()
		}
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w.sound()
	return w
}

// sound waits until a lab that was raised, or hurt and healed, has come to rest: everything is up, level and
// streams, no premise fails and no run is open.
func (w world) sound() {
	w.Helper()
	for _, p := range lab.Sites() {
		w.shows(p, 2*time.Minute, "a sound lab", func(n web.Now) bool {
			open := slices.ContainsFunc(n.Runs, web.Run.Open)
			blind := slices.ContainsFunc(n.Observers, func(o web.Observer) bool { return o.SilentMS < 0 || o.SilentMS > 1000 })
			return allUp(n) && !open && !blind && len(n.Observers) == 2 && n.Quorum.Have && len(n.Armed) > 0 && len(n.Stores) == 1 && len(n.Stores[0].Unmet) == 0 && n.Stores[0].Writes == web.WritesAcknowledged
		})
		w.sends(p, 20*time.Second, lab.Sites()...)
	}
}

func allUp(n web.Now) bool {
	for _, s := range n.Sites {
		if s.State != "up" {
			return false
		}
	}
	return len(n.Sites) == len(lab.Sites())
}

// keepLogs prints the end of the journal, and saves the logs.
func (w world) keepLogs() {
	for _, p := range lab.Sites() {
		if all, err := w.journalOf(p); err == nil {
			for _, e := range all {
				w.Logf("journal of %s: %d %s %s %s %s", p, e.Seq, e.At.Format("15:04:05.000"), e.Tower, e.Kind, e.Text)
			}
			break
		}
	}
	if dir := os.Getenv("HAECHI_LOGS"); dir != "" {
		to := filepath.Join(dir, w.Name())
		if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(filepath.Join(w.Dir(), "log")))); err != nil {
			w.Log(err)
		}
	}
}

// long is how long a fault lasts: what the row says where HAECHI_SOAK is set, else a short while.
func long(full, short time.Duration) time.Duration {
	if os.Getenv("HAECHI_SOAK") != "" {
		return full
	}
	return short
}

// must ends the test on an error of a fault, and says what was done.
func (w world) must(p lab.Proof, err error) lab.Proof {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
	w.Log(p)
	return p
}

// eventually asks again and again until f has nothing to complain of.
func (w world) eventually(most time.Duration, what string, f func() error) time.Duration {
	w.Helper()
	begun := time.Now()
	for {
		err := f()
		switch {
		case err == nil:
			return time.Since(begun)
		case time.Since(begun) > most || w.Context().Err() != nil:
			w.Fatalf("%s: not within %v: %v", what, most, err)
		}
		w.while(20 * time.Millisecond)
	}
}

// always asks again and again, for a while, whether f has nothing to complain of.
func (w world) always(lasting time.Duration, what string, f func() error) {
	w.Helper()
	for begun := time.Now(); time.Since(begun) < lasting && w.Context().Err() == nil; w.while(100 * time.Millisecond) {
		if err := f(); err != nil {
			w.Fatalf("%s: after %v: %v", what, time.Since(begun).Round(time.Millisecond), err)
		}
	}
}

// while lets a fault last.
func (w world) while(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.Context().Done():
	}
}

// get asks the tower in a site, from within the site, so that no cut hides it: its page, or what
// it tells people with a certificate.
func (w world) get(p lab.Place, url string, each func(*json.Decoder) error) error {
	config, err := pki.ClientTLS(w.Operator(), pki.Only(pki.Tower))
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DialContext: w.DialIn(p), TLSClientConfig: config, DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s: %s", resp.Status, said)
	}
	return each(json.NewDecoder(resp.Body))
}

// now is what the tower in a site shows.
func (w world) now(p lab.Place) (n web.Now, err error) {
	return n, w.get(p, "http://127.0.0.1:8600/now.json", func(d *json.Decoder) error { return d.Decode(&n) })
}

// shows waits until the tower in a site shows something.
func (w world) shows(p lab.Place, most time.Duration, what string, ok func(web.Now) bool) web.Now {
	w.Helper()
	var n web.Now
	took := w.eventually(most, fmt.Sprintf("the tower in %s shows %s", p, what), func() (err error) {
		if n, err = w.now(p); err != nil {
			return err
		}
		if !ok(n) {
			return fmt.Errorf("it shows %s", brief(n))
		}
		return nil
	})
	w.Logf("the tower in %s shows %s, %v later", p, what, took.Round(time.Millisecond))
	return n
}

// brief says what a tower shows in one line.
func brief(n web.Now) string {
	out := fmt.Sprintf("%q %q, driver %s/%d, quorum %v", n.Headline.Text, n.Headline.Detail, n.Driver.Tower, n.Driver.Term, n.Quorum)
	for _, s := range n.Sites {
		out += fmt.Sprintf("; %s %s", s.ID, s.State)
	}
	for _, s := range n.Stores {
		out += fmt.Sprintf("; %s epoch %d primary %s writes %q unmet %q", s.ID, s.Epoch, s.Primary, s.Writes, s.Unmet)
		for _, m := range s.Members {
			out += fmt.Sprintf(" %s=%s", m.ID, m.Role)
		}
	}
	for _, x := range n.Warnings {
		out += fmt.Sprintf("; %s: %s", x.Severity, x.Text)
	}
	return out
}

// says is whether a tower's warnings, headline or a run's question contain all words of one sentence.
func says(n web.Now, words ...string) bool {
	lines := []string{n.Headline.Text + " " + n.Headline.Detail, n.Quorum.Why}
	for _, x := range n.Warnings {
		lines = append(lines, x.Text+" "+x.Do)
	}
	for _, r := range n.Runs {
		lines = append(lines, r.Ask, strings.Join(r.Because, " "), r.Why)
	}
	for _, s := range n.Stores {
		lines = append(lines, s.Writes)
		lines = append(lines, s.Unmet...)
	}
	return slices.ContainsFunc(lines, func(line string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) })
	})
}

// journalOf reads the journal from the tower in a site.
func (w world) journalOf(p lab.Place) (all []journal.Entry, err error) {
	for {
		before := len(all)
		err := w.get(p, fmt.Sprintf("https://%s/api/v1/journal?from=%d", p.TowerAddr(), before+1), func(d *json.Decoder) error {
			for {
				var e journal.Entry
				if err := d.Decode(&e); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				all = append(all, e)
			}
		})
		if err != nil || len(all) == before {
			return all, err
		}
	}
}

// tale is one run as the journal tells it.
type tale struct {
	run.Run
	events []run.Event
}

// runs are all runs since an instant, in the order in which they were opened. The
// chain of the journal is verified on the way.
func (w world) runs(p lab.Place, since time.Time) (out []tale, err error) {
	all, err := w.journalOf(p)
	if err == nil {
		err = journal.Verify(all)
	}
	if err != nil {
		return nil, err
	}
	var order []run.ID
	events := map[run.ID][]run.Event{}
	for _, e := range all {
		var ev run.Event
		if e.Kind != "run" {
			continue
		}
		if err := json.Unmarshal(e.Data, &ev); err != nil {
			return nil, err
		}
		if ev.Kind == run.Opened {
			order = append(order, ev.Run)
		}
		events[ev.Run] = append(events[ev.Run], ev)
	}
	for _, id := range order {
		if events[id][0].At.Before(since) {
			continue
		}
		r, err := run.Replay(events[id])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
		out = append(out, tale{r, events[id]})
	}
	return out, nil
}

// ended waits until a run of a kind that was opened since an instant has ended as wanted.
func (w world) ended(p lab.Place, most time.Duration, since time.Time, kind string, status run.Status) tale {
	w.Helper()
	var out tale
	w.eventually(most, fmt.Sprintf("a run %s is %s", kind, status), func() error {
		all, err := w.runs(p, since)
		if err != nil {
			return err
		}
		for _, r := range all {
			if string(r.Plan.Kind) == kind && r.Status() == status {
				out = r
				return nil
			}
		}
		return fmt.Errorf("the runs are %s", tell(all))
	})
	w.Logf("run %s: %s %s, %v after the fault began, %s", out.ID, kind, out.Plan.Subject, out.Opened.Sub(since).Round(time.Millisecond), out.Status())
	return out
}

func tell(all []tale) string {
	var out []string
	for _, r := range all {
		out = append(out, fmt.Sprintf("%s %s %s: %s %s", r.ID, r.Plan.Kind, r.Plan.Subject, r.Status(), r.Closed))
	}
	return strings.Join(out, "; ")
}

// noRuns complains of any run that was opened since an instant.
func (w world) noRuns(p lab.Place, since time.Time) error {
	all, err := w.runs(p, since)
	if err == nil && len(all) > 0 {
		err = errors.New(tell(all))
	}
	return err
}

// primary is the one site whose member takes writes, among some.
func (w world) primary(among ...lab.Place) (lab.Place, error) {
	var out []lab.Place
	for _, p := range among {
		if yes, err := w.IsPrimary(w.Context(), p); err == nil && yes {
			out = append(out, p)
		}
	}
	if len(out) != 1 {
		return "", fmt.Errorf("primaries are %v", out)
	}
	return out[0], nil
}

// others are the sites but some.
func others(not ...lab.Place) []lab.Place {
	return slices.DeleteFunc(lab.Sites(), func(p lab.Place) bool { return slices.Contains(not, p) })
}

// names asks the name server of a site, as users do, to which sites it sends them.
func (w world) names(server lab.Place) ([]lab.Place, error) {
	q := new(dns.Msg)
	q.SetQuestion("talk.example.", dns.TypeA)
	conn, err := w.DialIn(lab.Users)(w.Context(), "udp", server.NameServer())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return ask(conn, q)
}

func ask(conn net.Conn, q *dns.Msg) (out []lab.Place, err error) {
	c := &dns.Conn{Conn: conn}
	if err := errors.Join(conn.SetDeadline(time.Now().Add(time.Second)), c.WriteMsg(q)); err != nil {
		return nil, err
	}
	m, err := c.ReadMsg()
	if err != nil {
		return nil, err
	}
	if m.Rcode != dns.RcodeSuccess {
		return nil, errors.New(dns.RcodeToString[m.Rcode])
	}
	for _, rr := range m.Answer {
		for _, p := range lab.Sites() {
			if a, ok := rr.(*dns.A); ok && a.A.String() == p.Addr(5) {
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// sends waits until the name server of a site sends users to these sites and no others.
func (w world) sends(server lab.Place, most time.Duration, want ...lab.Place) time.Duration {
	w.Helper()
	return w.eventually(most, fmt.Sprintf("the name server in %s answers %v", server, want), func() error {
		got, err := w.names(server)
		slices.Sort(got)
		slices.Sort(want)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("it answers %v", got)
		}
		return err
	})
}

// under has clients send messages, does the fault, waits until all are served
// again, and holds what was acknowledged against what is there. What is of a
// row's own is set by change.
func (w world) under(fault func() lab.Proof, change ...func(*trial.Trial)) trial.Figures {
	w.Helper()
	clients, rate := 60, 200.0
	if slow {
		clients, rate = 20, 100
	}
	t := trial.Trial{
		Lab: w.Lab, System: trial.Haechi{Lab: w.Lab}, Site: lab.Pangyo, Seed: 1, Clients: clients, Rate: rate, Warm: 1500 * time.Millisecond, Patience: 40 * time.Second, Settle: time.Second,
		Fault: func(context.Context) (lab.Proof, error) { return fault(), nil },
	}
	for _, c := range change {
		c(&t)
	}
	f, err := t.Run(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	if !f.OK() {
		w.Errorf("%d acknowledged, %d lost, %d duplicated, %d out of order, %d changed", f.Acknowledged, f.Lost, f.Duplicated, f.OutOfOrder, f.Changed)
	}
	w.Logf("%d acknowledged: %d lost, %d duplicated, %d out of order; verdict %.2f s, opened %.2f, sealed %.2f, promoted %.2f, first ack %.2f, all served %.2f, longest pause %.2f; judged %v; trouble %q",
		f.Acknowledged, f.Lost, f.Duplicated, f.OutOfOrder, f.Verdict, f.Opened, f.Sealed, f.Promoted, f.FirstAck, f.AllServed, f.LongestPause, f.Judged, f.Trouble)
	return f
}

// gone has the trial ask nothing of a site.
func gone(p lab.Place) func(*trial.Trial) {
	return func(t *trial.Trial) { t.Site, t.Gone = p, true }
}

// unmoved is for faults after which haechi is to do nothing: there is no account of a run to wait for.
func unmoved(t *trial.Trial) { t.System = silent{} }

type silent struct{}

func (silent) Name() string { return "haechi" }

func (silent) Account(context.Context, time.Time, []lab.Place) (trial.Account, error) {
	return trial.Account{}, nil
}

// served fails the test if some client was not served again while the trial had patience. How fast
// they are is for the bench to say: a test with a limit would fail where a machine is slow.
func (w world) served(f trial.Figures) {
	w.Helper()
	if f.AllServed == trial.Never {
		w.Errorf("not all clients were served again")
	}
}
