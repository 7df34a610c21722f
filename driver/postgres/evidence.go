package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/situation"
)

// The ways in which a member becomes a follower again, the least first.
const (
	byStart  = "start"  // nothing is wrong with it but that it does not run, or does not receive
	byFollow = "follow" // it is pointed at its primary as it is
	byRewind = "rewind" // what it wrote beyond the fork is taken back, by pg_rewind
	byCopy   = "copy"   // all that differs from the primary is copied
)

// rewrites says whether a way rewrites what the member holds.
func rewrites(method string) bool { return method == byRewind || method == byCopy }

// evidence is what is known of a member's data directory, and of its primary's.
type evidence struct {
	Broken    string // how it was being rewritten when that was cut off; empty: it was not
	Anew      bool   // it is to be copied whatever else is known
	Empty     bool   // there is nothing in it
	NoControl bool   // there is something, and no control file
	System    string
	Version   string // of its files: "15"
	State     string // as the control file says it
	Standby   bool   // it would start as a standby
	Hints     bool   // pg_rewind could work on it
	Follower  bool   // its agent made it a follower of this very primary
	Timeline  uint64
	Fork      LSN    // up to where it goes with its primary; 0: all the way
	Beyond    string // what proves that it holds something beyond the fork; empty: nothing does
	Strange   string // why what it holds before the fork is not what its primary holds; empty: it is
	Gone      string // why its primary cannot send it what follows; empty: it can

	Source        string // the member that it comes back to
	SourceSystem  string
	SourceVersion string
}

// choose says by which way a member comes back, and why; or why by none.
func (e evidence) choose() (method, reason string, err error) {
	switch {
	case e.Broken != "":
		return byCopy, fmt.Sprintf("a %s did not come to its end, so what it holds is neither one thing nor the other", e.Broken), nil
	case e.Empty:
		return byCopy, "its data directory is empty", nil
	case e.NoControl:
		return "", "", agent.Refuse(agent.Unsafe, "the data directory holds files and no control file, and nobody here made it so: find out what they are, then move them away")
	case e.Version != e.SourceVersion:
		return "", "", agent.Refuse(agent.Unsafe, "the data directory is of PostgreSQL %s, %s runs %s: upgrade it, or move it away and let it be copied", e.Version, e.Source, e.SourceVersion)
	case e.System != e.SourceSystem:
		return "", "", agent.Refuse(agent.Unsafe, "the data directory is of another cluster (system identifier %s, %s has %s): look whose data that is, then move it away", e.System, e.Source, e.SourceSystem)
	case e.Strange != "":
		return byCopy, e.Strange, nil
	case e.Anew:
		return byCopy, "a person wants it made anew, whatever it holds", nil
	case e.Beyond != "" && !e.Hints:
		return byCopy, e.Beyond + ", and it has neither data checksums nor wal_log_hints, so it cannot be rewound", nil
	case e.Beyond != "" && e.Standby && e.State != "shut down in recovery":
		return byCopy, fmt.Sprintf("%s, and it is a standby that did not end cleanly (%q), which cannot be rewound", e.Beyond, e.State), nil
	case e.Beyond != "":
		return byRewind, e.Beyond, nil
	case e.Gone != "":
		return byCopy, e.Gone, nil
	case e.Follower && e.Standby:
		return byStart, "it holds nothing that " + e.Source + " does not", nil
	}
	return byFollow, "it holds nothing that " + e.Source + " does not", nil
}

// wasRead says whether what was read of the member, if anything was, is all that goes another way than this primary:
// another one may have left it at another place, and one that was seen to hold nothing may have received more.
func (e evidence) wasRead(mem memory) bool {
	switch s := mem.Read.Salvage; {
	case s == nil || s.Method == situation.Unreadable:
		return true
	case s.Method == situation.Nothing && !mem.Fenced:
		return e.Beyond == "" && e.Strange == ""
	default:
		return e.Beyond == "" || toLSN(s.Fork) <= e.Fork
	}
}

// gather finds out what the member holds, and what of that its primary has.
func (u *Unit) gather(ctx context.Context, s *source, o agent.Order, mem memory) (evidence, error) {
	e := evidence{Source: o.Upstream.Member, SourceSystem: s.system, SourceVersion: number(s.version / 10000), Standby: u.standbySignal(), Anew: mem.toCopy(o),
		Follower: mem.Role == asFollower && mem.Upstream != nil && mem.Upstream.Member == o.Upstream.Member && mem.Upstream.Reign == o.Reign}
	if mem.Rebuild.broken() {
		e.Broken = mem.Rebuild.Stage
		return e, nil
	}
	if e.Empty = u.empty(); e.Empty {
		return e, nil
	}
	if _, err := os.Stat(u.controlPath()); errors.Is(err, os.ErrNotExist) {
		e.NoControl = true
		return e, nil
	}
	version, err := os.ReadFile(filepath.Join(u.set.Data, "PG_VERSION"))
	if err != nil {
		return e, fmt.Errorf("the data directory cannot be read: %w", err)
	}
	c, err := u.control(ctx)
	if err != nil {
		return e, err
	}
	e.System, e.Version, e.State = c["Database system identifier"], strings.TrimSpace(string(version)), c[controlState]
	e.Hints = c["Data page checksum version"] != "0" || c["wal_log_hints setting"] == "on"
	if e.System != e.SourceSystem || e.Version != e.SourceVersion {
		return e, nil
	}
	return e, u.gatherLog(ctx, s, c, &e)
}

// empty says that there is nothing in the member's data directory.
func (u *Unit) empty() bool {
	entries, err := os.ReadDir(u.set.Data)
	return len(entries) == 0 && (err == nil || errors.Is(err, os.ErrNotExist))
}

// heldLog is what a control file says of where a member stands.
type heldLog struct {
	timeline   uint64 // of the last checkpoint
	checkpoint LSN
	recovery   LSN // up to where it has to be replayed; 0: it is none that replays
}

// gatherLog compares the member's log with its primary's.
func (u *Unit) gatherLog(ctx context.Context, s *source, c map[string]string, e *evidence) error {
	at := heldLog{toNumber(c[controlTimeline]), toLSN(c[controlAt]), toLSN(c["Minimum recovery ending location"])}
	e.Timeline = max(at.timeline, toNumber(c["Min recovery ending loc's timeline"]))
	here, err := u.eras(e.Timeline)
	if err != nil {
		e.Strange = fmt.Sprintf("its history cannot be read (%v)", err)
		return nil
	}
	shared, forked, ok := fork(here, s.history)
	if !ok {
		e.Strange = fmt.Sprintf("its timeline %d shares nothing with timeline %d of %s", e.Timeline, s.timeline(), e.Source)
		return nil
	}
	e.Fork = forked
	if forked != 0 {
		if e.Beyond, err = u.beyond(ctx, e.Timeline, shared, forked, at); err != nil {
			return err
		}
	}
	if e.Strange, e.Gone, err = u.compareLog(ctx, s, *e, at); err != nil {
		return err
	}
	return nil
}

// eras is the history of one of the member's own timelines.
func (u *Unit) eras(timeline uint64) ([]era, error) {
	if timeline <= 1 {
		return parseEras("", timeline)
	}
	raw, err := os.ReadFile(filepath.Join(u.set.Data, "pg_wal", historyName(timeline)))
	if err != nil {
		return nil, err
	}
	return parseEras(string(raw), timeline)
}

// beyond says what proves that the member holds something beyond the fork; empty: it does not.
func (u *Unit) beyond(ctx context.Context, timeline, shared uint64, forked LSN, at heldLog) (string, error) {
	switch {
	case timeline != shared:
		return fmt.Sprintf("it left timeline %d for its own timeline %d", shared, timeline), nil
	case at.timeline == shared && at.checkpoint >= forked:
		return fmt.Sprintf("its last checkpoint (%s) lies beyond the fork of timeline %d at %s", at.checkpoint, shared, forked), nil
	case at.recovery > forked:
		return fmt.Sprintf("it replayed up to %s, beyond the fork of timeline %d at %s", at.recovery, shared, forked), nil
	}
	first, err := u.recordAt(ctx, timeline, forked)
	if err != nil || first == "" {
		return "", err
	}
	return fmt.Sprintf("its log goes on beyond the fork of timeline %d at %s (%s)", shared, forked, first), nil
}

// recordAt is the first record of the member's log from a place on, in words; empty where the log ends there.
func (u *Unit) recordAt(ctx context.Context, timeline uint64, at LSN) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(u.set.Bin, "pg_waldump"), "-p", filepath.Join(u.set.Data, "pg_wal"), "-t", number(timeline), "-s", at.String(), "-n", "1")
	cmd.Env = []string{"LC_ALL=C"}
	out, err := cmd.Output()
	if line := strings.TrimSpace(string(out)); line != "" {
		return firstWords(line), nil
	}
	exit, ran := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return "", nil
	case !ran:
		return "", fmt.Errorf("pg_waldump: %w", err)
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	}
	said := string(exit.Stderr)
	for _, end := range []string{"could not find a valid record", "could not find file", "could not open file", "No such file"} {
		if strings.Contains(said, end) {
			return "", nil // the log ends before
		}
	}
	return "", fmt.Errorf("pg_waldump: %w: %s", err, strings.TrimSpace(said))
}

// firstWords shortens a line of pg_waldump to what kind of record it is, and where.
func firstWords(line string) string {
	f := strings.Fields(strings.ReplaceAll(line, ",", " "))
	lsn := slices.Index(f, "lsn:")
	if len(f) < 2 || lsn < 0 || lsn+1 >= len(f) {
		return "a record"
	}
	return fmt.Sprintf("%s at %s", f[1], f[lsn+1])
}

// spot is a place at which a member's log is compared with its primary's.
type spot struct {
	from, to LSN // to is 0 for the record that begins there
	what     string
}

// spots are the places that tell whether a member whose log was begun last at end went the same way as its primary.
func (u *Unit) spots(ctx context.Context, s *source, e evidence, at heldLog, end LSN) ([]spot, error) {
	if e.Beyond != "" {
		return []spot{{(e.Fork - 1) / pageSize * pageSize, e.Fork, "the log before the fork"}}, nil
	}
	out := []spot{{at.checkpoint, 0, "its last checkpoint"}}
	_, found, err := s.logAt(ctx, at.checkpoint, 1)
	if err != nil {
		return nil, err
	}
	if !found { // what it received since may go on to where its primary has log
		if page := u.wholePage(s.segment, e.Timeline, at.checkpoint, end); page != 0 {
			out = []spot{{page, page + pageSize, "the log that it received last"}}
		}
	}
	if begin := s.begins(e.Timeline); begin > out[0].from && at.timeline != e.Timeline {
		out = append(out, spot{begin, 0, fmt.Sprintf("the begin of timeline %d", e.Timeline)})
	}
	return out, nil
}

// compareLog says whether the member's log, up to where it goes with its primary, is that one's byte by byte, and
// whether that one still has what follows. Timelines of equal number may be of two promotions that did
// not know of each other: only what was written tells them apart.
func (u *Unit) compareLog(ctx context.Context, s *source, e evidence, at heldLog) (strange, gone string, err error) {
	end := u.lastLog(s.segment, e.Timeline, max(at.checkpoint, at.recovery))
	spots, err := u.spots(ctx, s, e, at, end)
	if err != nil {
		return "", "", err
	}
	for _, p := range spots {
		mine, err := u.localLog(s.segment, e.Timeline, p.from, p.to)
		if err != nil {
			return fmt.Sprintf("%s (%s) is not in its log any more: %v", p.what, p.from, err), "", nil
		}
		theirs, found, err := s.logAt(ctx, p.from, int64(len(mine)))
		if err != nil {
			return "", "", err
		}
		switch {
		case !found && e.Beyond == "":
			return "", fmt.Sprintf("%s has no log of %s any more", e.Source, p.from), nil
		case !found:
			return fmt.Sprintf("%s has no log of %s any more, so nobody can tell whether it went the same way up to there", e.Source, p.from), "", nil
		case string(mine) != string(theirs):
			return fmt.Sprintf("%s at %s is not what %s wrote there: it went another way before", p.what, p.from, e.Source), "", nil
		}
	}
	if e.Beyond != "" {
		return "", "", nil
	}
	if _, found, err := s.logAt(ctx, end, 1); err != nil || found {
		return "", "", err
	}
	return "", fmt.Sprintf("it holds the log up to about %s, and %s has no log from there on any more", end, e.Source), nil
}

// begins is where one of the source's timelines began; 0: it was the first, or is none of them.
func (s *source) begins(timeline uint64) LSN {
	for i, x := range s.history {
		if x.Timeline == timeline && i > 0 {
			return s.history[i-1].End
		}
	}
	return 0
}

// logAt reads the source's log at a place, from the newest timeline that has the file; not found: none has.
func (s *source) logAt(ctx context.Context, at LSN, n int64) (raw []byte, found bool, err error) {
	for _, x := range slices.Backward(s.history) {
		raw, err := s.bytes(ctx, "pg_wal/"+walName(x.Timeline, at, s.segment), int64(uint64(at)%s.segment), n)
		if err != nil || raw != nil {
			return raw, raw != nil, err
		}
	}
	return nil, false, nil
}

// localLog reads the member's own log from a place up to another; where that is 0, the record there, as far as
// it stands on the same page.
func (u *Unit) localLog(segment, newest uint64, from, to LSN) ([]byte, error) {
	var f *os.File
	var err error
	for timeline := newest; timeline > 0 && f == nil; timeline-- {
		f, err = os.Open(filepath.Join(u.set.Data, "pg_wal", walName(timeline, from, segment)))
	}
	if f == nil {
		return nil, err
	}
	defer f.Close()
	at := int64(uint64(from) % segment)
	page := pageSize - at%pageSize
	if to == 0 {
		head := make([]byte, 4)
		if page < 4 {
			return nil, errors.New("its length stands on the next page")
		}
		if _, err := f.ReadAt(head, at); err != nil {
			return nil, err
		}
		to = from + LSN(min(int64(binary.LittleEndian.Uint32(head)), page))
	}
	if to <= from || to-from > 2*pageSize {
		return nil, fmt.Errorf("no record begins there")
	}
	out := make([]byte, to-from)
	_, err = f.ReadAt(out, at)
	return out, err
}

// lastLog is the begin of the last file of the member's log that was begun, from a place on that it surely
// holds; files that were only made ready for later tell by their first page that they are old.
func (u *Unit) lastLog(segment, newest uint64, from LSN) LSN {
	end := from
	for at := LSN(uint64(from) / segment * segment); ; at += LSN(segment) {
		begun := false
		for timeline := newest; timeline > 0 && !begun; timeline-- {
			begun = begunLog(filepath.Join(u.set.Data, "pg_wal", walName(timeline, at, segment)), at, segment)
		}
		if !begun {
			return end
		}
		end = max(end, at)
	}
}

// wholePage is the last page of the member's log that it surely received to its end, since a later file was begun: the
// last one written in the file before that of end. 0: there is none beyond from.
func (u *Unit) wholePage(segment, newest uint64, from, end LSN) LSN {
	last := LSN(uint64(end) / segment * segment)
	if last <= from {
		return 0
	}
	for timeline := newest; timeline > 0; timeline-- {
		path := filepath.Join(u.set.Data, "pg_wal", walName(timeline, last-1, segment))
		for at := last - pageSize; at > from && last-at <= LSN(segment); at -= pageSize {
			if begunLog(path, at, segment) { // after a switch the rest of a file is empty
				return at
			}
		}
	}
	return 0
}

// begunLog says whether a page of a file of the log was written: each says its own place, and one of a file that was
// only made ready says another.
func begunLog(path string, at LSN, segment uint64) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 16)
	if _, err := f.ReadAt(head, int64(uint64(at)%segment)); err != nil {
		return false
	}
	return binary.LittleEndian.Uint16(head) != 0 && LSN(binary.LittleEndian.Uint64(head[8:])) == at
}
