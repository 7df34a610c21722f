package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haechi/haechi/agent"
)

// What a former primary alone holds is read from a logical slot that it kept while it was primary,
// one for each database, moved on as soon as the rule's number of members has flushed what lies behind it. A
// slot holds log back, and old versions of the catalogue: it is given up before the primary suffers.
const (
	slotPrefix = "haechi_salvage_" // then the database's OID
	slotPlugin = "test_decoding"   // needs no publication: one for all tables would refuse updates where there is no key
	// slotEvery is how often slots are moved on. Each time the server reads its log again from where the
	// oldest transaction began when it last said so, which it does four times a minute.
	slotEvery  = 10 * time.Second
	slotLook   = time.Second      // how soon it is seen that the member was made something else
	slotMost   = 2 << 30          // bytes of log that a slot may hold back
	slotLittle = 64 << 20         // what it may hold back however full the disk is
	slotAgain  = time.Minute      // before one that was given up is made again
	slotWait   = 10 * time.Second // for transactions that run, when one is made
	// slotBound is what the server itself bounds slots by, for the time in which no agent runs. It is
	// set where nothing bounds them; then it is also no more than a quarter of what is free.
	slotBound = 4 << 30
)

// slots is what the agent knows of those that it keeps.
type slots struct {
	mu     sync.Mutex // guards what follows
	facts  map[string]string
	gaveUp map[uint64]givenUp // by database
}

// givenUp is a slot that was dropped though it was wanted.
type givenUp struct {
	at  time.Time
	why string
}

// tendSlotsOf keeps the slots of a primary, and none on a follower.
func (u *Unit) tendSlotsOf(ctx context.Context, m *agent.Memory, may func() bool) {
	t := time.NewTicker(slotLook)
	defer t.Stop()
	var last time.Time
	var was string
	for {
		select {
		case <-ctx.Done():
			u.reading.stop()
			return
		case <-t.C:
		}
		if !may() {
			u.reading.stop()
			continue
		}
		mem, err := recall(m)
		if err != nil {
			continue // each order says so
		}
		is := fmt.Sprint(mem.Role, mem.Reign, mem.List, mem.Sealed, mem.Fenced, u.postmaster())
		if is == was && time.Since(last) < slotEvery {
			continue
		}
		if u.keepSlots(ctx, mem) {
			was, last = is, time.Now()
		}
	}
}

// keepSlots does what is due, and remembers for a look what there is to say. False: it could not, and
// is to be tried again soon.
func (u *Unit) keepSlots(ctx context.Context, mem memory) bool {
	var f map[string]string
	var err error
	switch {
	case mem.Fenced || mem.Sealed || mem.Role == asPrimary && mem.Halted != nil:
		return true // what is kept is kept
	case !u.up():
		return false
	case mem.Role == asPrimary:
		f, err = u.tendSlots(ctx, mem)
	case mem.Role == asFollower:
		err = u.dropSlots(ctx)
	}
	if err != nil {
		u.log.Warn("slots for salvage", "error", err)
		f = map[string]string{"salvage_slot": "not known: " + err.Error()}
	}
	u.slots.mu.Lock()
	u.slots.facts = f
	u.slots.mu.Unlock()
	return true
}

// slotFacts adds to a look what is known of the slots.
func (u *Unit) slotFacts(f map[string]string) {
	u.slots.mu.Lock()
	defer u.slots.mu.Unlock()
	maps.Copy(f, u.slots.facts)
}

// slotView is what a primary says of its slots, in one look.
type slotView struct {
	level   string // wal_level
	bound   string // max_slot_wal_keep_size, in megabytes; "-1": none
	most    int    // slots that the server can have
	others  int    // slots of other people
	now     LSN
	safe    LSN // what any of the rule's number of listed members have flushed; 0: too few are there
	free    uint64
	size    uint64 // of the file system of the log
	dbs     map[uint64]string
	slots   map[uint64]slot // by database
	grants  bool            // the role that members connect as may read all
	present time.Time
}

// slot is one of ours.
type slot struct {
	name      string
	status    string // wal_status
	active    bool
	confirmed LSN
	restart   LSN
}

// slotAct is one thing to do about the slot of one database.
type slotAct struct {
	verb string // "drop", "advance", "create", "bound"
	db   uint64
	to   LSN
	why  string
}

// decideSlots says what is due, and in words what is not kept, by database.
func decideSlots(v slotView, gaveUp map[uint64]givenUp) (acts []slotAct, missing map[string]string) {
	missing = map[string]string{}
	for _, db := range slices.Sorted(maps.Keys(v.slots)) {
		s := v.slots[db]
		held := uint64(0)
		if s.restart != 0 && v.now > s.restart {
			held = uint64(v.now - s.restart)
		}
		switch why := v.tooMuch(s, held); {
		case s.active:
			continue // somebody is at it
		case why != "":
			acts = append(acts, slotAct{"drop", db, 0, why})
			missing[v.dbs[db]] = "given up: " + why
		case v.dbs[db] == "":
			acts = append(acts, slotAct{"drop", db, 0, ""})
		case v.safe > s.confirmed:
			acts = append(acts, slotAct{"advance", db, min(v.safe, v.now), ""})
		}
	}
	free := v.most - v.others - len(v.slots)
	for _, db := range slices.Sorted(maps.Keys(v.dbs)) {
		if _, ok := v.slots[db]; ok {
			continue
		}
		g, was := gaveUp[db]
		switch why := v.cannot(); {
		case why != "":
			missing[v.dbs[db]] = why
		case was && (v.present.Sub(g.at) < slotAgain || v.safe == 0 || v.now > v.safe+slotLittle):
			missing[v.dbs[db]] = "given up: " + g.why
		case free <= 0:
			missing[v.dbs[db]] = fmt.Sprintf("max_replication_slots is %d, and all are taken: raise it and restart", v.most)
		default:
			free--
			if v.bound == "-1" {
				acts, v.bound = append(acts, slotAct{verb: "bound", to: LSN(min(slotBound, max(v.free/4, slotLittle)))}), ""
			}
			acts = append(acts, slotAct{verb: "create", db: db})
		}
	}
	return acts, missing
}

// tooMuch says why a slot has to go; empty: it may stay.
func (v slotView) tooMuch(s slot, held uint64) string {
	switch {
	case v.level != "logical":
		return fmt.Sprintf("wal_level is %s, and with a slot the server would not start again", v.level)
	case s.status == "lost":
		return "the server dropped log that it needs (max_slot_wal_keep_size)"
	case held > slotMost:
		return fmt.Sprintf("it held back %d MB of log, more than %d", held>>20, slotMost>>20)
	case v.full() && held > slotLittle:
		return fmt.Sprintf("only %d MB are free on the disk of the log, and it held back %d", v.free>>20, held>>20)
	}
	return ""
}

// full says that less than a tenth of the disk is free.
func (v slotView) full() bool { return v.size > 0 && v.free < v.size/10 }

// cannot says why no slot is made at all.
func (v slotView) cannot() string {
	switch {
	case v.level != "logical":
		return fmt.Sprintf("wal_level is %s: set wal_level = logical and restart", v.level)
	case v.bound == "-1" && v.others > 0:
		return "there are other slots and nothing bounds them: set max_slot_wal_keep_size, and reload"
	case v.full():
		return fmt.Sprintf("only %d MB are free on the disk of the log", v.free>>20)
	}
	return ""
}

// tendSlots looks, and does what is due.
func (u *Unit) tendSlots(ctx context.Context, mem memory) (map[string]string, error) {
	v, err := u.lookSlots(ctx, mem)
	if err != nil {
		return nil, err
	}
	if !v.grants {
		if _, err := u.local.rows(ctx, "BEGIN; SET LOCAL synchronous_commit = local; GRANT pg_read_all_data TO "+ReplicationRole+"; COMMIT"); err != nil {
			u.log.Warn("members cannot compare their rows with this one's", "error", err)
		}
	}
	u.slots.mu.Lock()
	gaveUp := maps.Clone(u.slots.gaveUp)
	u.slots.mu.Unlock()
	acts, missing := decideSlots(v, gaveUp)
	for _, a := range acts {
		if err := u.actSlot(ctx, v, a); err != nil {
			missing[v.dbs[a.db]] = a.verb + ": " + err.Error()
		}
	}
	return factsOfSlots(v, missing), nil
}

// actSlot does one thing, and remembers what was given up.
func (u *Unit) actSlot(ctx context.Context, v slotView, a slotAct) error {
	name := slotPrefix + number(a.db)
	switch a.verb {
	case "bound":
		return u.boundSlots(a.to)
	case "drop":
		if a.why != "" {
			u.log.Warn("slot for salvage given up", "database", v.dbs[a.db], "why", a.why)
			u.slots.mu.Lock()
			if u.slots.gaveUp == nil {
				u.slots.gaveUp = map[uint64]givenUp{}
			}
			u.slots.gaveUp[a.db] = givenUp{v.present, a.why}
			u.slots.mu.Unlock()
		}
		_, err := u.local.rows(ctx, "SELECT pg_drop_replication_slot("+quote(name)+")")
		return err
	}
	// The connection ends at once: while it stood, nobody could rename or drop the database.
	ctx, cancel := context.WithTimeout(ctx, 2*slotWait)
	defer cancel()
	c, err := u.local.into(ctx, v.dbs[a.db])
	if err != nil {
		return err
	}
	defer closeSoon(c)
	sql := fmt.Sprintf("SET statement_timeout = %d; ", slotWait.Milliseconds())
	if a.verb == "create" {
		sql += fmt.Sprintf("SELECT pg_create_logical_replication_slot(%s, %s)", quote(name), quote(slotPlugin))
	} else {
		sql += fmt.Sprintf("SELECT pg_replication_slot_advance(%s, %s)", quote(name), quote(a.to.String()))
	}
	if _, err = ask(ctx, c, sql); err == nil && a.verb == "create" {
		u.slots.mu.Lock()
		delete(u.slots.gaveUp, a.db)
		u.slots.mu.Unlock()
	}
	return err
}

// boundSlots has the server itself bound what slots hold back.
func (u *Unit) boundSlots(most LSN) error {
	u.conf.Lock()
	changed, err := setConf(u.set.Data, map[string]string{"max_slot_wal_keep_size": fmt.Sprintf("%dMB", uint64(most)>>20)})
	u.conf.Unlock()
	if err != nil || !changed {
		return err
	}
	return u.reload()
}

// factsOfSlots says of all slots together what is kept, and what holds back most.
func factsOfSlots(v slotView, missing map[string]string) map[string]string {
	var held uint64
	for _, s := range v.slots {
		if s.restart != 0 && v.now > s.restart {
			held = max(held, uint64(v.now-s.restart))
		}
	}
	f := map[string]string{"salvage_slot": "kept", "salvage_held": number(held)}
	if len(missing) > 0 {
		var out []string
		for _, db := range slices.Sorted(maps.Keys(missing)) {
			out = append(out, db+": "+missing[db])
		}
		f["salvage_slot"] = "missing: " + strings.Join(out, "; ")
	}
	return f
}

// dropSlots takes a follower's off: they would hold log back for ever.
func (u *Unit) dropSlots(ctx context.Context) error {
	_, err := u.local.rows(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active AND starts_with(slot_name::text, "+quote(slotPrefix)+")")
	return err
}

// lookSlots asks the server and the disk.
func (u *Unit) lookSlots(ctx context.Context, mem memory) (slotView, error) {
	v := slotView{dbs: map[uint64]string{}, slots: map[uint64]slot{}, present: time.Now()}
	rows, err := u.local.planned(ctx, "slots", slotsSQL)
	if err != nil {
		return v, err
	}
	flushed := map[string]LSN{}
	for _, r := range rows {
		switch r[0] {
		case "server":
			v.level, v.bound, v.most, v.others = r[1], r[2], int(toNumber(r[3])), int(toNumber(r[4]))
			v.now, v.grants = toLSN(r[5]), r[6] == "true"
		case "database":
			v.dbs[toNumber(r[1])] = r[2]
		case "slot":
			db := toNumber(strings.TrimPrefix(r[1], slotPrefix))
			v.slots[db] = slot{r[1], r[2], r[3] == "true", toLSN(r[4]), toLSN(r[5])}
		case "member":
			flushed[r[1]] = max(flushed[r[1]], toLSN(r[2]))
		}
	}
	v.safe = flushedBy(flushed, mem)
	var s unix.Statfs_t
	if err := unix.Statfs(u.set.Data+"/pg_wal", &s); err == nil {
		v.free, v.size = uint64(s.Bavail)*uint64(s.Bsize), s.Blocks*uint64(s.Bsize)
	}
	return v, nil
}

// flushedBy is how far the rule's number of listed members have flushed. Whoever is not listed does
// not count: one that came back as it was shows a position that it does not hold.
func flushedBy(flushed map[string]LSN, mem memory) LSN {
	var at []LSN
	for _, name := range mem.List {
		if l := flushed[name]; l != 0 {
			at = append(at, l)
		}
	}
	slices.Sort(at)
	if mem.Any < 1 || len(at) < mem.Any {
		return 0
	}
	return at[len(at)-mem.Any]
}

const slotsSQL = `
SELECT 'server', (SELECT CASE WHEN pending_restart THEN 'about to be another' ELSE setting END FROM pg_settings WHERE name = 'wal_level'), setting, current_setting('max_replication_slots'),
  (SELECT count(*) FROM pg_replication_slots WHERE NOT starts_with(slot_name::text, '` + slotPrefix + `'))::text, pg_current_wal_flush_lsn()::text,
  coalesce((SELECT pg_has_role(r.oid, 'pg_read_all_data', 'member') FROM pg_roles r WHERE r.rolname = '` + ReplicationRole + `'), true)::text
  FROM pg_settings WHERE name = 'max_slot_wal_keep_size'
UNION ALL SELECT 'database', oid::text, datname, '', '', '', '' FROM pg_database WHERE datallowconn AND NOT datistemplate
UNION ALL SELECT 'slot', slot_name, coalesce(wal_status, ''), active::text, coalesce(confirmed_flush_lsn::text, ''), coalesce(restart_lsn::text, ''), ''
  FROM pg_replication_slots WHERE starts_with(slot_name::text, '` + slotPrefix + `')
UNION ALL SELECT 'member', application_name, coalesce(flush_lsn::text, ''), '', '', '', '' FROM pg_stat_replication
  WHERE state = 'streaming' AND usename = '` + ReplicationRole + `'`
