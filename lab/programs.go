package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// programs are those of haechi's own that the wanted roles need.
func (l *Lab) programs() []string {
	out := []string{"haechi-lab"}
	if l.o.wants(RoleTower) || l.o.wants(RoleObserver) {
		out = append(out, "haechi")
	}
	if l.o.wants(RoleAgent) {
		out = append(out, "haechi-agent")
	}
	return out
}

// program is one of haechi's own, copied to where every user may run it.
func (l *Lab) program(name string) string { return l.path("bin", name) }

// programIn is the one that a place runs, which may be of another release.
func (l *Lab) programIn(p Place, name string) string {
	if other := l.path("bin", string(p), name); fileExists(other) {
		return other
	}
	return l.program(name)
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Use has a place run another build of a program from its next start on: of a directory of programs, or, where that
// is empty, the lab's own again.
func (l *Lab) Use(ctx context.Context, p Place, name, dir string) error {
	to := l.path("bin", string(p), name)
	if dir == "" {
		return os.RemoveAll(to)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return l.copyProgram(ctx, filepath.Join(dir, name), to)
}

// copyProgram replaces a program that may be running.
func (l *Lab) copyProgram(ctx context.Context, from, to string) error {
	if !fileExists(from) {
		return fmt.Errorf("%s is not built: make build, or scripts/build-at", from)
	}
	if err := l.run(ctx, "cp", "--reflink=auto", "--remove-destination", from, to); err != nil {
		return err
	}
	return os.Chmod(to, 0o755)
}

// copyPrograms makes the lab independent of the working tree, which other users
// may not be able to read and which may be built anew while the lab is up.
func (l *Lab) copyPrograms(ctx context.Context) error {
	if err := os.MkdirAll(l.path("bin"), 0o755); err != nil {
		return err
	}
	for _, p := range sites { // of an earlier lab
		if err := os.RemoveAll(l.path("bin", string(p))); err != nil {
			return err
		}
	}
	for _, name := range l.programs() {
		if err := l.copyProgram(ctx, filepath.Join(l.o.Bin, name), l.program(name)); err != nil {
			return err
		}
	}
	for at, dir := range l.o.Others {
		place, name, ok := strings.Cut(at, "/")
		if !ok || !slices.Contains(sites, Place(place)) {
			return fmt.Errorf("%q is no place and program, as pangyo/haechi or pangyo/haechi-agent", at)
		}
		if err := l.Use(ctx, Place(place), name, dir); err != nil {
			return err
		}
	}
	return nil
}
