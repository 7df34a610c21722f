package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/verify"
)

// A copy is a base backup by difference. What lies in the data directory already, of whatever origin, is compared with
// the source by hashes, chunk by chunk, and only what differs is sent: so an interrupted copy goes on, and a failed
// rewind or an old member costs what has changed. Until its last act there is no control file, and without one
// no server starts, whoever tries.

const (
	// chunk is what is compared and sent at once.
	chunk = 8 * pageSize
	// hashed and fetched are how many chunks are asked for in one question.
	hashed, fetched = 256, 16
	// scan is how much faster than it sends the source may read and hash.
	scan = 4
	// spareRoom is what a copy leaves on the disk.
	spareRoom = 64 << 20
)

// origin is what a copy is made of: a [source].
type origin interface {
	tablespaces(ctx context.Context) ([]string, error)
	list(ctx context.Context) ([]copied, error)
	startBackup(ctx context.Context) (LSN, error)
	stopBackup(ctx context.Context) (mark, error)
	hashes(ctx context.Context, path string, at []int64, n int64) ([][]byte, error)
	contents(ctx context.Context, path string, at []int64, n int64) ([][]byte, error)
	bytes(ctx context.Context, path string, at, n int64) ([]byte, error)
	holds(ctx context.Context) (uint64, error)
	past() []era
	checksums() bool
}

var _ origin = (*source)(nil)

// copier is one copy under way.
type copier struct {
	*backJob
	from   origin
	files  []copied
	start  LSN       // of the backup: pages of before it must be whole
	made   []string  // files that this copy created, to be removed where the disk is full
	paced  *taken    // bounds what is compared
	minded time.Time // when it last looked whether it may go on
}

// copy makes the data directory what the source's is, as of a base backup, and a follower of it.
func (j *backJob) copy(ctx context.Context, from origin) error {
	c := &copier{backJob: j, from: from, paced: newTaken(scan * j.order.Rate)}
	if err := j.stop(ctx); err != nil {
		return err
	}
	j.at("looking at the source")
	spaces, err := from.tablespaces(ctx)
	if err != nil {
		return err
	}
	if len(spaces) > 0 {
		return agent.Refuse(agent.Unsafe, "%s has tablespaces (%s), which haechi does not copy: make the base backup by hand (pg_basebackup), then haechi rejoin", j.order.Upstream.Member, strings.Join(spaces, ", "))
	}
	if c.start, err = from.startBackup(ctx); err != nil {
		return err
	}
	bare := j.mem.Rebuild.Bare || !j.mem.Rebuild.broken() && j.u.bare()
	all, err := from.list(ctx)
	if err != nil {
		return err
	}
	c.files = toCopy(all, bare)
	if err := c.room(); err != nil {
		return err
	}
	if err := j.keepOwnOnce(); err != nil {
		return err
	}
	j.mem.Rebuild.Bare = bare
	if err := j.remember(byCopy); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.transfer(ctx); err != nil {
		return c.cleared(err)
	}
	return c.finish(ctx)
}

// room refuses a copy for which the disk is too small, before anything is touched.
func (c *copier) room() error {
	var need, of int64
	for _, f := range c.files {
		if f.Dir {
			continue
		}
		of += f.Size
		have := int64(0)
		if info, err := os.Lstat(c.path(f.Path)); err == nil {
			have = info.Size()
		}
		need += max(f.Size-have, 0)
	}
	c.of.Store(max(of, 1))
	dir := c.u.set.Data
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Dir(dir)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return fmt.Errorf("copy: %s: %w", dir, err)
	}
	free := int64(disk.Bavail)*disk.Bsize + c.surplus() //nolint:gosec // sizes of disks
	if need+spareRoom > free {
		return agent.Refuse(agent.Unsafe, "the copy needs %d MB more, and the disk of %s has %d MB: make room, then it is tried again", need>>20, c.u.set.Data, free>>20)
	}
	return nil
}

// surplus is what the member has and the source has not, in bytes: it is removed first.
func (c *copier) surplus() (n int64) {
	c.eachSurplus(func(path string) {
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
	})
	return n
}

// eachSurplus calls f with each file or directory of the cluster that the copy does not hold, deepest first.
func (c *copier) eachSurplus(f func(path string)) {
	wanted := map[string]bool{"global/pg_control.new": true}
	for _, w := range c.files {
		wanted[w.Path] = true
	}
	var all []string
	tops, err := os.ReadDir(c.u.set.Data)
	if err != nil {
		return
	}
	for _, top := range tops {
		if !clusters.MatchString(top.Name()) {
			continue
		}
		root := c.path(top.Name())
		if target, err := filepath.EvalSymlinks(root); err == nil { // pg_wal may lie on another disk
			root = target
		}
		_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			rel, rerr := filepath.Rel(root, path)
			if err == nil && rerr == nil && rel != "." && !wanted[top.Name()+"/"+filepath.ToSlash(rel)] {
				all = append(all, path)
			}
			return nil
		})
		if !wanted[top.Name()] && !top.IsDir() {
			all = append(all, c.path(top.Name()))
		}
	}
	for _, path := range slices.Backward(all) {
		f(path)
	}
}

// path is where a file of the cluster stands here.
func (c *copier) path(name string) string {
	return filepath.Join(c.u.set.Data, filepath.FromSlash(name))
}

// prepare makes the data directory one that nobody can start, and removes from it what the copy does not hold.
func (c *copier) prepare() error {
	c.at("clearing")
	if err := os.MkdirAll(c.u.set.Data, 0o700); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if err := c.u.writeStandby(); err != nil {
		return err
	}
	if err := agent.RemoveDurably(c.u.controlPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, old := range []string{"backup_label", "backup_label.old", "tablespace_map", "tablespace_map.old", "recovery.signal", "backup_manifest", "postmaster.pid"} {
		if err := agent.Remove(c.path(old)); err != nil {
			return err
		}
	}
	var errs []error
	c.eachSurplus(func(path string) {
		if err := os.RemoveAll(path); err != nil {
			errs = append(errs, err)
		}
	})
	for _, d := range c.files {
		if !d.Dir {
			continue
		}
		if _, err := os.Stat(c.path(d.Path)); err == nil {
			continue
		}
		if err := os.MkdirAll(c.path(d.Path), 0o700); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return nil
}

// transfer brings every file level with the source's.
func (c *copier) transfer(ctx context.Context) error {
	c.at("copying")
	c.seen.Store(0)
	for _, f := range c.files {
		if f.Dir {
			continue
		}
		if err := c.level(ctx, f); err != nil {
			return fmt.Errorf("copy %s: %w", f.Path, err)
		}
	}
	return nil
}

// mayGoOn looks once in a while whether somebody still wants the copy, and whether the source can bear it. What was
// copied stays, so a copy that is left off costs no more than its comparison.
func (c *copier) mayGoOn(ctx context.Context) error {
	if time.Since(c.minded) < awake {
		return nil
	}
	c.minded = time.Now()
	if idle := c.idle(); idle > unasked {
		return again(fmt.Errorf("nobody has asked after it for %v: it is left off, and gone on with when somebody does", idle.Round(time.Second)))
	}
	return keepsLog(ctx, c.from, c.order.Upstream.Member)
}

// level brings one file level with the source's.
func (c *copier) level(ctx context.Context, f copied) error {
	path := c.path(f.Path)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		c.made = append(c.made, path)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() > f.Size {
		if err := file.Truncate(f.Size); err != nil {
			return err
		}
	}
	l := &leveller{copier: c, f: f, file: file, have: min(info.Size(), f.Size)}
	for at := int64(0); at < f.Size && !l.gone; at += hashed * chunk {
		if err := c.mayGoOn(ctx); err != nil {
			return err
		}
		if err := l.stretch(ctx, at, min(at+hashed*chunk, f.Size)); err != nil {
			return err
		}
	}
	if l.gone { // dropped meanwhile; the log says so, too
		return errors.Join(file.Close(), os.Remove(path))
	}
	return file.Close()
}

// leveller is one file being brought level.
type leveller struct {
	*copier
	f    copied
	file *os.File
	have int64 // bytes of it that were here before
	gone bool  // the source has it no more
}

// stretch brings the chunks of a stretch of the file level.
func (l *leveller) stretch(ctx context.Context, from, to int64) error {
	var same, differ []int64
	for at := from; at < to; at += chunk {
		if min(at+chunk, l.f.Size) <= l.have {
			same = append(same, at)
		} else {
			differ = append(differ, at)
		}
	}
	if len(same) > 0 {
		if err := l.paced.limit.WaitN(ctx, min(burst, len(same)*chunk)); err != nil {
			return err
		}
		more, err := l.compare(ctx, same)
		if err != nil || l.gone {
			return err
		}
		differ = append(more, differ...)
	}
	for part := range slices.Chunk(differ, fetched) {
		if err := l.mayGoOn(ctx); err != nil {
			return err
		}
		if err := l.fetch(ctx, part); err != nil || l.gone {
			return err
		}
	}
	l.seen.Add(to - from)
	return nil
}

// compare returns the chunks that differ from the source's.
func (l *leveller) compare(ctx context.Context, at []int64) (differ []int64, err error) {
	sums, err := l.from.hashes(ctx, l.f.Path, at, chunk)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, chunk)
	for i, off := range at {
		if sums[i] == nil {
			l.gone = true
			return nil, nil
		}
		n := min(off+chunk, l.f.Size) - off
		if _, err := l.file.ReadAt(buf[:n], off); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if mine := sha256.Sum256(buf[:n]); string(mine[:]) != string(sums[i]) {
			differ = append(differ, off)
			continue
		}
		l.check(off, buf[:n], nil)
	}
	return differ, nil
}

// fetch takes chunks from the source. A page that was just being written may be torn: it is read again, and what
// was written since the backup began is made whole by the log.
func (l *leveller) fetch(ctx context.Context, at []int64) error {
	parts, err := l.from.contents(ctx, l.f.Path, at, chunk)
	if err != nil {
		return err
	}
	for i, off := range at {
		if parts[i] == nil {
			l.gone = true
			return nil
		}
		data := parts[i][:min(int64(len(parts[i])), l.f.Size-off)]
		for try := 0; try < 3 && !l.check(off, data, nil); try++ {
			again, err := l.from.bytes(ctx, l.f.Path, off, chunk)
			if err != nil {
				return err
			}
			data = again[:min(int64(len(again)), l.f.Size-off)]
		}
		l.check(off, data, l.note)
		if _, err := l.file.WriteAt(data, off); err != nil {
			return err
		}
	}
	return nil
}

// check says whether all pages of a chunk fit their checksums; bad is told each that does not.
func (l *leveller) check(off int64, data []byte, bad func(block uint32)) bool {
	first, pages := firstBlock(l.f.Path)
	if !pages || !l.from.checksums() {
		return true
	}
	whole := true
	for at := 0; at+pageSize <= len(data); at += pageSize {
		page, block := data[at:at+pageSize], first+uint32((off+int64(at))/pageSize) //nolint:gosec // a file has 131072 of them
		if pageLSN(page) >= l.start || verify.Sound(page, block) {
			continue
		}
		whole = false
		if bad != nil {
			bad(block)
		}
	}
	return whole
}

// note keeps a page whose checksum is wrong on the source itself.
func (l *leveller) note(block uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.corrupt) < 20 {
		l.corrupt = append(l.corrupt, fmt.Sprintf("%s block %d", l.f.Path, block))
	}
}

// cleared frees what this copy has taken of a disk that is full; what was there before stays, and is used again.
func (c *copier) cleared(err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	done := c.seen.Load()
	for _, path := range c.made {
		_ = os.Remove(path)
	}
	return fmt.Errorf("the disk of %s is full after %d of %d MB: what this copy had made was removed, and the member stays down; make room, then it goes on: %w",
		c.u.set.Data, done>>20, c.of.Load()>>20, err)
}

// finish ends the backup and makes a follower of what was copied.
func (c *copier) finish(ctx context.Context) error {
	c.at("ending the backup")
	control, err := c.control(ctx)
	if err != nil {
		return err
	}
	for _, x := range c.from.past() {
		if err := c.history(ctx, x.Timeline); err != nil {
			return c.cleared(err)
		}
	}
	m, err := c.from.stopBackup(ctx)
	if err != nil {
		return err
	}
	if m.spaces != "" {
		return errors.New("copy: a tablespace was made on the source meanwhile")
	}
	for name, data := range map[string][]byte{"backup_label": []byte(m.label), "global/pg_control.new": control} {
		if err := agent.WriteDurably(c.path(name), data, 0o600); err != nil {
			return c.cleared(err)
		}
	}
	if err := c.u.giveBackOwn(false); err != nil { // puts all on disk, too
		return c.cleared(err)
	}
	if wal, err := filepath.EvalSymlinks(c.path("pg_wal")); err == nil {
		if err := syncTree(wal); err != nil {
			return err
		}
	}
	return c.becomeFollower(ctx)
}

// control reads the source's control file, which may just be being written: until two looks agree.
func (c *copier) control(ctx context.Context) ([]byte, error) {
	var last []byte
	for range 20 {
		now, err := c.from.bytes(ctx, "global/pg_control", 0, 1<<20)
		if err != nil {
			return nil, err
		}
		if len(now) > 0 && string(now) == string(last) {
			return now, nil
		}
		last = now
	}
	return nil, again(errors.New("copy: the source's control file changes all the time"))
}

// history copies the history of one of the source's timelines.
func (c *copier) history(ctx context.Context, timeline uint64) error {
	if timeline <= 1 {
		return nil
	}
	name := "pg_wal/" + historyName(timeline)
	raw, err := c.from.bytes(ctx, name, 0, 1<<20)
	if err != nil || raw == nil {
		return err
	}
	return agent.WriteDurably(c.path(name), raw, 0o600)
}

// putControl puts the control file in its place, if one waits for that: from here on the server can be started.
func (u *Unit) putControl() error {
	waits := u.controlPath() + ".new"
	if _, err := os.Lstat(waits); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.Rename(waits, u.controlPath()); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return agent.SyncDir(filepath.Dir(u.controlPath()))
}
