package dns

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const fakeSecret = "aGFlY2hpIHByb3RlY3RzIHRoZSBwYWxhY2UgZ2F0ZSE="

// fake is a name server in memory for what a real one does rarely. It compares and
// changes under one lock, as BIND does.
type fake struct {
	mu    sync.Mutex
	addrs answers // of talk.example.
	ttl   uint32
	// drop says whether to stay silent; the message has been carried out then.
	drop func(network string, m *dns.Msg) bool
	// change spoils an answer.
	change func(m, r *dns.Msg)
	addr   string
}

func startFake(t *testing.T, addrs ...string) *fake {
	t.Helper()
	f := &fake{addrs: parse(addrs), ttl: 2}
	pc, l := listen(t)
	f.addr = pc.LocalAddr().String()
	for network, s := range map[string]*dns.Server{"udp": {PacketConn: pc}, "tcp": {Listener: l}} {
		s.TsigSecret = map[string]string{"haechi-key.": fakeSecret}
		s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { f.serve(network, w, m) })
		s.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return f
}

// listen finds a port that is free for UDP and TCP.
func listen(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 50 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, l
		}
		pc.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

func (f *fake) serve(network string, w dns.ResponseWriter, m *dns.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := new(dns.Msg)
	r.SetReply(m)
	r.Authoritative = true
	if m.Opcode == dns.OpcodeUpdate {
		r.Rcode = f.update(m)
	} else {
		r.Answer = f.addrs.rrs(m.Question[0].Name, m.Question[0].Qtype, f.ttl)
	}
	r.SetTsig("haechi-key.", dns.HmacSHA256, fudge, time.Now().Unix())
	if f.change != nil {
		f.change(m, r)
	}
	if f.drop == nil || !f.drop(network, m) {
		w.WriteMsg(r)
	}
}

func (f *fake) update(m *dns.Msg) int {
	if want := addrsIn(m.Answer); !want.equal(f.addrs) {
		return dns.RcodeNXRrset
	}
	f.addrs = addrsIn(m.Ns)
	for _, rr := range m.Ns {
		if _, ok := addressOf(rr); ok {
			f.ttl = rr.Header().Ttl
		}
	}
	return dns.RcodeSuccess
}

func addrsIn(rrs []dns.RR) answers {
	var out []netip.Addr
	for _, rr := range rrs {
		if a, ok := addressOf(rr); ok {
			out = append(out, a)
		}
	}
	return newAnswers(out)
}

func (f *fake) now() answers {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.addrs)
}

func (f *fake) dropping(drop func(network string, m *dns.Msg) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop = drop
}

func (f *fake) changing(change func(m, r *dns.Msg)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.change = change
}
