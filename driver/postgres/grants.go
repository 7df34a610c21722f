package postgres

import (
	"context"
	"strings"
)

// returnFunctions are what members that come back call on their primary, beside what replication lets them:
// the files of its data directory (the first four are what pg_rewind asks for), and the marks of a base backup
// (by the names of PostgreSQL 15, then of 14).
var returnFunctions = []string{
	"pg_ls_dir(text,boolean,boolean)", "pg_stat_file(text,boolean)", "pg_read_binary_file(text)", "pg_read_binary_file(text,bigint,bigint,boolean)",
	"pg_backup_start(text,boolean)", "pg_backup_stop(boolean)",
	"pg_start_backup(text,boolean,boolean)", "pg_stop_backup(boolean,boolean)",
}

// letReturn lets the replication role call what members that come back need, in the database through which they
// do. Where nothing is missing nothing is written. It waits for no follower: there may be none.
func (u *Unit) letReturn(ctx context.Context) error {
	rows, err := u.local.rows(ctx, "SELECT p FROM unnest(ARRAY['"+strings.Join(returnFunctions, "','")+"']) AS p WHERE to_regprocedure(p) IS NOT NULL"+
		" AND NOT has_function_privilege("+quote(ReplicationRole)+", to_regprocedure(p), 'EXECUTE')")
	if err != nil || len(rows) == 0 {
		return err
	}
	var missing []string
	for _, r := range rows {
		missing = append(missing, r[0])
	}
	_, err = u.local.rows(ctx, "BEGIN; SET LOCAL synchronous_commit = local; GRANT EXECUTE ON FUNCTION "+strings.Join(missing, ", ")+" TO "+ReplicationRole+"; COMMIT")
	return err
}
