// Package deploytest reads docs/deploy.md and does what it says, command by
// command, on machines made of namespaces.
package deploytest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// block is one fenced block of the page.
type block struct {
	line  int      // where it begins
	lang  string   // "sh"
	flags []string // "systemd"
	hosts []string // where it is to be run, in this order
	text  string
}

func (b block) String() string { return fmt.Sprintf("docs/deploy.md:%d", b.line) }

// blocks finds the fenced blocks of a page. The first line of one says what it
// is: a language, flags, and host=a,b,c.
func blocks(page string) ([]block, error) {
	var all []block
	var open *block
	for i, line := range strings.Split(page, "\n") {
		switch {
		case open == nil && strings.HasPrefix(line, "```"):
			open = &block{line: i + 1}
			for j, word := range strings.Fields(strings.TrimPrefix(line, "```")) {
				if hosts, ok := strings.CutPrefix(word, "host="); ok {
					open.hosts = strings.Split(hosts, ",")
				} else if j == 0 {
					open.lang = word
				} else {
					open.flags = append(open.flags, word)
				}
			}
		case open != nil && line == "```":
			all, open = append(all, *open), nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%v: the block does not end", open)
	}
	return all, nil
}

// page is docs/deploy.md and all its blocks.
func page(t *testing.T) (text string, all []block) {
	t.Helper()
	raw, err := os.ReadFile("../../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	if all, err = blocks(string(raw)); err != nil {
		t.Fatal(err)
	}
	return string(raw), all
}

// commands are the page's blocks that can be run without systemd.
func commands(t *testing.T) []block {
	t.Helper()
	_, all := page(t)
	return slices.DeleteFunc(all, func(b block) bool { return slices.Contains(b.flags, "systemd") })
}

// Every block says where it belongs, so that none can be left out by accident,
// and systemd's blocks have one beside them that does without.
func TestPageSaysWhereEachCommandRuns(t *testing.T) {
	text, all := page(t)
	lines := strings.Split(text, "\n")
	for i, b := range all {
		systemd := slices.Equal(b.flags, []string{"systemd"})
		if b.lang != "sh" || len(b.flags) > 0 && !systemd || len(b.hosts) == 0 {
			t.Errorf("%v: %q %v hosts %v; a block begins with sh [systemd] host=…", b, b.lang, b.flags, b.hosts)
		}
		for _, h := range b.hosts {
			if !slices.Contains([]string{"yours", "h1", "h2", "h3", "u1", "u2"}, h) {
				t.Errorf("%v: no machine is called %q", b, h)
			}
		}
		if !systemd && strings.Contains(b.text, "systemctl") {
			t.Errorf("%v: systemctl in a block that is not marked systemd", b)
		}
		if !systemd {
			continue
		}
		if i+1 == len(all) || len(all[i+1].flags) > 0 || !slices.Equal(all[i+1].hosts, b.hosts) || !strings.HasPrefix(lines[all[i+1].line-3], "Without systemd") {
			t.Errorf("%v: the next block is not for the same hosts, under a line that says \"Without systemd\"", b)
		}
	}
}
