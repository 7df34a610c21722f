package trial

import (
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// DearPage is the cost of a page of memory from which on a new process is so dear that three sites on one machine have
// no time for anything else, where many clients come back at once.
const DearPage = 4 * time.Microsecond

// ManyClients is how many clients there are where the machine can bear them.
const ManyClients = 200

// Bears is how many clients, and messages a second of all of them, a machine can bear on which a page of memory costs page.
func Bears(page time.Duration) (clients int, messages float64) {
	if page > DearPage {
		return 40, 120
	}
	return ManyClients, 500
}

// PageCost is what the first touch of a page of memory takes, the best of some tries; what it costs to begin a process
// is made of such. It is half a microsecond on a machine of its own, and more than ten on a virtual one that its host's
// processor does not help.
func PageCost() time.Duration {
	const pages = 2048
	best := time.Duration(math.MaxInt64)
	for range 5 {
		mem, err := unix.Mmap(-1, 0, pages*os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return 0
		}
		began := time.Now()
		for at := 0; at < len(mem); at += os.Getpagesize() {
			mem[at] = 1
		}
		best = min(best, time.Since(began)/pages)
		_ = unix.Munmap(mem)
	}
	return best
}
