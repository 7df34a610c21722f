package tower

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/etcd"
)

// A snapshot is a file of the towers' records: a line that says so and the version of the format, a line
// of JSON that says whose they are, etcd's own snapshot, and a line with the SHA-256 of all before it. A file that
// was cut off has no such line, so nothing has to be believed of it.
const (
	snapshotMark   = "haechi-snapshot "
	snapshotFormat = 1
	// sumLine is how long the last line is: a line's end, the sum in hex, a line's end.
	sumLine = 2*sha256.Size + 2
	// headMost bounds the line that says whose the records are.
	headMost = 1 << 20
)

// SnapshotHead says whose records a snapshot holds, and how far they went.
type SnapshotHead struct {
	Release int                       `json:"release"` // what its records are written for; see core/plan.Release
	Estate  string                    `json:"estate"`
	Version uint64                    `json:"version"` // of the estate
	Towers  []string                  `json:"towers"`
	CA      []string                  `json:"ca"`   // fingerprints of the cluster's certificate authority
	Line    uint64                    `json:"line"` // see tower/state.Line
	Term    uint64                    `json:"term"`
	Epochs  map[estate.StoreID]uint64 `json:"epochs"`
	Journal journal.Head              `json:"journal"`
	At      time.Time                 `json:"at"`
	By      string                    `json:"by"`
	Tower   string                    `json:"tower"` // whose member it was copied from
}

// String says in one line what the snapshot is.
func (h SnapshotHead) String() string {
	return fmt.Sprintf("the snapshot of %s that %s took at %s (estate version %d, term %d, journal entry %d)",
		h.Estate, h.By, h.At.UTC().Format(time.DateTime), h.Version, h.Term, h.Journal.Seq)
}

// Snapshot writes the towers' records to w as a file. What this tower's member had not heard of when it was
// asked is not in it; so the majority is asked first.
func (n *Node) Snapshot(ctx context.Context, by string, w io.Writer) error {
	if _, err := n.store.Drive(ctx); err != nil {
		return refusal(err)
	}
	ca, err := pki.Authorities(n.cfg.TLS.pki())
	if err != nil {
		return err
	}
	b := n.beliefs()
	h := SnapshotHead{Release: plan.Release, Estate: b.estate.Name, Version: b.snap.Estate.Version, CA: ca, Line: b.snap.Line.Number, Term: b.snap.Drive.Term,
		Epochs: map[estate.StoreID]uint64{}, Journal: b.snap.LastJournal.Head(), At: n.now(), By: by, Tower: n.cfg.Name}
	for name := range n.cfg.Cluster {
		h.Towers = append(h.Towers, name)
	}
	slices.Sort(h.Towers)
	for id, rec := range b.snap.Stores {
		h.Epochs[id] = max(rec.Next, rec.Epoch)
	}
	return writeSnapshot(w, h, func(w io.Writer) error { return etcd.Copy(ctx, n.client, w) })
}

func writeSnapshot(w io.Writer, h SnapshotHead, records func(io.Writer) error) error {
	head, err := json.Marshal(h)
	if err != nil {
		return err
	}
	sum := sha256.New()
	all := io.MultiWriter(w, sum)
	if _, err := fmt.Fprintf(all, "%s%d\n%s\n", snapshotMark, snapshotFormat, head); err != nil {
		return err
	}
	if err := records(all); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\n%s\n", hex.EncodeToString(sum.Sum(nil)))
	return err
}

// ErrSnapshot means that a file is no whole snapshot that this release can read.
var ErrSnapshot = errors.New("it is no whole snapshot")

// ReadSnapshot checks a snapshot from its first to its last byte, and writes the records in it to w, which may be
// io.Discard. What was written before an error counts for nothing.
func ReadSnapshot(file string, w io.Writer) (SnapshotHead, error) {
	f, err := os.Open(file)
	if err != nil {
		return SnapshotHead{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return SnapshotHead{}, err
	}
	h, err := readSnapshot(f, info.Size(), w)
	if err != nil {
		return SnapshotHead{}, fmt.Errorf("%s: %w", file, err)
	}
	return h, nil
}

func readSnapshot(r io.ReaderAt, size int64, w io.Writer) (h SnapshotHead, err error) {
	if size < sumLine {
		return h, fmt.Errorf("%w: it has %d bytes", ErrSnapshot, size)
	}
	sum := sha256.New()
	in := bufio.NewReaderSize(io.NewSectionReader(r, 0, size-sumLine), 64<<10)
	if h, err = readHead(in, sum); err != nil {
		return h, err
	}
	if _, err := io.Copy(io.MultiWriter(w, sum), in); err != nil {
		return h, err
	}
	last := make([]byte, sumLine)
	if _, err := r.ReadAt(last, size-sumLine); err != nil && !errors.Is(err, io.EOF) {
		return h, err
	}
	if want := "\n" + hex.EncodeToString(sum.Sum(nil)) + "\n"; string(last) != want {
		return h, fmt.Errorf("%w: it was cut off or changed, since its last line is not the sum of what stands before it; take another copy", ErrSnapshot)
	}
	return h, nil
}

// readHead reads the two lines before the records.
func readHead(in *bufio.Reader, sum hash.Hash) (h SnapshotHead, err error) {
	mark, err := readLine(in, sum, 64)
	var format int
	if err != nil {
		return h, fmt.Errorf("%w: it does not begin with %q", ErrSnapshot, strings.TrimSpace(snapshotMark))
	}
	if _, err := fmt.Sscanf(mark, snapshotMark+"%d", &format); err != nil || mark != fmt.Sprintf("%s%d", snapshotMark, format) {
		return h, fmt.Errorf("%w: it does not begin with %q", ErrSnapshot, strings.TrimSpace(snapshotMark))
	}
	if format > snapshotFormat {
		return h, fmt.Errorf("%w for this release: its format is %d, this release knows %d; restore it with the release that wrote it, or a newer one", ErrSnapshot, format, snapshotFormat)
	}
	head, err := readLine(in, sum, headMost)
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal([]byte(head), &h); err != nil {
		return h, fmt.Errorf("%w: the line that says whose it is cannot be read: %w", ErrSnapshot, err)
	}
	if h.Release > plan.Release {
		return h, fmt.Errorf("%w for this release: its records were written by a newer one (%d, this one is %d); restore it with that", ErrSnapshot, h.Release, plan.Release)
	}
	return h, nil
}

// readLine reads one line, which adds to sum with its end.
func readLine(in *bufio.Reader, sum hash.Hash, most int) (string, error) {
	var line bytes.Buffer
	for {
		piece, err := in.ReadSlice('\n')
		line.Write(piece)
		switch {
		case line.Len() > most:
			return "", fmt.Errorf("%w: a line of its head is longer than %d bytes", ErrSnapshot, most)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return "", fmt.Errorf("%w: it ends in its head", ErrSnapshot)
		}
		sum.Write(line.Bytes())
		return strings.TrimSuffix(line.String(), "\n"), nil
	}
}
