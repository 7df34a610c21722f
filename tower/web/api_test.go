package web

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/history"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/pki"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func person(roles ...string) pki.Identity {
	return pki.Identity{Kind: pki.Person, Name: "kim", Roles: roles}
}

// office serves the API to one identity.
func office(t *testing.T, d Desk, id pki.Identity) *httptest.Server {
	t.Helper()
	who := func(*http.Request) (pki.Identity, error) { return id, nil }
	srv := httptest.NewServer(api(d, slog.New(slog.DiscardHandler), who))
	t.Cleanup(srv.Close)
	return srv
}

func call(t *testing.T, srv *httptest.Server, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+"/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// Every route that changes something, refused to everybody who may not; the desk's
// functions are not set, so that reaching one would panic.
func TestRolesAreRefused(t *testing.T) {
	for _, c := range []struct {
		who   pki.Identity
		route string
	}{
		{person(), "GET now"},
		{person("viewer"), "POST evacuate"},
		{person("viewer"), "POST failover"},
		{person("viewer"), "POST adopt"},
		{person("viewer"), "POST serve"},
		{person("viewer"), "POST estate"},
		{person("viewer"), "POST arm"},
		{person("viewer"), "DELETE arm"},
		{person("viewer"), "POST hold"},
		{person("viewer"), "DELETE hold"},
		{person("viewer"), "POST runs/r-1/abort"},
		{person("viewer"), "GET salvages/r-1-a"},
		{person("viewer"), "POST salvages/r-1-a/apply"},
		{person("viewer", "approver"), "POST salvages/r-1-a/discard"},
		{person("viewer", "operator"), "POST runs/r-1/approve"},
		{person("approver"), "POST evacuate"},
		{pki.Identity{Kind: pki.Tower, Name: "t"}, "GET now"},
		{pki.Identity{Kind: pki.Agent, Name: "a"}, "POST evacuate"},
		{pki.Identity{Kind: pki.Observer, Name: "o", Roles: []string{"operator"}}, "POST hold"},
	} {
		method, path, _ := strings.Cut(c.route, " ")
		status, say := call(t, office(t, fakeDesk{}, c.who), method, path, "{}")
		if status != http.StatusForbidden || !strings.Contains(say, `"why"`) {
			t.Errorf("%s %v asks %s: %d %s", c.who, c.who.Roles, c.route, status, say)
		}
	}
}

// logLines takes a log, a line a time.
type logLines chan string

func (l logLines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// Whoever has no certificate of our CA that is still good is refused by name, in the tower's
// log; the desk's functions are not set, so that reaching one would panic.
func TestStrangersAreRefusedByName(t *testing.T) {
	ca, other := filepath.Join(t.TempDir(), "ca"), filepath.Join(t.TempDir(), "ca")
	must(t, errors.Join(pki.NewCA(ca), pki.NewCA(other)))
	issue := func(ca string, id pki.Identity, validity time.Duration) pki.Files {
		f, err := pki.Issue(ca, id, t.TempDir(), nil, nil, validity)
		must(t, err)
		return f
	}
	said := make(logLines, 100)
	conf, err := pki.ServerTLS(issue(ca, pki.Identity{Kind: pki.Tower, Name: "tower-a"}, 0), pki.Only(pki.Tower, pki.Observer, pki.Person))
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	srv := &http.Server{Handler: API(fakeDesk{}, slog.New(slog.DiscardHandler)), TLSConfig: conf,
		ErrorLog: pki.ServerLog(slog.New(slog.NewTextHandler(said, nil)), time.Now)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	for name, tt := range map[string]struct {
		files pki.Files // none: no certificate
		says  string
	}{
		"NoCertificate": {pki.Files{}, "client didn't provide a certificate"},
		"OtherCA":       {issue(other, person("operator"), 0), "certificate of another CA: CN=person/kim"},
		"Expired":       {issue(ca, person("operator"), -time.Minute), "certificate has expired: CN=person/kim"},
		"Agent":         {issue(ca, pki.Identity{Kind: pki.Agent, Name: "db-a"}, 0), "an agent's certificate (haechi://agent/db-a) cannot be used as"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &tls.Config{InsecureSkipVerify: true}
			if tt.files != (pki.Files{}) {
				c, err = pki.ClientTLS(tt.files, nil)
				must(t, err)
				c.VerifyConnection = nil // let the server be the one that refuses
			}
			h := &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}
			if resp, err := h.Post("https://"+l.Addr().String()+"/api/v1/evacuate", "application/json", strings.NewReader(`{"site":"pangyo"}`)); err == nil {
				resp.Body.Close()
				t.Errorf("was heard: %s", resp.Status)
			}
			if line := <-said; !strings.Contains(line, "level=WARN") || !strings.Contains(line, tt.says) {
				t.Errorf("%s\ndoes not warn of %q", line, tt.says)
			}
		})
	}
}

func TestNoCertificateIsRefused(t *testing.T) {
	srv := httptest.NewServer(API(fakeDesk{}, slog.New(slog.DiscardHandler)))
	t.Cleanup(srv.Close)
	if status, say := call(t, srv, http.MethodGet, "now", ""); status != http.StatusForbidden {
		t.Errorf("%d %s", status, say)
	}
}

func TestOrdersReachTheDesk(t *testing.T) {
	var got []string
	d := fakeDesk{
		StartFunc: func(by string, ask Ask) (run.ID, error) {
			said := fmt.Sprintf("%s: %s %s %s", by, ask.Kind, ask.Subject, ask.To)
			if ask.Anew {
				said += " anew"
			}
			got = append(got, said)
			return "r-000007", nil
		},
		ArmFunc: func(by, what string) error { got = append(got, by+": arm "+what); return nil },
		SteerFunc: func(by string, id run.ID, how Steering) error {
			got = append(got, fmt.Sprintf("%s: %s %s", by, how, id))
			return nil
		},
		HistoryFunc: func(id estate.StoreID) (history.Life, error) {
			got = append(got, "history "+string(id))
			return history.Life{Store: id}, nil
		},
		PlanFunc: func(ask Ask) (plan.Plan, error) {
			got = append(got, fmt.Sprintf("plan %s %s %s", ask.Kind, ask.Subject, ask.To))
			return plan.Plan{Hash: "abc"}, nil
		},
		WeighFunc: func(store string) (response.Failback, error) {
			got = append(got, "weigh "+store)
			return response.Failback{Store: "talk-db"}, nil
		},
		HomeFunc: func(by, store string) (run.ID, error) { got = append(got, by+": home "+store); return "r-000008", nil },
	}
	srv := office(t, d, person("operator", "approver"))
	for _, c := range [][3]string{
		{"POST", "evacuate", `{"site":"pangyo"}`},
		{"POST", "failover", `{"store":"talk-db","to":"ansan"}`},
		{"POST", "adopt", `{"store":"talk-db"}`},
		{"POST", "serve", `{"site":"pangyo"}`},
		{"POST", "rejoin", `{"store":"talk-db","member":"pangyo"}`},
		{"POST", "rejoin", `{"store":"talk-db","member":"anyang","anew":true}`},
		{"POST", "count-out", `{"store":"talk-db","member":"anyang"}`},
		{"GET", "failback?store=talk-db", ``},
		{"POST", "failback", `{"store":"talk-db"}`},
		{"POST", "verify", `{"store":"talk-db"}`},
		{"POST", "arm", `{"what":"*"}`},
		{"POST", "runs/r-000007/approve", ``},
		{"GET", "plan?lose=pangyo", ``},
		{"GET", "plan?failover=talk-db&to=ansan", ``},
		{"GET", "stores/talk-db/history", ``},
	} {
		if status, say := call(t, srv, c[0], c[1], c[2]); status != http.StatusOK {
			t.Errorf("%v: %d %s", c, status, say)
		}
	}
	want := []string{
		"kim: evacuate pangyo ", "kim: failover talk-db ansan", "kim: adopt talk-db ", "kim: serve pangyo ", "kim: rejoin talk-db pangyo", "kim: rejoin talk-db anyang anew", "kim: count-out talk-db anyang", "weigh talk-db", "kim: home talk-db", "kim: verify talk-db ", "kim: arm *",
		"kim: approve r-000007", "plan lose-site pangyo ", "plan failover talk-db ansan", "history talk-db",
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// What cannot be understood changes nothing: the desk is not reached.
func TestBadRequests(t *testing.T) {
	srv := office(t, fakeDesk{}, person("operator"))
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "evacuate", ``, 400},
		{"POST", "evacuate", `{}`, 400},
		{"POST", "evacuate", `{"site":`, 400},
		{"POST", "failover", `{"store":"talk-db","two":"ansan"}`, 400},
		{"POST", "arm", `{"what":""}`, 400},
		{"POST", "hold", `{"why":"` + strings.Repeat("x", maxBody) + `"}`, 413},
		{"POST", "estate", `haechi: v1`, 400},
		{"POST", "estate?if-version=three", ``, 400},
		{"GET", "plan", ``, 400},
		{"GET", "plan?lose=a&evacuate=b", ``, 400},
		{"GET", "journal?from=-1", ``, 400},
		{"GET", "burn", ``, 404},
		{"PUT", "arm", `{}`, 404},
	} {
		status, say := call(t, srv, c.method, c.path, c.body)
		var f Failure
		if err := json.Unmarshal([]byte(say), &f); err != nil || status != c.want || f.Why == "" {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, status, c.want, say)
		}
	}
}

// Half a request is no request: the desk is not reached and the connection ends.
func TestHalfARequest(t *testing.T) {
	srv := office(t, fakeDesk{}, person("operator"))
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v1/evacuate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"site\":\"pan")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("%s", resp.Status)
	}
}

func TestEstateFilesArrive(t *testing.T) {
	var got []File
	var version int64
	d := fakeDesk{ApplyFunc: func(_ string, files []File, ifVersion int64) (Applied, error) {
		got, version = files, ifVersion
		return Applied{Version: 4, Diff: []string{"site anyang added"}}, nil
	}}
	srv := office(t, d, person("operator"))
	status, say := postFiles(t, srv, "estate?if-version=3", map[string]string{"sites/판교.yaml": "haechi: v1\n"})
	if status != http.StatusOK || !strings.Contains(say, "site anyang added") || version != 3 {
		t.Fatalf("%d %s, if-version %d", status, say, version)
	}
	if len(got) != 1 || got[0].Name != "sites/판교.yaml" || string(got[0].Data) != "haechi: v1\n" {
		t.Errorf("got %+v", got)
	}
}

func TestHugeEstateIsRefused(t *testing.T) {
	srv := office(t, fakeDesk{}, person("operator"))
	status, say := postFiles(t, srv, "estate", map[string]string{"a.yaml": strings.Repeat("# much\n", maxEstate/7+1)})
	if status != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", status, say)
	}
}

func postFiles(t *testing.T, srv *httptest.Server, path string, files map[string]string) (int, string) {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for name, text := range files {
		part, err := form.CreateFormFile("file", name)
		if err == nil {
			_, err = io.WriteString(part, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Post(srv.URL+"/api/v1/"+path, form.FormDataContentType(), &body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestErrorsAreExplained(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		say    string
	}{
		{&Refused{Code: NoQuorum, Why: "tower-a reaches 1 of 3 voters"}, 503, "1 of 3 voters"},
		{&Refused{Code: NotDriver, Why: "tower-b drives", Tower: "tower-b"}, 421, "tower-b"},
		{fmt.Errorf("start: %w", &Refused{Code: Conflict, Why: "r-000001 is open"}), 409, "r-000001 is open"},
		{&plan.Stuck{Component: "talk-db", Why: "1 of 2 sealed", Out: "bring back a member"}, 422, "bring back a member"},
		{&estate.Invalid{Problems: []estate.Problem{{File: "a.yaml", Line: 3, Message: "unknown key"}}}, 422, "unknown key"},
		{errors.New("dial etcd at 10.0.0.1 with password x"), 500, "our side"},
	} {
		status, say := explain(c.err)
		raw, err := json.Marshal(say)
		if err != nil || status != c.status || !strings.Contains(string(raw), c.say) {
			t.Errorf("%v: %d %s", c.err, status, raw)
		}
		if strings.Contains(string(raw), "password") {
			t.Errorf("an inner error got out: %s", raw)
		}
	}
}

func TestJournalIsFollowed(t *testing.T) {
	d := fakeDesk{JournalFunc: func(from uint64, _ int) ([]journal.Entry, error) {
		if from > 5 {
			return nil, nil
		}
		return []journal.Entry{{Seq: from, Text: "entry"}}, nil // one at a time
	}}
	srv := office(t, d, person("viewer"))
	resp, err := srv.Client().Get(srv.URL + "/api/v1/journal?from=3&follow=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := json.NewDecoder(resp.Body)
	for want := uint64(3); want <= 5; want++ {
		var e journal.Entry
		if err := in.Decode(&e); err != nil || e.Seq != want {
			t.Fatalf("entry %d: %+v %v", want, e, err)
		}
	}
}

func TestJournalLimit(t *testing.T) {
	var asked int
	d := fakeDesk{JournalFunc: func(_ uint64, limit int) ([]journal.Entry, error) { asked = limit; return nil, nil }}
	srv := office(t, d, person("viewer"))
	if status, say := call(t, srv, "GET", "journal?limit=999999999", ""); status != 200 || asked != journalPage {
		t.Errorf("%d %s, asked for %d", status, say, asked)
	}
}

// The desk may take its time, but not for ever.
func TestActsAreBounded(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	ctx, cancel := acting(r)
	defer cancel()
	if until, ok := ctx.Deadline(); !ok || time.Until(until) > actWithin {
		t.Error("no deadline")
	}
}

// Rows are chosen, or all of them are meant: nothing is written back by leaving a word out.
func TestRowsOfASalvageAreChosen(t *testing.T) {
	var asks []Ask
	d := fakeDesk{StartFunc: func(_ string, ask Ask) (run.ID, error) { asks = append(asks, ask); return "r-9", nil }}
	srv := office(t, d, person(pki.Operator))
	for body, want := range map[string]int{
		`{}`: 400, `{"rows":"1","all":true}`: 400, `{"rows":"x"}`: 400, `{"row":"1"}`: 400, `{"rows":"1,3-5","overwrite":true}`: 200, `{"all":true}`: 200,
	} {
		if status, say := call(t, srv, "POST", "salvages/r-1-a/apply", body); status != want {
			t.Errorf("%s: %d %s", body, status, say)
		}
	}
	if status, say := call(t, srv, "POST", "salvages/r-1-a/discard", `{}`); status != 200 || !strings.Contains(say, "r-9") {
		t.Errorf("discard: %d %s", status, say)
	}
	rows := map[string]bool{}
	for _, a := range asks {
		rows[string(a.Kind)+a.Subject+a.Rows] = a.Overwrite
	}
	if len(asks) != 3 || !rows["apply-salvager-1-a1,3-5"] || rows["apply-salvager-1-a"] || rows["discard-salvager-1-a"] {
		t.Errorf("%+v", asks)
	}
}
