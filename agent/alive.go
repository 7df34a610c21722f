package agent

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// alive passes on connections whose callers are still there. An agent that was stopped for half a minute finds
// hundreds in its queue whose callers gave up long ago; to shake hands with all of them, in little
// memory, keeps those waiting who came since.
type alive struct{ net.Listener }

// Accept waits for a caller that has not hung up.
func (l alive) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || !hungUp(c) {
			return c, err
		}
		_ = c.Close() // nobody is there to hear it
	}
}

// hungUp says whether the caller has closed its side. What cannot be asked is taken to be there.
func hungUp(c net.Conn) bool {
	raw, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := raw.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = rc.Control(func(fd uintptr) {
		ask := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}} //nolint:gosec // a file descriptor is small
		n, err := unix.Poll(ask, 0)
		gone = err == nil && n > 0 && ask[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return err == nil && gone
}
