package dns

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/agent"
)

func TestSettingsSayAllThatIsWrong(t *testing.T) {
	_, err := NewUnit(Settings{Kind: "bind", Answers: "answers.conf", Key: `x"; }; //`, Rndc: []string{"rndc"}})
	for _, want := range []string{"kind:", "answers:", "key:", "rndc:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("does not say %s %v", want, err)
		}
	}
}

// A server that could not be opened is locked again at its next start.
func TestHalfOpenIsLocked(t *testing.T) {
	answers := filepath.Join(t.TempDir(), "answers.conf")
	u, err := NewUnit(Settings{Kind: Kind, Answers: answers, Key: "haechi-key.", Rndc: []string{"/bin/sh", "-c", `echo "broken" >&2; exit 1`}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = u.Do(t.Context(), agent.Order{Verb: agent.Unseal}, nil)
	if err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("err %v", err)
	}
	if text, err := os.ReadFile(answers); err != nil || string(text) != u.lockedText() {
		t.Errorf("file %q: %v", text, err)
	}
	if _, err := u.Do(t.Context(), agent.Order{Verb: agent.Seal}, nil); err == nil {
		t.Error("sealed, though the server may not have heard of it")
	}
}

func TestUnitKnowsFourVerbs(t *testing.T) {
	answers := filepath.Join(t.TempDir(), "answers.conf")
	u, err := NewUnit(Settings{Kind: Kind, Answers: answers, Key: "haechi-key.", Rndc: []string{"/bin/true"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Look(t.Context(), agent.Order{Verb: agent.Status}, nil); err == nil || !strings.Contains(err.Error(), "create it") {
		t.Errorf("no file: %v", err)
	}
	for _, v := range []agent.Verb{agent.Follow, agent.Promote, agent.Start, agent.Stop, agent.Fence} {
		var no *agent.Refusal
		if _, err := u.Do(t.Context(), agent.Order{Verb: v}, nil); !errors.As(err, &no) || no.Code != agent.UnknownVerb {
			t.Errorf("%s: %v", v, err)
		}
	}
	var no *agent.Refusal
	if _, err := u.Look(t.Context(), agent.Order{Verb: agent.Position}, nil); !errors.As(err, &no) {
		t.Errorf("position: %v", err)
	}
	facts, err := u.Do(t.Context(), agent.Order{Verb: agent.Unseal}, nil)
	if err != nil || facts[FactLocked] != "false" || facts[FactAnswering] != "true" {
		t.Errorf("open: %v %v", facts, err)
	}
	facts, err = u.Do(t.Context(), agent.Order{Verb: agent.Seal}, nil)
	if err != nil || facts[FactLocked] != "true" {
		t.Errorf("lock: %v %v", facts, err)
	}
}

// A program that takes longer than who asks waits is run once for all who ask, and not again for each.
func TestALookIsNotBegunAnewForEachWhoHasNoTime(t *testing.T) {
	dir := t.TempDir()
	answers, runs := filepath.Join(dir, "answers.conf"), filepath.Join(dir, "runs")
	u, err := NewUnit(Settings{Kind: Kind, Answers: answers, Key: "haechi-key.", Rndc: []string{"/bin/sh", "-c", "echo one >>" + runs + "; sleep 0.3"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(answers, []byte(openText), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		facts, err := u.Look(ctx, agent.Order{Verb: agent.Status}, nil)
		if cancel(); err != nil || facts[FactAnswering] != "true" {
			t.Errorf("%v %v", facts, err)
		}
	}
	if text, err := os.ReadFile(runs); err != nil || string(text) != "one\n" {
		t.Errorf("it ran %q: %v", text, err)
	}
}
