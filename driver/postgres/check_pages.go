package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haechi/haechi/core/verify"
)

// Pages are read from the files as they lie on the disk, beside the server: that needs no checkpoint, no
// backup that other backups would have to wait for, and can stop and go on anywhere.

// relationName is the name of a file of pages: number, fork, segment.
var relationName = regexp.MustCompile(`^(\d+)(_(?:fsm|vm|init))?(?:\.(\d+))?$`)

// slice is how many pages are read at once.
const slice = 128

// pagesOf are what the control file says of pages.
type pagesOf struct {
	size    int    // bytes of a page
	segment uint32 // pages in a file
	summed  bool   // pages have checksums
}

func (u *Unit) pages(ctx context.Context) (pagesOf, error) {
	c, err := u.control(ctx)
	if err != nil {
		return pagesOf{}, err
	}
	p := pagesOf{size: int(toNumber(c["Database block size"])), segment: uint32(toNumber(c["Blocks per segment of large relation"])), //nolint:gosec // it has 32 bits
		summed: c["Data page checksum version"] != "0" && c["Data page checksum version"] != ""}
	if p.size < 1024 || p.size%(4*verify.Lanes) != 0 || p.segment == 0 {
		return p, fmt.Errorf("pg_controldata says that a page has %d bytes and a file %d pages", p.size, p.segment)
	}
	return p, nil
}

// readPages reckons the checksum of every page from a place on.
func (u *Unit) readPages(ctx context.Context, j *checkJob, from cursor) error {
	p, err := u.pages(ctx)
	if err != nil {
		return err
	}
	if !p.summed {
		j.edit(func(s *verify.Check) {
			s.LeftOut = append(s.LeftOut, verify.Omission{Name: "pages of " + u.set.Member, Why: "its data has no checksums (pg_checksums --enable, while it is stopped)"})
		})
		return nil
	}
	files, err := u.relationFiles()
	if err != nil {
		return err
	}
	var all, done int64
	for _, f := range files {
		all += f.bytes
	}
	buf := make([]byte, slice*p.size) // one for all: most files are small, and each would cost the agent a collection of its whole heap
	for _, f := range files {
		if f.path >= from.at {
			first := uint32(0)
			if f.path == from.at {
				first = uint32(from.n) //nolint:gosec // a file has fewer pages
			}
			if err := u.readFile(ctx, j, p, f, first, buf, done, all); err != nil {
				return err
			}
		}
		done += f.bytes
	}
	return nil
}

// dataFile is a file of pages, by its path below the data directory.
type dataFile struct {
	path  string
	first uint64 // its segment
	bytes int64
}

// relationFiles lists the files of pages, sorted by path.
func (u *Unit) relationFiles() ([]dataFile, error) {
	var out []dataFile
	for _, pattern := range []string{"global", "base/*", "pg_tblspc/*/PG_*/*"} {
		dirs, err := filepath.Glob(filepath.Join(u.set.Data, pattern))
		if err != nil {
			return nil, err
		}
		for _, dir := range dirs {
			entries, err := os.ReadDir(dir)
			if errors.Is(err, fs.ErrNotExist) || strings.HasSuffix(dir, "/pgsql_tmp") {
				continue // a database was dropped
			}
			if err != nil {
				return nil, err
			}
			rel, err := filepath.Rel(u.set.Data, dir)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				m := relationName.FindStringSubmatch(e.Name())
				info, err := e.Info()
				if m == nil || err != nil || !info.Mode().IsRegular() {
					continue
				}
				out = append(out, dataFile{filepath.Join(rel, e.Name()), toNumber(m[3]), info.Size()})
			}
		}
	}
	slices.SortFunc(out, func(a, b dataFile) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

// readFile reads one file, a slice at a time. One that goes away meanwhile was dropped.
func (u *Unit) readFile(ctx context.Context, j *checkJob, p pagesOf, f dataFile, first uint32, buf []byte, done, all int64) error {
	in, err := os.Open(filepath.Join(u.set.Data, f.path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	for at := first; ; at += slice {
		began, ready := time.Now(), queued(ownThread)
		n, err := in.ReadAt(buf, int64(at)*int64(p.size))
		if err != nil && !errors.Is(err, io.EOF) {
			j.found(verify.Finding{Kind: verify.Broken, Member: u.set.Member, Table: f.path, At: fmt.Sprintf("block %d or after", at), Why: err.Error()})
		}
		whole := n / p.size
		for i := range whole {
			blk := uint32(f.first)*p.segment + at + uint32(i) //nolint:gosec // blocks have 32 bits
			if page := buf[i*p.size : (i+1)*p.size]; !verify.Sound(page, blk) {
				if err := u.lookAgain(ctx, j, p, in, f, at+uint32(i), blk); err != nil { //nolint:gosec // i is small
					return err
				}
			}
		}
		j.edit(func(s *verify.Check) {
			s.Pages += int64(whole)
			s.Done, s.All = done+min(int64(at+uint32(whole))*int64(p.size), f.bytes), all //nolint:gosec // whole is small
			s.Cursor = cursor{verify.PhasePages, f.path, uint64(at) + uint64(whole)}.String()
		})
		if err := j.rest(ctx, time.Since(began), queued(ownThread)-ready, int64(n)); err != nil {
			return err
		}
		if whole < slice {
			return nil
		}
	}
}

// looks is how often a page that does not fit is read again: while the server writes it, it may
// be read half old and half new.
const looks = 5

// lookAgain names a page that stays wrong.
func (u *Unit) lookAgain(ctx context.Context, j *checkJob, p pagesOf, in *os.File, f dataFile, at, blk uint32) error {
	page := make([]byte, p.size)
	for range looks {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		if n, err := in.ReadAt(page, int64(at)*int64(p.size)); n < p.size {
			if err == nil || errors.Is(err, io.EOF) {
				return nil // the table was cut
			}
			break
		}
		if verify.Sound(page, blk) {
			return nil
		}
	}
	if _, err := os.Stat(filepath.Join(u.set.Data, f.path)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	has, _ := verify.PageHas(page)
	j.found(verify.Finding{Kind: verify.Page, Member: u.set.Member, Table: u.relationOf(ctx, f.path), At: fmt.Sprintf("block %d", blk),
		Why: fmt.Sprintf("the page in %s says checksum %d, its contents have %d", f.path, has, verify.PageSum(page, blk))})
	return nil
}

// relationOf names the relation that a file belongs to, for people; where that cannot be found
// out, the file.
func (u *Unit) relationOf(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	dir, file := filepath.Split(path)
	m := relationName.FindStringSubmatch(file)
	parts := strings.Split(strings.Trim(dir, "/"), "/")
	if m == nil {
		return path
	}
	database, space := "postgres", "0"
	switch parts[0] {
	case "global":
		space = "1664"
	case "pg_tblspc":
		space = parts[1]
	}
	if parts[0] != "global" {
		name, err := u.local.rows(ctx, "SELECT datname FROM pg_database WHERE oid = "+strconv.FormatUint(toNumber(parts[len(parts)-1]), 10))
		if err != nil || len(name) != 1 {
			return path
		}
		database = name[0][0]
	}
	c, err := u.local.reader(ctx, database)
	if err != nil {
		return path
	}
	defer closeSoon(c)
	got, err := ask(ctx, c, fmt.Sprintf(`SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) || CASE c.relkind WHEN 'i' THEN ' (an index)' WHEN 'S' THEN ' (a sequence)' ELSE '' END
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = pg_filenode_relation(%s, %d)`, space, toNumber(m[1])))
	if err != nil || len(got) != 1 {
		return path
	}
	return database + ": " + got[0][0]
}
