package trial

import (
	"testing"
	"time"
)

func TestDiskIsWatchedUntilStopped(t *testing.T) {
	stop, err := watchDisk(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * diskEvery)
	if worst, err := stop(); err != nil || worst <= 0 {
		t.Errorf("%v, %v", worst, err)
	}
	if _, err := watchDisk(t.Context(), "/does/not/exist"); err == nil {
		t.Error("a directory that is not there was watched")
	}
}
