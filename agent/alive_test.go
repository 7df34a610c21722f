package agent

import (
	"net"
	"testing"
)

// Those who hung up while the agent was stopped keep nobody waiting who is there.
func TestCallersThatHungUpAreSkipped(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	call := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for range 50 {
		c := call()
		if _, err := c.Write([]byte("hello")); err != nil { // as one that has begun a handshake
			t.Fatal(err)
		}
		c.Close()
	}
	here := call()
	defer here.Close()
	got, err := alive{l}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if got.RemoteAddr().String() != here.LocalAddr().String() {
		t.Errorf("a caller that is gone was let in: %v, want %v", got.RemoteAddr(), here.LocalAddr())
	}
}
