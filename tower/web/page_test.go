package web

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The headline of each story is what a person at three in the morning reads first.
func TestHeadlines(t *testing.T) {
	want := map[string]Headline{
		"peace":     {Fine, "ALL SITES UP", "talk-db in pangyo, writes are acknowledged"},
		"suspect":   {Warn, "PANGYO SUSPECT", "talk-db in pangyo, writes are acknowledged"},
		"lost":      {Bad, "PANGYO LOST", "haechi acts — step 4 of 5: promote talk-db, 0.1 s"},
		"done":      {Warn, "PANGYO LOST", "talk-db in ansan, writes are acknowledged"},
		"disarmed":  {Warn, "ALL SITES UP, DISARMED", "haechi only says what it would do — talk-db in pangyo, writes are acknowledged"},
		"no-quorum": {Bad, "PANGYO LOST, ANSAN LOST — NO QUORUM", "tower-anyang starts nothing — tower-pangyo and tower-ansan do not answer; 1 of 3 voters is left — what it watches over goes on without it"},
		"alone":     {Warn, "TALK-DB IS ALONE", "its writes stand on ansan only, under a mandate: if that is lost now, so are they"},
		"asking":    {Bad, "A PERSON IS NEEDED", "r-000003 of pangyo — 1 sealed member, 2 are needed: up to 214 writes that only pangyo and anyang hold are at stake; two approvers may accept that: haechi approve r-000003"},
		"held":      {Warn, "HELD", "ALL SITES UP — haechi acts on nothing until the hold is released"},
		"returning": {Acting, "PANGYO COMES BACK", "haechi acts — step 2 of 9: rejoin talk-db, 19.4 s"},
		"returned":  {Fine, "ALL SITES UP", "talk-db in ansan, writes are acknowledged"},
	}
	for _, name := range stories(t) {
		if got := Describe(story(t, name)).Headline; got != want[name] {
			t.Errorf("%s:\n got %q\nwant %q", name, got, want[name])
		}
	}
}

// Each story must say these things without any script.
// A comparison takes hours: it hides nothing that people have to know first.
func TestAComparisonHidesNothing(t *testing.T) {
	n := Now{Quorum: Quorum{Have: true}, Armed: []string{"*"}, Sites: []Site{{ID: "pangyo", State: "up"}}, Runs: []Run{{ID: "r-1", Kind: "verify", Subject: "talk-db", Status: RunRunning}},
		Stores: []Store{{ID: "talk-db", Epoch: 1, Writes: WritesAcknowledged}}}
	if h := Describe(n).Headline; h.Text != "ALL SITES UP" || !strings.Contains(h.Detail, "comparing talk-db") {
		t.Errorf("%+v", h)
	}
	n.Stores[0].Writes = WritesWaiting
	if h := Describe(n).Headline; h.Text != "TALK-DB WRITES WAIT" {
		t.Errorf("%+v", h)
	}
	n.Stores[0].Writes, n.Stores[0].Differs = WritesAcknowledged, "public.orders: missing on ansan: row 4711"
	if w := Describe(n).Warnings; len(w) != 1 || w[0].Severity != Bad || !strings.Contains(w[0].Text, "row 4711") || !strings.Contains(w[0].Do, "a person decides") {
		t.Errorf("%+v", w)
	}
}

func TestPageSaysIt(t *testing.T) {
	want := map[string][]string{
		"peace":     {"ALL SITES UP", "판교", "PRIMARY", "every premise holds", "armed: everything", "10.77.3.5"},
		"suspect":   {"PANGYO SUSPECT", "every target silent for 0.4 s"},
		"lost":      {"PANGYO LOST", "SEALED", "<b>promote</b>", "isp-a and isp-b do not reach it either", "writes wait: too few others hold them"},
		"done":      {"PANGYO LOST", "talk-db in ansan", "withdrawn", "r-000002", "0.27 s"},
		"disarmed":  {"DISARMED", "synchronous_commit = off", "expires in 6 d", "haechi arm", "replay blocked by a reader"},
		"no-quorum": {"NO QUORUM", "nobody drives", "users are still sent there"},
		"alone":     {"TALK-DB IS ALONE", "writes go on alone, under a mandate", "FORMER", "connection refused"},
		"asking":    {"A PERSON IS NEEDED", "214 writes", "ASKED"},
		"held":      {"HELD", "rewiring the ansan link", "drained", `class="nobody"`},
		"returning": {"3 things are missing", "some users are sent there", "salvages with rows that nobody has decided about: 1", "FORMER"},
		"returned":  {"All is as redundant as declared"},
	}
	for _, name := range stories(t) {
		body := get(t, serve(t, story(t, name)), "/")
		for _, part := range want[name] {
			if !strings.Contains(body, part) {
				t.Errorf("%s: the page does not say %q", name, part)
			}
		}
	}
}

// A host that is held by its own file is seen where everything else is.
func TestPageShowsAHeldHost(t *testing.T) {
	n := story(t, "peace")
	n.Sites[0].Targets = append(n.Sites[0].Targets, Target{Kind: "agent", Component: "db-pangyo", State: "up", Held: true})
	if body := get(t, serve(t, n), "/"); !strings.Contains(body, "the host of agent db-pangyo is held") || !strings.Contains(body, "remove the hold file") {
		t.Error("the page does not say it")
	}
}

// What towers, agents and servers say of themselves is text, whatever it looks like.
func TestPageEscapes(t *testing.T) {
	n := story(t, "peace")
	n.Sites[0].Because = []string{"<script>alert(1)</script>"}
	n.Stores[0].Unmet = []string{`"><img src=x>`}
	body := get(t, serve(t, n), "/")
	if strings.Contains(body, "<script>alert") || strings.Contains(body, "<img") {
		t.Error("a sighting became markup")
	}
}

// The gap of a failover must be seen and measured in the chart; not knowing is not zero.
func TestChartShowsTheGap(t *testing.T) {
	if body := get(t, serve(t, story(t, "done")), "/"); !strings.Contains(body, `class="gaptext"`) {
		t.Error("the gap of the failover is not marked")
	}
	if body := get(t, serve(t, story(t, "held")), "/"); strings.Contains(body, `class="gaptext"`) {
		t.Error("a time that nobody saw is shown as a time without messages")
	}
}

func TestPageLoadsNothingFromOutside(t *testing.T) {
	srv := serve(t, story(t, "peace"))
	for _, path := range []string{"/", "/assets/page.css", "/assets/page.js"} {
		body := get(t, srv, path)
		for _, foreign := range []string{"http://", "https://", "@import", "//fonts"} {
			if strings.Contains(body, foreign) {
				t.Errorf("%s names %s", path, foreign)
			}
		}
	}
	resp, err := srv.Client().Get(srv.URL + "/assets/page.html")
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("the template can be read: %v %v", resp, err)
	}
}

// An empty tower, just started, has a page too.
func TestPageOfNothing(t *testing.T) {
	body := get(t, serve(t, Now{At: time.Unix(0, 0), Tower: "tower-pangyo", Quorum: Quorum{Have: true}}), "/")
	if !strings.Contains(body, "NO ESTATE YET") {
		t.Errorf("no word about the estate:\n%s", body)
	}
}

func serve(t *testing.T, n Now) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(Page(t.Context(), fakeDesk{NowFunc: func() Now { return n }}, slog.New(slog.DiscardHandler)))
	t.Cleanup(srv.Close)
	return srv
}

func get(t *testing.T, srv *httptest.Server, path string) string {
	t.Helper()
	resp, err := srv.Client().Get(srv.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %v", path, resp.Status, err)
	}
	return string(body)
}
