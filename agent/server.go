package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/pki"
)

// Limits of one request.
const (
	maxBody     = 64 << 10
	readTimeout = 5 * time.Second
	// waitTurn is how long an order waits for the one before it.
	waitTurn = 2 * time.Second
	// lookLimit ends what the caller forgot to end, and actLimit what it gave more time for.
	lookLimit   = 5 * time.Second
	actLimit    = 2 * time.Minute
	digestLimit = 30 * time.Second // a look at data: one block may hold a lot
)

// Server takes orders for the units of one host.
type Server struct {
	hold  string
	units map[string]Unit
	state *state
	turn  *turn
	clock *clock
	log   *slog.Logger
	shown func(*tls.ClientHelloInfo) (*tls.Certificate, error) // the certificate, as it is now; nil: not serving

	patience time.Duration // with a request that has begun
}

// NewServer opens the state file and returns a server for the given units. hold is
// the path of the file that stops all acts while it is there; it may be empty.
func NewServer(statePath, hold string, units map[string]Unit, log *slog.Logger) (*Server, error) {
	st, err := openState(statePath)
	if err != nil {
		return nil, err
	}
	s := &Server{hold: hold, units: units, state: st, turn: newTurn(), clock: newClock(), log: log, patience: readTimeout}
	s.wake()
	return s, nil
}

// wake brings about what has to hold before the first order. An agent that fails at it
// serves all the same: it may be needed to stop the thing.
func (s *Server) wake() {
	ctx, cancel := context.WithTimeout(context.Background(), lookLimit)
	defer cancel()
	for name, unit := range s.units {
		if k, ok := unit.(KeepsFiles); ok {
			if err := sweep(k.Files()); err != nil {
				s.log.Warn("what broken-off deposits left stays", "unit", name, "error", err)
			}
		}
		if w, ok := unit.(Wakes); ok {
			if err := w.Wake(ctx, s.state.memory(name)); err != nil {
				s.log.Error("wake", "unit", name, "error", err)
			}
		}
	}
}

// Serve answers on l until ctx ends. conf comes from [pki.ServerTLS] and lets only
// towers in; the handler checks that again.
func (s *Server) Serve(ctx context.Context, l net.Listener, conf *tls.Config) error {
	conf = conf.Clone()
	conf.NextProtos = []string{"h2", "http/1.1"}
	s.shown = conf.GetCertificate
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	srv := &http.Server{
		Handler:           s.Handler(),
		Protocols:         protocols,
		ReadHeaderTimeout: s.patience,
		ReadTimeout:       s.patience,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		// A caller whose machine burned sends no FIN: what it began ends with its connection.
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 32, SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second,
			MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 64 << 10},
		ErrorLog: pki.ServerLog(s.log, time.Now),
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	ticking, cancel := context.WithCancel(ctx)
	var kept sync.WaitGroup
	kept.Go(func() { s.clock.keep(ticking) })
	for name, unit := range s.units {
		if t, ok := unit.(Tends); ok {
			kept.Go(func() { t.Tend(ticking, s.state.memory(name), func() bool { held, _ := s.held(); return !held }) })
		}
	}
	defer kept.Wait()
	defer cancel()
	err := srv.Serve(tls.NewListener(alive{l}, conf))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("agent: serve %s: %w", l.Addr(), err)
}

// Handler answers POST /v1/order, and GET and PUT of units' files.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/order", s.order)
	mux.HandleFunc("GET /v1/files/{unit}/{name}", s.fetch)
	mux.HandleFunc("PUT /v1/files/{unit}/{name}", s.deposit)
	return mux
}

// order reads one order, has it carried out, and writes the answer. Every answer
// that the agent itself gives has status 200; Code says what it is.
func (s *Server) order(w http.ResponseWriter, r *http.Request) {
	who, err := pki.PeerIdentity(r.TLS)
	if err == nil {
		err = pki.Only(pki.Tower)(who)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	var o Order
	body := http.MaxBytesReader(w, r.Body, maxBody)
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil {
		s.write(w, Answer{Code: BadOrder, Error: fmt.Sprintf("the order cannot be read: %v", err)})
		return
	}
	_, _ = io.Copy(io.Discard, body)
	if o.changes() && r.ProtoMajor < 2 {
		// Only HTTP/2 notices by itself that a caller is gone, see Serve: acts need that.
		s.write(w, Answer{Code: BadOrder, Error: "acts come over HTTP/2; over HTTP/1.1 there are only looks"})
		return
	}
	if o.changes() && o.Life == "" {
		s.write(w, Answer{Code: Late, Error: "the order does not say by this agent's clock when its time is over; the clock is in this answer"})
		return
	}
	start := time.Now()
	a := s.Carry(r.Context(), o)
	if o.changes() {
		s.log.Info("order", "verb", o.Verb, "unit", o.Unit, "from", who.Name, "term", o.Term, "epoch", o.Epoch,
			"run", o.Run, "step", o.Step, "code", a.Code, "error", a.Error, "took", time.Since(start))
	}
	s.write(w, a)
}

func (s *Server) write(w http.ResponseWriter, a Answer) {
	a.Version, a.Life, a.Clock, a.Release = 1, s.clock.life, s.clock.read(), plan.Release
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(a); err != nil {
		s.log.Debug("answer not sent", "error", err)
	}
}

// Carry has one order carried out and says what came of it. It is what the
// listener calls after it knows who is asking.
func (s *Server) Carry(ctx context.Context, o Order) Answer {
	if o.Verb == Status {
		if err := s.state.follow(o); err != nil {
			return s.answer(o, nil, err)
		}
	}
	unit, err := s.admit(o)
	if err != nil {
		return s.answer(o, nil, err)
	}
	if !o.changes() {
		limit := lookLimit
		if o.Verb == Digest {
			limit = digestLimit
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		facts, err := unit.Look(ctx, o, s.state.memory(o.Unit))
		return s.answer(o, facts, err)
	}
	ctx, cancel := s.clock.limit(ctx, o)
	defer cancel()
	ctx, done, err := s.turn.take(ctx, o.Term)
	if err != nil {
		return s.answer(o, nil, err)
	}
	defer done()
	facts, err := s.act(ctx, unit, o)
	return s.answer(o, facts, err)
}

// act checks once more what may have changed while the order waited for its turn,
// puts term and epoch on disk, and acts.
func (s *Server) act(ctx context.Context, unit Unit, o Order) (map[string]string, error) {
	if err := Wanted(ctx); err != nil {
		return nil, Refuse(Late, "nothing was done: %v", err)
	}
	if err := s.fresh(o); err != nil {
		return nil, err
	}
	if err := s.state.follow(o); err != nil {
		return nil, err
	}
	if _, ok := unit.(SavesFirst); !ok {
		if err := s.state.raise(o); err != nil {
			return nil, Refuse(Unsafe, "the term and epoch cannot be put on disk, so nothing is done: %v", err)
		}
	}
	facts, err := unit.Do(ctx, o, s.state.writable(o))
	if rerr := s.state.raise(o); rerr != nil && err == nil {
		err = rerr
	}
	return facts, err
}

// admit refuses an order that is not on the list, in the order in which a reader wants to know.
func (s *Server) admit(o Order) (Unit, error) {
	if o.Version != 1 {
		return nil, Refuse(BadOrder, "order of version %d; this agent knows version 1", o.Version)
	}
	switch o.Verb {
	case Status, Position, Digest, Seal, Unseal, Follow, Promote, Start, Stop, Fence, Salvage, Rejoin, Apply, Check:
	default:
		return nil, Refuse(UnknownVerb, "verb %q is not on the list", o.Verb)
	}
	unit, ok := s.units[o.Unit]
	if !ok {
		return nil, Refuse(UnknownUnit, "no unit %q is declared on this host", o.Unit)
	}
	if !o.changes() {
		return unit, nil
	}
	if o.Term == 0 {
		return nil, Refuse(BadOrder, "%s changes something and needs a term", o.Verb)
	}
	return unit, s.fresh(o)
}

// fresh refuses old lines, old terms, old epochs, and everything while the host is held.
func (s *Server) fresh(o Order) error {
	if err := s.state.current(o.Line); err != nil {
		return err
	}
	term, epoch := s.state.seen(o.Unit)
	if o.Term < term {
		return Refuse(OldTerm, "order of term %d; term %d has spoken", o.Term, term)
	}
	if o.Epoch < epoch {
		return Refuse(OldEpoch, "order of epoch %d; epoch %d of %s has been ordered", o.Epoch, epoch, o.Unit)
	}
	if held, err := s.held(); held {
		return Refuse(Held, "this host is held: %s", err)
	}
	return nil
}

// held says whether the hold file is there. Not knowing counts as held.
func (s *Server) held() (bool, string) {
	if s.hold == "" {
		return false, ""
	}
	switch _, err := os.Lstat(s.hold); {
	case err == nil:
		return true, s.hold + " is there; remove it to let orders through"
	case os.IsNotExist(err):
		return false, ""
	default:
		return true, err.Error()
	}
}

// host adds to a unit's facts what is true of its host.
func (s *Server) host(facts map[string]string) map[string]string {
	if facts == nil {
		facts = map[string]string{}
	}
	facts[FactRelease] = strconv.Itoa(plan.Release)
	if lines := s.state.lines(); len(lines) > 0 {
		facts[FactLines] = strings.Join(lines, " ")
	}
	if held, _ := s.held(); held {
		facts[FactHeld] = "true"
	}
	if s.shown != nil {
		if c, err := s.shown(nil); err == nil && c.Leaf != nil {
			facts[FactEnds] = c.Leaf.NotAfter.UTC().Format(time.RFC3339)
		}
	}
	return facts
}

// answer puts together what the caller hears.
func (s *Server) answer(o Order, facts map[string]string, err error) Answer {
	a := Answer{Version: 1, Facts: facts}
	a.Term, a.Epoch = s.state.seen(o.Unit)
	a.Lines = s.state.lines()
	if err == nil {
		if o.Verb == Status {
			a.Facts = s.host(a.Facts)
		}
		return a
	}
	a.Code, a.Error = Failed, err.Error()
	if r, ok := errors.AsType[*Refusal](err); ok {
		a.Code = r.Code
	}
	return a
}
