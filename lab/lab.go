package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/haechi/haechi/lab/wan"
)

// DefaultDir is where a lab lives unless told otherwise: a disk, since
// databases that are asked to be durable want one.
const DefaultDir = "/var/tmp/haechi-lab"

// Options say what to raise. The zero value is the lab of make demo.
type Options struct {
	Dir      string // absolute; default [DefaultDir]
	Name     string // first part of the namespaces' names, default "haechi"; labs of two names can be up at once
	Bin      string // directory of haechi, haechi-agent and haechi-lab; default: beside this program, else ./bin
	Profile  string // "default" or "fast": how quick haechi is to believe
	Seed     uint64 // of the network's loss and jitter
	Only     []Role // raise only these; nil means all. The network is always there
	Fresh    bool   // the estate says reads: fresh, so a member in an isolated site stops answering
	Alone    bool   // the estate says alone: allow, so a primary may go on without its followers
	Disarmed bool   // apply the estate and adopt the store, but do not arm
	Bulk     int    // megabytes that talk's database holds besides messages, see [BulkTable]
	// Others are directories of programs of another release, by place and program: "pangyo/haechi" is that
	// site's tower, "pangyo/haechi-agent" its agent. See scripts/build-at, and [Lab.Use].
	Others   map[string]string
	Progress func(line string)
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		o.Dir = DefaultDir
	}
	if o.Name == "" {
		o.Name = "haechi"
	}
	if o.Profile == "" {
		o.Profile = "default"
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Bin == "" {
		o.Bin = binDir()
	}
	var errs []error
	if !filepath.IsAbs(o.Dir) || filepath.Clean(o.Dir) != o.Dir || filepath.Dir(o.Dir) == "/" {
		errs = append(errs, fmt.Errorf("dir: %q is not a clean absolute path at least two levels deep", o.Dir))
	}
	if len(o.Dir) > 60 {
		errs = append(errs, fmt.Errorf("dir: %q is longer than 60 characters, too long for the sockets below it", o.Dir))
	}
	if !regexp.MustCompile(`^[a-z][a-z0-9-]{0,20}$`).MatchString(o.Name) {
		errs = append(errs, fmt.Errorf("name: %q: use up to 21 small letters, digits and dashes", o.Name))
	}
	if o.Bulk < 0 {
		errs = append(errs, fmt.Errorf("bulk: %d MB are less than none", o.Bulk))
	}
	for _, r := range o.Only {
		if !slices.Contains(append(Roles(), RoleObserver), r) {
			errs = append(errs, fmt.Errorf("only: %q is none of %v", r, append(Roles(), RoleObserver)))
		}
	}
	if o.Profile != "default" && o.Profile != "fast" {
		errs = append(errs, fmt.Errorf("profile: %q is neither default nor fast", o.Profile))
	}
	return o, errors.Join(errs...)
}

// binDir finds haechi's programs: beside this one, or in bin below the working
// directory or one of its parents (tests run in their package's directory).
func binDir() string {
	if exe, err := os.Executable(); err == nil {
		if _, err := os.Stat(filepath.Join(filepath.Dir(exe), "haechi-agent")); err == nil {
			return filepath.Dir(exe)
		}
	}
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "bin", "haechi-lab")); err == nil {
			return filepath.Join(dir, "bin")
		}
	}
	return "bin"
}

func (o Options) wants(r Role) bool { return o.Only == nil || slices.Contains(o.Only, r) }

// Lab is three sites and their users. Its methods may be called from several
// goroutines; faults are done one at a time.
type Lab struct {
	o        Options
	lock     *os.File
	fires    fires
	sessions sessions

	mu     sync.Mutex // guards what follows, and lets one fault happen at a time
	undo   []func(context.Context) error
	burned map[Place]time.Time
	done   []Proof                    // by Act
	links  map[wan.Direction]wan.Link // as they are without faults
}

// New checks options. It touches nothing.
func New(o Options) (*Lab, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	return &Lab{o: o, burned: map[Place]time.Time{}}, nil
}

// Dir is where the lab keeps everything.
func (l *Lab) Dir() string { return l.o.Dir }

// Profile is the profile that haechi runs with.
func (l *Lab) Profile() string { return l.o.Profile }

func (l *Lab) say(format string, args ...any) { l.o.Progress(fmt.Sprintf(format, args...)) }

// Up raises the lab: it removes what an earlier one left behind, makes the
// network, starts every server, and then does what an operator would: applies
// the estate, adopts the store, and arms. What was raised is removed again if
// it fails, except logs.
func (l *Lab) Up(ctx context.Context) (err error) {
	if err := Missing(l.o.Only); err != nil {
		return err
	}
	if err := l.take(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Down(context.WithoutCancel(ctx)))
		}
	}()
	begun := time.Now()
	if err := l.sweep(ctx); err != nil {
		return fmt.Errorf("lab: remove what an earlier lab left behind: %w", err)
	}
	for _, step := range l.story() {
		if step.role != "" && !l.o.wants(step.role) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("lab: %s: %w", step.what, context.Cause(ctx))
		}
		at := time.Now()
		if err := l.watched(ctx, step.what, step.do); err != nil {
			return fmt.Errorf("lab: %s: %w (logs are in %s)", step.what, err, l.path("log"))
		}
		l.say("%s (%s)", step.what, time.Since(at).Round(time.Millisecond))
	}
	if _, err := l.WAN().Status(ctx, true); err != nil { // lateness counts from here
		return err
	}
	l.say("the lab is up after %s in %s", time.Since(begun).Round(10*time.Millisecond), l.o.Dir)
	return nil
}

// step is one part of raising the lab; it is left out where its role is not wanted.
type step struct {
	role Role
	what string
	do   func(context.Context) error
}

func (l *Lab) story() []step {
	return []step{
		{"", "network: four places and the lines between them", l.raiseNetwork},
		{"", "certificates and secrets", l.makeSecrets},
		{RolePostgres, "databases: one primary, two followers", l.raisePostgres},
		{RoleNamed, "name servers", l.raiseNamed},
		{RoleAgent, "agents", l.raiseAgents},
		{RoleTower, "towers", l.raiseTowers},
		{RoleObserver, "observers among users", l.raiseObservers},
		{RoleGateway, "talk's gateways", l.raiseGateways},
		{RoleTower, "estate, adoption, arming", l.operate},
	}
}

// watched says every so often that a step still goes on.
func (l *Lab) watched(ctx context.Context, what string, do func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	begun := time.Now()
	tick := time.NewTicker(1500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			l.say("... %s, %s so far", what, time.Since(begun).Round(time.Second))
		}
	}
}

// Down removes everything that the lab made, except logs and what makes the
// next Up quick.
func (l *Lab) Down(ctx context.Context) error {
	l.mu.Lock()
	l.undo = nil
	l.mu.Unlock()
	if l.lock == nil {
		if err := l.take(); err != nil {
			return err
		}
	}
	err := l.sweep(ctx)
	return errors.Join(err, l.release())
}
