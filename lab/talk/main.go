package talk

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// GatewayMain is the subcommand that runs a gateway: flags in args, log lines to
// errs. It serves until ctx ends.
func GatewayMain(ctx context.Context, args []string, errs io.Writer) error {
	f := flag.NewFlagSet("gateway", flag.ContinueOnError)
	f.SetOutput(errs)
	var c GatewayConfig
	f.StringVar(&c.Listen, "listen", ":8080", "`address` to serve HTTP on")
	f.StringVar(&c.DSN, "dsn", "", "PostgreSQL connection `string`, all hosts in it")
	f.StringVar(&c.Site, "site", "", "`name` of the site")
	f.StringVar((*string)(&c.Variant), "variant", "", "break the promise on `purpose`, for the judge's own test")
	migrate := f.Bool("migrate", false, "make the tables and end")
	if err := f.Parse(args); err != nil {
		return err
	}
	c.Log = slog.New(slog.NewTextHandler(errs, nil))
	if *migrate {
		return Migrate(ctx, c.DSN)
	}
	beFrugal()
	return RunGateway(ctx, c)
}

// LoadMain is the subcommand that runs a load: flags in args, one JSON [Event] a
// line to out. Lines on in steer it: "mark NAME [UNIX-NANOSECONDS]" reports the
// first life after that instant, "stop" ends the schedule, as does ctx.
func LoadMain(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) error {
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.SetOutput(errs)
	var c LoadConfig
	f.IntVar(&c.Clients, "clients", 200, "number of clients")
	f.Float64Var(&c.Rate, "rate", 500, "messages per second over all clients")
	f.DurationVar(&c.Duration, "duration", 0, "how long to send; 0 until stopped")
	f.DurationVar(&c.Grace, "grace", 10*time.Second, "how long to retry what is unfinished at the end")
	f.Uint64Var(&c.Seed, "seed", 1, "seed of schedule, ids and choices")
	f.StringVar(&c.Tag, "tag", "", "mixed into the ids, for a second load on the same database")
	f.IntVar(&c.Rooms, "rooms", 20, "number of rooms")
	f.IntVar(&c.Readers, "readers", 0, "clients that also listen; 0 for one in ten, -1 for none")
	servers := f.String("dns", "", "nameservers as `ip:53,…`, in the order in which they are asked")
	f.StringVar(&c.Name, "name", "talk.example.", "name of the service")
	f.IntVar(&c.Port, "port", 8080, "port of the gateways")
	f.StringVar(&c.Bind, "bind", "", "local `address` to use")
	acks := f.String("acks", "", "`file` for one line \"id room time\" for each acknowledgement")
	log := f.String("log", "", "`file` for the log that the judge reads")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *servers != "" {
		c.DNS = strings.Split(*servers, ",")
	}
	done, err := files(map[string]*io.Writer{*acks: &c.Acks, *log: &c.Log})
	if err != nil {
		return err
	}
	beFrugal()
	lines := json.NewEncoder(out)
	c.Report = func(e Event) { _ = lines.Encode(e) } // a reader that left does not end the load
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	marks := make(chan Mark)
	c.Marks = marks
	go steer(ctx, in, errs, marks, stop)
	_, err = RunLoad(ctx, c)
	return errors.Join(err, done())
}

// beFrugal spares the machine that the workload shares with what it is to test: it waits nearly all
// the time, and with more than one processor each event wakes a second thread that finds nothing to do.
func beFrugal() {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(400)
}

// files creates what has a name and returns how to close it all.
func files(named map[string]*io.Writer) (done func() error, err error) {
	var open []*os.File
	done = func() error {
		var errs []error
		for _, f := range open {
			errs = append(errs, f.Close())
		}
		return errors.Join(errs...)
	}
	for name, w := range named {
		if name == "" {
			continue
		}
		f, err := os.Create(name)
		if err != nil {
			return nil, errors.Join(err, done())
		}
		open, *w = append(open, f), f
	}
	return done, nil
}

// steer reads the orders on in until it or ctx ends.
func steer(ctx context.Context, in io.Reader, errs io.Writer, marks chan<- Mark, stop func()) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		now := time.Now()
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 0:
		case words[0] == "stop":
			stop()
		case words[0] == "mark" && (len(words) == 2 || len(words) == 3):
			m, err := parseMark(words, now)
			if err != nil {
				fmt.Fprintln(errs, err)
				continue
			}
			select {
			case marks <- m:
			case <-ctx.Done():
				return
			}
		default:
			fmt.Fprintf(errs, "talk: load: %q is neither \"mark NAME [UNIX-NANOSECONDS]\" nor \"stop\"\n", lines.Text())
		}
	}
}

func parseMark(words []string, now time.Time) (Mark, error) {
	m := Mark{Name: words[1], At: now}
	if len(words) == 3 {
		ns, err := strconv.ParseInt(words[2], 10, 64)
		if err != nil {
			return Mark{}, fmt.Errorf("talk: load: mark %s: %q is not a time in Unix nanoseconds", words[1], words[2])
		}
		m.At = time.Unix(0, ns)
	}
	return m, nil
}
