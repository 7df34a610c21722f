// Package pki is haechi's own certificate authority: it issues, renews and
// checks the certificates by which towers, agents, observers and people know
// each other. Who somebody is stands in a URI in the certificate, never in a
// host name, so a tower may move to another address without a new certificate.
package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Kind is what sort of peer a certificate stands for.
type Kind string

// The kinds of peers.
const (
	Tower    Kind = "tower"
	Agent    Kind = "agent"
	Observer Kind = "observer"
	Person   Kind = "person"
)

// Roles of a person. A person without a role may look at nothing that needs a certificate.
const (
	Viewer   = "viewer"
	Operator = "operator"
	Approver = "approver"
)

// What can be wrong with a peer's certificate. Errors from handshakes wrap one of these.
var (
	ErrNoCertificate = errors.New("no certificate was shown")
	ErrOtherCA       = errors.New("certificate of another CA")
	ErrExpired       = errors.New("certificate has expired")
	ErrNotYetValid   = errors.New("certificate is not valid yet")
	ErrNoIdentity    = errors.New("certificate names nobody that haechi knows")
	ErrWrongKind     = errors.New("certificate of the wrong kind")
	ErrWrongName     = errors.New("certificate of somebody else")
)

const scheme = "haechi"

var nameOK = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$`)

// Identity is who a certificate stands for: haechi://tower/tower-pangyo.
type Identity struct {
	Kind  Kind
	Name  string
	Roles []string // of a person; a certificate keeps them sorted
}

// String returns the identity as it stands in the certificate.
func (id Identity) String() string { return scheme + "://" + string(id.Kind) + "/" + id.Name }

// CommonName is the subject that a certificate of id carries. It names kind and
// name, because etcd can tell peers apart by common name only.
func (id Identity) CommonName() string { return string(id.Kind) + "/" + id.Name }

// Has says whether a person holds role.
func (id Identity) Has(role string) bool { return slices.Contains(id.Roles, role) }

func (id Identity) uri() *url.URL {
	return &url.URL{Scheme: scheme, Host: string(id.Kind), Path: "/" + id.Name}
}

func (id Identity) check() error {
	switch id.Kind {
	case Tower, Agent, Observer, Person:
	default:
		return fmt.Errorf("kind %q: not one of tower, agent, observer, person", id.Kind)
	}
	if !nameOK.MatchString(id.Name) {
		return fmt.Errorf("name %q: use letters, digits and . _ @ + - only, beginning with a letter or digit, 128 at most", id.Name)
	}
	if id.Kind != Person && len(id.Roles) > 0 {
		return fmt.Errorf("%s: only people have roles", id)
	}
	for _, r := range id.Roles {
		if r != Viewer && r != Operator && r != Approver {
			return fmt.Errorf("role %q: not one of viewer, operator, approver", r)
		}
	}
	return nil
}

// PeerIdentity returns who is at the other end of a connection that was made
// with [ServerTLS] or [ClientTLS]; those have checked the certificate already.
func PeerIdentity(cs *tls.ConnectionState) (Identity, error) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return Identity{}, ErrNoCertificate
	}
	return identityOf(cs.PeerCertificates[0])
}

// identityOf reads the one haechi URI of a certificate.
func identityOf(c *x509.Certificate) (Identity, error) {
	var found []Identity
	for _, u := range c.URIs {
		if u.Scheme != scheme {
			continue
		}
		id := Identity{Kind: Kind(u.Host), Name: strings.TrimPrefix(u.Path, "/")}
		if id.Kind == Person {
			id.Roles = slices.Sorted(slices.Values(c.Subject.OrganizationalUnit))
		}
		if err := id.check(); err != nil {
			return Identity{}, fmt.Errorf("%w: %w", ErrNoIdentity, err)
		}
		found = append(found, id)
	}
	if len(found) != 1 {
		return Identity{}, fmt.Errorf("%w: it has %d haechi:// names, want 1 (subject %s)", ErrNoIdentity, len(found), c.Subject)
	}
	return found[0], nil
}

// Only accepts peers of these kinds.
func Only(kinds ...Kind) func(Identity) error {
	return func(id Identity) error {
		if slices.Contains(kinds, id.Kind) {
			return nil
		}
		return fmt.Errorf("%w: %s certificate (%s) cannot be used as %s", ErrWrongKind, possessive(id.Kind), id, possessives(kinds))
	}
}

// Named accepts exactly one peer.
func Named(kind Kind, name string) func(Identity) error {
	return func(id Identity) error {
		if err := Only(kind)(id); err != nil {
			return err
		}
		if id.Name != name {
			return fmt.Errorf("%w: want %s://%s/%s, have %s", ErrWrongName, scheme, kind, name, id)
		}
		return nil
	}
}

func possessive(k Kind) string {
	if k == Agent || k == Observer {
		return "an " + string(k) + "'s"
	}
	return "a " + string(k) + "'s"
}

func possessives(kinds []Kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = possessive(k)
	}
	return strings.Join(words, " or ")
}
