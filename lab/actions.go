package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Action is one fault as a person calls it: a word and its arguments.
type Action struct {
	Name string
	Args string // "SITE ROLE", for help
	Help string
	do   func(ctx context.Context, l *Lab, a []string) (Proof, error)
}

// actions lists what people can do to a lab.
var actions = []Action{
	{"fire", "SITE", "cut its lines, then kill everything in it", onSite((*Lab).Fire)},
	{"rebuild", "SITE", "give a burned site its machines and lines back", onSite((*Lab).Rebuild)},
	{"kill", "SITE ROLE", "kill every process of a role", onRole((*Lab).KillProcess)},
	{"stop", "SITE ROLE", "stop every process of a role", onRole((*Lab).Stop)},
	{"continue", "SITE ROLE", "let stopped processes go on", onRole((*Lab).Continue)},
	{"start", "SITE ROLE", "start again what was killed", onRole((*Lab).StartProcess)},
	{"start-database", "SITE", "start a member by hand, without asking haechi", onSite((*Lab).StartDatabase)},
	{"cut", "SITE", "cut a site from both others; users still reach it", onSite((*Lab).CutSite)},
	{"cut-users", "SITE", "cut a site from users; the others still reach it", onSite((*Lab).CutUsers)},
	{"sever", "SITE", "cut every line of a site, to users as well; nothing in it dies", onSite((*Lab).Sever)},
	{"cut-link", "PLACE PLACE", "cut the line between two places", onPair((*Lab).CutLink)},
	{"cut-one-way", "FROM TO", "drop what goes from one place to another", onPair((*Lab).CutOneWay)},
	{"slow", "PLACE PLACE DELAY LOSS", "slow and lossy line, for example pangyo ansan 200ms 0.05", slow},
	{"line", "FROM TO SETTING...", "one direction alone: delay=200ms jitter=5ms loss=0.05 rate=10000000 (bits a second), what is named", line},
	{"blackout", "SITE TIME", "every line of a site dark for a while, for example 1.5s", blackout},
	{"disk-full", "SITE ROLE", "fill the disk of a tower", onRole((*Lab).DiskFull)},
	{"reader-lock", "SITE", "a reader's lock blocks replay on the follower there", onSite((*Lab).ReaderLock)},
	{"lie-flip", "SITE TABLE WHERE", "a bit of a row is turned on the follower there; only a comparison can tell", onRow(func(l *Lab, ctx context.Context, p Place, table, where string) (Proof, error) {
		return l.LieFlip(ctx, p, table, where, true)
	})},
	{"lie-broken", "SITE TABLE WHERE", "the same, and the page's checksum does not fit", onRow(func(l *Lab, ctx context.Context, p Place, table, where string) (Proof, error) {
		return l.LieFlip(ctx, p, table, where, false)
	})},
	{"lie-missing", "SITE TABLE WHERE", "a row is gone on the follower there", onRow((*Lab).LieMissing)},
	{"lie-sequence", "SITE SEQUENCE NUMBER", "a sequence says on the follower there that a number was handed out last", lieSequence},
	{"heal", "", "take back what can be taken back", func(ctx context.Context, l *Lab, _ []string) (Proof, error) { return l.Heal(ctx) }},
}

// Actions lists what people can do to a lab.
func Actions() []Action { return append([]Action(nil), actions...) }

// Act does what a person asked for, by its name.
func (l *Lab) Act(ctx context.Context, name string, args ...string) (Proof, error) {
	for _, a := range actions {
		if a.Name != name {
			continue
		}
		if want := len(strings.Fields(a.Args)); len(args) < want || len(args) > want && !strings.HasSuffix(a.Args, "...") {
			return Proof{}, fmt.Errorf("%s takes %d arguments (%s), got %d", name, want, a.Args, len(args))
		}
		p, err := a.do(ctx, l, args)
		if err == nil {
			l.mu.Lock()
			l.done = append(l.done, p)
			l.mu.Unlock()
		}
		return p, err
	}
	var known []string
	for _, a := range actions {
		known = append(known, a.Name)
	}
	return Proof{}, fmt.Errorf("%q is not a fault; the faults are %s", name, strings.Join(known, ", "))
}

func onSite(f func(*Lab, context.Context, Place) (Proof, error)) func(context.Context, *Lab, []string) (Proof, error) {
	return func(ctx context.Context, l *Lab, a []string) (Proof, error) {
		p := Place(a[0])
		if err := site(p); err != nil {
			return Proof{}, err
		}
		return f(l, ctx, p)
	}
}

func onRole(f func(*Lab, context.Context, Place, Role) (Proof, error)) func(context.Context, *Lab, []string) (Proof, error) {
	return func(ctx context.Context, l *Lab, a []string) (Proof, error) {
		return f(l, ctx, Place(a[0]), Role(a[1]))
	}
}

func onPair(f func(*Lab, context.Context, Place, Place) (Proof, error)) func(context.Context, *Lab, []string) (Proof, error) {
	return func(ctx context.Context, l *Lab, a []string) (Proof, error) {
		return f(l, ctx, Place(a[0]), Place(a[1]))
	}
}

func slow(ctx context.Context, l *Lab, a []string) (Proof, error) {
	delay, err := time.ParseDuration(a[2])
	if err != nil {
		return Proof{}, err
	}
	loss, err := strconv.ParseFloat(a[3], 64)
	if err != nil {
		return Proof{}, fmt.Errorf("loss: %q is not a number from 0 to 1", a[3])
	}
	return l.Slow(ctx, Place(a[0]), Place(a[1]), delay, loss)
}

func line(ctx context.Context, l *Lab, a []string) (Proof, error) {
	c, err := lineWords(a)
	if err != nil {
		return Proof{}, err
	}
	return l.Line(ctx, c)
}

func blackout(ctx context.Context, l *Lab, a []string) (Proof, error) {
	d, err := time.ParseDuration(a[1])
	if err != nil {
		return Proof{}, err
	}
	return l.Blackout(ctx, Place(a[0]), d)
}

func onRow(f func(l *Lab, ctx context.Context, p Place, table, where string) (Proof, error)) func(context.Context, *Lab, []string) (Proof, error) {
	return func(ctx context.Context, l *Lab, a []string) (Proof, error) {
		return f(l, ctx, Place(a[0]), a[1], a[2])
	}
}

func lieSequence(ctx context.Context, l *Lab, a []string) (Proof, error) {
	last, err := strconv.ParseInt(a[2], 10, 64)
	if err != nil {
		return Proof{}, fmt.Errorf("lie-sequence: %q is not a number", a[2])
	}
	return l.LieSequence(ctx, Place(a[0]), a[1], last)
}
