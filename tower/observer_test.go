package tower

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/haechi/haechi/pki"
)

// oracle is a tower that says nothing but what to look at; it returns its address.
func (p place) oracle(name string, version *atomic.Uint64) string {
	p.t.Helper()
	conf, err := pki.ServerTLS(p.files(pki.Tower, name).pki(), pki.Only(pki.Observer))
	must(p.t, err)
	l := taken(p.t)
	srv := &http.Server{TLSConfig: conf, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(aims{Profile: name, Version: version.Load()})
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.ServeTLS(l, "", "") }()
	p.t.Cleanup(func() { _ = srv.Close(); <-done })
	return l.Addr().String()
}

// One tower is cut off from the others and goes by an old estate. An observer that has heard of
// the new one does not go back, whichever it asks first.
func TestAnObserverDoesNotGoBack(t *testing.T) {
	p := newPlace(t)
	var old, now atomic.Uint64
	old.Store(4)
	now.Store(5)
	o := &observer{clients: map[string]*http.Client{}, cfg: ObserverConfig{Name: "isp-a", TLS: p.files(pki.Observer, "isp-a"),
		Towers: map[string]string{"tower-a": p.oracle("tower-a", &now)}}}
	defer o.close()
	_, err := o.ask(t.Context())
	must(t, err)
	o.cfg.Towers["tower-b"] = p.oracle("tower-b", &old)
	for range 20 { // the order in which towers are asked is random
		a, err := o.ask(t.Context())
		must(t, err)
		if a.Version != 5 || a.Profile != "tower-a" {
			t.Fatalf("%+v", a)
		}
	}
	now.Store(0)
	if a, err := o.ask(t.Context()); err == nil || !strings.Contains(err.Error(), "tower-b: its estate is version 4, version 5 was heard of") {
		t.Errorf("%+v %v", a, err)
	}
	old.Store(6)
	a, err := o.ask(t.Context())
	must(t, err)
	if a.Version != 6 {
		t.Errorf("%+v", a)
	}
}
