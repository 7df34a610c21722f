package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// ServerTLS returns what a listener needs: TLS 1.3, a client certificate of our
// CA is required, and allow (nil: anyone of our CA) decides by identity. Files
// are read again when they change; if the new ones are broken, the old stay in
// use. The error of a refused handshake says what was wrong with the certificate.
func ServerTLS(f Files, allow func(Identity) error) (*tls.Config, error) {
	k, err := openKeeper(f)
	if err != nil {
		return nil, fmt.Errorf("server TLS: %w", err)
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequireAnyClientCert, // checked below, against files that may have changed
		SessionTicketsDisabled: true,                     // each connection shows its certificate
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.now().pair, nil },
		VerifyConnection: func(cs tls.ConnectionState) error {
			return k.verify(cs, x509.ExtKeyUsageClientAuth, allow)
		},
	}, nil
}

// ClientTLS returns what a caller needs: TLS 1.3, our certificate is shown when asked,
// and the server is known by the identity in its certificate, judged by expect
// (nil: anyone of our CA), not by the host name that was dialled.
func ClientTLS(f Files, expect func(Identity) error) (*tls.Config, error) {
	k, err := openKeeper(f)
	if err != nil {
		return nil, fmt.Errorf("client TLS: %w", err)
	}
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		InsecureSkipVerify:   true, // of the host name; VerifyConnection checks chain, time, use and identity
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return k.now().pair, nil },
		VerifyConnection: func(cs tls.ConnectionState) error {
			return k.verify(cs, x509.ExtKeyUsageServerAuth, expect)
		},
	}, nil
}

// loaded is one reading of the files.
type loaded struct {
	pair  *tls.Certificate
	roots *x509.CertPool
	cas   []*x509.Certificate
}

// keeper holds the newest good reading of f.
type keeper struct {
	files Files

	mu   sync.Mutex // guards what follows
	seen [3]stamp
	have loaded
}

// stamp tells one version of a file from another without reading it.
type stamp struct {
	mod  time.Time
	size int64
	file os.FileInfo
}

func (s stamp) same(t stamp) bool {
	return s.mod.Equal(t.mod) && s.size == t.size && (s.file == nil) == (t.file == nil) && (s.file == nil || os.SameFile(s.file, t.file))
}

func openKeeper(f Files) (*keeper, error) {
	k := &keeper{files: f}
	k.seen = stamps(f)
	l, err := load(f)
	if err != nil {
		return nil, err
	}
	k.have = l
	return k, nil
}

// now returns the newest good reading.
func (k *keeper) now() loaded {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := stamps(k.files)
	changed := false
	for i := range s {
		changed = changed || !s[i].same(k.seen[i])
	}
	if !changed {
		return k.have
	}
	l, err := load(k.files)
	if err != nil {
		return k.have // half of a change is visible, or it is broken: tried again next time
	}
	k.have, k.seen = l, s
	return k.have
}

func stamps(f Files) (out [3]stamp) {
	for i, name := range []string{f.CA, f.Cert, f.Key} {
		if info, err := os.Stat(name); err == nil {
			out[i] = stamp{info.ModTime(), info.Size(), info}
		}
	}
	return out
}

func load(f Files) (loaded, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return loaded{}, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	cas, err := readCerts(f.CA)
	if err != nil {
		return loaded{}, fmt.Errorf("CA: %w", err)
	}
	roots := x509.NewCertPool()
	for _, c := range cas {
		roots.AddCert(c)
	}
	return loaded{pair: &pair, roots: roots, cas: cas}, nil
}

// verify checks the peer's certificate and hands its identity to allow.
func (k *keeper) verify(cs tls.ConnectionState, use x509.ExtKeyUsage, allow func(Identity) error) error {
	if len(cs.PeerCertificates) == 0 {
		return ErrNoCertificate
	}
	leaf := cs.PeerCertificates[0]
	l := k.now()
	if err := l.chain(leaf, cs.PeerCertificates[1:], use); err != nil {
		return err
	}
	id, err := identityOf(leaf)
	if err != nil {
		return err
	}
	if allow == nil {
		return nil
	}
	return allow(id)
}

// chain verifies leaf and turns x509's words into ours.
func (l loaded) chain(leaf *x509.Certificate, between []*x509.Certificate, use x509.ExtKeyUsage) error {
	mid := x509.NewCertPool()
	for _, c := range between {
		mid.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: l.roots, Intermediates: mid, KeyUsages: []x509.ExtKeyUsage{use}})
	if err == nil {
		return nil
	}
	if !l.signed(leaf) {
		return fmt.Errorf("%w: %s was issued by %q; only certificates of %q are accepted here", ErrOtherCA, leaf.Subject, leaf.Issuer, l.cas[0].Subject)
	}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) {
		switch invalid.Reason {
		case x509.Expired:
			return l.outOfTime(leaf)
		case x509.IncompatibleUsage:
			return fmt.Errorf("%w: %s may only call, not serve (or the other way round)", ErrWrongKind, leaf.Subject)
		}
	}
	return fmt.Errorf("certificate of %s: %w", leaf.Subject, err)
}

func (l loaded) signed(leaf *x509.Certificate) bool {
	for _, ca := range l.cas {
		if leaf.CheckSignatureFrom(ca) == nil {
			return true
		}
	}
	return false
}

// outOfTime says which certificate is out of time, and how.
func (l loaded) outOfTime(leaf *x509.Certificate) error {
	now := time.Now()
	for _, c := range append([]*x509.Certificate{leaf}, l.cas...) {
		if now.After(c.NotAfter) {
			return fmt.Errorf("%w: %s expired on %s; renew it with haechi pki renew", ErrExpired, c.Subject, c.NotAfter.UTC().Format(time.RFC3339))
		}
		if now.Before(c.NotBefore) {
			return fmt.Errorf("%w: %s is valid from %s; is this host's clock right?", ErrNotYetValid, c.Subject, c.NotBefore.UTC().Format(time.RFC3339))
		}
	}
	return fmt.Errorf("%w: %s", ErrExpired, leaf.Subject)
}
