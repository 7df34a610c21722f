package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// salvageID is what a salvage may be called: its file has the name.
var salvageID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$`)

// salvageFile is the name of a salvage's file, beside every agent that has it.
func salvageFile(id string) string { return id + ".salvage" }

// Files implements [agent.KeepsFiles]: salvages of this store, of whatever member.
func (u *Unit) Files() string {
	return filepath.Join(filepath.Dir(u.set.Passfile), "salvage-"+u.set.Store)
}

// salvage begins to read what only this member holds, or says how far that is. What was found is
// remembered by the order that finds it done; the next one may say that it is kept in two sites.
func (u *Unit) salvage(ctx context.Context, o agent.Order, mem memory, m *agent.Memory) (map[string]string, error) {
	if err := u.maySalvage(o, mem); err != nil {
		return nil, err
	}
	if mem.Read.Salvage != nil {
		if u.stillRead(ctx, mem) == nil && u.readFor(ctx, o, mem) {
			return u.found(o, mem, m)
		}
		mem.Read = read{Waiting: mem.Read.Waiting}
	}
	switch begun, over, result, err := u.reading.ask(); {
	case begun && !over:
		return u.readsNow(mem), nil
	case over && err != nil:
		u.reading.forget()
		return nil, fmt.Errorf("salvage: %w", err)
	case over:
		mem.Read.Salvage, mem.Read.Stand = &result.salvage, result.stand
		mem.Read.Kept = !result.partial && result.salvage.Rows == 0
		if err := u.stillRead(ctx, mem); err != nil { // other hands were at it before anybody asked
			u.reading.forget()
			return nil, fmt.Errorf("salvage: %w", err)
		}
		if !u.readFor(ctx, o, mem) { // it was begun for another run
			u.reading.forget()
			mem.Read = read{Waiting: mem.Read.Waiting}
			break
		}
		if err := m.Save(mem); err != nil {
			return nil, err
		}
		u.reading.forget()
		return u.found(o, mem, m)
	}
	return u.beginReading(ctx, o, mem, m)
}

// readFor says whether what was read is what an order asks for. Since then a primary may have taken over that
// left this member earlier than the one before it did: then more of it stands nowhere else. And what could
// not be read is tried again by another run, since people may have mended the disk.
func (u *Unit) readFor(ctx context.Context, o agent.Order, mem memory) bool {
	s := mem.Read.Salvage
	switch {
	case (s.Method == situation.Unreadable || s.Partial) && s.Accepted == "" && s.ID != o.Salvage.ID:
		return false
	case s.Method == situation.Unreadable:
		return true
	case s.Method == situation.Nothing && !mem.Fenced: // it was seen without reading it, and it may have gone on
		_, ok := u.nothingBeyond(ctx, o, mem)
		return ok
	}
	c, err := u.control(ctx)
	if err != nil {
		return false
	}
	past, err := u.past(c)
	if err != nil {
		return false
	}
	f, err := findFork(o.Salvage.Turns, past)
	return err == nil && f.at.String() == s.Fork
}

// maySalvage refuses what is no order for one that went another way.
func (u *Unit) maySalvage(o agent.Order, mem memory) error {
	switch s := o.Salvage; {
	case s == nil || !salvageID.MatchString(s.ID):
		return agent.Refuse(agent.BadOrder, "salvage: under which name?")
	case len(s.Turns) == 0:
		return agent.Refuse(agent.BadOrder, "salvage: the order does not say which timelines the primary came by, so where this member left it cannot be told")
	case mem.Role == "" && !u.empty(): // an empty one is said to be unreadable, and people decide
		return agent.Refuse(agent.Unsafe, "nobody here knows what %s was, and its data directory %s holds files: find out whose they are, then move them away", u.set.Member, u.set.Data)
	case mem.Role == asPrimary && mem.Reign == o.Reign:
		return agent.Refuse(agent.Unsafe, "%s is the primary of epoch %d, which stands: there is nothing that only it should hold", u.set.Member, mem.Reign)
	case mem.Role == asPrimary && mem.Reign > o.Reign:
		return agent.Refuse(agent.Unsafe, "%s was made primary under epoch %d, and the towers know of epoch %d only: their records are older than the store", u.set.Member, mem.Reign, o.Reign)
	}
	return checkUpstream(o.Upstream, u.set.Member)
}

// beginReading makes sure that nobody else changes the member, remembers that, and begins. One that was
// halted cleanly, and one that received nothing beyond the fork, needs no reading and stays as it is.
func (u *Unit) beginReading(ctx context.Context, o agent.Order, mem memory, m *agent.Memory) (map[string]string, error) {
	if result, ok := u.nothingBeyond(ctx, o, mem); ok {
		mem.Read.Salvage, mem.Read.Stand, mem.Read.Kept = &result.salvage, result.stand, true
		if err := m.Save(mem); err != nil {
			return nil, err
		}
		return u.found(o, mem, m)
	}
	if err := wanted(ctx, "salvage"); err != nil {
		return nil, err
	}
	running := u.postmaster() != 0 && !u.isApart()
	if running && mem.Role == asPrimary {
		mem.Read.Waiting = u.whoWaits(ctx)
	}
	// It will be started to be read, so from here on nothing else starts it, and where it was halted says
	// nothing any more.
	mem.Fenced, mem.Halted = true, nil
	if err := m.Save(mem); err != nil {
		return nil, err
	}
	if running {
		stop := func() error { return u.kill(ctx, fencePatience) } // a primary waits for followers that it does not have
		if mem.Role == asFollower {
			stop = func() error { return u.endOrKill(ctx, u.postmaster(), fencePatience) }
		}
		if err := stop(); err != nil {
			return nil, fmt.Errorf("salvage: %w", err)
		}
	}
	r := &reader{u: u, o: o, mem: mem}
	u.reading.begin(r.read)
	return u.readsNow(mem), nil
}

// readsNow says that the reading goes on, also where it has just ended: what came of it is for whoever asks next.
func (u *Unit) readsNow(mem memory) map[string]string {
	f := u.readFacts(mem)
	f[factReading] = readingNow
	return f
}

// nothingBeyond says of a member that was halted cleanly, or follows, that it holds nothing beyond the
// fork, where that is plain to see.
func (u *Unit) nothingBeyond(ctx context.Context, o agent.Order, mem memory) (readResult, bool) {
	c, err := u.control(ctx)
	if err != nil {
		return readResult{}, false
	}
	past, err := u.past(c)
	if err != nil {
		return readResult{}, false
	}
	var end LSN
	switch {
	case u.postmaster() != 0 && !u.isApart() && mem.Role == asFollower:
		if end, past, err = u.received(ctx, past); err != nil {
			return readResult{}, false
		}
	case u.postmaster() == 0 && c[controlState] == "shut down" && mem.Halted != nil && toLSN(c[controlAt]) == mem.Halted.LSN:
		end = mem.Halted.LSN // and the record that stands there, of which no fork is in the middle
	}
	f, err := findFork(o.Salvage.Turns, past)
	if err != nil || f.at == 0 && mem.Role == asPrimary {
		return readResult{}, false
	}
	if end == 0 || f.at != 0 && end > f.at || f.at != 0 && mem.Halted != nil && end == f.at {
		return readResult{}, false
	}
	s := u.sketch(o, mem, past, f)
	s.End, s.System = end.String(), c["Database system identifier"]
	return readResult{salvage: s, stand: toLSN(c[controlAt])}, true
}

// received is how far a follower that runs has received or replayed, and by which way it came there. One that has just
// come back may be on its primary's newest timeline before its control file says so: a server asks for a timeline only once
// what it has replayed is the beginning of that.
func (u *Unit) received(ctx context.Context, past []turn) (LSN, []turn, error) {
	// One that has received nothing since it was started may have more on its disk than it has replayed.
	rows, err := u.local.rows(ctx, `SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()),
		coalesce((SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming'), 0)::text WHERE pg_last_wal_receive_lsn() IS NOT NULL`)
	switch {
	case err != nil:
		return 0, nil, err
	case len(rows) != 1:
		return 0, nil, fmt.Errorf("it has received nothing since it was started")
	}
	if timeline := toNumber(rows[0][1]); timeline > past[len(past)-1].timeline {
		past, err = readHistory(u.set.Data, timeline)
	}
	return toLSN(rows[0][0]), past, err
}

// sketch is what is known of a salvage before anything is read: that there is nothing.
func (u *Unit) sketch(o agent.Order, mem memory, past []turn, f parting) situation.Salvage {
	return situation.Salvage{ID: o.Salvage.ID, Member: estate.MemberID(u.set.Member), Store: estate.StoreID(u.set.Store), Reign: mem.Reign,
		Timeline: past[len(past)-1].timeline, Fork: f.at.String(), Method: situation.Nothing, State: situation.SalvageEmpty}
}

// stillRead says whether the data directory is as it was when it was read.
func (u *Unit) stillRead(ctx context.Context, mem memory) error {
	if mem.Read.Salvage == nil {
		return fmt.Errorf("%s was not read", u.set.Member)
	}
	if mem.Role == asFollower && !mem.Fenced && mem.Read.Salvage.Method == situation.Nothing {
		return nil // it goes on receiving, and nothing can come to it but from the primary
	}
	if u.postmaster() != 0 {
		return fmt.Errorf("the server of %s runs: something else started it since it was read", u.set.Member)
	}
	if mem.Read.Salvage.Method == situation.Unreadable {
		return nil
	}
	c, err := u.control(ctx)
	if err != nil {
		return err
	}
	if at := toLSN(c[controlAt]); at != mem.Read.Stand {
		return fmt.Errorf("%s was read at %s, and is at %s now: somebody started it since", u.set.Member, mem.Read.Stand, at)
	}
	return nil
}

// mayRewrite refuses while something that only this member holds may be lost by rewriting it.
func (u *Unit) mayRewrite(ctx context.Context, mem memory) error {
	if err := u.stillRead(ctx, mem); err != nil {
		return agent.Refuse(agent.Unsafe, "%v: read what only it holds first (salvage)", err)
	}
	if !mem.Read.Kept {
		return agent.Refuse(agent.Unsafe, "what only %s holds (salvage %s) does not lie in two sites yet", u.set.Member, mem.Read.Salvage.ID)
	}
	return nil
}

// found says what was found, and remembers what the order says of it: who holds it by now, or who
// accepts what is not known of it.
func (u *Unit) found(o agent.Order, mem memory, m *agent.Memory) (map[string]string, error) {
	s := *mem.Read.Salvage
	switch {
	case mem.Read.Kept:
	case o.Salvage.Accepted != "" && (s.Method == situation.Unreadable || s.Partial):
		s.Accepted = o.Salvage.Accepted
		mem.Read.Salvage, mem.Read.Kept = &s, s.Rows == 0
		if err := m.Save(mem); err != nil {
			return nil, err
		}
	}
	if len(o.Salvage.Holders) > 1 && !mem.Read.Kept && o.Salvage.ID == s.ID {
		if (s.Method == situation.Unreadable || s.Partial) && s.Accepted == "" {
			return nil, agent.Refuse(agent.Unsafe, "not all of %s could be read, and nobody has accepted that", u.set.Member)
		}
		for _, h := range o.Salvage.Holders {
			s.Holders = append(s.Holders, estate.MemberID(h))
		}
		mem.Read.Salvage, mem.Read.Kept = &s, true
		if err := m.Save(mem); err != nil {
			return nil, err
		}
	}
	return u.readFacts(mem), nil
}

// readFacts says how far the reading is, and what came of it.
func (u *Unit) readFacts(mem memory) map[string]string {
	f := map[string]string{"running": yes(u.postmaster() != 0)}
	mem.facts(f)
	u.reading.facts(f)
	if s := mem.Read.Salvage; s != nil && f[factReading] == "" {
		f[factReading] = readingDone
		if (s.Method == situation.Unreadable || s.Partial) && s.Accepted == "" {
			f[factReading] = readingAsks
		}
	}
	return f
}

// drawSalvage writes one as a fact; parseSalvage reads it.
func drawSalvage(s situation.Salvage) string {
	raw, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	return string(raw)
}

func parseSalvage(fact string) (situation.Salvage, error) {
	var s situation.Salvage
	if err := json.Unmarshal([]byte(fact), &s); err != nil {
		return s, fmt.Errorf("what the agent says of the salvage cannot be read: %w", err)
	}
	return s, nil
}

// past is the member's own, oldest timeline first, by what its data directory says.
func (u *Unit) past(control map[string]string) ([]turn, error) {
	timeline := toNumber(control[controlTimeline])
	if u.standbySignal() || control[controlState] == "in archive recovery" {
		// It may have fetched the history of a timeline that it was never on.
		timeline = max(timeline, toNumber(control["Min recovery ending loc's timeline"]))
	} else if newest, err := newestHistory(u.set.Data); err == nil {
		// A promotion shows in a history file before a checkpoint says so.
		timeline = max(timeline, newest)
	}
	if timeline == 0 {
		return nil, fmt.Errorf("the control file names no timeline")
	}
	return readHistory(u.set.Data, timeline)
}

// newestHistory is the highest timeline of which there is a history file.
func newestHistory(data string) (uint64, error) {
	files, err := filepath.Glob(filepath.Join(data, "pg_wal", "*.history"))
	if err != nil {
		return 0, err
	}
	var newest uint64
	for _, f := range files {
		var t uint64
		if _, err := fmt.Sscanf(filepath.Base(f), "%08X.history", &t); err == nil {
			newest = max(newest, t)
		}
	}
	return newest, nil
}

// historyFact is a primary's past, for members that have to find out where they left it.
func (u *Unit) historyFact(timeline uint64) string {
	past, err := readHistory(u.set.Data, timeline)
	if err != nil {
		return ""
	}
	return drawTurns(past)
}

// removeUnconfirmed takes a file away that an earlier life of the agent wrote and nobody was told of.
func (u *Unit) removeUnconfirmed(id string) error {
	err := os.Remove(filepath.Join(u.Files(), salvageFile(id)))
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("salvage: %w", err)
	}
	return nil
}

// unended begins the name of a file that this member is being read into. Others of this store deposit theirs
// beside it, under other names.
func (u *Unit) unended() string { return "." + u.set.Member + ".reading-" }

// removeUnended takes away what readings left that ended with their agent. There is one reading at a time.
func (u *Unit) removeUnended() error {
	all, err := os.ReadDir(u.Files())
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("salvage: %w", err)
	}
	for _, f := range all {
		if strings.HasPrefix(f.Name(), u.unended()) {
			if err := os.Remove(filepath.Join(u.Files(), f.Name())); err != nil {
				return fmt.Errorf("salvage: %w", err)
			}
		}
	}
	return nil
}
