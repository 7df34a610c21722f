package postgres

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/haechi/haechi/agent"
)

// rewind takes back what the member wrote beyond the fork, by pg_rewind. why says why that does not do, and all has
// to be copied; then nothing was rewritten, or the member is remembered to be broken.
func (j *backJob) rewind(ctx context.Context) (why string, err error) {
	if err := j.stop(ctx); err != nil {
		return "", err
	}
	j.at("recovering")
	if why, err := j.endCleanly(ctx); why != "" || err != nil {
		return why, err
	}
	if err := j.s.checkpoint(ctx); err != nil {
		return "", err
	}
	up := j.order.Upstream
	r, err := startRelay(ctx, net.JoinHostPort(up.Host, up.Port), j.taken)
	if err != nil {
		return "", err
	}
	defer r.close()
	pass := j.u.set.Passfile + ".relay"
	line := passLine(agent.Upstream{Host: "127.0.0.1", Port: r.port()}, credential(j.u.secret, j.u.set.Store, up.Credential))
	if err := agent.Replace(pass, []byte(line), 0o600); err != nil {
		return "", err
	}
	defer agent.Remove(pass) //nolint:errcheck // it is a credential of one epoch, in a directory of the agent's own
	j.at("looking for the fork")
	if said, err := j.couldRewind(ctx, r, pass); err != nil {
		return j.notRewound(ctx, said, err)
	}
	if err := j.keepOwnOnce(); err != nil {
		return "", err
	}
	if err := j.remember(byRewind); err != nil {
		return "", err
	}
	// Were it started by hand from here on, it would be nobody's primary.
	if err := j.u.writeStandby(); err != nil {
		return "", err
	}
	j.at("rewinding")
	if said, err := j.pgRewind(ctx, r, pass, func() {}); err != nil {
		return j.notRewound(ctx, said, err)
	}
	if err := j.u.giveBackOwn(true); err != nil {
		return "", err
	}
	return "", j.becomeFollower(ctx)
}

// notRewound says what follows from a pg_rewind that failed: where the attempt is over, or the source cannot be
// reached, an error; else why all has to be copied.
func (j *backJob) notRewound(ctx context.Context, said string, err error) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if _, gone := j.s.holds(ctx); gone != nil {
		return "", gone
	}
	return fmt.Sprintf("pg_rewind does not do: %v: %s", err, said), nil
}

// endCleanly lets a primary that was killed replay its own log in single-user mode, which nobody can reach: pg_rewind
// wants a clean end. why says that it cannot.
func (j *backJob) endCleanly(ctx context.Context) (why string, err error) {
	c, err := j.u.control(ctx)
	if err != nil {
		return "", err
	}
	if s := c[controlState]; s == "shut down" || s == "shut down in recovery" {
		return "", nil
	}
	dir := j.u.set.Data
	if j.u.set.Config != "" {
		dir = j.u.set.Config
	}
	out, err := j.program(ctx, nil, nil, "postgres", "--single", "-D", dir, "-c", "synchronous_standby_names=", "-c", "archive_mode=off", "template1")
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		return fmt.Sprintf("it cannot replay its own log (%v: %s)", err, lastLine(out)), nil
	}
	return "", nil
}

// needToCopy finds in what pg_rewind says how much it has to do.
var needToCopy = regexp.MustCompile(`need to copy (\d+) MB`)

// errFound ends a pg_rewind of which no more was wanted than whether it would do.
var errFound = errors.New("it would do")

// couldRewind has pg_rewind look whether it would do. A dry run takes all from the source that it would copy, so it is
// ended when it has found that.
func (j *backJob) couldRewind(ctx context.Context, r *relay, pass string) (said string, err error) {
	enough, end := context.WithCancelCause(ctx)
	defer end(nil)
	said, err = j.pgRewind(enough, r, pass, func() { end(errFound) }, "--dry-run")
	if errors.Is(context.Cause(enough), errFound) && ctx.Err() == nil {
		return said, nil
	}
	return said, err
}

// pgRewind runs it against the relay; found is told when it knows what it has to copy, and said is the last that it said.
func (j *backJob) pgRewind(ctx context.Context, r *relay, pass string, found func(), more ...string) (said string, err error) {
	args := append([]string{"--target-pgdata", j.u.set.Data, "--no-ensure-shutdown", "--progress",
		"--source-server", fmt.Sprintf("host=127.0.0.1 port=%s user=%s dbname=%s sslmode=prefer application_name=haechi-rejoin", r.port(), ReplicationRole, sourceDatabase)}, more...)
	before := j.taken.bytes.Load()
	out, err := j.program(ctx, []string{"PGPASSFILE=" + pass, "PGCONNECT_TIMEOUT=5"}, func(line string) {
		if n := needToCopy.FindStringSubmatch(line); n != nil {
			mb, _ := strconv.ParseInt(n[1], 10, 64)
			j.of.Store(max(mb, 1) << 20)
			found()
		}
		j.seen.Store(min(j.taken.bytes.Load()-before, j.of.Load()))
	}, "pg_rewind", args...)
	return lastLine(out), err
}

// program runs one of PostgreSQL's programs and returns what it says. It ends with the attempt and with this
// process, and holds the attempt's lock until then. heard is told each line, or part of one, as it comes.
func (j *backJob) program(ctx context.Context, env []string, heard func(string), name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(j.u.set.Bin, name), args...)
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), env...)
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{j.lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	pipe, write, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer pipe.Close()
	cmd.Stdout, cmd.Stderr = write, write
	ended := make(chan error, 1)
	go func() {
		// The signal comes when the thread ends that started the program, so that thread waits for it. It also
		// gives up the rights that the agent has beyond its user's, and is not used again.
		runtime.LockOSThread()
		_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		err := cmd.Start()
		write.Close()
		if err == nil {
			err = cmd.Wait()
		}
		ended <- err
	}()
	out := listen(pipe, heard)
	if err := <-ended; err != nil {
		return out, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

// keptOutput is how much of what a program says is kept.
const keptOutput = 16 << 10

// listen reads what a program says to its end and returns the last of it.
func listen(r io.Reader, heard func(string)) string {
	var out bytes.Buffer
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	lines.Split(linesOrReturns)
	for lines.Scan() {
		if heard != nil {
			heard(lines.Text())
		}
		if out.Len() > keptOutput {
			rest := bytes.Clone(out.Bytes()[out.Len()/2:])
			out.Reset()
			out.Write(rest)
		}
		out.WriteString(lines.Text() + "\n")
	}
	_, _ = io.Copy(io.Discard, r)
	return out.String()
}

// linesOrReturns splits at line ends and at carriage returns, with which progress is overwritten.
func linesOrReturns(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// lastLine is the last thing that a program said, its errors first.
func lastLine(out string) string {
	last := ""
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if strings.Contains(line, "error:") || strings.Contains(line, "FATAL:") || strings.Contains(line, "PANIC:") {
			return line
		}
		last = line
	}
	return last
}
