package main

import (
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/driver/units"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower"
	"github.com/haechi/haechi/tower/web"
)

// examineFile looks at a tower's, an agent's or an observer's own file and at what
// it names on this host. local is false if it is none of these.
func examineFile(path string) (all []web.Finding, local bool) {
	read := reader(path)
	if read == nil {
		return nil, false
	}
	h, err := read(path)
	if err != nil {
		return []web.Finding{{Subject: path, Level: web.Bad, Text: err.Error(), Do: "mend the file; the program does not start with it"}}, true
	}
	all = append(all, web.Finding{Subject: path, Level: web.Fine, Text: "is complete"}, examineCert(h.certs), examineKey(h.certs.Key))
	for _, dir := range h.dirs {
		all = append(all, examineDir(dir))
	}
	for _, name := range slices.Sorted(maps.Keys(h.units)) {
		found, dirs := examineUnit(name, h.units[name], h.state)
		all, h.dirs = append(all, found...), append(h.dirs, dirs...)
	}
	return append(all, examineOwners(h.certs.Key, h.dirs)...), true
}

// host is what a program's file names on its host.
type host struct {
	certs pki.Files
	dirs  []string // that belong to the user that the program runs as
	units map[string]agent.Settings
	state string // of an agent
}

// reader says how to read the file, by the one key that only its kind has.
func reader(path string) func(string) (host, error) {
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

func readTower(path string) (host, error) {
	c, err := tower.ReadConfig(path)
	return host{certs: pki.Files(c.TLS), dirs: []string{c.Data}}, err
}

func readAgent(path string) (host, error) {
	c, err := agent.LoadConfig(path)
	return host{certs: c.TLS.PKI(), dirs: []string{filepath.Dir(c.State)}, units: c.Units, state: c.State}, err
}

func readObserver(path string) (host, error) {
	c, err := tower.ReadObserverConfig(path)
	return host{certs: pki.Files(c.TLS)}, err
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
	case left < pki.ExpiresSoon:
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

// examineUnit opens a unit as the agent does, and looks whether what it needs is on this host.
func examineUnit(name string, s agent.Settings, state string) (all []web.Finding, dirs []string) {
	subject := "unit " + name
	bad := func(do, text string) {
		all = append(all, web.Finding{Subject: subject, Level: web.Bad, Text: text, Do: do})
	}
	if _, err := units.One(s, state, slog.New(slog.DiscardHandler)); err != nil {
		bad("mend the unit in the agent's file; the agent does not start with it", err.Error())
		return all, nil
	}
	programs, dirs, err := units.Needs(s)
	if err != nil {
		bad("mend the unit in the agent's file", err.Error())
	}
	for _, p := range programs {
		if info, err := os.Stat(p); err != nil {
			bad("install it, or correct its path in the agent's file", err.Error())
		} else if info.IsDir() || info.Mode().Perm()&0o111 == 0 {
			bad("correct its path in the agent's file", p+" is not a program")
		}
	}
	for _, dir := range dirs {
		if f := examineDir(dir); f.Level != web.Fine {
			bad("correct its path in the agent's file, or make the database", f.Text)
		}
	}
	if len(all) == 0 {
		all = append(all, web.Finding{Subject: subject, Level: web.Fine, Text: s.Kind + ": opens, and what it needs is there"})
	}
	return all, dirs
}

// examineOwners looks whether the key and all directories belong to one user, the one that the
// program runs as: that is whose the first directory is. The superuser reads everything.
func examineOwners(key string, dirs []string) (all []web.Finding) {
	if len(dirs) == 0 {
		return nil
	}
	want, ok := owner(dirs[0])
	if !ok || want == 0 {
		return nil
	}
	for _, path := range append([]string{key}, dirs[1:]...) {
		if have, ok := owner(path); ok && have != want {
			all = append(all, web.Finding{Subject: path, Level: web.Bad, Text: fmt.Sprintf("belongs to %s, and %s to %s: one program cannot use both", login(have), dirs[0], login(want)),
				Do: fmt.Sprintf("give all to the user that the program runs as: chown %s %s", login(want), path)})
		}
	}
	return all
}

// owner is whose a file is; false if it is not there, which is told elsewhere.
func owner(path string) (uint32, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return st.Uid, true
}

func login(uid uint32) string {
	if u, err := user.LookupId(fmt.Sprint(uid)); err == nil {
		return u.Username
	}
	return fmt.Sprint(uid)
}
