package web

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/haechi/haechi/core/journal"
)

// Limits of one answer of the journal.
const (
	journalPage = 1000
	followEvery = 250 * time.Millisecond
)

// getJournal answers JSON lines, from ?from= on, at most ?limit= of them; with ?follow=1
// those that come, too, until the reader goes away.
func (a desk) getJournal(w http.ResponseWriter, r *http.Request, _ string) (any, error) {
	from, err := number(r, "from", 1)
	if err != nil {
		return nil, err
	}
	limit, err := number(r, "limit", journalPage)
	if err != nil {
		return nil, err
	}
	first, err := a.Journal(r.Context(), uint64(from), int(min(limit, journalPage)))
	if err != nil {
		return nil, err
	}
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Cache-Control", "no-store")
	next, err := lines(w, first, uint64(from))
	if err == nil && r.URL.Query().Get("follow") == "1" {
		a.follow(w, r, next)
	}
	return nil, nil //nolint:nilerr // the answer has begun: a reader that went away is told nothing
}

// getJournalHead answers the journal's end, confirmed by the quorum.
func (a desk) getJournalHead(_ http.ResponseWriter, r *http.Request, _ string) (any, error) {
	ctx, cancel := acting(r)
	defer cancel()
	return a.JournalHead(ctx)
}

// getSnapshot answers with the towers' records as a file. Once it has begun an error ends the connection, and
// the file lacks its last line.
func (a desk) getSnapshot(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	out := &begun{ResponseWriter: w}
	err := a.Snapshot(r.Context(), by, out)
	if err != nil && out.yes {
		a.log.Error("a snapshot was cut off", "by", by, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil, err
}

// begun is an answer that says what it is with its first byte.
type begun struct {
	http.ResponseWriter
	yes bool
}

func (b *begun) Write(p []byte) (int, error) {
	if !b.yes {
		b.yes = true
		b.Header().Set("Content-Type", "application/octet-stream")
		b.Header().Set("Cache-Control", "no-store")
	}
	return b.ResponseWriter.Write(p)
}

// follow sends what is written from seq on, until the reader or the tower goes.
func (a desk) follow(w http.ResponseWriter, r *http.Request, seq uint64) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		more, err := a.Journal(r.Context(), seq, journalPage)
		if err == nil {
			seq, err = lines(w, more, seq)
		}
		if err != nil {
			a.log.Debug("follow the journal", "error", err)
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// lines writes entries and returns the seq that comes after them.
func lines(w http.ResponseWriter, all []journal.Entry, next uint64) (uint64, error) {
	out := http.NewResponseController(w)
	if err := out.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return next, err
	}
	enc := json.NewEncoder(w)
	for _, e := range all {
		if err := enc.Encode(e); err != nil {
			return next, err
		}
		next = e.Seq + 1
	}
	return next, out.Flush()
}
