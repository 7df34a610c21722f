package trial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/talk"
)

// judge looks for what was acknowledged: in the primary's tables and through
// talk, then in the tables of every other member that still stands, once it has
// replayed what the primary had written by then.
func (t Trial) judge(ctx context.Context, y talk.Tally, alive []lab.Place, f *Figures) error {
	primary, err := t.primary(ctx, alive)
	if err != nil {
		f.Acknowledged, f.Lost = len(y.Acks), len(y.Acks)
		f.Trouble = append(f.Trouble, err.Error())
		return nil
	}
	if f.Writable, err = t.writable(primary, f.At); err != nil {
		f.Trouble = append(f.Trouble, err.Error())
	}
	end, err := t.Lab.Position(ctx, primary)
	if err != nil {
		return fmt.Errorf("trial: judge: %w", err)
	}
	look := func(p lab.Place) error {
		v, err := talk.Judge(ctx, talk.JudgeConfig{
			Tally: y, DSN: t.Lab.DSN(p, "talk"), GatewayURL: "http://" + p.GatewayAddr(), Dial: t.dial(),
		})
		if err != nil {
			return fmt.Errorf("trial: %s: %w", p, err)
		}
		f.add(v)
		return nil
	}
	if err := look(primary); err != nil {
		return err
	}
	f.Judged = append(f.Judged, fmt.Sprintf("%s (primary, and through talk)", primary))
	for _, p := range alive {
		if p == primary {
			continue
		}
		if err := t.replayed(ctx, p, end); err != nil {
			f.Trouble = append(f.Trouble, fmt.Sprintf("%s is not judged: %v", p, err))
			continue
		}
		if err := look(p); err != nil {
			return err
		}
		f.Judged = append(f.Judged, fmt.Sprintf("%s (follower, and through talk)", p))
	}
	return nil
}

// dial reaches gateways as users do, and databases by their local sockets.
func (t Trial) dial() func(context.Context, string, string) (net.Conn, error) {
	users := t.Lab.DialIn(lab.Users)
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if network == "unix" {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
		return users(ctx, network, addr)
	}
}

// primary is the one member that takes writes.
func (t Trial) primary(ctx context.Context, alive []lab.Place) (lab.Place, error) {
	var found []lab.Place
	for _, p := range alive {
		if yes, err := t.Lab.IsPrimary(ctx, p); err == nil && yes {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("the members that say they are primary are %v, not one", found)
	}
	return found[0], nil
}

// writable is when PostgreSQL began the timeline that it is on, by the file that
// it writes at that moment; never, if that was before the fault.
func (t Trial) writable(primary lab.Place, at time.Time) (Seconds, error) {
	w, err := t.Lab.Wanted(primary)
	if err != nil {
		return Never, err
	}
	files, err := filepath.Glob(filepath.Join(w.Data, "pg_wal", "*.history"))
	if err != nil || len(files) == 0 {
		return Never, err
	}
	info, err := os.Stat(slices.Max(files))
	if err != nil {
		return Never, err
	}
	if begun := info.ModTime(); begun.After(at) {
		return since(at, begun), nil
	}
	return Never, nil
}

// replayed waits until a follower has replayed up to a position.
func (t Trial) replayed(ctx context.Context, p lab.Place, end string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		rows, err := t.Lab.SQL(ctx, p, "postgres", "SELECT pg_last_wal_replay_lsn() >= '"+end+"'::pg_lsn")
		if err == nil && len(rows) == 1 && rows[0][0] == "t" {
			return nil
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return errors.Join(fmt.Errorf("it has not replayed up to %s", end), err)
		}
	}
}
