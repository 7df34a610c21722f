package postgres

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haechi/haechi/driver/postgres/salvage"
)

func TestWhatIsKnownOfTheClient(t *testing.T) {
	log := cancelled{known: true}
	seen := &waiting{XIDs: []uint32{731, 740}}
	for what, c := range map[string]struct {
		t    teller
		xid  uint32
		told salvage.Told
		says string
	}{
		"it waited":                   {teller{seen: seen, cancel: log}, 740, salvage.Never, ""},
		"a part of one that waited":   {teller{seen: seen, cancel: log, top: map[uint32]uint32{741: 740}}, 741, salvage.Never, ""},
		"it did not wait":             {teller{seen: seen, cancel: log}, 739, salvage.Unknown, "did not wait"},
		"nobody saw":                  {teller{cancel: log}, 740, salvage.Unknown, "nobody saw"},
		"cancelled before":            {teller{seen: seen, cancel: cancelled{known: true, all: 2}}, 739, salvage.Unknown, "cancelled (2)"},
		"cancelled before, not this":  {teller{seen: seen, cancel: cancelled{known: true, all: 2}}, 740, salvage.Never, ""},
		"cancelled while it stopped":  {teller{seen: seen, cancel: cancelled{known: true, all: 2, late: 1}}, 740, salvage.Unknown, "just then (1)"},
		"no log":                      {teller{seen: seen}, 740, salvage.Unknown, "cannot be read"},
		"a role that does not wait":   {teller{seen: seen, cancel: log, loose: []string{"role batch"}}, 739, salvage.Unknown, "role batch"},
		"nobody saw, a role does not": {teller{cancel: log, loose: []string{"role batch"}}, 739, salvage.Unknown, "role batch"},
	} {
		told, why := c.t.of(c.xid)
		if told != c.told || !strings.Contains(why, c.says) || (why == "") != (told == salvage.Never) {
			t.Errorf("%s: %s, %q", what, told, why)
		}
	}
}

func TestCancelledWaitsShowInTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	line := "2026-11-26 07:05:49.753 UTC [29573] WARNING:  " + cancelMark + " due to user request\n"
	early := strings.Repeat("x", 100_000) + "\n" + line
	if err := os.WriteFile(path, []byte(early+line+line), 0o600); err != nil {
		t.Fatal(err)
	}
	for seen, late := range map[*waiting]int{nil: 0, {Log: int64(len(early))}: 2, {Log: int64(len(early) + 2*len(line))}: 0, {Log: 1 << 40}: 3} {
		c, err := findCancelled(path, seen)
		if err != nil || !c.known || c.all != 3 || c.late != late {
			t.Errorf("%+v: %+v, %v", seen, c, err)
		}
	}
	if c, err := findCancelled(path, &waiting{Log: -1}); err != nil || c.known {
		t.Errorf("a log that would not show it: %+v, %v", c, err)
	}
	if c, err := findCancelled(path+"x", nil); err == nil || c.known {
		t.Errorf("a log that is not there: %+v", c)
	}
}
