package web

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/history"
	"github.com/haechi/haechi/core/situation"
)

// lived is the life of the stories' store until an instant: adopted, failed over, returned.
func lived(until time.Time) history.Life {
	at := func(text string) time.Time {
		t, _ := time.Parse(time.RFC3339, text)
		return t
	}
	l := history.Life{Store: "talk-db", Reigns: []history.Reign{
		{Epoch: 1, Timeline: 1, Primary: "pangyo", From: at("2026-11-22T21:41:02+09:00"), Until: at("2026-11-23T03:12:20+09:00"), Run: "r-000001", Kind: "adopt", Because: []string{"admin asked for it"}},
		{Epoch: 2, Timeline: 2, Primary: "ansan", From: at("2026-11-23T03:12:21+09:00"), Run: "r-000002", Kind: "lose-site", Because: []string{"pangyo is lost"}},
	}}
	tell := func(when string, what history.What, text string, members ...string) {
		if !at(when).After(until) {
			l.Events = append(l.Events, history.Event{At: at(when), What: what, Run: "r-000003", Kind: "recover", Members: members, Text: text})
		}
	}
	tell("2026-11-23T04:02:07+09:00", history.Salvaged, "214 rows that only pangyo held are kept by ansan and pangyo", "pangyo")
	tell("2026-11-23T04:03:08+09:00", history.Rejoined, "a copy of the blocks that differ: pg_rewind lacks the log since 0/5A81C28", "pangyo")
	tell("2026-11-23T04:03:11+09:00", history.Returned, "pangyo receives from ansan and is listed", "pangyo")
	tell("2026-11-23T04:04:58+09:00", history.Verified, "12 tables, 3 sequences, 48,112 pages: all members hold the same", "ansan", "anyang", "pangyo")
	return l
}

func (d fakeDesk) living() fakeDesk {
	d.HistoryFunc = func(estate.StoreID) (history.Life, error) { return lived(d.NowFunc().At), nil }
	return d
}

// The page Stores says before, during and after a return what each member holds, what is missing,
// what only one held, and how it came to this.
func TestStoresPageSaysIt(t *testing.T) {
	for name, want := range map[string][]string{
		"done": {"What is missing until all is as redundant as declared", "tower-pangyo is lost", "never compared since a member came back"},
		"returning": {"copies the blocks that differ", `<progress max="10737418240" value="3328599655">`, "3.1 GB of 10.0 GB, about 41 s more", ">190 ms<",
			"r-000003-pangyo", "to be looked at", "haechi salvage show r-000003-pangyo", "public.&#34;방&#34;: 2", "salvaged"},
		"returned": {"all is as redundant as declared", "all members held the same 42 s ago", "214 rows written back by kim, lee", "returned", "pangyo receives from ansan and is listed", "admin asked for it", "2026-11-23 03:12:21"},
	} {
		n := story(t, name)
		d := fakeDesk{NowFunc: func() Now { return n }}.living()
		srv := httptest.NewServer(Page(t.Context(), d, slog.New(slog.DiscardHandler)))
		t.Cleanup(srv.Close)
		body := get(t, srv, "/stores")
		for _, part := range want {
			if !strings.Contains(body, part) {
				t.Errorf("%s: the page does not say %q", name, part)
			}
		}
		for _, part := range []string{`<section id="band">`, `<section id="lacks">`, `<section id="copies">`} {
			if !strings.Contains(body, part) {
				t.Errorf("%s: the stream could not renew %s", name, part)
			}
		}
	}
}

// Members that differ, a life that cannot be read, and a store without a life are said, loudly or not.
func TestStoresPageSaysWhatIsWrong(t *testing.T) {
	n := story(t, "returned")
	n.Stores[0].Differs, n.Stores[0].Salvages[0].State = `1 row of "<b>"`, situation.SalvageDiscarded
	d := fakeDesk{NowFunc: func() Now { return n }, HistoryFunc: func(estate.StoreID) (history.Life, error) { return history.Life{}, errors.New("no quorum") }}
	srv := httptest.NewServer(Page(t.Context(), d, slog.New(slog.DiscardHandler)))
	t.Cleanup(srv.Close)
	body := get(t, srv, "/stores")
	for _, part := range []string{"its members do not hold the same: 1 row of &#34;&lt;b&gt;&#34;", "▲ no quorum", "given up by kim, lee", "no primary is known from a run"} {
		if !strings.Contains(body, part) {
			t.Errorf("the page does not say %q", part)
		}
	}
}

// What a number or a job says already is not said once more in words, on either page; and what could go home is
// proposed.
func TestPagesSayThingsOnce(t *testing.T) {
	n := story(t, "returning")
	var m *Member
	for i := range n.Stores[0].Members {
		if len(n.Stores[0].Members[i].Jobs) > 0 {
			m = &n.Stores[0].Members[i]
		}
	}
	m.CanaryMS, m.Note = 4200, "its log is large"
	n.Stores[0].Home = "its primary could go home from ansan to pangyo"
	srv := httptest.NewServer(Page(t.Context(), fakeDesk{NowFunc: func() Now { return n }}.living(), slog.New(slog.DiscardHandler)))
	t.Cleanup(srv.Close)
	for path, want := range map[string]map[string]int{
		"/stores": {m.Jobs[0].Phase: 1, "4.2 s": 1, "canary 4.2 s behind": 0, m.Note: 1, "haechi failback talk-db": 1},
		"/":       {"rejoin: " + m.Jobs[0].Phase: 1, "canary 4.2 s behind": 1, m.Note: 1},
	} {
		body := get(t, srv, path)
		for part, times := range want {
			if got := strings.Count(body, part); got != times {
				t.Errorf("%s says %q %d times, not %d", path, part, got, times)
			}
		}
	}
}

// A store that was never moved need not have been compared.
func TestNotComparedYet(t *testing.T) {
	for epoch, want := range map[uint64]string{1: "idle: not compared yet: haechi verify talk-db", 2: "warn: never compared since a member came back: haechi verify talk-db"} {
		s := Store{ID: "talk-db", Epoch: epoch}
		if got := comparedTone(s) + ": " + compared(Now{}, s); got != want {
			t.Errorf("epoch %d: %q", epoch, got)
		}
	}
}
