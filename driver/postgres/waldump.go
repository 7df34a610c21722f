package postgres

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// walked is what the log of a member says of what it did beyond a fork.
type walked struct {
	end     LSN               // of the last whole record
	records int               //
	top     map[uint32]uint32 // by transaction, also by part of one: the transaction, of those that were committed
	touched map[string]touch  // by file, "1663/5/16393": what committed ones, or others, did to it
	defines map[uint32]bool   // transactions that changed definitions
	left    int               // transactions that were prepared, and neither committed nor rolled back
}

// touch is what was done to the rows in one file.
type touch struct{ wrote, removed bool }

// errNoLog means that the log does not reach back to where it would have to be read from.
var errNoLog = errors.New("the log does not reach back that far")

// walk reads a member's own log beyond a fork with pg_waldump, also while its server is down.
func (u *Unit) walk(ctx context.Context, past []turn, f parting) (*walked, error) {
	w := &walked{end: f.at, top: map[uint32]uint32{}, touched: map[string]touch{}, defines: map[uint32]bool{}}
	from := f.at
	for _, t := range own(past, f) {
		if err := u.dump(ctx, t, from, w); err != nil {
			return nil, err
		}
		from = t.end
	}
	return w, nil
}

// dump reads one timeline's part.
func (u *Unit) dump(ctx context.Context, t turn, from LSN, w *walked) error {
	args := []string{"--path=" + filepath.Join(u.set.Data, "pg_wal"), "--timeline=" + number(t.timeline), "--start=" + from.String()}
	if t.end != 0 {
		args = append(args, "--end="+t.end.String())
	}
	cmd := exec.CommandContext(ctx, filepath.Join(u.set.Bin, "pg_waldump"), args...)
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC"}
	var says bytes.Buffer
	cmd.Stderr = &says
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("pg_waldump: %w", err)
	}
	if err := startPlain(cmd); err != nil {
		return fmt.Errorf("pg_waldump: %w", err)
	}
	read := w.read(out)
	ended := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case read != nil:
		return read
	case ended == nil, endOfLog(says.String()):
		return nil
	case strings.Contains(says.String(), "could not find"):
		return fmt.Errorf("%w: %s", errNoLog, strings.TrimSpace(says.String()))
	}
	return fmt.Errorf("pg_waldump: %w: %s", ended, strings.TrimSpace(says.String()))
}

// endOfLog says whether pg_waldump stopped because there is no more: the record after the last one
// was never written. A file that is missing where it began is no such end.
func endOfLog(says string) bool {
	return strings.Contains(says, "error in WAL record at") || strings.Contains(says, "invalid record length") ||
		strings.Contains(says, "could not find a valid record after") && !strings.Contains(says, "could not find file")
}

// read takes in what pg_waldump writes, a line for each record.
func (w *walked) read(r io.Reader) error {
	in := bufio.NewReaderSize(r, 64<<10)
	prepared := map[uint32]bool{}
	for {
		text, err := in.ReadString('\n')
		if text != "" {
			rec, perr := parseRecord(text)
			if perr != nil {
				return perr
			}
			w.take(rec, prepared)
		}
		if errors.Is(err, io.EOF) {
			w.left += len(prepared)
			return nil
		}
		if err != nil {
			return fmt.Errorf("pg_waldump: %w", err)
		}
	}
}

// record is one record of the log as pg_waldump draws it.
type record struct {
	rmgr  string
	total uint64 // bytes
	xid   uint32
	lsn   LSN // where it begins
	desc  string
	files []string // that its blocks are in, "1663/5/16393"
}

// parseRecord reads
//
//	rmgr: Heap        len (rec/tot):     54/   150, tx:        731, lsn: 0/01563C18, prev 0/01563BE0, desc: INSERT off 1 flags 0x08, blkref #0: rel 1663/5/16384 blk 0 FPW
func parseRecord(text string) (record, error) {
	var r record
	head, desc, ok := strings.Cut(strings.TrimSuffix(text, "\n"), ", desc: ")
	rest, ok2 := strings.CutPrefix(head, "rmgr: ")
	name, rest, ok3 := strings.Cut(rest, " ")
	_, rest, ok4 := strings.Cut(rest, "len (rec/tot):")
	lengths, rest, ok5 := strings.Cut(rest, ", tx:")
	xid, rest, ok6 := strings.Cut(rest, ", lsn: ")
	lsn, _, _ := strings.Cut(rest, ",")
	if !ok || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 {
		return r, fmt.Errorf("pg_waldump: %.120q is no record", text)
	}
	_, total, _ := strings.Cut(lengths, "/")
	var errs [3]error
	var x uint64
	x, errs[0] = strconv.ParseUint(strings.TrimSpace(xid), 10, 32)
	r.total, errs[1] = strconv.ParseUint(strings.TrimSpace(total), 10, 64)
	r.lsn, errs[2] = ParseLSN(strings.TrimSpace(lsn))
	if err := errors.Join(errs[:]...); err != nil {
		return r, fmt.Errorf("pg_waldump: %.120q: %w", text, err)
	}
	r.rmgr, r.xid = name, uint32(x)
	r.desc, rest, _ = strings.Cut(desc, ", blkref #")
	for block := range strings.SplitSeq(rest, "blkref #") {
		if _, rel, ok := strings.Cut(block, "rel "); ok {
			file, _, _ := strings.Cut(rel, " ")
			r.files = append(r.files, file)
		}
	}
	return r, nil
}

// take adds one record.
func (w *walked) take(r record, prepared map[uint32]bool) {
	w.records++
	w.end = max(w.end, r.lsn+LSN((r.total+7)&^7))
	word, rest, _ := strings.Cut(r.desc, " ")
	switch r.rmgr {
	case "Transaction":
		w.transaction(r.xid, word, rest, prepared)
	case "Heap", "Heap2":
		t := touch{wrote: true, removed: strings.HasPrefix(word, "DELETE") || strings.Contains(r.desc, "KEYS_UPDATED")}
		if r.xid == 0 || strings.HasPrefix(word, "LOCK") || strings.HasPrefix(word, "NEW_CID") {
			return // somebody tidied up, or only held something
		}
		for _, file := range slices.Compact(r.files) {
			was := w.touched[file]
			w.touched[file] = touch{true, was.removed || t.removed}
		}
	}
}

// transaction takes the end of one in: "COMMIT 2022-10-15 … UTC; subxacts: 732 733; inval msgs: …",
// and "COMMIT_PREPARED 731: 2022-10-15 …" for one that was prepared.
func (w *walked) transaction(xid uint32, word, rest string, prepared map[uint32]bool) {
	of := xid
	if two, _, ok := strings.Cut(rest, ":"); ok && strings.HasSuffix(word, "_PREPARED") {
		if n, err := strconv.ParseUint(strings.TrimSpace(two), 10, 32); err == nil {
			of = uint32(n)
		}
		delete(prepared, of)
	}
	switch {
	case word == "PREPARE":
		prepared[xid] = true
	case strings.Contains(rest, "inval msgs:") && word == "INVALIDATION":
		w.defines[xid] = true
	case word == "COMMIT" || word == "COMMIT_PREPARED":
		w.top[of] = of
		if strings.Contains(rest, "inval msgs:") {
			w.defines[of] = true
		}
		_, subs, ok := strings.Cut(rest, "subxacts:")
		subs, _, _ = strings.Cut(subs, ";")
		for sub := range strings.FieldsSeq(subs) {
			if n, err := strconv.ParseUint(sub, 10, 32); ok && err == nil {
				w.top[uint32(n)] = of
			}
		}
	}
}

// nothing says that no transaction ended beyond the fork in a way that could be seen. The numbers that
// sequences gave out are not missed: they were never promised to be without gaps.
func (w *walked) nothing() bool { return len(w.top) == 0 && w.left == 0 }

// notes are what the log shows and no row does, in words.
func (w *walked) notes() (out []string) {
	defines := 0
	for xid := range w.defines {
		if _, ok := w.top[xid]; ok {
			defines++
		}
	}
	if defines > 0 {
		out = append(out, fmt.Sprintf("%d of its transactions changed definitions (CREATE, ALTER, DROP, TRUNCATE, …), which are not among the rows", defines))
	}
	if w.left > 0 {
		out = append(out, fmt.Sprintf("%d of its transactions were prepared (PREPARE TRANSACTION) and never ended; their rows are not among these", w.left))
	}
	return out
}
