// Package trial does one trial: clients send messages, something breaks, service
// comes back, and everything that was acknowledged is looked for. It measures
// haechi and what haechi is compared with by the same clock and the same judge.
package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/talk"
)

// Trial is one trial in a lab that is up. The zero value of a field marked so
// takes the default.
type Trial struct {
	Lab     *lab.Lab
	System  System
	Site    lab.Place // that the fault is about; its name server is asked first
	Gone    bool      // the fault leaves nothing of the site: nothing there is asked
	Clients int       // default 200
	Rate    float64   // messages a second; default 500
	Seed    uint64
	Acks    io.Writer // hears one line for each acknowledgement, at the end; may be nil

	Warm     time.Duration // how long messages must have flowed before the fault; default 3 s
	Phase    time.Duration // how much longer to wait: where in its rounds the system is hit
	Patience time.Duration // how long service may stay away; default 90 s
	Settle   time.Duration // how long clients go on after all are served; default 2 s

	Least int // clients go on until so many messages are acknowledged

	// Fault breaks something, or orders a move, and says when it happened.
	Fault func(context.Context) (lab.Proof, error)
	// After happens once all are served again, while the clients go on; nil: nothing. What it brings back of
	// a site that was gone is asked and judged like the others.
	After func(context.Context) error
	// Tally gets what the clients saw, at the end; may be nil.
	Tally func(talk.Tally)
	// Watch hears everything that the load reports, while it happens; may be nil.
	Watch func(talk.Event)
	// Say hears what the trial does, for people; may be nil.
	Say func(line string)
}

func (t Trial) withDefaults() Trial {
	fill := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	fill(&t.Warm, 3*time.Second)
	fill(&t.Patience, 90*time.Second)
	fill(&t.Settle, 2*time.Second)
	if t.Clients == 0 {
		t.Clients = 200
	}
	if t.Rate == 0 {
		t.Rate = 500
	}
	if t.Say == nil {
		t.Say = func(string) {}
	}
	return t
}

// mark is the name under which the load reports life after the fault.
const mark = "fault"

// Run does the trial. What is wrong with the service is no error but a figure;
// an error means that nothing was measured.
func (t Trial) Run(ctx context.Context) (Figures, error) {
	t = t.withDefaults()
	dir := filepath.Join(t.Lab.Dir(), "trial")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Figures{}, fmt.Errorf("trial: %w", err)
	}
	stopDisk, err := watchDisk(ctx, dir)
	if err != nil {
		return Figures{}, fmt.Errorf("trial: %w", err)
	}
	f := Figures{System: t.System.Name(), Site: t.Site, Seed: t.Seed, Writable: Never}
	err = t.shoot(ctx, dir, &f)
	worst, diskErr := stopDisk()
	if f.DiskStall = Seconds(worst.Seconds()); worst >= diskSlow {
		f.Trouble = append(f.Trouble, fmt.Sprintf("the machine's own disk took %.2f s for one page", worst.Seconds()))
	}
	if err = errors.Join(err, diskErr); err != nil {
		return Figures{}, fmt.Errorf("trial: %w", err)
	}
	return f, t.weigh(ctx, filepath.Join(dir, "load.log"), &f)
}

// shoot has the load run around the fault, from its first message to its last.
func (t *Trial) shoot(ctx context.Context, dir string, f *Figures) error {
	log, acks := filepath.Join(dir, "load.log"), filepath.Join(dir, "acks")
	events := newFeed(t.Watch)
	load, err := t.startLoad(log, acks, events)
	if err != nil {
		return err
	}
	defer load.Kill() //nolint:errcheck // it has ended, or nothing more can be done about it
	if err := t.hurt(ctx, load, events, f); err != nil {
		return err
	}
	if err := t.end(ctx, load); err != nil {
		return fmt.Errorf("end of the load: %w", err)
	}
	if t.Acks == nil {
		return nil
	}
	if err := copyTo(t.Acks, acks); err != nil { // what was measured is worth more
		f.Trouble = append(f.Trouble, fmt.Sprintf("the acknowledgements are not all kept: %v", err))
	}
	return nil
}

// startLoad starts the clients, among users, as a process of their own.
func (t Trial) startLoad(log, acks string, to io.Writer) (*lab.Running, error) {
	order := append([]lab.Place{t.Site}, slices.DeleteFunc(lab.Sites(), func(p lab.Place) bool { return p == t.Site })...)
	var servers []string
	for _, p := range order {
		servers = append(servers, p.NameServer())
	}
	return t.Lab.StartJob(lab.Job{
		Place: lab.Users, Log: "users-load", Out: to, Idle: true,
		Args: []string{
			t.Lab.Program("haechi-lab"), "load", "-dns", strings.Join(servers, ","), "-bind", lab.ClientAddr(),
			"-clients", fmt.Sprint(t.Clients), "-rate", fmt.Sprint(t.Rate), "-seed", fmt.Sprint(t.Seed), "-log", log, "-acks", acks,
		},
	})
}

// hurt waits until messages flow, does the fault, and waits until all clients
// are served again.
func (t *Trial) hurt(ctx context.Context, load *lab.Running, events *feed, f *Figures) error {
	flows := func(all []talk.Event) bool { return steady(all, int(t.Warm/slice), t.Rate) }
	if !events.await(ctx, t.Warm+30*time.Second, load.Done(), flows) {
		all, _ := events.seen()
		return errors.Join(ctx.Err(), fmt.Errorf("messages do not flow: %v acknowledged in the last tenths of a second, %v a second are wanted; see the logs in %s",
			rates(all, 10), t.Rate, filepath.Join(t.Lab.Dir(), "log")))
	}
	t.Say(fmt.Sprintf("%d clients, %.0f messages/s flow", t.Clients, t.Rate))
	if err := pause(ctx, t.Phase); err != nil {
		return err
	}
	proof, err := t.Fault(ctx)
	if err != nil {
		return fmt.Errorf("fault: %w", err)
	}
	f.At, f.Fault = proof.At, proof.What
	if err := load.Say(fmt.Sprintf("mark %s %d", mark, proof.At.UnixNano())); err != nil {
		return fmt.Errorf("the load has ended: %w", err)
	}
	if !events.await(ctx, t.Patience, load.Done(), happened("all-served-after", mark)) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.Trouble = append(f.Trouble, fmt.Sprintf("not all clients were served within %v", t.Patience))
	}
	if err := pause(ctx, t.Settle); err != nil {
		return err
	}
	if t.After != nil {
		if err := t.After(ctx); err != nil {
			f.Trouble = append(f.Trouble, err.Error())
		} else {
			t.Gone = false
		}
	}
	if !events.await(ctx, time.Minute, load.Done(), func(all []talk.Event) bool { return total(all) >= t.Least }) {
		f.Trouble = append(f.Trouble, fmt.Sprintf("fewer than %d messages were acknowledged", t.Least))
	}
	return ctx.Err()
}

// end stops the clients and waits for what they still have under way.
func (t Trial) end(ctx context.Context, load *lab.Running) error {
	if err := load.Say("stop"); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case <-load.Done():
		return load.Wait()
	case <-within.Done():
		return fmt.Errorf("it does not end: %w", within.Err())
	}
}

// weigh holds what was acknowledged against what is there.
func (t Trial) weigh(ctx context.Context, log string, f *Figures) error {
	file, err := os.Open(log)
	if err != nil {
		return fmt.Errorf("trial: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	y, err := talk.ReadLog(file)
	if err != nil {
		return fmt.Errorf("trial: %w", err)
	}
	f.measure(y)
	if t.Tally != nil {
		t.Tally(y)
	}
	alive := t.alive()
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	account, err := t.System.Account(within, f.At, alive)
	if err != nil {
		f.Trouble = append(f.Trouble, err.Error())
	}
	f.tell(account)
	return t.judge(ctx, y, alive, f)
}

// alive are the sites that can be asked.
func (t Trial) alive() []lab.Place {
	return slices.DeleteFunc(lab.Sites(), func(p lab.Place) bool { return t.Gone && p == t.Site })
}

// pause waits for a while, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func copyTo(to io.Writer, path string) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // only read
	_, err = io.Copy(to, from)
	return err
}
