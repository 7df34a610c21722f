// Package talk is the messenger that the lab's fires are judged by: a gateway
// that applications of any kind could have written, a load that behaves as good
// clients do, and a judge that reads everything back.
//
// The gateway speaks to PostgreSQL through an ordinary multi-host connection
// string. Its promise is small and hard: an acknowledgement is given only after
// a commit that waited for a synchronous member. A cancelled wait comes back
// from PostgreSQL as success with a warning, so a warning is no
// acknowledgement; and a repeated id writes the row again, so that its commit
// waits as well.
//
// The judge's own tests run gateways that break this promise on purpose (see
// [Variant]); a judge that does not catch them proves nothing.
package talk

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Message is one message as it is stored, served and streamed.
type Message struct {
	ID      string    `json:"id"`                // UUID picked by the client, so that a retry cannot double it
	Room    string    `json:"room"`              // where it was said
	Author  string    `json:"author"`            // who said it
	Body    string    `json:"body"`              // what was said
	Seq     int64     `json:"seq"`               // its place: a client's later message has a larger one than its earlier acknowledged one
	At      time.Time `json:"at"`                // when it was first stored
	Attempt int       `json:"attempt,omitempty"` // how often it was sent; 1 at first
}

// Limits of what a message may be.
const (
	maxName = 80    // runes in a room's or an author's name
	maxBody = 4000  // runes in a body
	maxSend = 32768 // bytes in a request
)

// check says everything that is wrong with a message that a client sent.
func (m Message) check() error {
	var errs []error
	if _, err := uuid.Parse(m.ID); err != nil {
		errs = append(errs, fmt.Errorf("id: %q is not a UUID; pick a new one for each message and keep it for its retries", m.ID))
	}
	named := func(field, s string, most int) {
		switch n := utf8.RuneCountInString(s); {
		case !utf8.ValidString(s):
			errs = append(errs, fmt.Errorf("%s: is not UTF-8", field))
		case n == 0:
			errs = append(errs, fmt.Errorf("%s: is required", field))
		case n > most:
			errs = append(errs, fmt.Errorf("%s: has %d characters, at most %d are allowed", field, n, most))
		}
		for _, r := range s {
			if r == 0 {
				errs = append(errs, fmt.Errorf("%s: contains a zero byte", field))
				break
			}
		}
	}
	named("room", m.Room, maxName)
	named("author", m.Author, maxName)
	named("body", m.Body, maxBody)
	return errors.Join(errs...)
}

// Variant says how a gateway breaks its promise on purpose. The lab uses only
// [Correct]; the others exist so that the judge can be judged.
type Variant string

// The variants. Having no synchronous member at all is the sixth; it is a
// setting of the server, not of the gateway.
const (
	Correct         Variant = ""                  // acknowledges after a commit that waited, and nothing else
	AckBeforeCommit Variant = "ack-before-commit" // answers when the row is written and commits afterwards
	WarningIgnored  Variant = "warning-ignored"   // takes a cancelled wait for success
	DoNothingRetry  Variant = "do-nothing-retry"  // a repeated id writes nothing, so its commit waits for nothing
	LocalCommit     Variant = "local-commit"      // synchronous_commit = local
)

// Variants lists all that a gateway can be told to be.
var variants = []Variant{Correct, AckBeforeCommit, WarningIgnored, DoNothingRetry, LocalCommit}
