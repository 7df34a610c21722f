//go:build lab

package proof

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/verify"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/tower/web"
)

// compare has an operator compare the members of talk's store, and returns what was found, sorted, and
// what the command said where it failed. While another run is about the store, or too much is written for
// all to be settled, it is ordered again.
func (w world) compare() (found []string, failed error) {
	w.Helper()
	var r web.Run
	w.eventually(2*time.Minute, "the members are compared", func() error {
		var out string
		out, failed = w.Haechi(w.Context(), "verify", "talk-db", "-o", "json")
		r = web.Run{}
		if err := json.NewDecoder(strings.NewReader(out[max(strings.IndexByte(out, '{'), 0):])).Decode(&r); err != nil || r.Status == "" {
			return errors.Join(failed, err)
		}
		if r.Status == web.RunDone && strings.Contains(out, "not everything could be settled") {
			return failed
		}
		return nil
	})
	if r.Status != web.RunDone || len(r.Steps) != 1 || r.Steps[0].Report == nil {
		w.Fatalf("%+v", r)
	}
	for _, f := range r.Steps[0].Report.Found {
		if f.Kind != verify.Unsettled {
			found = append(found, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", f.Member, f.Kind, f.Table, f.Key)))
		}
	}
	slices.Sort(found)
	return found, failed
}

// lying has lies planted while people hold all acts, so that nobody starts a member again that is stopped for it, and
// returns once all is as it was, as far as anybody can see.
func (w world) lying(plant func()) {
	w.Helper()
	w.haechi("hold", "--why", "files of members are edited")
	plant()
	w.haechi("hold", "--release")
	w.sound()
}

// Lies that were planted on two followers are named exactly, while clients write; the page and the
// status say that members differ, and nothing is changed.
func TestVerifyNamesThePlantedLies(t *testing.T) {
	w := raise(t, "default")
	for _, sql := range []string{
		"CREATE TABLE shelf (id bigint PRIMARY KEY, body text) WITH (fillfactor = 80)",
		"INSERT INTO shelf SELECT i, md5(i::text) FROM generate_series(1, 20000) i",
		"CREATE TABLE rack AS SELECT i::bigint AS id, md5(i::text) AS body FROM generate_series(1, 500) i",
		"CREATE SEQUENCE quiet", "SELECT setval('quiet', 1000)",
	} {
		if _, err := w.SQL(t.Context(), lab.Pangyo, "talk", sql); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := w.compare(); err != nil || len(found) > 0 {
		t.Fatalf("before anything was planted: %v %v", found, err)
	}
	row := func(id int) string { return fmt.Sprintf("id = %d", id) }
	w.lying(func() {
		w.must(w.LieFlip(t.Context(), lab.Ansan, "shelf", row(100), true))
		w.must(w.LieMissing(t.Context(), lab.Ansan, "shelf", row(5000)))
		w.must(w.LieFlip(t.Context(), lab.Anyang, "rack", row(400), false))
		w.must(w.LieExtra(t.Context(), lab.Ansan, "shelf", row(10000), 900300))
		w.must(w.LieIndex(t.Context(), lab.Anyang, "shelf", "shelf_pkey", row(15000), row(15001)))
		w.must(w.LieSequence(t.Context(), lab.Anyang, "quiet", 500))
	})
	var found []string
	var err error
	w.served(w.under(func() lab.Proof {
		began := lab.Proof{At: time.Now(), What: "haechi verify talk-db"}
		found, err = w.compare()
		return began
	}, unmoved, func(t *trial.Trial) { t.Clients, t.Rate = 20, 50 }))
	want := []string{
		"ansan different talk: public.shelf 100", "ansan extra talk: public.shelf 900300", "ansan index talk: public.shelf_pkey", "ansan missing talk: public.shelf 5000",
		"anyang behind talk: public.quiet", "anyang broken talk: public.rack", "anyang index talk: public.shelf_pkey", "anyang page talk: public.rack",
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
	if err == nil || !strings.Contains(err.Error(), "do not hold the same") {
		t.Errorf("the command ended well: %v", err)
	}
	w.shows(lab.Anyang, 10*time.Second, "that members differ", func(n web.Now) bool { return n.Stores[0].Differs != "" && n.Stores[0].Writes == web.WritesAcknowledged })
}
