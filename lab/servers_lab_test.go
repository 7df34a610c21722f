//go:build lab

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/haechi/haechi/lab/wan"
)

func TestDatabasesReplicateAndNameServersAreLocked(t *testing.T) {
	l := raise(t, Options{Only: []Role{RolePostgres, RoleNamed}})
	t.Run("WritesReachTheFollowers", func(t *testing.T) {
		if _, err := l.SQL(t.Context(), Pangyo, "talk", "CREATE TABLE try (n int); INSERT INTO try VALUES (7)"); err != nil {
			t.Fatal(err)
		}
		for _, p := range sites {
			err := until(t.Context(), 5*time.Second, func() error {
				_, err := l.SQL(t.Context(), p, "talk", "SELECT n FROM try WHERE n = 7")
				return err
			})
			if err != nil {
				t.Error(err)
			}
			if primary, err := l.IsPrimary(t.Context(), p); err != nil || primary != (p == Pangyo) {
				t.Errorf("%s: primary %v, %v", p, primary, err)
			}
			lsn, err := l.Position(t.Context(), p)
			if err != nil || lsn == "" {
				t.Errorf("%s: position %q, %v", p, lsn, err)
			}
		}
	})
	t.Run("NamesAreLockedAtFirst", func(t *testing.T) {
		if got := resolve(t, l, Users, Ansan); got.Rcode != dns.RcodeRefused {
			t.Fatalf("a locked server answered: %v", got)
		}
		if err := l.OpenNames(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, p := range sites {
			if got := resolve(t, l, Users, p); len(got.Answer) != 3 || got.Answer[0].Header().Ttl != 2 {
				t.Errorf("%s: %v", p, got)
			}
		}
	})
	t.Run("ReadersLockBlocksReplay", func(t *testing.T) {
		proof, err := l.ReaderLock(t.Context(), Ansan)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(proof)
		if _, err := l.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
		err = until(t.Context(), 5*time.Second, func() error {
			if _, err := l.blocked(t.Context(), Ansan); err == nil {
				return errors.New("replay is still blocked")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("ProcessesStopContinueAndDie", func(t *testing.T) {
		for _, do := range []func(context.Context, Place, Role) (Proof, error){l.Stop, l.Continue, l.KillProcess, l.StartProcess} {
			proof, err := do(t.Context(), Anyang, RoleNamed)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(proof)
		}
		if got := resolve(t, l, Users, Anyang); got.Rcode != dns.RcodeRefused {
			t.Errorf("a name server that came back is not locked: %v", got)
		}
		proof, err := l.KillProcess(t.Context(), Anyang, RolePostgres)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(proof)
		if _, err := l.KillProcess(t.Context(), Anyang, RolePostgres); err == nil {
			t.Error("a dead database was killed")
		}
		if _, err := l.StartProcess(t.Context(), Anyang, RolePostgres); err == nil {
			t.Error("the lab started a database without its agent")
		}
		if _, err := l.StartDatabase(t.Context(), Anyang); err != nil {
			t.Error(err)
		}
		if _, err := l.IsPrimary(t.Context(), Anyang); err != nil {
			t.Errorf("what a session of before says is not what the server that runs says: %v", err)
		}
	})
	t.Run("DiskFull", func(t *testing.T) {
		if err := l.makeDisk(t.Context(), Ansan); err != nil {
			t.Fatal(err)
		}
		proof, err := l.DiskFull(t.Context(), Ansan, RoleTower)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(proof)
		if _, err := l.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("FireEndsEverythingInTheSite", func(t *testing.T) {
		burn(t, l, Pangyo)
	})
	t.Run("ABurnedSiteStaysDarkUntilItIsRebuilt", func(t *testing.T) {
		if _, err := l.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s, err := l.Status(t.Context()); err != nil || s.Sites[0].Burned == nil || !s.Lines[0].Link.Cut {
			t.Fatalf("%+v, %v", s, err)
		}
		proof, err := l.Rebuild(t.Context(), Pangyo)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(proof)
		if got := resolve(t, l, Users, Pangyo); got.Rcode != dns.RcodeRefused {
			t.Errorf("a rebuilt name server is not locked: %v", got)
		}
		if left, err := l.of(Pangyo, RolePostgres); err != nil || len(left) > 0 {
			t.Errorf("a database started by itself: %v, %v", left, err)
		}
	})
}

// resolve asks the name server of a site for talk.example.
func resolve(t *testing.T, l *Lab, from, at Place) *dns.Msg {
	t.Helper()
	conn, err := l.DialIn(from)(t.Context(), "udp", at.nameAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	q := new(dns.Msg)
	q.SetQuestion("talk.example.", dns.TypeA)
	c := &dns.Conn{Conn: conn}
	if err := c.WriteMsg(q); err != nil {
		t.Fatal(err)
	}
	got, err := c.ReadMsg()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// burn sets fire to a site while it talks to the others, and looks into a
// capture for packets that left it afterwards, once its kernel has tried to send some.
func burn(t *testing.T, l *Lab, p Place) {
	t.Helper()
	capture := l.path("fire.pcap")
	if err := l.WAN().Capture(t.Context(), capture); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for ctx.Err() == nil {
			if _, err := l.SQL(ctx, p, "talk", "INSERT INTO try VALUES (8)"); err != nil {
				return
			}
		}
	}()
	before := sentBy(t, l, p)
	sent := func(what string, enough func(now wan.Counters) bool) {
		t.Helper()
		err := until(t.Context(), 10*time.Second, func() error {
			if now := sentBy(t, l, p); !enough(now) {
				return fmt.Errorf("%s %s: %+v, before %+v", p, what, now, before)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	sent("does not talk", func(now wan.Counters) bool { return now.Packets > before.Packets+50 })
	fire, err := l.Fire(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(fire)
	before = sentBy(t, l, p)
	sent("did not try to send anything", func(now wan.Counters) bool { return now.Cut > before.Cut }) // what was not acknowledged is sent again
	if err := l.WAN().Capture(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	captured, after, err := CapturedFrom(capture, p, fire.At)
	if err != nil || captured == 0 || after != 0 {
		t.Errorf("%d packets left %s before the fire, %d after it, %v", captured, p, after, err)
	}
	t.Logf("%d packets left %s before the fire", captured, p)
	left, err := l.residents(p)
	if err != nil || len(left) > 0 {
		t.Errorf("still there: %+v, %v", left, err)
	}
	if _, err := net.DialTimeout("unix", l.socket(p)+"/.s.PGSQL.5432", time.Second); err == nil {
		t.Error("the database of the burned site still accepts connections")
	}
}

// sentBy adds up what the lines that lead out of a place carried and dropped.
func sentBy(t *testing.T, l *Lab, p Place) (sum wan.Counters) {
	t.Helper()
	s, err := l.WAN().Status(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range s.Lines {
		if line.Direction.From == string(p) {
			sum.Packets += line.Counters.Packets
			sum.Cut += line.Counters.Cut
		}
	}
	return sum
}
