package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower"
	"github.com/haechi/haechi/tower/web"
)

// expiresSoon is how long before its end a certificate is reported.
const expiresSoon = 21 * 24 * time.Hour

// examineFile looks at a tower's, an agent's or an observer's own file and at what
// it names on this host. local is false if it is none of these.
func examineFile(path string) (all []web.Finding, local bool) {
	read := reader(path)
	if read == nil {
		return nil, false
	}
	certs, dirs, err := read(path)
	if err != nil {
		return []web.Finding{{Subject: path, Level: web.Bad, Text: err.Error(), Do: "mend the file; the program does not start with it"}}, true
	}
	all = append(all, web.Finding{Subject: path, Level: web.Fine, Text: "is complete"}, examineCert(certs), examineKey(certs.Key))
	for _, dir := range dirs {
		all = append(all, examineDir(dir))
	}
	return all, true
}

// reader says how to read the file, by the one key that only its kind has.
func reader(path string) func(string) (pki.Files, []string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var keys map[string]any
	if yaml.Unmarshal(raw, &keys) != nil {
		return nil
	}
	has := func(key string) bool { _, ok := keys[key]; return ok }
	switch {
	case has("cluster"):
		return readTower
	case has("units"):
		return readAgent
	case has("name") && has("towers"):
		return readObserver
	}
	return nil
}

func readTower(path string) (pki.Files, []string, error) {
	c, err := tower.ReadConfig(path)
	return pki.Files(c.TLS), []string{c.Data}, err
}

func readAgent(path string) (pki.Files, []string, error) {
	c, err := agent.LoadConfig(path)
	return pki.Files(c.TLS), []string{filepath.Dir(c.State)}, err
}

func readObserver(path string) (pki.Files, []string, error) {
	c, err := tower.ReadObserverConfig(path)
	return pki.Files(c.TLS), nil, err
}

func examineCert(f pki.Files) web.Finding {
	who, err := pki.WhoIs(f)
	if err != nil {
		return web.Finding{Subject: f.Cert, Level: web.Bad, Text: err.Error(), Do: "haechi pki issue"}
	}
	end, err := pki.Expiry(f)
	if err != nil {
		return web.Finding{Subject: f.Cert, Level: web.Bad, Text: err.Error(), Do: "haechi pki issue"}
	}
	out := web.Finding{Subject: f.Cert, Level: web.Fine, Text: fmt.Sprintf("%s until %s", who, end.Local().Format(time.DateOnly))}
	switch left := time.Until(end); {
	case left <= 0:
		out.Level, out.Text, out.Do = web.Bad, fmt.Sprintf("%s has expired on %s: nobody talks to it", who, end.Local().Format(time.DateOnly)), "haechi pki renew"
	case left < expiresSoon:
		out.Level, out.Do = web.Warn, "haechi pki renew"
	}
	return out
}

// examineKey looks whether others can read a key.
func examineKey(path string) web.Finding {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return web.Finding{Subject: path, Level: web.Bad, Text: err.Error(), Do: "haechi pki issue"}
	case info.Mode().Perm()&0o077 != 0:
		return web.Finding{Subject: path, Level: web.Bad, Text: fmt.Sprintf("others can read this key (mode %04o)", info.Mode().Perm()), Do: "chmod 600 " + path}
	}
	return web.Finding{Subject: path, Level: web.Fine, Text: "only its owner reads it"}
}

// examineDir looks whether a directory is there; what is in it belongs to the program.
func examineDir(path string) web.Finding {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrInvalid}
	}
	if err != nil {
		return web.Finding{Subject: path, Level: web.Bad, Text: err.Error(), Do: "make it, and give it to the user that the program runs as"}
	}
	return web.Finding{Subject: path, Level: web.Fine, Text: "is there"}
}
