package tower

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/haechi/haechi/pki"
)

// What to look at is told to those that look. A person's certificate without a role shows nothing.
func TestTargetsAreToldToThoseThatLook(t *testing.T) {
	p := newPlace(t)
	n := &Node{}
	n.believed.Store(&beliefs{})
	for kind, want := range map[pki.Kind]int{pki.Observer: http.StatusOK, pki.Tower: http.StatusOK, pki.Person: http.StatusForbidden, pki.Agent: http.StatusForbidden, "": http.StatusForbidden} {
		r := httptest.NewRequest(http.MethodGet, targetsPath, nil)
		if kind != "" {
			f := p.files(kind, "somebody")
			pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
			must(t, err)
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{pair.Leaf}}
		}
		w := httptest.NewRecorder()
		n.tellTargets(w, r)
		if w.Code != want {
			t.Errorf("%q: %d %s", kind, w.Code, w.Body)
		}
	}
}
