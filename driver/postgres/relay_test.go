package postgres

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// serves is a source that answers each connection with data, after it has read a byte.
func serves(t *testing.T, data []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
					_, _ = c.Write(data)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func fetch(t *testing.T, port string) []byte {
	t.Helper()
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTheRelayBoundsAndCounts(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MB
	source := serves(t, data)
	for _, tt := range []struct {
		rate  int64
		least time.Duration
	}{{0, 0}, {4 << 20, 150 * time.Millisecond}} { // a burst passes at once, 3/4 MB more at 4 MB a second
		took := newTaken(tt.rate)
		r, err := startRelay(t.Context(), source, took)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if got := fetch(t, r.port()); !bytes.Equal(got, data) {
			t.Fatalf("%d bytes of %d", len(got), len(data))
		}
		if took := time.Since(began); took < tt.least {
			t.Errorf("at %d bytes a second it took %v", tt.rate, took)
		}
		if n := took.bytes.Load(); n != int64(len(data)) {
			t.Errorf("counted %d", n)
		}
		r.close()
		if _, err := net.Dial("tcp", "127.0.0.1:"+r.port()); err == nil {
			t.Error("it listens after its end")
		}
	}
}

// A source that cannot be reached ends the connection at once.
func TestTheRelayWithoutASource(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	_ = l.Close()
	r, err := startRelay(t.Context(), gone, newTaken(0))
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	c, err := net.Dial("tcp", "127.0.0.1:"+r.port())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("err = %v", err)
	}
}
