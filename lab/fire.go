package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Fire burns a site down: first every line that leads out of it, at one
// instant, so that no dying process can send a farewell; then every process in it, by
// SIGKILL. The proof's time is the instant of the cut. Nothing but StartProcess
// and Rebuild brings anything back there.
func (l *Lab) Fire(ctx context.Context, p Place) (Proof, error) {
	if err := site(p); err != nil {
		return Proof{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	out, err := l.cut(ctx, around(p, places), "fire in "+string(p))
	if err != nil {
		return Proof{}, err
	}
	l.burned[p] = out.At
	l.fires.light(p)
	killed := map[int]bool{}
	err = until(ctx, 10*time.Second, func() error {
		all, err := l.residents(p)
		if err != nil || len(all) == 0 {
			return err
		}
		if others := slices.DeleteFunc(slices.Clone(all), process.isInit); len(others) > 0 {
			all = others // they go first, so that somebody collects them
		}
		for _, q := range all {
			killed[q.pid] = true
		}
		return errors.Join(fmt.Errorf("%d processes still run", len(all)), signal(all, unix.SIGKILL))
	})
	if err != nil {
		return Proof{}, fmt.Errorf("fire in %s: %w", p, err)
	}
	out.What += fmt.Sprintf("; %d processes killed, none is left %v later", len(killed), time.Since(out.At).Round(time.Millisecond))
	return out, nil
}

// Burned says which sites burned, and when.
func (l *Lab) Burned() map[Place]time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[Place]time.Time{}
	for p, at := range l.burned {
		out[p] = at
	}
	return out
}

// CapturedFrom counts the packets in a capture of the network that left a place
// before an instant, and after it.
func CapturedFrom(path string, p Place, at time.Time) (before, after int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	head := make([]byte, 24)
	if _, err := io.ReadFull(f, head); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", path, err)
	}
	le := binary.LittleEndian
	if le.Uint32(head) != 0xa1b23c4d {
		return 0, 0, fmt.Errorf("%s: not a capture of the lab's network", path)
	}
	record := make([]byte, 16)
	for {
		if _, err := io.ReadFull(f, record); errors.Is(err, io.EOF) {
			return before, after, nil
		} else if err != nil {
			return before, after, fmt.Errorf("%s: %w", path, err)
		}
		packet := make([]byte, le.Uint32(record[8:]))
		if _, err := io.ReadFull(f, packet); err != nil {
			return before, after, fmt.Errorf("%s: %w", path, err)
		}
		if len(packet) < 20 || !p.net().Contains(addr4(packet[12:16])) {
			continue
		}
		if time.Unix(int64(le.Uint32(record)), int64(le.Uint32(record[4:]))).After(at) {
			after++
		} else {
			before++
		}
	}
}
