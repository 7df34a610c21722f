package trial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
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
	if f.Writable, err = t.writable(ctx, primary, f.At); err != nil {
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
func (t Trial) writable(ctx context.Context, primary lab.Place, at time.Time) (Seconds, error) {
	const newest = `SELECT extract(epoch FROM (pg_stat_file('pg_wal/' || name)).modification)::numeric(20,6)
		FROM pg_ls_waldir() WHERE name LIKE '%.history' ORDER BY name DESC LIMIT 1`
	rows, err := t.Lab.SQL(ctx, primary, "postgres", newest)
	if err != nil || len(rows) == 0 {
		return Never, err
	}
	seconds, err := strconv.ParseFloat(rows[0][0], 64)
	if err != nil {
		return Never, fmt.Errorf("when %s was promoted: %w", primary, err)
	}
	if begun := time.UnixMicro(int64(seconds * 1e6)); begun.After(at) {
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
