package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// How long certificates last, and how far they are dated back so that a host
// whose clock is behind accepts them.
const (
	CAValidity   = 20 * 365 * 24 * time.Hour
	LeafValidity = 90 * 24 * time.Hour
	backdate     = time.Hour
)

// Files names the three PEM files of one identity.
type Files struct {
	CA   string // certificates of the authorities that are believed, one or more
	Cert string
	Key  string
}

// FilesIn returns the files that [Issue] writes into dir.
func FilesIn(dir string) Files {
	return Files{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
}

func caKeyFile(dir string) string  { return filepath.Join(dir, "ca-key.pem") }
func caCertFile(dir string) string { return filepath.Join(dir, "ca.pem") }

// NewCA makes a certificate authority in dir (created 0700 if missing): ca.pem
// for everybody and ca-key.pem, which belongs on no host that haechi runs on. It
// never overwrites one; the error then wraps fs.ErrExist.
func NewCA(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("new CA: %w", err)
	}
	for _, name := range []string{caKeyFile(dir), caCertFile(dir)} {
		if _, err := os.Lstat(name); err == nil {
			return fmt.Errorf("new CA: %s: %w: replacing it would cut off everybody who holds a certificate of it; choose another directory", name, fs.ErrExist)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("new CA: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return fmt.Errorf("new CA: %w", err)
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"haechi"}, CommonName: fmt.Sprintf("haechi CA %x", serial.Bytes()[:4])},
		NotBefore:             now.Add(-24 * time.Hour),
		NotAfter:              now.Add(CAValidity),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return fmt.Errorf("new CA: %w", err)
	}
	if err := writeKey(caKeyFile(dir), key); err != nil {
		return fmt.Errorf("new CA: %w", err)
	}
	if err := writeAtomic(caCertFile(dir), certPEM(der)); err != nil {
		return fmt.Errorf("new CA: %w", err)
	}
	return nil
}

// Issue makes a key and a certificate for id, signed by the CA in caDir, and
// writes ca.pem, cert.pem and key.pem (0600) into outDir (0700). ips and names
// are added for programs that check addresses (etcd between towers does). A validity of 0
// means [LeafValidity]; a negative one gives a certificate that has expired
// already, which tests of expiry need.
func Issue(caDir string, id Identity, outDir string, ips []net.IP, names []string, validity time.Duration) (Files, error) {
	if err := id.check(); err != nil {
		return Files{}, fmt.Errorf("issue: %w", err)
	}
	fail := func(err error) (Files, error) { return Files{}, fmt.Errorf("issue %s: %w", id, err) }
	if err := os.MkdirAll(outDir, 0o700); err != nil {
		return fail(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	der, caPEM, err := sign(caDir, id, key.Public(), ips, names, validity)
	if err != nil {
		return fail(err)
	}
	f := FilesIn(outDir)
	if err := writeKey(f.Key, key); err != nil {
		return fail(err)
	}
	if err := errors.Join(writeAtomic(f.CA, caPEM), writeAtomic(f.Cert, certPEM(der))); err != nil {
		return fail(err)
	}
	return f, nil
}

// Renew gives the holder of f a new certificate for the same identity,
// addresses and key. Only the certificate file changes, in one rename, so a
// crash at any point leaves a pair that fits; running programs take it up with
// their next connection. For a new key use [Issue].
func Renew(caDir string, f Files, validity time.Duration) error {
	old, err := readCerts(f.Cert)
	if err != nil {
		return fmt.Errorf("renew: %w", err)
	}
	id, err := identityOf(old[0])
	if err != nil {
		return fmt.Errorf("renew %s: %w", f.Cert, err)
	}
	key, err := readKey(f.Key)
	if err != nil {
		return fmt.Errorf("renew %s: %w", id, err)
	}
	der, _, err := sign(caDir, id, key.Public(), old[0].IPAddresses, old[0].DNSNames, validity)
	if err != nil {
		return fmt.Errorf("renew %s: %w", id, err)
	}
	if err := writeAtomic(f.Cert, certPEM(der)); err != nil {
		return fmt.Errorf("renew %s: %w", id, err)
	}
	return nil
}

// ExpiresSoon is how long before its end a certificate is spoken of.
const ExpiresSoon = 14 * 24 * time.Hour

// Expiry returns the instant from which f is of no use any more: the end of its
// certificate or of the CA's, whichever is first.
func Expiry(f Files) (time.Time, error) {
	leaf, err := readCerts(f.Cert)
	if err != nil {
		return time.Time{}, fmt.Errorf("expiry: %w", err)
	}
	cas, err := readCerts(f.CA)
	if err != nil {
		return time.Time{}, fmt.Errorf("expiry: %w", err)
	}
	end := leaf[0].NotAfter
	for _, ca := range cas {
		if leaf[0].CheckSignatureFrom(ca) == nil && ca.NotAfter.Before(end) {
			end = ca.NotAfter
		}
	}
	return end, nil
}

// Authorities are the fingerprints of the certificate authorities that f trusts: SHA-256, in hex.
func Authorities(f Files) ([]string, error) {
	all, err := readCerts(f.CA)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range all {
		sum := sha256.Sum256(c.Raw)
		out = append(out, hex.EncodeToString(sum[:]))
	}
	return out, nil
}

// WhoIs returns the identity that f stands for.
func WhoIs(f Files) (Identity, error) {
	leaf, err := readCerts(f.Cert)
	if err != nil {
		return Identity{}, fmt.Errorf("who is: %w", err)
	}
	return identityOf(leaf[0])
}

// sign makes a certificate for pub and returns it (DER) with the CA's own (PEM).
func sign(caDir string, id Identity, pub crypto.PublicKey, ips []net.IP, names []string, validity time.Duration) (der, caPEM []byte, err error) {
	caKey, err := readKey(caKeyFile(caDir))
	if err != nil {
		return nil, nil, err
	}
	cas, err := readCerts(caCertFile(caDir))
	if err != nil {
		return nil, nil, err
	}
	if caPEM, err = os.ReadFile(caCertFile(caDir)); err != nil {
		return nil, nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	if validity == 0 {
		validity = LeafValidity
	}
	end := time.Now().Add(validity)
	if ca := cas[0]; end.After(ca.NotAfter) {
		end = ca.NotAfter
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"haechi"}, OrganizationalUnit: slices.Clone(id.Roles), CommonName: id.CommonName()},
		NotBefore:    earlier(time.Now(), end).Add(-backdate),
		NotAfter:     end,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  usages(id.Kind),
		URIs:         []*url.URL{id.uri()},
		IPAddresses:  ips,
		DNSNames:     names,
	}
	der, err = x509.CreateCertificate(rand.Reader, t, cas[0], pub, caKey)
	return der, caPEM, err
}

// usages: towers and agents are servers and clients; observers and people only call.
func usages(k Kind) []x509.ExtKeyUsage {
	if k == Tower || k == Agent {
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func newSerial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40 // positive, and always 16 bytes
	return new(big.Int).SetBytes(b), nil
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
