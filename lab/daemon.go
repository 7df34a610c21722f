package lab

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

//go:embed page.html
var ownPage []byte

// Daemon keeps a lab up after the command that raised it has ended, and lets
// other commands and a browser speak to it.
type Daemon struct {
	lab   *Lab
	ports bool
	end   context.CancelCauseFunc

	mu    sync.Mutex // guards what follows
	lines []string   // progress so far
	ready bool       // Up has ended
	wrong string     // how it failed
	more  chan struct{}
}

// SocketFile is where the daemon of a lab of this name listens.
func (o Options) SocketFile() string {
	if o.Name == "" {
		o.Name = "haechi"
	}
	return "/run/" + o.Name + "-lab.sock"
}

var errAsked = errors.New("asked to end")

// Serve raises a lab, keeps it until it is asked to end or ctx ends, and takes it
// down. With ports it opens the machine's loopback ports too.
func Serve(ctx context.Context, o Options, ports bool) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	d := &Daemon{ports: ports, end: end, more: make(chan struct{})}
	print := o.Progress
	o.Progress = func(line string) {
		d.add(line)
		if print != nil {
			print(line)
		}
	}
	l, err := New(o)
	if err != nil {
		return err
	}
	d.lab = l
	if err := Free(l.o); err != nil {
		return err
	}
	socket, err := listenUnix(l.o.SocketFile())
	if err != nil {
		return err
	}
	var all errgroup.Group
	all.Go(func() error { return serve(ctx, socket, d.control()) })
	all.Go(func() error { return d.keep(ctx) })
	return errors.Join(all.Wait(), os.RemoveAll(l.o.SocketFile()))
}

func listenUnix(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("lab: %w", err)
	}
	on, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	return on, os.Chmod(path, 0o600)
}

// door is one of the lab's ports for browsers.
type door struct {
	port  int
	serve func(context.Context, net.Listener) error
}

func (d *Daemon) doors() []door {
	out := []door{
		{OwnPort, func(ctx context.Context, on net.Listener) error { return serve(ctx, on, d.page()) }},
		{PagePort, d.lab.ServePage},
		{TalkPort, func(ctx context.Context, on net.Listener) error { return d.lab.ServeTalk(ctx, on, sites...) }},
	}
	for _, p := range sites {
		out = append(out, door{p.TalkPort(), func(ctx context.Context, on net.Listener) error { return d.lab.ServeTalk(ctx, on, p) }})
	}
	return out
}

// keep is the lab's life.
func (d *Daemon) keep(ctx context.Context) (err error) {
	defer d.end(errAsked)
	var doors []door
	if d.ports {
		doors = d.doors()
	}
	on, err := open(doors)
	if err == nil {
		err = d.lab.Up(ctx)
	}
	d.done(err)
	if err != nil {
		for _, o := range on {
			_ = o.Close()
		}
		return err
	}
	var all errgroup.Group
	for i, o := range on {
		all.Go(func() error { return doors[i].serve(ctx, o) })
	}
	<-ctx.Done()
	return errors.Join(all.Wait(), d.lab.Down(context.WithoutCancel(ctx)))
}

// open claims the ports before anything is raised, so that a port in use is known at once.
func open(doors []door) (out []net.Listener, err error) {
	for _, door := range doors {
		o, err := listen(door.port)
		if err != nil {
			for _, o := range out {
				_ = o.Close()
			}
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

func (d *Daemon) add(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
	d.wakeLocked()
}

func (d *Daemon) done(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ready = true
	if err != nil {
		d.wrong = err.Error()
	}
	d.wakeLocked()
}

func (d *Daemon) wakeLocked() {
	close(d.more)
	d.more = make(chan struct{})
}

// Progress is one line of what a daemon says while it raises the lab.
type Progress struct {
	Line  string `json:"line,omitempty"`
	Ready bool   `json:"ready,omitempty"` // the last one: the lab is up, or Error says why not
	Error string `json:"error,omitempty"`
}

// since returns the lines from n on; more tells when to ask again.
func (d *Daemon) since(n int) (out []Progress, more <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, line := range d.lines[n:] {
		out = append(out, Progress{Line: line})
	}
	if d.ready {
		out = append(out, Progress{Ready: true, Error: d.wrong})
	}
	return out, d.more
}

func (d *Daemon) isReady() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ready
}

// control is the API on the socket, for root only.
func (d *Daemon) control() http.Handler {
	mux := http.NewServeMux()
	d.shared(mux)
	mux.HandleFunc("GET /progress", d.progress)
	mux.HandleFunc("POST /down", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, struct{}{}, nil)
		d.end(errAsked)
	})
	return mux
}

func (d *Daemon) progress(w http.ResponseWriter, r *http.Request) {
	out := json.NewEncoder(w)
	for n := 0; ; {
		lines, more := d.since(n)
		for _, line := range lines {
			if out.Encode(line) != nil || line.Ready {
				return
			}
			n++
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

// shared is what the socket and the page have in common.
func (d *Daemon) shared(mux *http.ServeMux) {
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		if !d.isReady() {
			answer(w, nil, errors.New("the lab is not up yet"))
			return
		}
		s, err := d.lab.Status(r.Context())
		answer(w, s, err)
	})
	mux.HandleFunc("POST /act", func(w http.ResponseWriter, r *http.Request) {
		var words []string
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&words); err != nil || len(words) == 0 {
			answer(w, nil, errors.New(`act: send a JSON list of words, for example ["fire", "pangyo"]`))
			return
		}
		if !d.isReady() {
			answer(w, nil, errors.New("the lab is not up yet"))
			return
		}
		// A fault that has begun is brought to its end, also when the caller leaves.
		p, err := d.lab.Act(context.WithoutCancel(r.Context()), words[0], words[1:]...)
		if err == nil {
			d.lab.say("%s", p)
		}
		answer(w, p, err)
	})
}

// page is for browsers on this machine. A page of another origin cannot press
// its buttons: it would need a header that browsers do not let it send, and our name.
func (d *Daemon) page() http.Handler {
	mux := http.NewServeMux()
	d.shared(mux)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(ownPage) // the reader is gone: nothing to tell it
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Host)
		if !slices.Contains([]string{"127.0.0.1", "localhost"}, host) {
			http.Error(w, "this page is reached as 127.0.0.1 or localhost only", http.StatusForbidden)
			return
		}
		if r.Method != http.MethodGet && r.Header.Get("X-Haechi-Lab") == "" {
			http.Error(w, "the header X-Haechi-Lab is missing", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'")
		mux.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the caller is gone: nothing to tell it
}
