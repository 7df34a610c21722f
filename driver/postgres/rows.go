package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/driver/postgres/salvage"
)

const (
	// shownValue is how much of a value is shown; what is longer is told apart by its sha256.
	shownValue = 1 << 10
	// shownRows bounds an answer, in bytes. It is written as JSON within JSON, which takes seven for one of some,
	// and a tower reads 1 MB.
	shownRows = 128 << 10
)

// factRows is the answer to a look at rows, as JSON.
const factRows = "rows"

// Shown is one value as people see it. Two are equal if all of it is.
type Shown struct {
	Column string        `json:"column"`
	State  salvage.State `json:"state,omitempty"`
	Text   string        `json:"text,omitempty"`
	Bytes  int           `json:"bytes,omitempty"`  // how long it is, where not all of it is shown
	SHA256 string        `json:"sha256,omitempty"` // of all of it, then
}

// ShownRow is a row of a salvage as people see it, without values that are too long.
type ShownRow struct {
	salvage.Row         // without its values
	Old         []Shown `json:"old,omitempty"`
	New         []Shown `json:"new,omitempty"`
}

// ShownNow is what a primary has under a key.
type ShownNow struct {
	There     bool    `json:"there"`
	Values    []Shown `json:"values,omitempty"`
	Untouched bool    `json:"untouched,omitempty"` // nobody wrote it since the fork
	Error     string  `json:"error,omitempty"`     // why that cannot be said
}

func show(all []salvage.Value) []Shown {
	out := make([]Shown, 0, len(all))
	for _, v := range all {
		s := Shown{Column: v.Column, State: v.State, Text: v.String()}
		if len(s.Text) > shownValue {
			sum := sha256.Sum256([]byte(s.Text))
			s.Text, s.Bytes, s.SHA256 = s.Text[:shownValue], len(s.Text), hex.EncodeToString(sum[:])
		}
		s.Text = strings.ToValidUTF8(s.Text, "\ufffd")
		out = append(out, s)
	}
	return out
}

// salvageRows answers a look at the rows of a salvage that lies here, or at what stands under keys
// in this member's database.
func (u *Unit) salvageRows(ctx context.Context, o agent.Order) (map[string]string, error) {
	if o.Salvage == nil || !salvageID.MatchString(o.Salvage.ID) {
		return nil, agent.Refuse(agent.BadOrder, "digest: of which salvage?")
	}
	if o.Salvage.Standing {
		return u.standingRows(ctx, *o.Salvage)
	}
	var out any
	var err error
	if len(o.Salvage.Keys) > 0 {
		out, err = u.standing(ctx, *o.Salvage)
	} else {
		out, err = u.page(ctx, *o.Salvage)
	}
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("rows: %w", err)
	}
	return map[string]string{factRows: string(raw)}, nil
}

// open opens a salvage that lies here, and holds it to what the order says that it is.
func (u *Unit) open(s agent.Salvaging) (*os.File, *salvage.Reader, error) {
	f, err := os.Open(filepath.Join(u.Files(), salvageFile(s.ID)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, agent.Refuse(agent.BadOrder, "salvage %s does not lie here", s.ID)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("salvage %s: %w", s.ID, err)
	}
	r, err := u.checkFile(f, s)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, r, nil
}

// checkFile makes sure that a file is the salvage that the towers' record speaks of, whole and of this store.
func (u *Unit) checkFile(f *os.File, s agent.Salvaging) (*salvage.Reader, error) {
	sum := sha256.New()
	if n, err := io.Copy(sum, f); err != nil {
		return nil, fmt.Errorf("salvage %s: %w", s.ID, err)
	} else if n != s.Bytes || hex.EncodeToString(sum.Sum(nil)) != s.SHA256 {
		return nil, agent.Refuse(agent.Unsafe, "salvage %s: %v", s.ID, salvage.ErrEdited)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("salvage %s: %w", s.ID, err)
	}
	r, err := salvage.NewReader(f)
	if err != nil {
		return nil, agent.Refuse(agent.Unsafe, "salvage %s: %v", s.ID, err)
	}
	if h := r.Header; h.ID != s.ID || h.Store != u.set.Store {
		return nil, agent.Refuse(agent.Unsafe, "the file of salvage %s is salvage %s of store %s", s.ID, h.ID, h.Store)
	}
	return r, nil
}

// page returns rows from a number on, as many as go into an answer.
func (u *Unit) page(ctx context.Context, s agent.Salvaging) ([]ShownRow, error) {
	f, r, err := u.open(s)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := []ShownRow{}
	for size := 0; size < shownRows; {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, agent.Refuse(agent.Unsafe, "salvage %s: %v", s.ID, err)
		}
		if row.N < s.From {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			continue
		}
		shown := ShownRow{Row: row, Old: show(row.Old), New: show(row.New)}
		shown.Row.Old, shown.Row.New = nil, nil
		for _, side := range [][]Shown{shown.Old, shown.New} {
			for _, v := range side {
				size += len(v.Text) + len(v.Column) + 100
			}
		}
		size += 300
		out = append(out, shown)
	}
	return out, nil
}

// standing says what this member's database has under keys, in their order.
func (u *Unit) standing(ctx context.Context, s agent.Salvaging) ([]ShownNow, error) {
	out := make([]ShownNow, len(s.Keys))
	databases := map[string]*lookup{}
	defer func() {
		for _, l := range databases {
			l.close()
		}
	}()
	for i, k := range s.Keys {
		if databases[k.Database] == nil {
			databases[k.Database] = u.lookup(ctx, k.Database)
		}
		now, err := databases[k.Database].under(ctx, k, s.Next)
		if err != nil {
			out[i].Error = err.Error()
			continue
		}
		out[i] = ShownNow{There: now.There(), Values: show(now.Values), Untouched: now.Untouched}
	}
	return out, nil
}

// askRows gives an order that looks at rows and takes its answer apart.
func askRows[T any](ctx context.Context, s *step, member string, o agent.Order) ([]T, error) {
	a, err := s.call(ctx, member, o)
	if err != nil {
		return nil, err
	}
	var out []T
	if err := json.Unmarshal([]byte(a.Facts[factRows]), &out); err != nil {
		return nil, fmt.Errorf("member %s: its answer cannot be read: %w", member, err)
	}
	return out, nil
}
