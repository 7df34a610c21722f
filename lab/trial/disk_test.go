package trial

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestDiskIsWatchedUntilStopped(t *testing.T) {
	dir := t.TempDir()
	stop, err := watchDisk(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); !written(t, filepath.Join(dir, "pulse")); {
		if time.Since(began) > 10*time.Second || pause(t.Context(), diskEvery/10) != nil {
			t.Fatal("no page was ever written")
		}
	}
	if worst, err := stop(); err != nil || worst <= 0 {
		t.Errorf("%v, %v", worst, err)
	}
	if _, err := watchDisk(t.Context(), "/does/not/exist"); err == nil {
		t.Error("a directory that is not there was watched")
	}
}

func written(t *testing.T, file string) bool {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size() > 0
}
