package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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

// copyPrograms makes the lab independent of the working tree, which other users
// may not be able to read and which may be built anew while the lab is up.
func (l *Lab) copyPrograms(ctx context.Context) error {
	if err := os.MkdirAll(l.path("bin"), 0o755); err != nil {
		return err
	}
	for _, name := range l.programs() {
		from := filepath.Join(l.o.Bin, name)
		if _, err := os.Stat(from); err != nil {
			return fmt.Errorf("%s is not built: make build", from)
		}
		if err := l.run(ctx, "cp", "--reflink=auto", from, l.program(name)); err != nil {
			return err
		}
		if err := os.Chmod(l.program(name), 0o755); err != nil {
			return err
		}
	}
	return nil
}
