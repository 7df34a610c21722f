package demo

import (
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// What the clients do where nobody asks for something else, and where the machine cannot bear that.
const (
	manyClients, manyMessages = 200, 500
	fewClients, fewMessages   = 60, 200
	// dearPage is the cost of a page from which on a new process is so dear that three sites on one machine have
	// no time for anything else.
	dearPage = 4 * time.Microsecond
)

// fit sets what nobody asked for by what the machine bears.
func (o *Options) fit(page time.Duration) {
	clients, rate := manyClients, float64(manyMessages)
	if page > dearPage {
		clients, rate = fewClients, fewMessages
	}
	if o.slow = page > dearPage && (o.Clients == 0 || o.Rate == 0); o.slow {
		o.page = page
	}
	if o.Clients == 0 {
		o.Clients = clients
	}
	if o.Rate == 0 {
		o.Rate = rate
	}
}

// pageCost is what the first touch of a page of memory takes, the best of some tries; what it costs to begin a process
// is made of such. It is half a microsecond on a machine of its own, and more than ten on a virtual one that its host's
// processor does not help.
func pageCost() time.Duration {
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
