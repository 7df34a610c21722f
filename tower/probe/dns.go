package probe

import (
	"context"
	"fmt"
	"strconv"

	"github.com/miekg/dns"

	"github.com/haechi/haechi/core/situation"
)

// DNS asks a name server by UDP for the SOA of a zone that it serves. Any answer shows
// life. REFUSED stands in the facts as "locked": a server that came back and may not
// answer yet; else the facts hold "serial", or "rcode" where the answer is no answer.
func DNS(zone func(host string) string) Looker {
	idle := keyed(func(situation.Target) (*spare[*dns.Conn], error) { return &spare[*dns.Conn]{}, nil })
	return LookFunc(func(ctx context.Context, t situation.Target) (map[string]string, error) {
		q := new(dns.Msg)
		q.SetQuestion(zone(t.Component), dns.TypeSOA)
		q.RecursionDesired = false
		s, _ := idle(t)
		facts, err := kept(ctx, s,
			func(ctx context.Context) (*dns.Conn, error) { return new(dns.Client).DialContext(ctx, t.Address) },
			func(ctx context.Context, c *dns.Conn) (used, error) { return exchange(ctx, q, c) })
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", t.ID, err)
		}
		return facts, nil
	})
}

// exchange waits for the answer to q. One that comes too late for its look is told from
// it by its number and passed over.
func exchange(ctx context.Context, q *dns.Msg, c *dns.Conn) (used, error) {
	if err := until(ctx, c); err != nil {
		return used{}, err
	}
	if err := c.WriteMsg(q); err != nil {
		return used{}, err
	}
	for {
		a, err := c.ReadMsg()
		switch {
		case err != nil:
			return used{}, err
		case a.Id == q.Id:
			return used{said(a), true}, nil
		}
	}
}

func said(a *dns.Msg) map[string]string {
	switch a.Rcode {
	case dns.RcodeSuccess:
	case dns.RcodeRefused:
		return map[string]string{situation.FactLocked: "true"}
	default:
		return map[string]string{"rcode": dns.RcodeToString[a.Rcode]}
	}
	for _, rr := range a.Answer {
		if soa, ok := rr.(*dns.SOA); ok {
			return map[string]string{"serial": strconv.FormatUint(uint64(soa.Serial), 10)}
		}
	}
	return map[string]string{}
}
