package patroni

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWhatIsSaidOfARewindIsQuoted(t *testing.T) {
	log := `2026-11-26 12:00:01,000 INFO: Lock owner: db_ansan; I am db_pangyo
2026-11-26 12:00:01,000 INFO: Local timeline=1 lsn=0/5000110
2026-11-26 12:00:02,000 INFO: running pg_rewind from dbname=postgres host=10.77.2.21
2026-11-26 12:00:02,000 INFO: running pg_rewind from dbname=postgres host=10.77.2.21
2026-11-26 12:00:03,000 INFO:  stderr=pg_rewind: servers diverged at WAL location 0/5000060 on timeline 1
pg_rewind: Done!
2026-11-26 12:00:04,000 INFO: no action. I am (db_pangyo), a secondary, and following a leader (db_ansan)
`
	said := ofTheRewind(log)
	if len(said) != 4 || !strings.Contains(said[2], "servers diverged") || said[3] != "pg_rewind: Done!" {
		t.Errorf("%q", said)
	}
	if said := ofTheRewind(strings.Repeat("timeline\n", 3)); len(said) != 1 {
		t.Errorf("%q", said)
	}
}

func TestRemainsAreFoundByTheirText(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"base/1": "...planted \"waiting\"...", "pg_wal/2": "nothing"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := remains(dir, `planted "`); err != nil || !slices.Equal(got, []string{"base/1"}) {
		t.Error(got, err)
	}
	if _, err := remains(filepath.Join(dir, "nowhere"), "x"); err == nil {
		t.Error("a directory that is not there holds nothing, and that is no error")
	}
}
