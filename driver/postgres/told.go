package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/driver/postgres/salvage"
)

// waiting is who waited for other members when a primary was stopped for good. Nobody told their
// clients anything: the server was stopped in a way that answers no one.
type waiting struct {
	At   time.Time `json:"at"`
	XIDs []uint32  `json:"xids,omitempty"` // of the transactions, which stand on this member alone
	Log  int64     `json:"log,omitempty"`  // how long the server's log was then; -1: a wait that was cancelled would not show there
}

// watchFence bounds the look before a fence: a server that hangs is stopped unseen.
const watchFence = 500 * time.Millisecond

// whoWaits looks who waits for other members now; nil where the server does not say.
func (u *Unit) whoWaits(ctx context.Context) *waiting {
	ctx, cancel := context.WithTimeout(ctx, watchFence)
	defer cancel()
	w := &waiting{At: time.Now().UTC()}
	if info, err := os.Stat(u.set.Log); err == nil {
		w.Log = info.Size()
	}
	rows, err := u.local.rows(ctx, whoWaitsSQL)
	if err != nil {
		return nil
	}
	for _, r := range rows {
		switch {
		case r[0] != "log":
			w.XIDs = append(w.XIDs, uint32(toNumber(r[0])))
		case r[1] != "true":
			w.Log = -1
		}
	}
	slices.Sort(w.XIDs)
	return w
}

// whoWaitsSQL also asks whether the log that the agent can read would show a wait that is cancelled.
const whoWaitsSQL = `
SELECT 'log', (current_setting('logging_collector') = 'off' AND current_setting('log_destination') ~ 'stderr'
  AND current_setting('log_min_messages') NOT IN ('error', 'log', 'fatal', 'panic') AND current_setting('lc_messages') ~ '^(C|POSIX|en)')::text
UNION ALL (SELECT backend_xid::text, '' FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_xid IS NOT NULL LIMIT 10000)`

// teller knows what can be known of whether a client was told that its commit is safe.
type teller struct {
	seen   *waiting
	cancel cancelled
	loose  []string          // roles and databases that opt out of waiting
	top    map[uint32]uint32 // the transaction that one is a part of, where the log said so
}

// cancelled are waits that were cut short, as the server's log shows them.
type cancelled struct {
	known bool // the log could be read
	all   int  // in the part of it that was looked at
	late  int  // of these, after it was looked who waits
}

// of says what is known of a transaction's client.
func (t teller) of(xid uint32) (salvage.Told, string) {
	if top, ok := t.top[xid]; ok {
		xid = top
	}
	if t.seen == nil {
		return salvage.Unknown, "nobody saw whether its session still waited for another member: its server was down, or did not answer, when it was fenced" + t.more()
	}
	if _, found := slices.BinarySearch(t.seen.XIDs, xid); !found {
		return salvage.Unknown, "its session did not wait for another member any more when the server was stopped" + t.more()
	}
	switch {
	case !t.cancel.known:
		return salvage.Unknown, "its session waited when the server was stopped, but its log cannot be read here, so that a wait that was cancelled just then would not show"
	case t.cancel.late > 0:
		return salvage.Unknown, fmt.Sprintf("its session waited when the server was stopped, but the log shows waits that were cancelled just then (%d), of which this may be one", t.cancel.late)
	}
	return salvage.Never, ""
}

// more is why such a session may have been told.
func (t teller) more() string {
	var out []string
	if t.cancel.all > 0 {
		out = append(out, fmt.Sprintf("the log shows waits that were cancelled (%d), which answers a client with a warning", t.cancel.all))
	}
	if !t.cancel.known {
		out = append(out, "its log cannot be read here")
	}
	if len(t.loose) > 0 {
		out = append(out, strings.Join(t.loose, " and ")+" do not wait for other members")
	}
	if len(out) == 0 {
		return ""
	}
	return "; " + strings.Join(out, "; ")
}

// lastOfLog is how much of the end of a log is searched.
const lastOfLog = 64 << 20

// cancelMark is what PostgreSQL writes when a wait for other members is cut short.
const cancelMark = "canceling wait for synchronous replication"

// findCancelled searches the end of the server's log.
func findCancelled(path string, seen *waiting) (cancelled, error) {
	if seen != nil && seen.Log < 0 {
		return cancelled{}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return cancelled{}, fmt.Errorf("server's log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return cancelled{}, fmt.Errorf("server's log: %w", err)
	}
	at := max(0, info.Size()-lastOfLog)
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return cancelled{}, fmt.Errorf("server's log: %w", err)
	}
	out := cancelled{known: true}
	// One that was rotated meanwhile is shorter than it was: all of it is late then.
	rotated := seen != nil && info.Size() < seen.Log
	in := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if strings.Contains(string(line), cancelMark) {
			out.all++
			if seen != nil && (rotated || at >= seen.Log) {
				out.late++
			}
		}
		at += int64(len(line))
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return cancelled{}, fmt.Errorf("server's log: %w", err)
		}
	}
}
