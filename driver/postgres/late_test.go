package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/agent"
)

// lateAfter ends an order's time once it was asked for that often.
func lateAfter(ctx context.Context, n int) context.Context {
	return agent.WithOver(ctx, func() error {
		if n--; n < 0 {
			return fmt.Errorf("%w: a test says so", agent.ErrLate)
		}
		return nil
	})
}

// sealable is a member that follows pangyo, as its agent left it.
func sealable(t *testing.T) (*Unit, *agent.Memory, func() memory, string) {
	t.Helper()
	mem := memory{Role: asFollower, Upstream: &agent.Upstream{Member: "pangyo", Host: "10.0.0.1", Port: "5432", Credential: 3, Reign: 3}}
	u, m, now := aloneUnit(t, &fakeKernel{}, mem)
	u.set.Member, u.secret = "ansan", []byte("secret")
	if err := u.writeStandby(); err != nil {
		t.Fatal(err)
	}
	if _, err := u.apply(mem); err != nil {
		t.Fatal(err)
	}
	return u, m, now, conf(t, u)
}

func isLate(err error) bool {
	r, ok := errors.AsType[*agent.Refusal](err)
	return ok && r.Code == agent.Late
}

func conf(t *testing.T, u *Unit) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(u.set.Data, autoConf))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestASealWhoseTimeIsOverIsTakenBack(t *testing.T) {
	u, m, now, before := sealable(t)
	was := now()
	o := agent.Order{Verb: agent.Seal, Epoch: 4, Reign: 3}
	_, err := u.Do(lateAfter(t.Context(), 0), o, m)
	if !isLate(err) || !strings.Contains(err.Error(), "taken back") {
		t.Errorf("%v", err)
	}
	if d := cmp.Diff(was, now()); d != "" {
		t.Errorf("remembered: %s", d)
	}
	if after := conf(t, u); after != before || !strings.Contains(after, "10.0.0.1") {
		t.Errorf("configuration: %s", cmp.Diff(before, after))
	}
	if _, err := os.Stat(u.set.Passfile); err != nil {
		t.Errorf("the credential: %v", err)
	}
	if f, err := u.Do(lateAfter(t.Context(), 2), o, m); err != nil || f["sealed"] != "true" {
		t.Errorf("the same in time: %v, %v", f, err)
	}
	if f, err := u.Do(lateAfter(t.Context(), 0), o, m); err == nil || now().sealed() != "true" {
		t.Errorf("a seal that was proven before stays: %v, %v, %+v", f, err, now())
	}
}

// An agent that was stopped in the middle of letting a member go: who ordered it has gone on since.
func TestAnUnsealWhoseTimeIsOverIsTakenBack(t *testing.T) {
	u, m, now, open := sealable(t)
	if f, err := u.Do(t.Context(), agent.Order{Verb: agent.Seal, Epoch: 4, Reign: 3}, m); err != nil || f["sealed"] != "true" {
		t.Fatalf("%v, %v", f, err)
	}
	closed := conf(t, u)
	o := agent.Order{Verb: agent.Unseal, Epoch: 4, Reign: 3}
	if _, err := u.Do(lateAfter(t.Context(), 0), o, m); !isLate(err) || now().sealed() != "true" || conf(t, u) != closed {
		t.Errorf("before it began nothing is changed: %v, %+v", err, now())
	}
	want := now()
	want.Proven = false
	_, err := u.Do(lateAfter(t.Context(), 1), o, m)
	if !isLate(err) || !strings.Contains(err.Error(), "taken back") {
		t.Errorf("%v", err)
	}
	if d := cmp.Diff(want, now()); d != "" {
		t.Errorf("it is sealed as before, and counts for nothing: %s", d)
	}
	if d := cmp.Diff(closed, conf(t, u)); d != "" {
		t.Errorf("configuration: %s", d)
	}
	if f, err := u.Do(lateAfter(t.Context(), 2), o, m); err != nil || f["sealed"] != "false" || conf(t, u) != open {
		t.Errorf("the same in time: %v, %v", f, err)
	}
}

// Once the member shows itself as sealed, somebody may have counted on it.
func TestASealThatWasShownIsNotTakenBack(t *testing.T) {
	u, m, now, _ := sealable(t)
	_, err := u.Do(lateAfter(t.Context(), 1), agent.Order{Verb: agent.Seal, Epoch: 4, Reign: 3}, m)
	if r, ok := errors.AsType[*agent.Refusal](err); err == nil || ok || now().sealed() != "true" {
		t.Errorf("%v %v, %+v", err, r, now())
	}
}

// A caller that is gone before the time is over leaves the seal begun: another tower decides.
func TestASealOfACallerThatIsGoneStaysBegun(t *testing.T) {
	u, m, now, _ := sealable(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := u.Do(ctx, agent.Order{Verb: agent.Seal, Epoch: 4, Reign: 3}, m); err == nil || now().sealed() != "begun" {
		t.Errorf("%v, %+v", err, now())
	}
}

func TestLateOrdersChangeNothing(t *testing.T) {
	other := &agent.Upstream{Member: "anyang", Host: "10.0.0.3", Port: "5432", Credential: 3, Reign: 4}
	for name, o := range map[string]agent.Order{
		"follow": {Verb: agent.Follow, Epoch: 4, Reign: 3, Upstream: other},
		"start":  {Verb: agent.Start, Epoch: 4, Reign: 3},
	} {
		u, m, now, before := sealable(t)
		was := now()
		_, err := u.Do(lateAfter(t.Context(), 0), o, m)
		if !isLate(err) {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(was, now()) + cmp.Diff(before, conf(t, u)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	k := &fakeKernel{}
	u, m, _ := aloneUnit(t, k, withAlone(primary3, &alone{Epoch: 3}))
	if _, err := u.Do(lateAfter(t.Context(), 0), renewal(leastMandate), m); !errors.Is(err, agent.ErrLate) || len(k.scripts) > 0 {
		t.Errorf("a mandate was renewed late: %v, %q", err, k.scripts)
	}
}
