package wan

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Config is what a router needs.
type Config struct {
	Places []Place
	Link   func(from, to string) Link // at first; nil means no delay at all
	Seed   uint64                     // of loss and jitter
}

// Router carries packets between TUN devices. One thread does all of it; other
// goroutines hand it functions to run between two packets.
type Router struct {
	net     *Network
	fds     []int
	epoll   int
	wake    int
	asks    chan func()
	base    time.Time // its monotonic part is the clock of everything below
	late    Lateness
	failed  uint64 // writes that the kernel refused
	capture *Capture
	stop    bool
}

// Open attaches to the devices of all places, in the network namespace of the caller.
func Open(c Config) (*Router, error) {
	if c.Link == nil {
		c.Link = func(string, string) Link { return Link{} }
	}
	chance := rand.New(rand.NewPCG(c.Seed, 0))
	net, err := NewNetwork(c.Places, c.Link, chance.Float64)
	if err != nil {
		return nil, err
	}
	r := &Router{net: net, asks: make(chan func(), 16), base: time.Now(), epoll: -1, wake: -1}
	if err := r.open(c.Places); err != nil {
		return nil, errors.Join(fmt.Errorf("wan: %w", err), r.close())
	}
	return r, nil
}

func (r *Router) open(places []Place) (err error) {
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if r.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	if err := r.listen(r.wake); err != nil {
		return err
	}
	for _, p := range places {
		fd, err := openTUN(p.Device)
		if err != nil {
			return err
		}
		r.fds = append(r.fds, fd)
		if err := r.listen(fd); err != nil {
			return err
		}
	}
	return nil
}

func (r *Router) listen(fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

func (r *Router) close() error {
	var errs []error
	for _, fd := range append(r.fds, r.wake, r.epoll) {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}

// now is the time since the router was opened.
func (r *Router) now() time.Duration { return time.Since(r.base) }

// wall turns a time of the router into a time of the world.
func (r *Router) wall(d time.Duration) time.Time { return r.base.Add(d).Round(0) }

// Run carries packets until ctx ends. It keeps its thread.
func (r *Router) Run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	go func() {
		<-ctx.Done()
		r.hand(func() { r.stop = true })
	}()
	for moved := false; !r.stop; {
		at := r.now()
		if moved {
			at = at.Truncate(Tick) // what came while we rested is sent on at a tick, too; it may be taken for up to a tick older than it is
		}
		moved = r.answer()
		for from := range r.fds {
			moved = r.collect(at, from) || moved
		}
		moved = r.deliver() || moved
		wait := r.wait
		if moved {
			wait = r.rest
		}
		if err := wait(); err != nil {
			return errors.Join(fmt.Errorf("wan: wait: %w", err), r.finish())
		}
	}
	return r.finish()
}

func (r *Router) finish() error {
	var errs []error
	if r.capture != nil {
		_, err := r.capture.Close()
		errs = append(errs, err)
	}
	return errors.Join(append(errs, r.close())...)
}

// deliver writes out every packet that has arrived by now, and says whether there was one.
func (r *Router) deliver() (moved bool) {
	now := r.now()
	for p := r.net.Pop(now); p != nil; p = r.net.Pop(now) {
		moved = true
		if !write(r.fds[p.To], p.Bytes()) {
			r.failed++
		}
		now = r.now()
		r.late.Note(now - p.Due)
		if r.capture != nil {
			r.capture.Packet(r.wall(now), p.Bytes())
		}
		r.net.Release(p)
	}
	return moved
}

// How long the router sleeps.
const (
	idle = 100 * time.Millisecond // when nothing is under way
	// Tick is between two rounds in which packets moved. As a network card gathers packets before it
	// interrupts, so that a packet costs no two changes of process: delays grow by half of it.
	Tick = 250 * time.Microsecond
)

// rest sleeps to the next tick, or until somebody asks.
func (r *Router) rest() error {
	now := r.now()
	ts := unix.NsecToTimespec(int64(now.Truncate(Tick) + Tick - now))
	asked := unix.PollFd{Fd: int32(r.wake), Events: unix.POLLIN}
	_, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&asked)), 1, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	if errno != 0 && errno != unix.EINTR {
		return errno
	}
	return nil
}

// wait sleeps until a packet comes, one is due, or somebody asks.
func (r *Router) wait() error {
	sleep := idle
	if due, ok := r.net.Next(); ok {
		sleep = max(0, min(idle, due-r.now()))
	} else if r.capture != nil {
		r.capture.Flush()
	}
	ts := unix.NsecToTimespec(int64(sleep))
	var events [1]unix.EpollEvent // which it is, the next round finds
	_, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(r.epoll), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(unsafe.Pointer(&ts)), 0, 0)
	if errno != 0 && errno != unix.EINTR {
		return errno
	}
	return nil
}

// batch is how many packets of one place are taken before the others have their turn.
const batch = 64

// collect reads what has left the place with index from by now, and says whether there was something.
func (r *Router) collect(now time.Duration, from int) (moved bool) {
	for range batch {
		p := r.net.Buffer()
		n := read(r.fds[from], p.Data[:])
		if n <= 0 {
			r.net.Release(p)
			return moved
		}
		moved = true
		p.N = n
		r.net.Offer(now, from, p)
	}
	return moved
}

// read and write do not tell the Go scheduler, nor does rest: the descriptors never block, and it is short.
func read(fd int, b []byte) int {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return -1
	}
	return int(n)
}

func write(fd int, b []byte) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return errno == 0
}

// hand gives the router's thread something to do between two packets.
func (r *Router) hand(f func()) {
	r.asks <- f
	var one = [8]byte{1}
	write(r.wake, one[:])
}

// answer does what was handed over, and says whether there was something.
func (r *Router) answer() (asked bool) {
	var b [8]byte
	if read(r.wake, b[:]) < 0 {
		return false
	}
	for {
		select {
		case f := <-r.asks:
			f()
		default:
			return true
		}
	}
}
