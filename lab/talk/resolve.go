package talk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// askNameserver is how long one nameserver is waited for.
const askNameserver = 300 * time.Millisecond

// resolver is the name cache of a few clients, as a household's or a host's: it
// keeps an answer for its TTL, asks the nameserver that answered last first, and
// goes on with an old answer when nobody gives a new one.
type resolver struct {
	name    string
	servers []string // ip:53, in the order in which they are asked at first
	local   net.IP   // address to ask from; nil for any

	mu      sync.Mutex // held while asking: the others wait for the same answer
	first   int        // server that answered last
	answers []string
	until   time.Time
}

// Addresses returns the addresses of the name, in the order of the answer.
func (r *resolver) Addresses(ctx context.Context) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.until) {
		return r.answers, nil
	}
	got, ttl, err := r.askLocked(ctx)
	if err != nil {
		if len(r.answers) > 0 {
			return r.answers, nil
		}
		return nil, err
	}
	r.answers, r.until = got, time.Now().Add(ttl)
	return got, nil
}

// askLocked asks one nameserver after the other for IPv4 addresses.
func (r *resolver) askLocked(ctx context.Context) ([]string, time.Duration, error) {
	var errs []error
	for i := range r.servers {
		at := (r.first + i) % len(r.servers)
		got, ttl, err := r.exchange(ctx, r.servers[at])
		if err == nil {
			r.first = at
			return got, ttl, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", r.servers[at], err))
	}
	return nil, 0, fmt.Errorf("resolve %s: %w", r.name, errors.Join(errs...))
}

func (r *resolver) exchange(ctx context.Context, server string) ([]string, time.Duration, error) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(r.name), dns.TypeA)
	c := &dns.Client{Timeout: askNameserver}
	if r.local != nil {
		c.Dialer = &net.Dialer{Timeout: askNameserver, LocalAddr: &net.UDPAddr{IP: r.local}}
	}
	got, _, err := c.ExchangeContext(ctx, q, server)
	if err != nil {
		return nil, 0, err
	}
	if got.Rcode != dns.RcodeSuccess {
		return nil, 0, errors.New(dns.RcodeToString[got.Rcode])
	}
	out, ttl := addresses(got)
	if len(out) == 0 {
		return nil, 0, errors.New("the answer has no address")
	}
	return out, ttl, nil
}

// addresses reads the IPv4 addresses and their smallest TTL from an answer.
func addresses(m *dns.Msg) (out []string, ttl time.Duration) {
	least := uint32(1<<31 - 1)
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			out = append(out, a.A.String())
			least = min(least, a.Hdr.Ttl)
		}
	}
	return out, time.Duration(least) * time.Second
}
