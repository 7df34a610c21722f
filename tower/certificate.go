package tower

import (
	"fmt"

	"github.com/haechi/haechi/pki"
)

// startCertificate looks whose certificate the tower's file names. With another one
// everything would start, and nobody would listen to it. An expired one is
// let through: it may be renewed while the tower runs.
func (n *Node) startCertificate() (func() error, error) {
	want := pki.Identity{Kind: pki.Tower, Name: n.cfg.Name}
	have, err := pki.WhoIs(n.cfg.TLS.pki())
	if err != nil {
		return nil, fmt.Errorf("%w; issue one with haechi pki issue tower %s", err, n.cfg.Name)
	}
	if have.Kind != want.Kind || have.Name != want.Name {
		return nil, fmt.Errorf("tls.cert: %s is the certificate of %s, this is %s: nobody would believe it; issue one with haechi pki issue tower %s",
			n.cfg.TLS.Cert, have, want, n.cfg.Name)
	}
	return nothing, nil
}
