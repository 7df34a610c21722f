package pki

import (
	"log"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// refusalEvery is how often at most each reason to refuse a caller is told.
const refusalEvery = time.Minute

// reasons are the words of each reason: an http.Server tells its log nothing but words. The
// first is crypto/tls's own.
var reasons = []string{"client didn't provide a certificate", ErrOtherCA.Error(), ErrExpired.Error(), ErrNotYetValid.Error(),
	ErrNoIdentity.Error(), ErrWrongKind.Error(), ErrWrongName.Error()}

// ServerLog is the ErrorLog of an http.Server with [ServerTLS]. It warns of callers that are
// refused for their certificate, since one of them may be a tower whose certificate has
// expired; what else strangers do to a listener is told at Debug.
func ServerLog(to *slog.Logger, now func() time.Time) *log.Logger {
	return log.New(&refusals{to: to, now: now, told: map[string]time.Time{}, untold: map[string]int{}}, "", 0)
}

// refusals is written one line at a time.
type refusals struct {
	to  *slog.Logger
	now func() time.Time

	mu     sync.Mutex // guards what follows
	told   map[string]time.Time
	untold map[string]int // since then
}

func (r *refusals) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	i := slices.IndexFunc(reasons, func(why string) bool { return strings.Contains(text, why) })
	if i < 0 {
		r.to.Debug(text)
		return len(line), nil
	}
	why := reasons[i]
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if at, ok := r.told[why]; ok && now.Sub(at) < refusalEvery {
		r.untold[why]++
		return len(line), nil
	}
	r.to.Warn("a caller was refused", "error", text, "like_it_since_the_last", r.untold[why])
	r.told[why], r.untold[why] = now, 0
	return len(line), nil
}
