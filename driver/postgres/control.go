package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func (u *Unit) controlPath() string { return filepath.Join(u.set.Data, "global", "pg_control") }

// What [Unit.control] calls what is read of a server that ended.
const (
	controlState    = "Database cluster state"
	controlAt       = "Latest checkpoint location"
	controlTimeline = "Latest checkpoint's TimeLineID"
)

// control reads what the data directory says of itself.
func (u *Unit) control(ctx context.Context) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(u.set.Bin, "pg_controldata"), "-D", u.set.Data)
	cmd.Env = []string{"LC_ALL=C"}
	raw, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("pg_controldata: %w", err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			out[k] = strings.TrimSpace(v)
		}
	}
	return out, nil
}

// What ControlFileData.state says of a clean end, of a primary and of a standby: DB_SHUTDOWNED, DB_SHUTDOWNED_IN_RECOVERY.
const (
	markShutDown = 1
	markStandby  = 2
)

// controlMark is the state that the control file names; 0: it cannot be read. Where it stands in the file has not changed
// since PostgreSQL 9.
func (u *Unit) controlMark() uint32 {
	const at = 16
	raw, err := os.ReadFile(u.controlPath())
	if err != nil || len(raw) < at+4 {
		return 0
	}
	return binary.NativeEndian.Uint32(raw[at:])
}

// shutDown says that the control file has the mark of a primary's clean end, which the server writes once its last record is
// on the disk. Who acts on it asks [Unit.ended] too.
func (u *Unit) shutDown() bool { return u.controlMark() == markShutDown }

// endedCleanly says that the control file has the mark of a clean end, of a primary or of a standby.
func (u *Unit) endedCleanly() bool {
	mark := u.controlMark()
	return mark == markShutDown || mark == markStandby
}

// ended is [Unit.control] of a server that most likely ended cleanly: as what, where and on which timeline. It is read from
// the file itself where that is certain, since writes stand still meanwhile, and to begin a program takes a tenth of a second
// where processes are dear.
func (u *Unit) ended(ctx context.Context) (map[string]string, error) {
	if raw, err := os.ReadFile(u.controlPath()); err == nil {
		if c, ok := cleanEnd(raw); ok {
			return c, nil
		}
	}
	return u.control(ctx)
}

// cleanEnd takes apart the control file of a server that was no standby and ended cleanly, as PostgreSQL 13 to 16 write it
// (src/include/catalog/pg_control.h); false: it is another's, or its checksum does not fit.
func cleanEnd(raw []byte) (map[string]string, bool) {
	const version, state, at, timeline, sum = 8, 16, 32, 48, 288 // offsets in ControlFileData
	const known = 1300                                           // PG_CONTROL_VERSION
	if len(raw) < sum+4 {
		return nil, false
	}
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(raw[at:]) }
	if word(version) != known || word(state) != markShutDown || word(sum) != crc32.Checksum(raw[:sum], crc32.MakeTable(crc32.Castagnoli)) {
		return nil, false
	}
	return map[string]string{controlState: "shut down", controlAt: LSN(binary.NativeEndian.Uint64(raw[at:])).String(), controlTimeline: number(uint64(word(timeline)))}, true
}
