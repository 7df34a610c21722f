package state

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/run"
)

// Where things stand. All that a snapshot needs in full stands below keyNow;
// what grows without end stands beside it.
const (
	root = "/haechi/"

	keyJournal = root + "journal/" // + sequence number
	keyRuns    = root + "runs/"    // + run + "/" + number of the event
	keyEstates = root + "estates/" // + version: the bytes that were applied

	keyNow       = root + "now/"
	keyDrive     = keyNow + "drive"
	keyLine      = keyNow + "line"
	keyHead      = keyNow + "head"     // end of the journal
	keyActs      = keyNow + "acts"     // written with each act of a person
	keyNextRun   = keyNow + "next-run" // highest number given, see Line.runID
	keyEstate    = keyNow + "estate"
	keyIndex     = keyNow + "index/"
	keyStores    = keyNow + "stores/"
	keyArmed     = keyNow + "armed/"
	keyHolds     = keyNow + "holds/"
	keyIntents   = keyNow + "intents/"
	keyWithdrawn = keyNow + "withdrawn/"
	keyReturning = keyNow + "returning/"
	keyAsks      = keyNow + "asks/"
	keySalvages  = keyNow + "salvages/"
)

func journalKey(seq uint64) string         { return fmt.Sprintf("%s%020d", keyJournal, seq) }
func eventsKey(id run.ID) string           { return keyRuns + string(id) + "/" }
func eventKey(id run.ID, n int) string     { return fmt.Sprintf("%s%06d", eventsKey(id), n) }
func indexKey(id run.ID) string            { return keyIndex + string(id) }
func estateKey(version uint64) string      { return fmt.Sprintf("%s%010d", keyEstates, version) }
func storeKey(id estate.StoreID) string    { return keyStores + string(id) }
func salvageKey(id string) string          { return keySalvages + id }
func intentKey(s estate.SiteID) string     { return keyIntents + string(s) }
func withdrawnKey(n estate.NameID) string  { return keyWithdrawn + string(n) }
func returningKey(n estate.NameID) string  { return keyReturning + string(n) }
func runOfEvent(key string) (run.ID, bool) { return cutRun(strings.TrimPrefix(key, keyRuns)) }

func cutRun(rest string) (run.ID, bool) {
	id, _, ok := strings.Cut(rest, "/")
	return run.ID(id), ok
}

func versionOf(key string) uint64 {
	v, _ := strconv.ParseUint(strings.TrimPrefix(key, keyEstates), 10, 64)
	return v
}

// encode writes a record. Records are plain data, so it cannot fail, except
// through a journal entry's or an event's raw JSON, which the writers check.
func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// decode reads a record; no bytes are the zero record.
func decode[T any](key string, b []byte) (T, error) {
	var v T
	if len(b) == 0 {
		return v, nil
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("state: %s cannot be read: %w; was it written by a newer release?", key, err)
	}
	return v, nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// compactKeys sorts keys and drops what is there twice; etcd refuses a
// transaction that compares a key twice only in its puts, but each costs time.
func compactKeys(keys []string) []string {
	slices.Sort(keys)
	return slices.Compact(keys)
}
