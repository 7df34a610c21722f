package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/haechi/haechi/core/audit"
)

// Audit has haechi say what would be lost in this lab, by the command that everybody has. It needs no
// lab that is up. took is what that cost, the start of the program included.
func (l *Lab) Audit(ctx context.Context) (r audit.Report, took time.Duration, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(l.o.Bin, "haechi"), "audit", "--output", "json", "/dev/stdin")
	cmd.Stdin = strings.NewReader(l.estateYAML())
	begun := time.Now()
	out, err := cmd.Output()
	took = time.Since(begun)
	if no, ok := errors.AsType[*exec.ExitError](err); ok && no.ExitCode() != 1 { // 1: something is critical, and it is in the report
		return r, took, fmt.Errorf("haechi audit: %w: %s", err, strings.TrimSpace(string(no.Stderr)))
	} else if err != nil && !ok {
		return r, took, fmt.Errorf("haechi audit: %w: make build", err)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return r, took, fmt.Errorf("haechi audit printed no report: %w", err)
	}
	return r, took, nil
}
