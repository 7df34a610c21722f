package dns

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// Secrets reads a secret from where the estate says that it stands.
type Secrets func(ctx context.Context, s estate.Secret) ([]byte, error)

// maxSecret is more than any key is long.
const maxSecret = 64 << 10

// ReadSecret is the Secrets of a tower: it reads the file, or runs the command
// (without a shell) and takes what that prints.
func ReadSecret(ctx context.Context, s estate.Secret) ([]byte, error) {
	if s.File != "" {
		f, err := os.Open(s.File)
		if err != nil {
			return nil, fmt.Errorf("secret: %w", err)
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, maxSecret))
	}
	if len(s.Command) == 0 {
		return nil, errors.New("secret: the estate says neither file nor command")
	}
	out, err := exec.CommandContext(ctx, s.Command[0], s.Command[1:]...).Output()
	if err != nil {
		return nil, fmt.Errorf("secret: run %s: %w", s.Command[0], err)
	}
	return out, nil
}

// tsigSecret is the secret as the library wants it: base64 without anything around it.
func tsigSecret(raw []byte, from estate.Secret) (string, error) {
	text := string(bytes.TrimSpace(raw))
	if _, err := base64.StdEncoding.DecodeString(text); err != nil || text == "" {
		where := from.File
		if where == "" {
			where = strings.Join(from.Command, " ")
		}
		return "", fmt.Errorf("secret: what %s holds is not base64; it must hold the key's secret alone, as tsig-keygen prints it between the quotes", where)
	}
	return text, nil
}
