package wan

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// openTUN attaches to the TUN device name in the network namespace of the
// calling thread and returns a descriptor that does not block.
func openTUN(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/net/tun: %w (is the tun module there, and are we root?)", err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("tun device %q: %w", name, err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("attach to tun device %s: %w", name, err)
	}
	return fd, nil
}
