package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Job is a process that somebody adds to the lab: a load, or a neighbour that is
// compared with haechi. It carries the lab's mark, so a fire in its place and the
// lab's end reach it.
type Job struct {
	Place Place
	User  string    // operating system user; empty: ourselves
	Dir   string    // working directory; empty: the lab's
	Log   string    // name of its log file, without ".log"
	Args  []string  // program and arguments
	Env   []string  // besides the lab's
	Out   io.Writer // its standard output; nil: the log
	Idle  bool      // it waits nearly all the time: its timers may be late
}

// Running is a job that was started.
type Running struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	done chan struct{}
	err  error // how it ended; to be read after done is closed
}

// StartJob starts a process in its place, in a session of its own.
func (l *Lab) StartJob(j Job) (*Running, error) {
	log, err := os.OpenFile(l.path("log", j.Log+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", j.Args[0], err)
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	cmd := exec.Command(j.Args[0], j.Args[1:]...)
	cmd.Dir, cmd.Env = j.Dir, append(l.environ(), j.Env...)
	if cmd.Dir == "" {
		cmd.Dir = l.o.Dir
	}
	if cmd.Stdout, cmd.Stderr = log, log; j.Out != nil {
		cmd.Stdout = j.Out
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if cmd.SysProcAttr.Credential, err = credential(j.User); err != nil {
		return nil, fmt.Errorf("start %s: %w", j.Args[0], err)
	}
	begin := cmd.Start
	if j.Idle {
		begin = func() error { return withSlack(idleSlack, cmd.Start) }
	}
	if err := l.In(j.Place, begin); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", j.Args[0], j.Place, err)
	}
	r := &Running{cmd: cmd, in: in, done: make(chan struct{})}
	go func() {
		r.err = cmd.Wait()
		close(r.done)
	}()
	return r, nil
}

// Say writes one line to the job's standard input.
func (r *Running) Say(line string) error {
	_, err := io.WriteString(r.in, line+"\n")
	return err
}

// Done is closed when the job has ended.
func (r *Running) Done() <-chan struct{} { return r.done }

// Wait returns how the job ended.
func (r *Running) Wait() error {
	<-r.done
	return r.err
}

// Kill ends the job at once, and waits until it is gone.
func (r *Running) Kill() error {
	err := unix.Kill(r.cmd.Process.Pid, unix.SIGKILL)
	<-r.done
	if errors.Is(err, unix.ESRCH) {
		err = nil
	}
	return err
}
