package web

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/simulate"
)

// told is what the desk of these tests says of a messenger whose registry stands in pangyo alone.
func told(t *testing.T, lose ...string) (Audit, If) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "if.yaml"))
	must(t, err)
	e, err := estate.Load([]estate.File{{Name: "if.yaml", Data: raw}}, nil)
	must(t, err)
	at := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	r, err := audit.Audit(audit.Input{Estate: e, Now: at})
	must(t, err)
	after, err := audit.After(e)
	must(t, err)
	a := Audit{At: at, Version: 3, TookMS: 4.2, Report: r, Names: after.Components}
	if len(lose) == 0 {
		return a, If{}
	}
	i := If{At: at, Version: 3, Lose: lose}
	i.Falls, err = audit.Blast(e, lose...)
	must(t, err)
	s, err := simulate.New(e, lose, simulate.Defaults(e))
	must(t, err)
	var outs []simulate.Outcome
	for range 3 {
		outs = append(outs, s.Once(even{}))
	}
	f := s.Gather(1, outs)
	i.Forecast, i.Plans, i.Stuck = &f, s.Plans(), []string{"cart: only 1 of 2 members is left; the way out: bring one back"}
	return a, i
}

// even is luck in the middle.
type even struct{}

func (even) Float64() float64     { return 0.5 }
func (even) NormFloat64() float64 { return 0.3 }

// prophet is a desk that knows one loss.
func prophet(t *testing.T, lose ...string) fakeDesk {
	a, i := told(t, lose...)
	return fakeDesk{
		NowFunc: func() Now {
			raw, err := os.ReadFile(filepath.Join("testdata", "now-peace.json"))
			must(t, err)
			var n Now
			must(t, json.Unmarshal(raw, &n))
			n.Audit = a.Brief()
			return n
		},
		AuditFunc: func() Audit { return a },
		IfFunc: func(asked []string) (If, error) {
			if strings.Join(asked, ",") != strings.Join(lose, ",") {
				return If{}, &Refused{Code: NotFound, Why: `"` + asked[0] + `" is no component of this estate; did you mean "pangyo"?`, Do: "haechi blast FILE"}
			}
			return i, nil
		},
	}
}

func prophecy(t *testing.T, d Desk) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(Page(t.Context(), d, slog.New(slog.DiscardHandler)))
	t.Cleanup(srv.Close)
	return srv
}

// The page says what falls, what moves, what is short, how long, and what the audit has found, without any script.
func TestIfSaysIt(t *testing.T) {
	body := get(t, prophecy(t, prophet(t, "pangyo")), "/if?lose=pangyo")
	for _, part := range []string{
		"Without pangyo", "of 6 services", "deploy needs registry, registry runs in pangyo alone", `aria-current="true"`, "판교",
		"<b>search</b> lacks 32 servers", "<b>promote</b> talk-db", "bring one back", "p95", "writes at stake: cart", "│ is what it promises",
		"HIGH", "do:</b>", "accepted by <b>kim</b> until 2999-01-01", "lee has accepted spof of talkk, which is not found", "letters",
		`<option value="pangyo/battery">`,
	} {
		if !strings.Contains(body, part) {
			t.Errorf("the page does not say %q", part)
		}
	}
	if strings.Contains(body, "ZgotmplZ") || strings.Contains(body, " style=") {
		t.Error("something was not drawn, or is styled inline, which the page's own policy forbids")
	}
	body = get(t, prophecy(t, prophet(t)), "/if")
	if strings.Contains(body, "Without ") || !strings.Contains(body, "What the audit finds") {
		t.Error("without a question there is an answer, or no audit")
	}
}

func TestIfRefusesWhatIsNotThere(t *testing.T) {
	srv := prophecy(t, prophet(t, "pangyo"))
	resp, err := srv.Client().Get(srv.URL + "/if?lose=%3Cscript%3Ealert(1)")
	must(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(t, err)
	body := string(raw)
	if resp.StatusCode != http.StatusNotFound || !strings.Contains(body, "is no component of this estate") || strings.Contains(body, "<script>alert") {
		t.Errorf("%s\n%s", resp.Status, body)
	}
	if !strings.Contains(resp.Header.Get("Content-Security-Policy"), "form-action 'self'") {
		t.Error("the form cannot be sent")
	}
}

// Before the first audit, and where it broke, the page says so.
func TestIfWithoutAnAudit(t *testing.T) {
	d := prophet(t, "pangyo")
	d.AuditFunc = func() Audit { return Audit{Why: "the audit broke"} }
	now := d.NowFunc
	d.NowFunc = func() Now { n := now(); n.Audit = d.Audit().Brief(); return n }
	srv := prophecy(t, d)
	for _, path := range []string{"/if", "/"} {
		if body := get(t, srv, path); !strings.Contains(body, "the audit broke") || !strings.Contains(body, "not audited") {
			t.Errorf("%s does not say it", path)
		}
	}
}

// The page Now leads to the page If, and says how much is found.
func TestNowLeadsToIf(t *testing.T) {
	body := get(t, prophecy(t, prophet(t)), "/")
	if !strings.Contains(body, `<a href="/if">`) || !strings.Contains(body, "findings at high and above") {
		t.Error("the page Now does not lead there")
	}
}

func TestAPIOfWhatIsNotYet(t *testing.T) {
	srv := office(t, prophet(t, "pangyo"), person("viewer"))
	status, say := call(t, srv, http.MethodGet, "if?lose=pangyo", "")
	var i If
	if err := json.Unmarshal([]byte(say), &i); err != nil || status != http.StatusOK || i.Falls.Services["registry"] != "down" || i.Forecast == nil || len(i.Plans) == 0 || i.Plans[0].Kind != plan.LoseSite {
		t.Errorf("%d %v %s", status, err, say)
	}
	for path, want := range map[string]int{"if": http.StatusBadRequest, "if?lose=,": http.StatusBadRequest, "if?lose=pangio": http.StatusNotFound, "audit": http.StatusOK} {
		if status, say := call(t, srv, http.MethodGet, path, ""); status != want {
			t.Errorf("%s: %d %s", path, status, say)
		}
	}
	_, say = call(t, srv, http.MethodGet, "audit", "")
	var a Audit
	if err := json.Unmarshal([]byte(say), &a); err != nil || a.Version != 3 || len(a.Findings) == 0 || a.Scenarios == 0 || a.TookMS == 0 {
		t.Errorf("%v %s", err, say)
	}
	d := fakeDesk{AuditFunc: func() Audit { return Audit{Why: "there is no estate yet"} }}
	if status, say := call(t, office(t, d, person("viewer")), http.MethodGet, "audit", ""); status != http.StatusUnprocessableEntity || !strings.Contains(say, "no estate yet") {
		t.Errorf("%d %s", status, say)
	}
}

// The graph can be walked: each component leads to itself, and to what if.
func TestGraphIsWalked(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "if.yaml"))
	must(t, err)
	e, err := estate.Load([]estate.File{{Name: "if.yaml", Data: raw}}, nil)
	must(t, err)
	as, err := estate.Marshal(e)
	must(t, err)
	d := prophet(t)
	d.EstateFunc = func() ([]byte, uint64, error) { return as, 3, nil }
	srv := prophecy(t, d)
	for path, wants := range map[string][]string{
		"/graph":                 {"<svg", `href="/graph?depth=2&amp;of=talk"`, "estate version 3"},
		"/graph?of=talk&depth=1": {"<svg", "What talk needs", `href="/graph?depth=1&amp;of=talk-db"`, `<a href="/if?lose=talk">`, "<b>1</b>"},
	} {
		resp, err := srv.Client().Get(srv.URL + path)
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		must(t, resp.Body.Close())
		for _, want := range wants {
			if !strings.Contains(string(body), want) {
				t.Errorf("%s does not say %q", path, want)
			}
		}
		if !strings.Contains(resp.Header.Get("Content-Security-Policy"), "style-src 'self' 'sha256-") {
			t.Errorf("%s: its own styles are not let through", path)
		}
	}
	resp, err := srv.Client().Get(srv.URL + "/graph?of=talkk")
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusNotFound || !strings.Contains(string(body), "did you mean &#34;talk&#34;") {
		t.Errorf("%s %s", resp.Status, body)
	}
}
