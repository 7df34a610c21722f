package tower

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/etcd"
)

// Config is one tower's own file. Everything that all towers must agree on stands
// in the estate; here is only what a tower needs before it can read the estate.
type Config struct {
	Name    string          `yaml:"name"`    // as in the estate's towers
	Site    estate.SiteID   `yaml:"site"`    // where it stands
	Data    string          `yaml:"data"`    // directory of its own; etcd and the spool live there
	Cluster map[string]Seat `yaml:"cluster"` // all voters by name, itself included; the same on every tower
	Listen  Listen          `yaml:"listen"`
	TLS     Files           `yaml:"tls"`
	Etcd    Etcd            `yaml:"etcd"`
}

// Seat is where one voter is reached.
type Seat struct {
	Site estate.SiteID `yaml:"site"`
	Peer string        `yaml:"peer"` // host:port of its peer and API listener
	Etcd string        `yaml:"etcd"` // host:port of its etcd peer listener; unused with an external etcd
}

// Listen is where this tower listens.
type Listen struct {
	Peer       string `yaml:"peer"`        // mTLS: other towers, observers, people with a certificate
	Page       string `yaml:"page"`        // plain HTTP, reads only; loopback or behind a proxy; empty: no page
	EtcdClient string `yaml:"etcd_client"` // loopback, for etcdctl; empty: none
}

// Files are the paths of a certificate, its key, and the CA.
type Files struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

func (f Files) pki() pki.Files { return pki.Files{CA: f.CA, Cert: f.Cert, Key: f.Key} }

// Etcd says where state is kept: embedded, with its clock ticks, or in a cluster elsewhere.
type Etcd struct {
	Heartbeat time.Duration `yaml:"heartbeat"` // default 100ms
	Election  time.Duration `yaml:"election"`  // default 1s; at least five heartbeats
	Endpoints []string      `yaml:"endpoints"` // set: an external cluster, nothing is embedded
}

// ReadConfig reads and checks a tower's file. The error lists every problem at once.
func ReadConfig(path string) (Config, error) {
	var c Config
	if err := readYAML(path, &c); err != nil {
		return Config{}, err
	}
	if c.Etcd.Heartbeat == 0 {
		c.Etcd.Heartbeat = etcd.Default.Heartbeat
	}
	if c.Etcd.Election == 0 {
		c.Etcd.Election = 10 * c.Etcd.Heartbeat
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("%s:\n%w", path, err)
	}
	return c, nil
}

// Validate names every field that cannot work, as the file spells it, and why.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{field}, args...)...))
	}
	if c.Name == "" {
		bad("name", "is required; it is the tower's name in the estate")
	}
	if c.Site == "" {
		bad("site", "is required; a tower's vote counts for its site")
	}
	if c.Data == "" {
		bad("data", "is required; votes and the journal are kept there")
	}
	for field, value := range map[string]string{"tls.ca": c.TLS.CA, "tls.cert": c.TLS.Cert, "tls.key": c.TLS.Key} {
		if value == "" {
			bad(field, "is required; issue one with haechi pki issue tower %s", c.Name)
		}
	}
	if _, _, err := net.SplitHostPort(c.Listen.Peer); err != nil {
		bad("listen.peer", "%q is not host:port", c.Listen.Peer)
	}
	own, ok := c.Cluster[c.Name]
	if !ok {
		bad("cluster", "does not list this tower itself (%q)", c.Name)
	} else if own.Site != c.Site {
		bad("cluster", "says that %s stands in %q, site says %q", c.Name, own.Site, c.Site)
	}
	if len(c.Etcd.Endpoints) == 0 && c.Etcd.Election < 5*c.Etcd.Heartbeat {
		bad("etcd.election", "%v is shorter than five heartbeats (%v), so one late packet would unseat a leader", c.Etcd.Election, c.Etcd.Heartbeat)
	}
	return errors.Join(errs...)
}

// ObserverConfig is the file of an observer: eyes on a user network, no vote.
type ObserverConfig struct {
	Name   string            `yaml:"name"`   // as in the estate's observers
	Towers map[string]string `yaml:"towers"` // name to host:port; it tells all, and learns the targets from any
	TLS    Files             `yaml:"tls"`
}

// ReadObserverConfig reads and checks an observer's file.
func ReadObserverConfig(path string) (ObserverConfig, error) {
	var c ObserverConfig
	if err := readYAML(path, &c); err != nil {
		return c, err
	}
	if c.Name == "" || len(c.Towers) == 0 || c.TLS.CA == "" || c.TLS.Cert == "" || c.TLS.Key == "" {
		return c, fmt.Errorf("%s: name, towers, tls.ca, tls.cert and tls.key are all required", path)
	}
	return c, nil
}

func readYAML(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
