//go:build lab

package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/lab"
)

// command is haechi-lab as make build leaves it.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	bin, err := filepath.Abs("../../bin/haechi-lab")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("%v: make build", err)
	}
	return exec.Command(bin, args...)
}

func TestDemoLosesNothingAndLeavesNothing(t *testing.T) {
	memory := sharedMemory(t)
	dir := t.TempDir()
	acks := filepath.Join(dir, "acks")
	cmd := command(t, "demo", "--json", "--acks", acks, "--seed", "11", "--dir", "/var/tmp/haechi-lab-test")
	var out, people bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &people
	begun := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, people.String())
	}
	if took := time.Since(begun); took > 90*time.Second {
		t.Errorf("it took %v", took)
	}
	t.Log(people.String())
	var r Result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("standard output is not one JSON object: %v: %s", err, out.String())
	}
	if !r.OK || r.Site != "pangyo" || r.Seed != 11 || r.Acknowledged < Least || r.Lost+r.Duplicated+r.OutOfOrder != 0 {
		t.Errorf("%+v", r)
	}
	if r.Verdict <= 0 || r.Sealed < r.Verdict || r.Promoted < r.Sealed || r.AllServed < r.FirstAck || r.Run == "" || r.PlanHash == "" {
		t.Errorf("times out of order, or no run: %+v", r)
	}
	lines, err := os.ReadFile(acks)
	if err != nil || strings.Count(string(lines), "\n") != r.Acknowledged {
		t.Errorf("%d lines for %d acknowledgements, %v", strings.Count(string(lines), "\n"), r.Acknowledged, err)
	}
	if first := strings.Fields(strings.SplitN(people.String(), "\n", 3)[1]); len(first) < 3 || first[2] != fmt.Sprintf("http://127.0.0.1:%d/", lab.PagePort) {
		t.Errorf("the page's address is not told first: %v", first)
	}
	for _, what := range []string{"verdict", "FIRE", "seal", "promote", "NOTHING WAS LOST"} {
		if !strings.Contains(people.String(), what) {
			t.Errorf("%q was not told", what)
		}
	}
	nothingLeft(t)
	for segment := range sharedMemory(t) {
		if !memory[segment] {
			t.Errorf("a segment of shared memory is left, which outlives its server until the machine is started anew: %s", segment)
		}
	}
}

// sharedMemory are the segments of System V memory that stand outside any namespace, by key and number.
func sharedMemory(t *testing.T) map[string]bool {
	t.Helper()
	raw, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 2 {
			out[f[0]+" "+f[1]] = true
		}
	}
	return out
}

// nothingLeft looks for what a demo must take away.
func nothingLeft(t *testing.T) {
	t.Helper()
	if who, held := lab.Held(lab.Options{}); held {
		t.Errorf("the lab is still held by %v", who)
	}
	spaces, err := exec.Command("ip", "netns").Output()
	if err != nil || strings.Contains(string(spaces), "haechi-") {
		t.Errorf("network namespaces are left: %s, %v", spaces, err)
	}
}

func TestKilledDemoTakesItsLabAlong(t *testing.T) {
	cmd := command(t, "demo", "--dir", "/var/tmp/haechi-lab-test")
	var people bytes.Buffer
	cmd.Stdout, cmd.Stderr = &people, &people
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() bool { _, held := lab.Held(lab.Options{}); return held })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	eventually(t, 60*time.Second, func() bool { _, held := lab.Held(lab.Options{}); return !held })
	nothingLeft(t)
}

func eventually(t *testing.T, most time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(most); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v", most)
		}
	}
}

// The whole story: fire, failover, power, salvage, rejoin, comparison, users, and the primary's way home.
func TestFullDemoBringsAllBack(t *testing.T) {
	cmd := command(t, "demo", "--full", "--json", "--seed", "12", "--dir", "/var/tmp/haechi-lab-test")
	var out, people bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &people
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, people.String(), out.String())
	}
	t.Log(people.String())
	var r Result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.Returned == nil {
		t.Fatalf("standard output is not the JSON object of a full demo: %v: %s", err, out.String())
	}
	if !r.OK || r.SalvagedRows < 3*eachSort || !r.SalvageExact || !r.Verified || r.Redundancy != "whole" || r.Rejoin <= 0 || r.Whole < r.Rejoin || r.FailbackPause <= 0 {
		t.Errorf("%+v %+v", r, *r.Returned)
	}
	for _, what := range []string{"FIRE", "POWER", "salvage", "rejoin", "watch", "verify", "failback", "ALL IS AS IT WAS"} {
		if !strings.Contains(people.String(), what) {
			t.Errorf("%q was not told", what)
		}
	}
	nothingLeft(t)
}
