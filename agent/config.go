package agent

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/haechi/haechi/pki"
)

// Config is an agent's file.
type Config struct {
	Name   string              `yaml:"name"`      // of the host, as the estate calls it
	Listen string              `yaml:"listen"`    // host:port
	TLS    Files               `yaml:"tls"`       //
	State  string              `yaml:"state"`     // path of the state file, outside every data directory
	Hold   string              `yaml:"hold_file"` // while it is there nothing is done
	Units  map[string]Settings `yaml:"units"`     // by the names that orders use
}

// Files are the certificate files, as the agent's file spells them.
type Files struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// PKI returns the files as package pki wants them.
func (f Files) PKI() pki.Files { return pki.Files{CA: f.CA, Cert: f.Cert, Key: f.Key} }

// Settings are one unit's, still to be read by the driver of its kind.
type Settings struct {
	Kind string
	raw  []byte
}

// UnmarshalYAML keeps the text for the driver.
func (s *Settings) UnmarshalYAML(raw []byte) error {
	var head struct {
		Kind string `yaml:"kind"`
	}
	if err := yaml.Unmarshal(raw, &head); err != nil {
		return err
	}
	s.Kind, s.raw = head.Kind, slices.Clone(raw)
	return nil
}

// Into reads the settings into v, which declares `kind` too; unknown keys are refused.
func (s Settings) Into(v any) error { return yaml.UnmarshalWithOptions(s.raw, v, yaml.Strict()) }

// LoadConfig reads and checks an agent's file.
func LoadConfig(path string) (Config, error) {
	var c Config
	raw, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("agent's file: %w", err)
	}
	if len(raw) > 1<<20 {
		return c, fmt.Errorf("agent's file: %s has %d bytes, more than 1 MB: this cannot be right", path, len(raw))
	}
	if err := yaml.UnmarshalWithOptions(raw, &c, yaml.Strict()); err != nil {
		return c, fmt.Errorf("agent's file: %s: %w", path, err)
	}
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("agent's file: %s: %w", path, err)
	}
	return c, nil
}

// Validate says everything that is wrong at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{field}, args...)...))
	}
	if c.Name == "" {
		bad("name", "is required: the host's name in the estate")
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen", "%q is not host:port", c.Listen)
	}
	paths := map[string]string{"tls.ca": c.TLS.CA, "tls.cert": c.TLS.Cert, "tls.key": c.TLS.Key, "state": c.State}
	if c.Hold != "" {
		paths["hold_file"] = c.Hold // a relative one would not be found, and nothing be held
	}
	for field, path := range paths {
		if path == "" {
			bad(field, "is required")
		} else if !filepath.IsAbs(path) {
			bad(field, "%q must be an absolute path, so that it does not depend on where the agent was started", path)
		}
	}
	if len(c.Units) == 0 {
		bad("units", "at least one is required, or there is nothing to do")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Units)) {
		if c.Units[name].Kind == "" {
			bad("units."+name+".kind", "is required")
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}
