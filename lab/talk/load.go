package talk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// LoadConfig is what a load does. The zero value of a field marked so takes the
// default.
type LoadConfig struct {
	Clients  int           // default 200
	Rate     float64       // messages per second over all clients; default 500
	Duration time.Duration // how long the schedule lasts; 0: until ctx ends
	Grace    time.Duration // how long unfinished messages may still be retried afterwards; default 10 s
	Seed     uint64        // schedule, ids, choices
	Tag      string        // mixed into the ids, for a second load on the same database
	Rooms    int           // default 20; client c writes to room c modulo Rooms
	Readers  int           // how many of the clients also listen; default one in ten, negative: none

	DNS  []string // nameservers as ip:port, in the order in which they are asked; required
	Name string   // default "talk.example."
	Port int      // of the gateways; default 8080
	Bind string   // local address to use; empty for any

	Report func(Event) // called from one goroutine, in order; may be nil
	Acks   io.Writer   // one line "id room time" for each acknowledgement; may be nil
	Log    io.Writer   // the log that the judge reads; may be nil
	Marks  <-chan Mark // instants to report the first life after; may be nil
}

// Defaults returns c with every default filled in.
func (c LoadConfig) Defaults() LoadConfig {
	fill := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	fill(&c.Clients, 200)
	fill(&c.Rooms, 20)
	fill(&c.Port, 8080)
	fill(&c.Readers, (c.Clients+9)/10)
	if c.Rate == 0 {
		c.Rate = 500
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	if c.Name == "" {
		c.Name = "talk.example."
	}
	return c
}

// Validate says everything that is wrong with a configuration whose defaults are
// filled in.
func (c LoadConfig) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Clients < 1 || c.Clients > 5000 {
		bad("clients: %d is not between 1 and 5000", c.Clients)
	}
	if c.Rate <= 0 || c.Rate > 20000 {
		bad("rate: %v is not between 0 and 20000 messages per second", c.Rate)
	}
	if len(c.Tag) > 40 {
		bad("tag: %d bytes, at most 40 are allowed", len(c.Tag))
	}
	if c.Rooms < 1 {
		bad("rooms: %d is less than 1", c.Rooms)
	}
	if c.Duration < 0 || c.Grace < 0 {
		bad("duration, grace: must not be negative")
	}
	if len(c.DNS) == 0 {
		bad("dns: at least one nameserver is required, as ip:53")
	}
	for _, s := range c.DNS {
		if _, _, err := net.SplitHostPort(s); err != nil {
			bad("dns: %q is not ip:port: %w", s, err)
		}
	}
	if c.Bind != "" && net.ParseIP(c.Bind) == nil {
		bad("bind: %q is not an IP address", c.Bind)
	}
	return errors.Join(errs...)
}

func (c LoadConfig) local() net.IP { return net.ParseIP(c.Bind) }

// householdSize is how many clients share one name cache.
const householdSize = 10

// RunLoad sends messages as the schedule wants until it or ctx ends, waits for
// what is unfinished within the grace, and returns what the clients saw. The
// schedule never slows down: later messages of a client queue behind its
// unfinished one, and count from their intended moment.
func RunLoad(ctx context.Context, c LoadConfig) (*Tally, error) {
	c = c.Defaults()
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("talk: load: %w", err)
	}
	schedule, stop := context.WithCancel(ctx)
	defer stop()
	if c.Duration > 0 {
		schedule, stop = context.WithTimeout(ctx, c.Duration)
		defer stop()
	}
	// Sending outlives the schedule by the grace, also when ctx was cancelled.
	sending, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer giveUp(nil)
	r := newRecorder(c, time.Now())
	var senders, others, recorder sync.WaitGroup
	recorder.Go(func() { r.Run() })
	var resolvers []*resolver
	for n := range c.Clients {
		if n%householdSize == 0 {
			resolvers = append(resolvers, &resolver{name: c.Name, servers: c.DNS, local: c.local()})
		}
		cl := newClient(c, n, resolvers[len(resolvers)-1], r.failed)
		senders.Go(func() { run(schedule, sending, c, cl, r) })
		if n < c.Readers {
			f := &follower{client: newClient(c, n, cl.resolver, r.failed)}
			others.Go(func() { f.Run(sending); r.heard(f.seen) })
		}
	}
	<-schedule.Done()
	r.ended(time.Now())
	late := time.AfterFunc(c.Grace, func() { giveUp(errors.New("the grace is over")) })
	senders.Wait()
	late.Stop()
	wait(sending, 3*newsEvery) // what was just acknowledged still has to be streamed
	giveUp(nil)
	others.Wait()
	close(r.in)
	recorder.Wait()
	return r.tally, r.err
}

// run is one client from its first message to its last.
func run(schedule, sending context.Context, c LoadConfig, cl *client, r *recorder) {
	defer cl.http.CloseIdleConnections()
	s := newSchedule(c.Seed, cl.number, time.Duration(float64(c.Clients)/c.Rate*float64(time.Second)))
	for n := 1; ; n++ {
		intended := r.tally.Began.Add(s.Next())
		wait(schedule, time.Until(intended))
		if schedule.Err() != nil {
			return
		}
		id := messageID(c.Seed, c.Tag, cl.number, n)
		r.begin()
		a, ok := cl.send(sending, id, n)
		a.Intended = intended
		r.done(a, ok)
		if !ok {
			return
		}
	}
}

// sortAcks restores the tally's invariant: acknowledgements of different clients
// may reach the recorder in another order than they happened.
func sortAcks(y *Tally) {
	slices.SortStableFunc(y.Acks, func(a, b Ack) int { return a.Acked.Compare(b.Acked) })
}
