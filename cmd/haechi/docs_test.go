package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/history"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/testkit"
	"github.com/haechi/haechi/tower/web"
)

// part is a block of a page, or a few words of it in code's letters.
type part struct {
	line  int
	info  string // of a block: what stands behind its fence
	text  string
	block bool
}

// parts are all blocks of a page, and what stands in code's letters in its text.
func parts(page string) (out []part) {
	span := regexp.MustCompile("`([^`]+)`")
	var in *part
	for i, line := range strings.Split(page, "\n") {
		switch {
		case strings.HasPrefix(line, "```") && in == nil:
			in = &part{line: i + 1, info: strings.TrimPrefix(line, "```"), block: true}
		case strings.HasPrefix(line, "```"):
			out = append(out, *in)
			in = nil
		case in != nil:
			in.text += line + "\n"
		default:
			for _, m := range span.FindAllStringSubmatch(line, -1) {
				out = append(out, part{line: i + 1, text: m[1]})
			}
		}
	}
	return out
}

// calls are the calls of haechi in a part of a page. A block that is not said to be of commands may show what is
// printed, too: there, lines are calls that begin as one.
func (p part) calls() (out [][]string) {
	if !p.block || strings.HasPrefix(p.info, "sh") {
		return calls(p.text)
	}
	for line := range strings.Lines(p.text) {
		if strings.HasPrefix(line, "haechi ") {
			out = append(out, calls(line)...)
		}
	}
	return out
}

// calls are the calls of haechi in a text, without its name. What a shell would fill in is some address.
func calls(text string) (out [][]string) {
	text = regexp.MustCompile(`\$(\w+|\{[^}]*\}|\([^)]*\))`).ReplaceAllString(text, "127.0.0.1")
	call := regexp.MustCompile(`(?:^|[\s(])haechi ([a-z-][^|;&<>()#]*)`)
	for line := range strings.Lines(text) {
		for _, m := range call.FindAllStringSubmatch(line, -1) {
			if args := words(m[1]); args[0] != "--" {
				out = append(out, args)
			} else if rest := calls(strings.Join(args[1:], " ")); len(rest) > 0 { // runuser -u haechi -- haechi …
				out = append(out, rest...)
			}
		}
	}
	return out
}

// words splits as a shell does, as far as the pages need it.
func words(line string) (out []string) {
	word := regexp.MustCompile(`'[^']*'|[^\s']+`)
	for _, w := range word.FindAllString(line, -1) {
		out = append(out, strings.TrimRight(strings.Trim(w, "'"), ","))
	}
	return out
}

// understood says whether haechi takes a call, as far as that shows without doing it. A command that is only
// named has none of its arguments.
func understood(args []string, named bool) error {
	c, rest, err := newRoot(func() {}).Find(args)
	switch {
	case err != nil:
		return err
	case !c.HasParent():
		return fmt.Errorf("there is no command %q", args[0])
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	if rest = c.Flags().Args(); c.HasSubCommands() && len(rest) > 0 {
		return fmt.Errorf("%q is not a command of %q", rest[0], c.CommandPath())
	}
	if named && len(rest) == 0 || c.Args == nil {
		return nil
	}
	return c.Args(c, rest)
}

// What the pages tell people to type is what haechi takes: each command that they quote is one, and so is each flag.
func TestThePagesQuoteCommandsThatThereAre(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, page := range append(pages, "../../README.md", "../../ARCHITECTURE.md", "../../CONTRIBUTING.md") {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts(string(raw)) {
			for _, args := range p.calls() {
				seen++
				if err := understood(args, !p.block); err != nil {
					t.Errorf("%s:%d: haechi %s: %v", filepath.Base(page), p.line, strings.Join(args, " "), err)
				}
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d calls were found", seen)
	}
	for _, bad := range []string{"haechi verfy talk-db", "haechi verify talk-db --slowly", "haechi rejoin talk-db", "haechi salvage throw r-1-a", "runuser -u haechi -- haechi tower rstore x"} {
		for _, args := range calls(bad) {
			if understood(args, false) == nil {
				t.Errorf("%q passes for a call that haechi takes", bad)
			}
		}
		if len(calls(bad)) != 1 {
			t.Errorf("%q is not found", bad)
		}
	}
}

// What docs/return.md says that haechi prints, haechi prints: each of its blocks that is no command stands in what
// is drawn of the night that it tells of.
func TestTheGuideShowsWhatIsPrinted(t *testing.T) {
	raw, err := os.ReadFile("../../docs/return.md")
	if err != nil {
		t.Fatal(err)
	}
	printed := aNight(t)
	blocks := 0
	for _, p := range parts(string(raw)) {
		if !p.block || p.info != "" {
			continue
		}
		blocks++
		for line := range strings.Lines(p.text) {
			if line = plain(line); !strings.Contains(printed, line) {
				t.Errorf("return.md:%d: nothing prints %q", p.line, line)
			}
		}
	}
	if blocks < 6 {
		t.Errorf("only %d blocks were found", blocks)
	}
	if t.Failed() {
		t.Logf("what is printed:\n%s", printed)
	}
}

// plain is a line without what only sets it.
func plain(line string) string { return strings.Join(strings.Fields(line), " ") + "\n" }

// aNight is all that docs/return.md shows: pangyo burned, ansan is primary, and pangyo has power again.
func aNight(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	s := standing(t)
	at := time.Date(2026, 11, 23, 4, 1, 47, 0, time.Local)
	clock := func(minute, second, ms int) time.Time {
		return time.Date(2026, 11, 23, 4, minute, second, ms*1e6, time.Local)
	}
	n := web.Now{Estate: web.EstateRef{Name: "talk", Version: 3}, Missing: situation.Missing(s), Quorum: web.Quorum{Have: true},
		Runs: []web.Run{{ID: "r-000003-k3f9", Kind: "recover", Subject: "pangyo", Status: web.RunRunning}},
		Stores: []web.Store{{ID: "talk-db", Members: []web.Member{{ID: "pangyo", Role: web.RoleFormer, Site: "pangyo",
			Jobs: []web.Job{{What: "rejoin", Phase: "copying", Bytes: 31, Of: 100, ETAS: 41}}}}}}}
	drawNow(&b, n)
	n.Missing, n.Runs[0].Status, n.Runs[0].Ask = nil, web.RunAsking, "step 9: watch talk.example. failed after one try"
	drawNow(&b, web.Describe(n))

	sv := situation.Salvage{ID: "r-000003-k3f9-pangyo", Store: "talk-db", Member: "pangyo", Timeline: 1, Fork: "0/5A3C1E0", End: "0/5A41B98", Method: situation.Decoded, Rows: 214, Told: 214,
		Holders: []estate.MemberID{"ansan", "pangyo"}, At: clock(2, 6, 0), State: situation.SalvageOpen}
	drawSalvages(&b, []situation.Salvage{sv})
	drawSalvage(&b, web.SalvageRows{Salvage: sv, Next: 101, Rows: []web.SalvageRow{{N: 1, Database: "talk", Schema: "public", Table: "messages", Op: "insert",
		New: []web.SalvageValue{{Column: "id", Text: "88104"}, {Column: "body", Text: "on my way"}}, Told: "unknown", Stands: web.StandsMissing,
		Because: "nobody saw whether its session still waited for another member: its server was down, or did not answer, when it was fenced; the log shows waits that were cancelled (2), which answers a client with a warning",
		At:      clock(0, 0, 0).Add(-48 * time.Minute)}}})

	in := response.Input{Estate: s.Estate, Now: s.Now, Stores: s.Stores}
	rec := s.Stores["talk-db"]
	rec.Former, rec.Sync, rec.Verified = nil, []estate.MemberID{"anyang", "pangyo"}, time.Date(2026, 11, 23, 4, 3, 12, 0, time.UTC)
	in.Stores["talk-db"] = rec
	in.Now.Sites["pangyo"] = situation.Verdict{State: situation.Up, Since: time.Date(2026, 11, 23, 4, 1, 47, 0, time.UTC)}
	drawFailback(&b, in.Failback("talk-db"))

	sv.State, sv.Applied, sv.By, sv.Written = situation.SalvageOpen, 5, []string{"kim"}, "1,4-7"
	drawLife(&b, history.Life{Store: "talk-db", Verified: clock(3, 12, 0),
		Reigns: []history.Reign{
			{Epoch: 1, Timeline: 1, Primary: "pangyo", From: at.Add(-6 * time.Hour), Until: clock(0, 0, 0).Add(-48 * time.Minute), Run: "r-000001-k3f9", Kind: "adopt", Because: []string{"admin asked for it"}},
			{Epoch: 2, Timeline: 2, Primary: "ansan", From: clock(0, 0, 400).Add(-48 * time.Minute), Run: "r-000002-k3f9", Kind: "lose-site", Because: []string{"pangyo is lost"}},
		},
		Events: []history.Event{
			{At: clock(2, 7, 0), What: history.Salvaged, Members: []string{"pangyo"}, Run: "r-000003-k3f9", Text: "214 rows that only pangyo holds are kept as r-000003-k3f9-pangyo, beside ansan, pangyo; of 214 a client may have been told that they are saved"},
			{At: clock(3, 8, 0), What: history.Rejoined, Members: []string{"pangyo"}, Run: "r-000003-k3f9", Text: "pangyo receives from ansan, by a rewind: its log goes on beyond the fork of timeline 1 at 0/5A3C1E0 (Transaction); 61 MB were sent"},
			{At: clock(3, 11, 0), What: history.Returned, Members: []string{"pangyo"}, Run: "r-000003-k3f9", Text: "pangyo follows ansan and may acknowledge again"},
			{At: clock(4, 58, 0), What: history.Verified, Members: []string{"ansan", "anyang", "pangyo"}, Run: "r-000003-k3f9", Text: "9 tables, 48210 rows, 4 sequences: all members hold the same"},
		},
		Salvages: []situation.Salvage{sv},
	})
	fmt.Fprintln(&b, "haechi:", endedWell(web.Run{ID: "r-000007-k3f9", Status: web.RunFailed, Why: "failed: step 2 watch talk.example.: isp-a: talk in pangyo answers with status 503"}))

	var out strings.Builder
	for line := range strings.Lines(b.String()) {
		out.WriteString(plain(line))
	}
	return out.String()
}

// standing is how it stands while pangyo comes back.
func standing(t *testing.T) situation.Standing {
	t.Helper()
	e, records := testkit.ThreeSites("talk-db")
	e.Towers = map[estate.TowerID]estate.Tower{"tower-pangyo": {Site: "pangyo", Address: "10.77.1.11:9443"}}
	rec := situation.Store{Epoch: 2, Next: 2, Primary: "ansan", Sync: []estate.MemberID{"anyang"}, Former: []estate.MemberID{"pangyo"}, Any: 1, LeastAny: 1}
	records["talk-db"] = rec
	now := situation.Situation{Sites: map[estate.SiteID]situation.Verdict{}, Things: map[string]situation.Verdict{}, Facts: map[string]map[string]string{}}
	for _, site := range e.SiteIDs() {
		now.Sites[site] = situation.Verdict{State: situation.Up}
	}
	for _, target := range situation.Targets(e) {
		now.Things[target.ID] = situation.Verdict{State: situation.Up}
	}
	now.Things[situation.TowerTarget(e, "tower-pangyo")] = situation.Verdict{State: situation.Dead}
	now.Facts[situation.DNSTarget(e, "ns-pangyo")] = map[string]string{situation.FactLocked: "true"}
	follower := map[string]string{situation.FactRunning: "true", situation.FactSealed: "false"}
	now.Facts[situation.DatabaseTarget(e, "talk-db", "ansan")] = map[string]string{situation.FactRole: situation.RolePrimary, situation.FactAnswers: "true",
		situation.FactClient + "anyang": "streaming quorum bytes=0 replay_lag_ms=1", situation.FactClient + "pangyo": "streaming quorum bytes=0 replay_lag_ms=1"}
	now.Facts[situation.DatabaseTarget(e, "talk-db", "anyang")] = follower
	now.Facts[situation.DatabaseTarget(e, "talk-db", "pangyo")] = map[string]string{situation.FactRunning: "true", situation.FactSealed: "false", situation.FactMade: situation.RolePrimary}
	pangyo := map[estate.NameID][]estate.SiteID{"talk.example.": {"pangyo"}}
	return situation.Standing{Estate: e, Now: now, Stores: records, Withdrawn: pangyo, Returning: pangyo}
}
