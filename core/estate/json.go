package estate

import (
	"encoding/json"
	"fmt"
	"strings"
)

// stored is an estate as it lies in the state store.
type stored struct {
	Version string `json:"haechi"`
	Estate
}

// Marshal writes the estate as canonical JSON: equal estates give equal bytes.
// Time spans are whole nanoseconds.
func Marshal(e Estate) ([]byte, error) {
	out, err := json.Marshal(stored{Version: "v1", Estate: e})
	if err != nil {
		return nil, fmt.Errorf("estate %s: write: %w", e.Name, err)
	}
	return out, nil
}

// Unmarshal reads what [Marshal] wrote and holds it to the same rules as
// [Load] does. Keys of a newer release are passed over; another version of the
// format is an error.
func Unmarshal(data []byte) (Estate, error) {
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return Estate{}, fmt.Errorf("estate: stored version cannot be read: %w", err)
	}
	if s.Version != "v1" {
		return Estate{}, fmt.Errorf("estate: stored version has format %q, this release reads v1; upgrade this tower", s.Version)
	}
	if err := Check(s.Estate); err != nil {
		return Estate{}, fmt.Errorf("estate: stored version is not valid: %w", err)
	}
	return s.Estate, nil
}

// Check says whether e is what [Load] could have returned, apart from defaults.
// It is for estates that were made in another way. The error is a [*Invalid]
// without places in files.
func Check(e Estate) error {
	var problems []Problem
	for _, f := range append(check(e), gaps(e)...) {
		problems = append(problems, Problem{Message: strings.TrimPrefix(f.at.String()+": "+f.say, ": ")})
	}
	return invalid(problems, nil)
}

// gaps finds what the reader refuses before a value exists.
func gaps(e Estate) []finding {
	var out []finding
	need := func(at path, site SiteID) {
		if site == "" {
			out = append(out, finding{at: at, say: "site is missing"})
		}
	}
	for _, id := range sorted(e.Domains) {
		need(path("").to("domains", id), e.Domains[id].Site)
	}
	for _, id := range sorted(e.Pools) {
		need(path("").to("pools", id), e.Pools[id].Site)
	}
	for _, id := range sorted(e.Hosts) {
		need(path("").to("hosts", string(id)), e.Hosts[id].Site)
	}
	for _, id := range sorted(e.Towers) {
		need(path("").to("towers", string(id)), e.Towers[id].Site)
	}
	for _, id := range sorted(e.Links) {
		if b := e.Links[id].Between; b[0] == "" || b[1] == "" {
			out = append(out, finding{at: path("").to("links", id), say: "a link joins two sites"})
		}
	}
	for _, id := range sorted(e.Stores) {
		s, at := e.Stores[id], path("").to("stores", string(id))
		for _, m := range sorted(s.Members) {
			need(at.to("members", string(m)), s.Members[m].Site)
		}
		if s.Primary == "" {
			out = append(out, finding{at: at, say: "primary is missing"})
		}
		if s.Any < 0 {
			out = append(out, finding{at: at, say: "any is less than 0"})
		}
	}
	return out
}
