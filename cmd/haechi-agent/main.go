// Command haechi-agent acts on one host: it takes orders from towers over mTLS,
// from a closed list, for the units that its file declares. It has no shell.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/driver/units"
	"github.com/haechi/haechi/pki"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "haechi-agent:", err)
		os.Exit(1)
	}
}

// run reads the file, opens the units, and answers until ctx ends.
func run(ctx context.Context, args []string, logTo io.Writer) error {
	flags := flag.NewFlagSet("haechi-agent", flag.ContinueOnError)
	flags.SetOutput(logTo)
	path := flags.String("config", "/etc/haechi/agent.yaml", "the agent's `file`")
	check := flags.Bool("check", false, "read the file, say what is wrong with it, and end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	beSmall()
	conf, err := agent.LoadConfig(*path)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(logTo, nil)).With("agent", conf.Name)
	declared, err := units.Open(conf, log)
	if err != nil {
		return err
	}
	if err := ownCertificate(conf); err != nil || *check {
		return err
	}
	srv, err := agent.NewServer(conf.State, conf.Hold, declared, log)
	if err != nil {
		return err
	}
	tlsConf, err := pki.ServerTLS(conf.TLS.PKI(), pki.Only(pki.Tower))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", conf.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w; is another agent running on this host?", err)
	}
	log.Info("listening", "address", l.Addr().String(), "units", len(declared))
	return srv.Serve(ctx, l, tlsConf)
}

// ownCertificate looks whose certificate the file names: with another one no tower
// would speak to this agent. An expired one is let through, since it may be renewed meanwhile.
func ownCertificate(conf agent.Config) error {
	want := pki.Identity{Kind: pki.Agent, Name: conf.Name}
	have, err := pki.WhoIs(conf.TLS.PKI())
	if err != nil {
		return fmt.Errorf("%w; issue one with haechi pki issue agent %s", err, conf.Name)
	}
	if have.Kind != want.Kind || have.Name != want.Name {
		return fmt.Errorf("tls.cert: %s is the certificate of %s, this is %s: no tower would believe it; issue one with haechi pki issue agent %s",
			conf.TLS.Cert, have, want, conf.Name)
	}
	return nil
}

// beSmall trades a little processor time for memory, unless the environment says otherwise: an agent is a
// guest on its host. The limit is far above what it takes in peace, since close to it Go would spend the
// processor on staying below it.
func beSmall() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(30)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(64 << 20)
	}
}
