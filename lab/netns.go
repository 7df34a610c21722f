package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespaces are files of these directories, by the same name. PostgreSQL leaves a segment of System V
// memory behind when it is killed, and a machine has room for 4,096 of them: each place has its own
// memory, which goes with it.
const (
	netnsDir = "/run/netns"
	ipcnsDir = "/run/haechi-lab-ipc"
)

// inNS runs f on a thread that stands in the network namespace. Processes that
// f starts and sockets that it opens belong to it for good; goroutines that it
// starts do not.
func inNS(ns string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- onThread(ns, f) }()
	return <-done
}

// onThread keeps off the process's first thread: /proc shows that one's
// namespace as the process's own, and a fire must not take us for a resident.
func onThread(ns string, f func() error) error {
	runtime.LockOSThread() // the thread ends with this goroutine unless it is back home
	if unix.Gettid() == unix.Getpid() {
		defer runtime.UnlockOSThread()
		return inNS(ns, f)
	}
	back, err := enter(ns)
	if err != nil {
		return err
	}
	err = f()
	if back() == nil {
		runtime.UnlockOSThread()
	}
	return err
}

// enter takes the calling thread to both namespaces of the name; back takes it home.
func enter(ns string) (back func() error, err error) {
	var fds [4]int // where to, and home
	for i, path := range []string{
		filepath.Join(netnsDir, ns), filepath.Join(ipcnsDir, ns), "/proc/thread-self/ns/net", "/proc/thread-self/ns/ipc",
	} {
		if fds[i], err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return nil, errors.Join(fmt.Errorf("namespace %s: %w (is the lab up?)", path, err), closeAll(fds[:i]))
		}
	}
	move := func(net, ipc int) error {
		return errors.Join(unix.Setns(net, unix.CLONE_NEWNET), unix.Setns(ipc, unix.CLONE_NEWIPC))
	}
	if err := move(fds[0], fds[1]); err != nil {
		return nil, errors.Join(fmt.Errorf("enter namespaces %s: %w (needs root)", ns, err), closeAll(fds[:]))
	}
	return func() error { return errors.Join(move(fds[2], fds[3]), closeAll(fds[:])) }, nil
}

func closeAll(fds []int) error {
	var errs []error
	for _, fd := range fds {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}

// makeIPC makes a namespace for System V memory.
func (l *Lab) makeIPC(ctx context.Context, ns string) error {
	path := filepath.Join(ipcnsDir, ns)
	if err := errors.Join(os.MkdirAll(ipcnsDir, 0o755), os.WriteFile(path, nil, 0o444)); err != nil {
		return err
	}
	return l.run(ctx, "unshare", "--ipc="+path, "true")
}

func removeIPC(ns string) error {
	path := filepath.Join(ipcnsDir, ns)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && err != unix.ENOENT && err != unix.EINVAL {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// DialIn dials as somebody who stands in the place. An address must be
// numeric: names would be looked up in the machine's own namespace.
func (l *Lab) DialIn(p Place) func(ctx context.Context, network, addr string) (net.Conn, error) {
	ns := l.NS(p)
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		if net.ParseIP(host) == nil {
			return nil, fmt.Errorf("dial %s in %s: not a numeric address", addr, ns)
		}
		err = inNS(ns, func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
}

// In runs f on a thread that stands in the place: processes that it starts and
// sockets that it opens belong there.
func (l *Lab) In(p Place, f func() error) error { return inNS(l.NS(p), f) }

// makeNetwork creates the namespaces, the veth pairs that lead out of each
// place, and the TUN devices between which the router stands.
func (l *Lab) makeNetwork(ctx context.Context) error {
	for _, ns := range l.namespaces() {
		if err := l.run(ctx, "ip", "netns", "add", ns); err != nil {
			return fmt.Errorf("make network namespace: %w (needs root and the right to make namespaces; a container needs --privileged)", err)
		}
		if err := l.makeIPC(ctx, ns); err != nil {
			return fmt.Errorf("make namespace %s for shared memory: %w", ns, err)
		}
	}
	for _, ns := range l.namespaces() {
		if err := inNS(ns, quiet); err != nil {
			return err
		}
	}
	var middle strings.Builder
	for _, p := range places {
		table := 100 + p.number()
		lines := []string{
			"link add %[1]s type veth peer name wan0 netns %[2]s",
			"addr add %[3]s/24 dev %[1]s",
			"link set %[1]s up",
			"tuntap add dev %[1]s-tun mode tun",
			"link set %[1]s-tun txqueuelen 10000 mtu 1500 up",
			// Whatever comes out of a place goes to the router, never straight to a neighbour.
			"rule add iif %[1]s lookup %[4]d",
			"route add default dev %[1]s-tun table %[4]d",
		}
		fmt.Fprintf(&middle, strings.Join(lines, "\n")+"\n", p, l.NS(p), p.Addr(routerHost), table)
	}
	if err := l.ip(ctx, l.router(), middle.String()); err != nil {
		return err
	}
	for _, p := range places {
		var out strings.Builder
		out.WriteString("link set lo up\n")
		for _, h := range p.hosts() {
			fmt.Fprintf(&out, "addr add %s/24 dev wan0\n", p.Addr(h))
		}
		fmt.Fprintf(&out, "link set wan0 up\nroute add default via %s\n", p.Addr(routerHost))
		if err := l.ip(ctx, l.NS(p), out.String()); err != nil {
			return err
		}
	}
	return nil
}

// quiet sets what every namespace needs: forwarding, no chatter of its own, and
// ports that servers may open without root.
func quiet() error {
	var errs []error
	for name, value := range map[string]string{
		"ipv6/conf/all/disable_ipv6":         "1",
		"ipv6/conf/default/disable_ipv6":     "1",
		"ipv4/ip_forward":                    "1",
		"ipv4/conf/all/rp_filter":            "0",
		"ipv4/conf/default/rp_filter":        "0",
		"ipv4/conf/all/send_redirects":       "0",
		"ipv4/conf/default/send_redirects":   "0",
		"ipv4/conf/all/accept_redirects":     "0",
		"ipv4/conf/default/accept_redirects": "0",
		"ipv4/ip_unprivileged_port_start":    "0",
		"ipv4/ping_group_range":              "0 2147483647",
		"ipv4/conf/all/arp_ignore":           "1",
	} {
		err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644)
		if err != nil && !(errors.Is(err, os.ErrNotExist) && strings.HasPrefix(name, "ipv6/")) {
			errs = append(errs, fmt.Errorf("sysctl: %w", err))
		}
	}
	return errors.Join(errs...)
}

// ip hands commands to iproute2 in one namespace.
func (l *Lab) ip(ctx context.Context, ns, batch string) error {
	cmd := exec.CommandContext(ctx, "ip", "-n", ns, "-batch", "-")
	cmd.Stdin = strings.NewReader(batch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip in %s: %w: %s", ns, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// removeNetwork removes the lab's namespaces, with all that stands in them.
func (l *Lab) removeNetwork(ctx context.Context) error {
	var errs []error
	for _, ns := range l.namespaces() {
		if _, err := os.Lstat(filepath.Join(netnsDir, ns)); err == nil {
			errs = append(errs, l.run(ctx, "ip", "netns", "del", ns))
		}
		errs = append(errs, removeIPC(ns))
	}
	return errors.Join(errs...)
}

// run runs a short command to its end; the error shows what it said.
func (l *Lab) run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
