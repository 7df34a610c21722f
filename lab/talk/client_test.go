package talk

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path"
	"strconv"
	"testing"
	"time"
)

// A gateway that answers, but cannot reach the database, is left for one that can.
func TestClientLeavesAGatewayThatKeepsRefusing(t *testing.T) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(first.Addr().String())
	second, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	serve := func(on net.Listener, h http.HandlerFunc) {
		s := &http.Server{Handler: h}
		go func() { _ = s.Serve(on) }()
		t.Cleanup(func() { _ = s.Close() })
	}
	serve(first, func(w http.ResponseWriter, _ *http.Request) {
		refused++
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	serve(second, func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(Message{ID: path.Base(r.URL.Path), Seq: 7})
	})
	number, _ := strconv.Atoi(port)
	known := &resolver{answers: []string{"127.0.0.1", "127.0.0.2"}, until: time.Now().Add(time.Hour)}
	c := newClient(LoadConfig{Port: number, Rooms: 1}, 0, known, func(string) {})
	defer c.http.CloseIdleConnections()
	c.at = "127.0.0.1"
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	a, ok := c.send(ctx, messageID(1, "", 0, 1), 1)
	if !ok || a.By != "127.0.0.2" || refused != patience || a.Tries != patience+1 {
		t.Errorf("acknowledged %v by %s after %d tries, %d of them refused", ok, a.By, a.Tries, refused)
	}
}
