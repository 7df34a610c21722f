package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/haechi/haechi/agent"
)

// The facts of a name server's status.
const (
	FactLocked    = "locked"    // "true": it answers only queries signed with the key
	FactAnswering = "answering" // "true": the process answers its control channel
)

// Kind is what an agent's file calls such a unit.
const Kind = "named"

// Settings are a unit's, in the agent's file.
type Settings struct {
	Kind string `yaml:"kind"`
	// Answers is a file that haechi owns and the server's options include. It holds one
	// allow-query statement. The server's start has to lock it first, since a server that
	// comes back must not answer from an old zone; the package comment shows how.
	Answers string `yaml:"answers"`
	// Key is the TSIG key that may ask while the server is locked, with the final dot.
	Key string `yaml:"key"`
	// Rndc is the program that controls the server, with its fixed arguments; "reconfig"
	// or "status" is added.
	Rndc []string `yaml:"rndc"`
}

// Programs are those that the server's agent starts.
func (s Settings) Programs() []string { return s.Rndc[:min(1, len(s.Rndc))] }

var keyName = regexp.MustCompile(`^[A-Za-z0-9_.-]+\.$`)

// Validate says everything that is wrong at once.
func (s Settings) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{field}, args...)...))
	}
	if s.Kind != Kind {
		bad("kind", "%q is not %s", s.Kind, Kind)
	}
	if !filepath.IsAbs(s.Answers) {
		bad("answers", "%q is not an absolute path", s.Answers)
	}
	if !keyName.MatchString(s.Key) {
		bad("key", "%q is not the name of a key; write it with the final dot, for example haechi-key.", s.Key)
	}
	if len(s.Rndc) == 0 || !filepath.IsAbs(s.Rndc[0]) {
		bad("rndc", "has to be a list that begins with an absolute path, for example [/usr/sbin/rndc]")
	}
	return errors.Join(errs...)
}

// How long one look at the process serves all who ask without a run, where it answered and where it did not. Each starts
// a program, which costs more than all else that an agent does at rest, and several towers ask all the time. Whether the
// server answers users they see for themselves; what this proves is that a lock would be obeyed.
const (
	lookedWell = time.Minute
	looked     = 5 * time.Second
)

// Unit is the host's side: it locks and opens one BIND server.
type Unit struct {
	conf Settings

	mu     sync.Mutex // guards what follows; held for the length of a look
	at     time.Time  // of the last look; zero: it does not count any more
	answer error      // what it found
}

var _ agent.Unit = (*Unit)(nil)

// NewUnit returns the unit that the settings describe.
func NewUnit(s Settings) (*Unit, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return &Unit{conf: s}, nil
}

// Look answers status: locked or open, and whether the process answers.
func (u *Unit) Look(ctx context.Context, o agent.Order, _ *agent.Memory) (map[string]string, error) {
	if o.Verb != agent.Status {
		return nil, agent.Refuse(agent.UnknownVerb, "a name server has no %s", o.Verb)
	}
	return u.status(ctx, o.Run == "")
}

// Do locks (seal) or opens (unseal) the server. A server that is down is locked for its
// next start; it cannot be opened.
func (u *Unit) Do(ctx context.Context, o agent.Order, _ *agent.Memory) (map[string]string, error) {
	switch o.Verb {
	case agent.Seal:
		if err := u.apply(ctx, u.lockedText()); err != nil && !errors.Is(err, errDown) {
			return nil, err
		}
	case agent.Unseal:
		if _, err := u.rndc(ctx, "status"); errors.Is(err, errDown) {
			return nil, agent.Refuse(agent.Unsafe, "the name server is down; a server is opened only after it was brought level")
		}
		if err := u.apply(ctx, openText); err != nil {
			// Half open is locked: the next start must not find it open.
			return nil, errors.Join(err, write(u.conf.Answers, u.lockedText()))
		}
	default:
		return nil, agent.Refuse(agent.UnknownVerb, "a name server has no %s", o.Verb)
	}
	return u.status(ctx, false)
}

const openText = "allow-query { any; };\n"

func (u *Unit) lockedText() string {
	return fmt.Sprintf("allow-query { key \"%s\"; };\n", u.conf.Key)
}

// apply writes the statement and has the server read it.
func (u *Unit) apply(ctx context.Context, text string) error {
	if err := write(u.conf.Answers, text); err != nil {
		return fmt.Errorf("named: %w", err)
	}
	_, err := u.rndc(ctx, "reconfig")
	return err
}

// status says how the server stands. shared lets a look of a moment ago say whether it answers.
func (u *Unit) status(ctx context.Context, shared bool) (map[string]string, error) {
	text, err := os.ReadFile(u.conf.Answers)
	if err != nil {
		return nil, fmt.Errorf("named: %w; create it with the line: %s", err, strings.TrimSpace(u.lockedText()))
	}
	err = u.answers(ctx, shared)
	if err != nil && !errors.Is(err, errDown) {
		return nil, err
	}
	return map[string]string{
		FactLocked:    fmt.Sprint(string(text) != openText),
		FactAnswering: fmt.Sprint(err == nil),
	}, nil
}

// answers asks whether the process is there, unless a look of a moment ago will do.
func (u *Unit) answers(ctx context.Context, shared bool) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	serves := looked
	if u.answer == nil {
		serves = lookedWell
	}
	if shared && time.Since(u.at) < serves {
		return u.answer
	}
	if shared { // who has no more time is not the last to ask: what is ended now would be begun again at once
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), looked)
		defer cancel()
	}
	_, u.answer = u.rndc(ctx, "status")
	if u.at = time.Now(); ctx.Err() != nil {
		u.at = time.Time{} // it says nothing of the server that the asker had no time
	}
	return u.answer
}

// errDown means that no process listens on the control channel.
var errDown = errors.New("named: the server is down")

// rndc runs the fixed program; it ends with the context at the latest.
func (u *Unit) rndc(ctx context.Context, verb string) (string, error) {
	argv := append(append([]string(nil), u.conf.Rndc...), verb)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return string(out), nil
	case bytes.Contains(out, []byte("connection refused")):
		return "", errDown
	}
	return "", fmt.Errorf("named: %s: %w: %.300s", strings.Join(argv, " "), err, bytes.TrimSpace(out))
}

// write replaces a file so that a reader, or a loss of power, finds the old text or the
// new one and nothing between.
func write(path, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".answers-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // it is gone where all went well
	_, err = tmp.WriteString(text)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
