package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haechi/haechi/pki"
)

// File is one file of a unit, as the wire names it: GET and PUT /v1/files/UNIT/NAME. What a name
// stands for on the host's disk only the unit's settings say.
type File struct {
	Unit   string
	Name   string
	Bytes  int64
	SHA256 string // in hex
}

// maxFile bounds a deposited file, whatever room there is.
const maxFile = 64 << 30

// fileName is what a file may be called: no path, nothing hidden.
var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// What goes with a deposit.
const (
	headSHA256 = "Haechi-SHA256"
	headTerm   = "Haechi-Term"
)

// filesOf is the directory of a unit's files, for a tower that asks; it has answered where it returns false.
func (s *Server) filesOf(w http.ResponseWriter, r *http.Request) (dir string, ok bool) {
	who, err := pki.PeerIdentity(r.TLS)
	if err == nil {
		err = pki.Only(pki.Tower)(who)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return "", false
	}
	unit, keeps := s.units[r.PathValue("unit")].(KeepsFiles)
	if !keeps || !fileName.MatchString(r.PathValue("name")) {
		http.Error(w, "no unit of this name keeps a file of that name here", http.StatusNotFound)
		return "", false
	}
	return unit.Files(), true
}

// fetch sends a file.
func (s *Server) fetch(w http.ResponseWriter, r *http.Request) {
	dir, ok := s.filesOf(w, r)
	if !ok {
		return
	}
	f, err := os.Open(filepath.Join(dir, r.PathValue("name")))
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, fs.ErrNotExist) {
			status = http.StatusNotFound
		}
		http.Error(w, err.Error(), status)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		http.Error(w, "it is no file", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	control := http.NewResponseController(w)
	_, err = io.Copy(w, patiently{f, s.patience, control.SetWriteDeadline})
	if err != nil {
		s.log.Debug("file not sent", "name", r.PathValue("name"), "error", err)
	}
}

// patiently moves a deadline on with each piece, so that what moves at all may take its time and
// what stands still ends.
type patiently struct {
	r     io.Reader
	each  time.Duration
	until func(time.Time) error
}

// Read reads a piece.
func (p patiently) Read(b []byte) (int, error) {
	_ = p.until(time.Now().Add(p.each)) // a connection that knows no deadlines has its own limits
	return p.r.Read(b)
}

// deposit keeps a file that a tower sends.
func (s *Server) deposit(w http.ResponseWriter, r *http.Request) {
	dir, ok := s.filesOf(w, r)
	if !ok {
		return
	}
	unit, name := r.PathValue("unit"), r.PathValue("name")
	err := s.keep(dir, name, r, http.NewResponseController(w).SetReadDeadline)
	s.log.Info("deposit", "unit", unit, "file", name, "bytes", r.ContentLength, "error", err)
	s.write(w, s.answer(Order{Unit: unit}, nil, err))
}

// keep puts the body of a request on disk under a name, and returns when it would survive a loss of
// power. Nothing shows under the name before that, and what stands there is never replaced.
func (s *Server) keep(dir, name string, r *http.Request, until func(time.Time) error) error {
	term, _ := strconv.ParseUint(r.Header.Get(headTerm), 10, 64)
	_, epoch := s.state.seen(r.PathValue("unit"))
	if err := s.fresh(Order{Unit: r.PathValue("unit"), Term: term, Epoch: epoch}); err != nil {
		return err
	}
	want := r.Header.Get(headSHA256)
	if len(want) != 2*sha256.Size {
		return Refuse(BadOrder, "a deposit says what its sha256 is; this one says %q", want)
	}
	if r.ContentLength < 0 || r.ContentLength > maxFile {
		return Refuse(BadOrder, "a deposit says how long it is, up to %d bytes; this one says %d", int64(maxFile), r.ContentLength)
	}
	path := filepath.Join(dir, name)
	switch have, err := sumOf(path); {
	case err == nil && have == want:
		return nil
	case err == nil:
		return Refuse(Unsafe, "another file is kept as %s (sha256 %s): nothing that was salvaged is replaced", name, have)
	case !errors.Is(err, fs.ErrNotExist):
		return Refuse(Unsafe, "what is kept as %s cannot be read: %v", name, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Refuse(Unsafe, "the file cannot be kept: %v", err)
	}
	if free, err := roomIn(dir); err != nil || r.ContentLength > free/2 {
		return Refuse(Unsafe, "a file of %d bytes would take more than half of the %d that are free in %s (%v)", r.ContentLength, free, dir, err)
	}
	return receive(path, patiently{r.Body, s.patience, until}, r.ContentLength, want)
}

// unended is what receive calls a file that is not whole yet: see [os.CreateTemp].
var unended = regexp.MustCompile(`^\.[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.new-[0-9]+$`)

// sweep takes away what deposits left that ended with the agent before this one. It is called before the first order, so
// none is under way.
func sweep(dir string) error {
	all, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, f := range all {
		if f.Type().IsRegular() && unended.MatchString(f.Name()) {
			errs = append(errs, os.Remove(filepath.Join(dir, f.Name())))
		}
	}
	return errors.Join(errs...)
}

// receive writes what comes to disk and shows it under path only if it is what was announced.
func receive(path string, from io.Reader, size int64, want string) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".new-*")
	if err != nil {
		return fmt.Errorf("deposit: %w", err)
	}
	defer os.Remove(f.Name()) // gone by then, unless something failed
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(from, size+1))
	switch {
	case err != nil:
		return fmt.Errorf("deposit: it broke off after %d of %d bytes: %w", n, size, err)
	case n != size:
		return Refuse(BadOrder, "deposit: %d bytes were announced, %d came", size, n)
	case hex.EncodeToString(sum.Sum(nil)) != want:
		return Refuse(BadOrder, "deposit: what came has another sha256 than was announced")
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("deposit: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("deposit: %w", err)
	}
	return SyncDir(dir)
}

// sumOf is the sha256 of a file, in hex.
func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// roomIn is how many bytes the agent may still write in a directory's file system.
func roomIn(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}
