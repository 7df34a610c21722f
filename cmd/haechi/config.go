package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"

	"github.com/haechi/haechi/pki"
)

// clientConfig is a person's file: where the towers are, and who the person is.
type clientConfig struct {
	Towers []string `yaml:"towers"` // host:port of their peer listeners
	TLS    struct {
		CA   string `yaml:"ca"`
		Cert string `yaml:"cert"`
		Key  string `yaml:"key"`
	} `yaml:"tls"` // paths; relative ones start at the file's directory
}

// readClientConfig finds and reads the file.
func readClientConfig(flag string) (clientConfig, error) {
	path, err := configPath(flag)
	if err != nil {
		return clientConfig{}, err
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return clientConfig{}, &misused{fmt.Errorf(`%s does not exist: it says where the towers are and who you are; write it, or name another with --config or HAECHI_CONFIG:

towers: [10.0.1.11:9443, 10.0.2.11:9443, 10.0.3.11:9443]
tls: {ca: ca.pem, cert: cert.pem, key: key.pem}   # from haechi pki issue person NAME`, path)}
	}
	if err != nil {
		return clientConfig{}, &misused{fmt.Errorf("read the client's file: %w", err)}
	}
	var c clientConfig
	if err := yaml.UnmarshalWithOptions(raw, &c, yaml.Strict()); err != nil {
		return clientConfig{}, &misused{fmt.Errorf("%s: %w", path, err)}
	}
	if err := c.validate(); err != nil {
		return clientConfig{}, &misused{fmt.Errorf("%s: %w", path, err)}
	}
	for _, p := range []*string{&c.TLS.CA, &c.TLS.Cert, &c.TLS.Key} {
		if !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(path), *p)
		}
	}
	return c, nil
}

func configPath(flag string) (string, error) {
	if path := cmp.Or(flag, os.Getenv("HAECHI_CONFIG")); path != "" {
		return path, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", &misused{fmt.Errorf("find the client's file: %w; name one with --config", err)}
	}
	return filepath.Join(dir, "haechi", "config.yaml"), nil
}

func (c clientConfig) validate() error {
	var errs []error
	if len(c.Towers) == 0 {
		errs = append(errs, errors.New("towers: is required; list all of them, so that one can be lost"))
	}
	for field, value := range map[string]string{"tls.ca": c.TLS.CA, "tls.cert": c.TLS.Cert, "tls.key": c.TLS.Key} {
		if value == "" {
			errs = append(errs, fmt.Errorf("%s: is required; issue one with haechi pki issue person NAME", field))
		}
	}
	return errors.Join(errs...)
}

func (c clientConfig) files() pki.Files {
	return pki.Files{CA: c.TLS.CA, Cert: c.TLS.Cert, Key: c.TLS.Key}
}
