package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/haechi/haechi/core/estate"
)

// server is one authoritative server, as seen for one name.
type server struct {
	host        estate.HostID
	address     string // host:port
	zone        string
	key, secret string
	timeout     time.Duration // of one try
	tries       int
}

// records is what a server has for a name.
type records struct {
	addrs answers
	ttl   uint32 // the highest of the sets; 0 without any
}

// fudge is how far clocks may differ, in seconds (RFC 8945 recommends it).
const fudge = 300

// read asks the server, with a signed query, for the addresses of name. The
// answer is trusted only if it is signed too and the server has the zone itself.
func (s *server) read(ctx context.Context, name string) (records, error) {
	var out records
	var addrs []netip.Addr
	for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
		m := new(dns.Msg)
		m.SetQuestion(name, t)
		m.RecursionDesired = false
		r, err := s.ask(ctx, "a query for "+name, m)
		switch {
		case errors.Is(err, errChanged) && r != nil && r.Authoritative: // NXDOMAIN: the name has no record of any type
			continue
		case err != nil:
			return records{}, err
		case !r.Authoritative:
			return records{}, &Refused{s.host, s.address, "a query for " + name, "it does not have the zone " + s.zone + " itself", "make it a primary of that zone, or take it out of servers in the estate"}
		}
		for _, rr := range r.Answer {
			if a, ok := addressOf(rr); ok {
				addrs = append(addrs, a)
				out.ttl = max(out.ttl, rr.Header().Ttl)
			}
		}
	}
	out.addrs = newAnswers(addrs)
	return out, nil
}

// refusesUsers says whether the server, asked once without the key as users ask, refuses: it is
// locked, or closed to them for another reason.
func (s *server) refusesUsers(ctx context.Context, name string) bool {
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	m.RecursionDesired = false
	c := &dns.Client{Net: "udp", Timeout: s.timeout, UDPSize: dns.DefaultMsgSize}
	r, _, err := c.ExchangeContext(ctx, m, s.address)
	return err == nil && r.Rcode == dns.RcodeRefused
}

func addressOf(rr dns.RR) (netip.Addr, bool) {
	switch v := rr.(type) {
	case *dns.A:
		a, ok := netip.AddrFromSlice(v.A)
		return a.Unmap(), ok
	case *dns.AAAA:
		return netip.AddrFromSlice(v.AAAA)
	}
	return netip.Addr{}, false
}

// replace makes the name answer next, provided that it answers now at the moment
// of the change; errChanged when it does not. The server checks and changes as one act.
func (s *server) replace(ctx context.Context, name string, now, next answers, ttl uint32) error {
	m := new(dns.Msg)
	m.SetUpdate(s.zone)
	for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
		had, gets := now.rrs(name, t, 0), next.rrs(name, t, ttl)
		none := []dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: name, Rrtype: t}}}
		if len(had) > 0 {
			m.Used(had)
			m.RemoveRRset(none)
		} else {
			m.RRsetNotUsed(none)
		}
		if len(gets) > 0 {
			m.Insert(gets)
		}
	}
	_, err := s.ask(ctx, "a change of "+name, m)
	return err
}

// rrs draws the addresses of one type as records.
func (a answers) rrs(name string, t uint16, ttl uint32) []dns.RR {
	var out []dns.RR
	for _, x := range a {
		h := dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: ttl}
		switch {
		case t == dns.TypeA && x.Is4():
			out = append(out, &dns.A{Hdr: h, A: x.AsSlice()})
		case t == dns.TypeAAAA && x.Is6():
			out = append(out, &dns.AAAA{Hdr: h, AAAA: x.AsSlice()})
		}
	}
	return out
}

// ask sends one signed message over UDP and, where the answer does not fit, over
// TCP. A server that is silent over UDP to the end is tried over TCP once, since
// some networks drop what they do not know.
func (s *server) ask(ctx context.Context, what string, m *dns.Msg) (*dns.Msg, error) {
	networks := make([]string, s.tries)
	for i := range networks {
		networks[i] = "udp"
	}
	var last error
	for _, network := range append(networks, "tcp") {
		r, err := s.exchange(ctx, network, m)
		if err == nil && r.Truncated && network == "udp" {
			r, err = s.exchange(ctx, "tcp", m)
		}
		switch {
		case r != nil && (err == nil || r.IsTsig() != nil):
			return s.judge(what, r, err)
		case ctx.Err() != nil:
			return nil, fmt.Errorf("name server %s (%s): %w: %w", s.host, s.address, ErrSilent, context.Cause(ctx))
		}
		last = err
	}
	return nil, fmt.Errorf("name server %s (%s): %w within %d tries of %v: %w", s.host, s.address, ErrSilent, s.tries+1, s.timeout, last)
}

// judge trusts an answer only with a signature; a refusal may come without one.
func (s *server) judge(what string, r *dns.Msg, err error) (*dns.Msg, error) {
	if no := s.refusal(what, r); no != nil {
		return r, no
	}
	if err != nil || r.IsTsig() == nil {
		return nil, &Refused{s.host, s.address, what, "its answer is not signed with the key " + s.key, "declare the same key (hmac-sha256) there and compare the secrets"}
	}
	return r, nil
}

func (s *server) exchange(ctx context.Context, network string, m *dns.Msg) (*dns.Msg, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &dns.Client{Net: network, Timeout: s.timeout, UDPSize: dns.DefaultMsgSize, TsigSecret: map[string]string{s.key: s.secret}}
	q := m.Copy()
	q.Id = dns.Id()
	q.SetTsig(s.key, dns.HmacSHA256, fudge, time.Now().Unix())
	r, _, err := c.ExchangeContext(ctx, q, s.address)
	return r, err
}
