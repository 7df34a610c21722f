package dns

import (
	"errors"
	"fmt"

	"github.com/miekg/dns"

	"github.com/haechi/haechi/core/estate"
)

// ErrSilent means that a name server did not answer in time. Whether an update
// that was sent arrived is not known.
var ErrSilent = errors.New("name server does not answer")

// ErrLast means that a withdrawal would leave no answer of another site. Nothing was changed.
var ErrLast = errors.New("no answer of another site would be left")

// errChanged means that the zone was not as read when the update arrived;
// nothing was changed.
var errChanged = errors.New("the answers changed in between")

// Refused is a name server's answer that it will not do what it was asked.
// Nothing was changed.
type Refused struct {
	Host    estate.HostID
	Address string
	What    string // what it refused
	Why     string // and on what grounds
	Remedy  string // what to look at
}

// Error says who refused what, why, and what to do.
func (e *Refused) Error() string {
	return fmt.Sprintf("name server %s (%s) refuses %s: %s; %s", e.Host, e.Address, e.What, e.Why, e.Remedy)
}

// refusal translates a response into an error; nil when it is a success.
func (s *server) refusal(what string, r *dns.Msg) error {
	no := func(why, remedy string, args ...any) error {
		return &Refused{Host: s.host, Address: s.address, What: what, Why: why, Remedy: fmt.Sprintf(remedy, args...)}
	}
	if t := r.IsTsig(); t != nil && t.Error != dns.RcodeSuccess {
		switch t.Error {
		case dns.RcodeBadKey:
			return no("it does not know the key "+s.key, "declare that key (hmac-sha256) in its configuration, or correct the name in the estate")
		case dns.RcodeBadSig:
			return no("its secret for the key "+s.key+" is another one", "compare the secret in its configuration with the tower's file")
		case dns.RcodeBadTime:
			return no("its clock and the tower's differ by more than five minutes", "set the clocks (NTP) on both hosts")
		}
		return no("signature error "+dns.RcodeToString[int(t.Error)], "look into its log")
	}
	switch r.Rcode {
	case dns.RcodeSuccess:
		return nil
	case dns.RcodeNXRrset, dns.RcodeYXRrset, dns.RcodeNameError, dns.RcodeYXDomain:
		return errChanged
	case dns.RcodeRefused:
		return no("the key "+s.key+" has no right to it", "allow the key in allow-update or update-policy of the zone %s, and in allow-query", s.zone)
	case dns.RcodeNotAuth, dns.RcodeNotZone, dns.RcodeNotImplemented:
		return no("it is not a primary of the zone "+s.zone, "each server in the estate has to be type primary for it; or correct zone in the estate")
	case dns.RcodeServerFailure:
		return no("it failed", "look into its log; often it has no right to write its journal next to the zone file, or the disk is full")
	}
	return no("it answers "+dns.RcodeToString[r.Rcode], "look into its log")
}
