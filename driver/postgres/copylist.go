package postgres

import (
	"context"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// copied is one file or directory of a source's data directory.
type copied struct {
	Path string
	Size int64
	Dir  bool
}

// emptied are directories of which only the place is copied: what is in them is of one run of a server, or of
// one server. The log comes by replication.
var emptied = []string{"pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans", "pg_wal"}

// neverCopied are names of files that are of one run of a server, wherever they stand.
var neverCopied = regexp.MustCompile(`^(pgsql_tmp.*|pg_internal\.init.*|t\d+_\d+(_\w+)?(\.\d+)?|.*\.tmp)$`)

// configFiles are the files of a configuration; they are copied only to a member that has none of its own.
var configFiles = []string{"postgresql.conf", "pg_hba.conf", "pg_ident.conf"}

// relationFile is a file of which each page belongs to a relation.
var relationFile = regexp.MustCompile(`^(?:base/\d+|global)/(\d+)(_fsm|_vm|_init)?(?:\.(\d+))?$`)

// toCopy picks what a copy of a cluster holds out of all that stands in its data directory, as pg_basebackup does:
// directories first, each before what is in it. With config the files of its configuration, too.
func toCopy(all []copied, config bool) []copied {
	unlogged := map[string]bool{} // relations that are emptied when the log is replayed
	for _, f := range all {
		if m := relationFile.FindStringSubmatch(f.Path); m != nil && m[2] == "_init" {
			unlogged[path.Dir(f.Path)+"/"+m[1]] = true
		}
	}
	var out []copied
	for _, f := range all {
		top, below, _ := strings.Cut(f.Path, "/")
		m := relationFile.FindStringSubmatch(f.Path)
		switch {
		case !clusters.MatchString(top) && !(config && slices.Contains(configFiles, f.Path)):
		case below != "" && slices.Contains(emptied, top) && f.Path != "pg_wal/archive_status":
		case neverCopied.MatchString(path.Base(f.Path)), strings.Contains(f.Path, "/pgsql_tmp"):
		case f.Path == "global/pg_control":
		case m != nil && m[2] != "_init" && unlogged[path.Dir(f.Path)+"/"+m[1]]:
		case strings.Contains(f.Path, ".."), strings.HasPrefix(f.Path, "/"), strings.ContainsRune(f.Path, 0):
			// a source that says so is none
		default:
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b copied) int {
		if a.Dir != b.Dir {
			if a.Dir {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Path, b.Path)
	})
	return out
}

// firstBlock is the block of its relation with which a file begins; false where it is no file of pages.
func firstBlock(file string) (uint32, bool) {
	m := relationFile.FindStringSubmatch(file)
	if m == nil {
		return 0, false
	}
	segment, _ := strconv.ParseUint(m[3], 10, 16)
	return uint32(segment) * segmentPages, true
}

// list is all that stands in the source's data directory, but for what is in directories that are only emptied.
func (s *source) list(ctx context.Context) ([]copied, error) {
	rows, err := s.rows(ctx, `WITH RECURSIVE files (path, name, size, isdir) AS (
		SELECT '', n, f.size, f.isdir FROM pg_ls_dir('.', true, false) AS n, pg_stat_file(n, true) AS f
		UNION ALL
		SELECT p.path || p.name || '/', n, f.size, f.isdir
		FROM files AS p, pg_ls_dir(p.path || p.name, true, false) AS n, pg_stat_file(p.path || p.name || '/' || n, true) AS f
		WHERE p.isdir AND p.path || p.name <> ALL ($1::text[]) AND p.name NOT LIKE 'pgsql\_tmp%' AND (p.path <> '' OR p.name = 'base' OR p.name = 'global' OR p.name LIKE 'pg\_%'))
		SELECT path || name, size::text, isdir::text FROM files WHERE size IS NOT NULL`, "{"+strings.Join(emptied, ",")+"}")
	if err != nil {
		return nil, err
	}
	out := []copied{{Path: "pg_wal/archive_status", Dir: true}} // the rest of the log is not looked at
	for _, r := range rows {
		size, _ := strconv.ParseInt(r[1], 10, 64)
		out = append(out, copied{r[0], size, r[2] == "true"})
	}
	return out, nil
}

// tablespaces are the source's own, by name.
func (s *source) tablespaces(ctx context.Context) ([]string, error) {
	rows, err := s.rows(ctx, "SELECT spcname FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1")
	var out []string
	for _, r := range rows {
		out = append(out, r[0])
	}
	return out, err
}
