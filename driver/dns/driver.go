package dns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
)

// The facts that steps leave.
const (
	FactDone      = "done"      // servers that answer as wanted, by host, comma between
	FactUnreached = "unreached" // servers that did not answer; they are brought level when they return
	FactAnswers   = "answers"   // what the name answers from now on
)

// Config is what a driver works with.
type Config struct {
	Secrets Secrets
	// Agents reaches the agent of a name server's host; level needs it to open the server.
	Agents func(host estate.HostID, address string) (agent.Caller, error)
	// Timeout is of one try at one server, Tries how many there are over UDP before one
	// over TCP. They stand in the path of a failover: 300 ms and 2 when left away.
	Timeout time.Duration
	Tries   int
}

// Driver is the tower's side. It may be used by many goroutines at once.
type Driver struct{ conf Config }

var _ driver.Driver = (*Driver)(nil)

// New returns a driver.
func New(c Config) *Driver {
	if c.Secrets == nil {
		c.Secrets = ReadSecret
	}
	if c.Timeout <= 0 {
		c.Timeout = 300 * time.Millisecond
	}
	if c.Tries <= 0 {
		c.Tries = 2
	}
	return &Driver{conf: c}
}

// Look asks every server of the step, and changes nothing.
func (d *Driver) Look(ctx context.Context, t driver.Task) (driver.Result, error) {
	switch t.Step.Verb {
	case plan.Withdraw:
		return d.each(ctx, t, d.lookAway)
	case plan.Announce:
		return d.each(ctx, t, d.lookBack)
	case plan.Level:
		return d.lookLevel(ctx, t)
	}
	return unknownVerb(t)
}

// Do brings the step about. Servers that do not answer are left to a later level step;
// it is Done when all that answer, and at least one, have it.
func (d *Driver) Do(ctx context.Context, t driver.Task) (driver.Result, error) {
	switch t.Step.Verb {
	case plan.Withdraw:
		return d.each(ctx, t, d.withdraw)
	case plan.Announce:
		return d.announceAll(ctx, t)
	case plan.Level:
		return d.level(ctx, t)
	}
	return unknownVerb(t)
}

// announceAll looks once more at all that took the change: a level step beside this one writes what the others
// answered a moment ago.
func (d *Driver) announceAll(ctx context.Context, t driver.Task) (driver.Result, error) {
	out, err := d.each(ctx, t, d.announce)
	if err != nil || out.Outcome != run.Done {
		return out, err
	}
	t.Step.Members, t.Step.Args = strings.Split(out.Facts[FactDone], ","), nil
	if again, err := d.each(ctx, t, d.lookBack); err != nil || again.Outcome != run.Done {
		return again, err
	}
	return out, nil
}

// Undo takes back a withdrawal by an announcement and the other way round. A server
// that was brought level stays so.
func (d *Driver) Undo(ctx context.Context, t driver.Task) (driver.Result, error) {
	switch t.Step.Verb {
	case plan.Withdraw:
		return d.each(ctx, t, d.announce)
	case plan.Announce:
		return d.each(ctx, t, d.withdraw)
	case plan.Level:
		return driver.Result{Outcome: run.Done, Note: "nothing to undo: the server stays level"}, nil
	}
	return unknownVerb(t)
}

func unknownVerb(t driver.Task) (driver.Result, error) {
	return driver.Result{Outcome: run.NotDone}, fmt.Errorf("dns: the verb %q is not one of withdraw, announce, level", t.Step.Verb)
}

// target is one name at one server.
type target struct {
	*server
	id   estate.NameID
	name estate.Name
	site estate.SiteID
}

func (t target) ttl() uint32 { return uint32(t.name.TTL / time.Second) }

// act is what is done to one server: it returns whether the server is as wanted, and
// what it answers.
type act func(ctx context.Context, t target) (bool, answers, error)

// each does the act at all servers of the step at once.
func (d *Driver) each(ctx context.Context, t driver.Task, do act) (driver.Result, error) {
	id := estate.NameID(t.Step.Component)
	n, ok := t.Estate.Names[id]
	if !ok {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("dns: the estate has no name %q", id)
	}
	if len(t.Step.Members) == 0 {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("dns: %s: the step names no server", id)
	}
	secret, err := d.secret(ctx, id, n)
	if err != nil {
		return driver.Result{Outcome: run.NotDone}, err
	}
	members := t.Step.Members
	if also := t.Step.Args[plan.ArgAlso]; also != "" {
		members = slices.Concat(members, strings.Split(also, ","))
	}
	reports := make([]report, len(members))
	var all sync.WaitGroup
	for i, host := range members {
		all.Go(func() {
			at := target{server: d.server(t.Estate, estate.HostID(host), n, secret), id: id, name: n, site: t.Step.Site}
			ok, now, err := do(ctx, at)
			reports[i] = report{host: host, ok: ok, now: now, err: err}
			reports[i].closed = ok && at.refusesUsers(ctx, string(id))
		})
	}
	all.Wait()
	// Nobody waits for those that the step does not need; a level step brings them back.
	reports = slices.DeleteFunc(reports, func(r report) bool { return errors.Is(r.err, ErrSilent) && !slices.Contains(t.Step.Members, r.host) })
	return sum(t, reports)
}

func (d *Driver) secret(ctx context.Context, id estate.NameID, n estate.Name) (string, error) {
	raw, err := d.conf.Secrets(ctx, n.Key.Secret)
	if err != nil {
		return "", fmt.Errorf("dns: %s: key %s: %w", id, n.Key.Name, err)
	}
	s, err := tsigSecret(raw, n.Key.Secret)
	if err != nil {
		return "", fmt.Errorf("dns: %s: key %s: %w", id, n.Key.Name, err)
	}
	return s, nil
}

func (d *Driver) server(e estate.Estate, host estate.HostID, n estate.Name, secret string) *server {
	return &server{
		host: host, address: e.Hosts[host].Address, zone: n.Zone,
		key: strings.ToLower(n.Key.Name), secret: secret,
		timeout: d.conf.Timeout, tries: d.conf.Tries,
	}
}

// report is what came of one server.
type report struct {
	host string
	ok   bool
	now  answers
	err  error
	// closed: it is as wanted, and refuses who asks without the key. That is a level step's to mend,
	// so it is said and holds nothing up.
	closed bool
}

// sum turns the servers' reports into one result.
func sum(t driver.Task, reports []report) (driver.Result, error) {
	var done, silent, not, closed []string
	var refused, mute []error
	var now answers
	for _, r := range reports {
		if r.closed {
			closed = append(closed, r.host)
		}
		switch {
		case r.ok:
			done, now = append(done, r.host), r.now
		case errors.Is(r.err, ErrSilent):
			silent, mute = append(silent, r.host), append(mute, r.err)
		case r.err != nil:
			refused = append(refused, r.err)
		default:
			not = append(not, r.host)
		}
	}
	out := driver.Result{Facts: run.Facts{FactDone: list(done), FactUnreached: list(silent)}}
	if len(done) > 0 {
		out.Facts[FactAnswers] = now.String()
	}
	switch {
	case len(refused) > 0:
		out.Outcome = run.NotDone
		return out, fmt.Errorf("dns: %s: %w", t.Step.Component, errors.Join(refused...))
	case len(not) > 0:
		out.Outcome = run.NotDone
		out.Note = fmt.Sprintf("%s: not as wanted at %s", t.Step.Component, list(not))
		return out, nil
	case len(done) == 0:
		out.Outcome = run.Unknown
		return out, fmt.Errorf("dns: %s: no name server answers: %w", t.Step.Component, errors.Join(mute...))
	}
	out.Outcome = run.Done
	out.Note = fmt.Sprintf("%s answers %s at %s", t.Step.Component, now, list(done))
	if len(silent) > 0 {
		out.Note += "; no answer from " + list(silent)
	}
	if len(closed) > 0 {
		out.Note += "; users are refused at " + list(closed)
	}
	return out, nil
}

func list(hosts []string) string {
	return strings.Join(slices.Sorted(slices.Values(hosts)), ",")
}
