package wan

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// Capture writes packets to a pcap file (nanoseconds, raw IP) and what happened
// to the lines to a file beside it, one JSON object a line. Packets are copied
// into buffers that a goroutine writes out: the router never waits for a disk.
type Capture struct {
	fill    []byte
	full    chan []byte
	empty   chan []byte
	done    chan error
	missing uint64
	marks   *os.File
}

// Snap is how many bytes of each packet are kept.
const Snap = 128

const captureBuffer = 1 << 18

// Mark is an instant that matters to whoever reads a capture.
type Mark struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// NewCapture begins a capture in the file path; marks go to path + ".marks".
func NewCapture(path string) (*Capture, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	marks, err := os.OpenFile(path+".marks", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("capture: %w", err), file.Close())
	}
	c := &Capture{full: make(chan []byte, 8), empty: make(chan []byte, 8), done: make(chan error, 1), marks: marks}
	for range cap(c.empty) {
		c.empty <- make([]byte, 0, captureBuffer)
	}
	c.fill = header(<-c.empty)
	go c.write(file)
	return c, nil
}

// header is the head of a pcap file: nanosecond times, raw IPv4 packets.
func header(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, 0xa1b23c4d)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 4)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, Snap)
	return le.AppendUint32(b, 101) // LINKTYPE_RAW
}

func (c *Capture) write(file *os.File) {
	var errs []error
	w := bufio.NewWriterSize(file, captureBuffer)
	for b := range c.full {
		if _, err := w.Write(b); err != nil {
			errs = append(errs, err)
		}
		if len(c.full) == 0 {
			errs = append(errs, w.Flush())
		}
		c.empty <- b[:0]
	}
	c.done <- errors.Join(append(errs, w.Flush(), file.Close())...)
}

// Packet keeps the beginning of a packet that was delivered at at.
func (c *Capture) Packet(at time.Time, b []byte) {
	keep := min(len(b), Snap)
	if c.fill == nil || len(c.fill)+16+keep > cap(c.fill) {
		c.Flush()
	}
	if c.fill == nil {
		c.missing++
		return
	}
	le := binary.LittleEndian
	c.fill = le.AppendUint32(c.fill, uint32(at.Unix()))
	c.fill = le.AppendUint32(c.fill, uint32(at.Nanosecond()))
	c.fill = le.AppendUint32(c.fill, uint32(keep))
	c.fill = le.AppendUint32(c.fill, uint32(len(b)))
	c.fill = append(c.fill, b[:keep]...)
}

// Flush hands what was gathered to the writer, if it has room.
func (c *Capture) Flush() {
	if len(c.fill) > 0 {
		c.full <- c.fill // never blocks: there are only as many buffers as places
		c.fill = nil
	}
	if c.fill == nil {
		select {
		case c.fill = <-c.empty:
		default:
		}
	}
}

// Mark notes an instant.
func (c *Capture) Mark(at time.Time, what string) {
	line, err := json.Marshal(Mark{at, what})
	if err == nil {
		_, err = c.marks.Write(append(line, '\n'))
	}
	if err != nil {
		c.missing++
	}
}

// Close writes out the rest. It returns how many packets or marks are missing
// because the disk was too slow.
func (c *Capture) Close() (missing uint64, err error) {
	if len(c.fill) > 0 {
		c.full <- c.fill
	}
	close(c.full)
	return c.missing, errors.Join(<-c.done, c.marks.Close())
}
