package postgres

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatACopyHolds(t *testing.T) {
	var all []copied
	for p := range strings.FieldsSeq(`PG_VERSION postgresql.conf pg_hba.conf postgresql.auto.conf server.key postmaster.pid backup_label standby.signal
		base/ base/5/ base/5/1259 base/5/1259_fsm base/5/1259.1 base/5/pg_internal.init base/5/t3_16384 base/5/t3_16384_vm base/5/16390 base/5/16390_init base/5/16390_vm.1
		base/pgsql_tmp/ base/pgsql_tmp/x base/5/pg_filenode.map base/5/PG_VERSION global/ global/pg_control global/1262 global/1262_fsm
		pg_wal/ pg_wal/000000010000000000000001 pg_wal/archive_status/ pg_wal/archive_status/x.done pg_replslot/ pg_replslot/a/ pg_replslot/a/state pg_xact/ pg_xact/0000
		pg_stat/ pg_stat/pgstat.stat pg_stat_tmp/ pg_stat_tmp/x pg_logical/ pg_logical/mappings/ pg_logical/replorigin_checkpoint log/ log/x mine/ mine/x
		base/../../etc/passwd postgresql.auto.conf.tmp current_logfiles`) {
		name, dir := strings.CutSuffix(p, "/")
		all = append(all, copied{Path: name, Dir: dir})
	}
	var got []string
	for _, f := range toCopy(all, false) {
		got = append(got, f.Path)
	}
	want := strings.Fields(`base base/5 global pg_logical pg_logical/mappings pg_replslot pg_stat pg_stat_tmp pg_wal pg_wal/archive_status pg_xact
		PG_VERSION base/5/1259 base/5/1259.1 base/5/1259_fsm base/5/16390_init base/5/PG_VERSION base/5/pg_filenode.map
		global/1262 global/1262_fsm pg_logical/replorigin_checkpoint pg_stat/pgstat.stat pg_xact/0000`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	config := 0
	for _, f := range toCopy(all, true) {
		if strings.HasSuffix(f.Path, ".conf") {
			config++
		}
	}
	if config != 2 {
		t.Errorf("%d files of the configuration, want postgresql.conf and pg_hba.conf", config)
	}
}

func TestFirstBlock(t *testing.T) {
	for file, want := range map[string]uint32{"base/5/1259": 0, "base/5/1259.1": 131072, "global/1262_fsm": 0, "base/5/1259_vm.3": 393216} {
		if got, ok := firstBlock(file); got != want || !ok {
			t.Errorf("%s: %d %v, want %d", file, got, ok, want)
		}
	}
	for _, file := range []string{"pg_xact/0000", "base/5/pg_filenode.map", "PG_VERSION", "global/pg_control"} {
		if _, ok := firstBlock(file); ok {
			t.Errorf("%s has pages", file)
		}
	}
}
