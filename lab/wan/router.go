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
	if err := r.listen(r.wake, -1); err != nil {
		return err
	}
	for i, p := range places {
		fd, err := openTUN(p.Device)
		if err != nil {
			return err
		}
		r.fds = append(r.fds, fd)
		if err := r.listen(fd, i); err != nil {
			return err
		}
	}
	return nil
}

func (r *Router) listen(fd, tag int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(tag)}
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
	events := make([]unix.EpollEvent, len(r.fds)+1)
	for !r.stop {
		r.deliver()
		n, err := r.wait(events)
		if err != nil {
			return errors.Join(fmt.Errorf("wan: wait: %w", err), r.finish())
		}
		for _, ev := range events[:n] {
			if ev.Fd < 0 {
				r.answer()
			} else {
				r.collect(int(ev.Fd))
			}
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

// deliver writes out every packet that has arrived by now.
func (r *Router) deliver() {
	now := r.now()
	for p := r.net.Pop(now); p != nil; p = r.net.Pop(now) {
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
}

// idle is how long the router sleeps when nothing is under way.
const idle = 100 * time.Millisecond

// wait sleeps until a packet comes, one is due, or somebody asks.
func (r *Router) wait(events []unix.EpollEvent) (int, error) {
	sleep := idle
	if due, ok := r.net.Next(); ok {
		sleep = max(0, min(idle, due-r.now()))
	} else if r.capture != nil {
		r.capture.Flush()
	}
	ts := unix.NsecToTimespec(int64(sleep))
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(r.epoll), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(unsafe.Pointer(&ts)), 0, 0)
	if errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// batch is how many packets of one place are taken before the others have their turn.
const batch = 64

// collect reads what left the place with index from.
func (r *Router) collect(from int) {
	now := r.now()
	for range batch {
		p := r.net.Buffer()
		n := read(r.fds[from], p.Data[:])
		if n <= 0 {
			r.net.Release(p)
			return
		}
		p.N = n
		r.net.Offer(now, from, p)
	}
}

// read and write do not tell the Go scheduler: the descriptors never block.
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

// answer does what was handed over.
func (r *Router) answer() {
	var b [8]byte
	read(r.wake, b[:])
	for {
		select {
		case f := <-r.asks:
			f()
		default:
			return
		}
	}
}
