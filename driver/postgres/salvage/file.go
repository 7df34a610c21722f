package salvage

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// Format and Version are what a file says of itself.
const (
	Format  = "haechi-salvage"
	Version = 1
)

// maxLine bounds a line: PostgreSQL makes no row of more than a gigabyte, and its text no longer one.
const maxLine = 1<<31 - 1

// Header is the file's first line.
type Header struct {
	Format   string    `json:"format"`
	Version  int       `json:"version"`
	ID       string    `json:"id"`
	Store    string    `json:"store"`
	Member   string    `json:"member"`
	System   string    `json:"system"`           // identifier of the database cluster
	Reign    uint64    `json:"reign,omitempty"`  // the epoch under which the member was primary; 0: it never was
	Timeline uint64    `json:"timeline"`         // that it was on
	Fork     string    `json:"fork"`             // where the primary's timeline left that one
	End      string    `json:"end"`              // how far the member went
	Oldest   uint64    `json:"oldest,omitempty"` // transactions below had ended at the fork; 0: not known
	Next     uint64    `json:"next,omitempty"`   // transactions from here on began after it, on either side
	At       time.Time `json:"at"`
}

// Footer is its last line.
type Footer struct {
	Rows    int            `json:"rows"`
	Tables  map[string]int `json:"tables,omitempty"`  // rows by table
	Told    int            `json:"told,omitempty"`    // rows of which a client may have been told that they are saved
	Unknown []string       `json:"unknown,omitempty"` // what could not be found out, in words
	Sum     string         `json:"sum"`               // sha256 of all the lines before, in hex
}

// ErrEdited means that the file is not as it was written.
var ErrEdited = errors.New("it was edited, or damaged, since it was written: nobody can say what it should hold; fetch a copy from another holder")

// line is what one line of the file holds: one of these.
type line struct {
	Header *Header `json:"header,omitempty"`
	Row    *Row    `json:"row,omitempty"`
	Footer *Footer `json:"footer,omitempty"`
}

// Writer writes a file.
type Writer struct {
	enc  *json.Encoder
	sum  hash.Hash
	foot Footer
}

// NewWriter begins a file.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	h.Format, h.Version = Format, Version
	if err := h.check(); err != nil {
		return nil, err
	}
	sum := sha256.New()
	out := &Writer{enc: json.NewEncoder(io.MultiWriter(w, sum)), sum: sum, foot: Footer{Tables: map[string]int{}}}
	out.enc.SetEscapeHTML(false)
	return out, out.put(line{Header: &h})
}

// Add numbers a row and writes it.
func (w *Writer) Add(r Row) error {
	r.N = w.foot.Rows + 1
	if err := r.check(r.N); err != nil {
		return err
	}
	if err := w.put(line{Row: &r}); err != nil {
		return err
	}
	w.foot.Rows++
	w.foot.Tables[r.Name()]++
	if r.Told != Never {
		w.foot.Told++
	}
	return nil
}

// Close writes the end and returns it.
func (w *Writer) Close(unknown []string) (Footer, error) {
	w.foot.Unknown = unknown
	w.foot.Sum = hex.EncodeToString(w.Sum())
	return w.foot, w.put(line{Footer: &w.foot})
}

// Sum is the sha256 of all that was written so far.
func (w *Writer) Sum() []byte { return w.sum.Sum(nil) }

func (w *Writer) put(l line) error {
	if err := w.enc.Encode(l); err != nil {
		return fmt.Errorf("salvage: write: %w", err)
	}
	return nil
}

// Reader reads a file and holds it to its format.
type Reader struct {
	Header Header
	foot   *Footer
	in     *bufio.Reader
	raw    []byte // the line last read
	sum    hash.Hash
	rows   int
	told   int
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	out := &Reader{in: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	l, _, err := out.next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("salvage: the file is empty")
	case err != nil:
		return nil, fmt.Errorf("salvage: this is no salvage: %w", err)
	case l.Header == nil:
		return nil, errors.New("salvage: the file does not begin with a header")
	}
	out.Header = *l.Header
	return out, out.Header.check()
}

func (h Header) check() error {
	switch {
	case h.Format != Format:
		return fmt.Errorf("salvage: format %q; this reads %q", h.Format, Format)
	case h.Version > Version:
		return fmt.Errorf("salvage: it has version %d, and this release knows up to %d: use the release that wrote it, or a newer one", h.Version, Version)
	case h.Version < 1:
		return fmt.Errorf("salvage: version %d is none", h.Version)
	case h.ID == "" || h.Store == "" || h.Member == "" || h.System == "":
		return errors.New("salvage: the header does not say of which store, member and cluster it is")
	}
	return nil
}

// Next returns the next row, and [io.EOF] once the end was reached and the whole file found to be
// as it was written. What it returned before holds only then.
func (r *Reader) Next() (Row, error) {
	if r.foot != nil {
		return Row{}, io.EOF
	}
	before := r.sum.Sum(nil)
	l, raw, err := r.next()
	switch {
	case errors.Is(err, io.EOF):
		return Row{}, fmt.Errorf("salvage: it ends after row %d without its last line: it was cut off", r.rows)
	case err != nil:
		return Row{}, fmt.Errorf("salvage: line %d cannot be read (%w): %w", r.rows+2, err, ErrEdited)
	case l.Footer != nil:
		return Row{}, r.end(*l.Footer, hex.EncodeToString(before))
	case l.Row == nil:
		return Row{}, fmt.Errorf("salvage: line %d is no row: %.60q: %w", r.rows+2, raw, ErrEdited)
	}
	if err := l.Row.check(r.rows + 1); err != nil {
		return Row{}, fmt.Errorf("salvage: %w: %w", err, ErrEdited)
	}
	r.rows++
	if l.Row.Told != Never {
		r.told++
	}
	return *l.Row, nil
}

// end checks the last line against what was read.
func (r *Reader) end(f Footer, sum string) error {
	switch {
	case f.Sum != sum:
		return fmt.Errorf("salvage: its lines do not add up: %w", ErrEdited)
	case f.Rows != r.rows || f.Told != r.told:
		return fmt.Errorf("salvage: it says that it holds %d rows, and holds %d: %w", f.Rows, r.rows, ErrEdited)
	}
	if _, err := r.in.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("salvage: something stands behind its last line: %w", ErrEdited)
	}
	r.foot = &f
	return io.EOF
}

// Footer is the last line; the zero value before it was reached.
func (r *Reader) Footer() Footer {
	if r.foot == nil {
		return Footer{}
	}
	return *r.foot
}

// next reads one line.
func (r *Reader) next() (line, []byte, error) {
	raw := r.raw[:0]
	for {
		part, err := r.in.ReadSlice('\n')
		if len(raw)+len(part) > cap(raw) {
			// Twice as much, and nothing touched before it is needed: some lines have hundreds of megabytes.
			raw = append(make([]byte, 0, 2*(len(raw)+len(part))), raw...)
		}
		raw = append(raw, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) && len(raw) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return line{}, raw, err
		}
		if len(raw) > maxLine {
			return line{}, raw, fmt.Errorf("a line of more than %d bytes", maxLine)
		}
	}
	r.raw = raw
	r.sum.Write(raw)
	var l line
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return line{}, raw, err
	}
	return l, raw, nil
}
