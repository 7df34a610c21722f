package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the tables of docs/replay.md again")

// The page shows what the command prints now.
func TestReplaysPageIsUpToDate(t *testing.T) {
	const at = "../../docs/replay.md"
	b, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, name := range replays() {
		mark := fmt.Sprintf("<!-- haechi replay %s -o markdown -->\n", name)
		before, rest, ok := strings.Cut(page, mark)
		was, after, ended := strings.Cut(rest, "<!-- end -->")
		if !ok || !ended {
			t.Fatalf("%s has no place for %s", at, name)
		}
		is := says(t, "replay", name, "-o", "markdown")
		if *rewrite {
			page = before + mark + "\n" + is + "<!-- end -->" + after
		} else if strings.TrimSpace(was) != strings.TrimSpace(is) {
			t.Errorf("%s shows other tables of %s than the command; go test ./cmd/haechi -run Replays -rewrite writes them", at, name)
		}
	}
	if *rewrite {
		if err := os.WriteFile(at, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func says(t *testing.T, args ...string) string {
	t.Helper()
	var out, told bytes.Buffer
	if err := run(t.Context(), args, &out, &told); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return out.String()
}

func TestReplayIsAPageInBothLanguages(t *testing.T) {
	page := says(t, "replay", "daejeon-2025", "-o", "html", "--lang", "ko", "--runs", "1")
	for _, want := range []string{`<html lang="ko">`, `id="ko" checked`, "국가정보자원관리원", "26 September 2025", "<svg", "들어맞지 않는 곳", "Where it does not hold", "All numbers"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for _, never := range []string{"<script", "ZgotmplZ", "src=", "<link", "@import", "NaN", "%!"} {
		if strings.Contains(page, never) {
			t.Errorf("the page has %q", never)
		}
	}
}

// Hangul takes two columns.
func TestReplayFitsATerminal(t *testing.T) {
	for _, lang := range []string{"en", "ko"} {
		for line := range strings.Lines(says(t, "replay", "kakao-2022", "--runs", "1", "--lang", lang)) {
			wide := 0
			for _, r := range strings.TrimRight(line, "\n") {
				if wide++; r >= 0xac00 && r <= 0xd7a3 {
					wide++
				}
			}
			if wide > 100 {
				t.Errorf("%d columns: %s", wide, line)
			}
		}
	}
}

func TestReplayIsJSON(t *testing.T) {
	var r struct {
		Assumed  int
		Numbers  []struct{ Name, Label, Source, Is string }
		Readings []struct {
			Compared []struct{ Published, Simulated float64 }
		}
	}
	if err := json.Unmarshal([]byte(says(t, "replay", "daejeon-2025", "--runs", "1", "-o", "json")), &r); err != nil {
		t.Fatal(err)
	}
	if r.Assumed != 3 || len(r.Readings) != 2 || r.Readings[0].Compared[0].Published != 47 || len(r.Numbers) != 24 || r.Numbers[0].Label != "sourced" || r.Numbers[0].Source == "" {
		t.Errorf("%+v", r)
	}
}

func TestReplayRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"replay"}, "which one? There are: daejeon-2025, kakao-2022"},
		{[]string{"replay", "kakao"}, `"kakao" is no replay; there are: daejeon-2025, kakao-2022`},
		{[]string{"replay", "kakao-2022", "--lang", "fr"}, `--lang "fr": it is en or ko`},
		{[]string{"replay", "kakao-2022", "-o", "pdf"}, `--output is "pdf"; it is text, json, html or markdown`},
	} {
		var out, told bytes.Buffer
		if err := run(t.Context(), c.args, &out, &told); err == nil || !strings.Contains(err.Error(), c.says) || code(err) != 2 {
			t.Errorf("%v: %v, want %q and code 2", c.args, err, c.says)
		}
	}
}

func TestReplayPrintsTheEstate(t *testing.T) {
	want, err := os.ReadFile("../../examples/kakao-2022/estate.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got := says(t, "replay", "kakao-2022", "--estate"); got != string(want) {
		t.Error("it prints another estate than the file has")
	}
}
