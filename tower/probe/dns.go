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
	return LookFunc(func(ctx context.Context, t situation.Target) (map[string]string, error) {
		q := new(dns.Msg)
		q.SetQuestion(zone(t.Component), dns.TypeSOA)
		q.RecursionDesired = false
		a, _, err := new(dns.Client).ExchangeContext(ctx, q, t.Address)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", t.ID, err)
		}
		return said(a), nil
	})
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
