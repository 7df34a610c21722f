package response_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/situation"
)

// away is a store that was moved to ansan, whose members are whole and compared.
func away() response.Input {
	in := well()
	r := in.Stores["talk-db"]
	r.Primary, r.Sync, r.Verified = "ansan", []estate.MemberID{"anyang", "pangyo"}, now.Add(-time.Hour)
	in.Stores["talk-db"] = r
	in.Now.Facts["pangyo/database/talk-db/pangyo"] = map[string]string{"role": "follower", "answers": "true", "running": "true"}
	in.Now.Facts["ansan/database/talk-db/ansan"] = map[string]string{"role": "primary", "answers": "true", "running": "true",
		"client/pangyo": "streaming quorum bytes=100 replay_lag_ms=3", "client/anyang": "streaming quorum bytes=0"}
	return in
}

func TestFailbackIsPossibleOnlyWhenAllIsWhole(t *testing.T) {
	if f := away().Failback("talk-db"); !f.Possible() || f.From != "ansan" || f.To != "pangyo" || len(f.For) != 2 || len(f.Costs) == 0 {
		t.Fatalf("%+v", f)
	}
	record := func(in *response.Input, change func(*situation.Store)) {
		r := in.Stores["talk-db"]
		change(&r)
		in.Stores["talk-db"] = r
	}
	says := func(in *response.Input, member, key, value string) {
		in.Now.Facts[member+"/database/talk-db/"+member][key] = value
	}
	for want, spoil := range map[string]func(*response.Input){
		"pangyo is its primary: it is at home": func(in *response.Input) { record(in, func(r *situation.Store) { r.Primary = "pangyo" }) },
		"it was never adopted":                 func(in *response.Input) { record(in, func(r *situation.Store) { r.Epoch = 0 }) },
		"anyang is not counted": func(in *response.Input) {
			record(in, func(r *situation.Store) { r.Former = []estate.MemberID{"anyang"} })
		},
		"anyang does not receive from ansan": func(in *response.Input) { says(in, "ansan", "client/anyang", "") },
		"anyang does not run":                func(in *response.Input) { says(in, "anyang", "running", "false") },
		"anyang is sealed":                   func(in *response.Input) { says(in, "anyang", "sealed", "true") },
		"anyang is being made anew (copy)":   func(in *response.Input) { says(in, "anyang", "broken", "copy") },
		"its primary ansan does not answer":  func(in *response.Input) { says(in, "ansan", "answers", "false") },
		"ansan acknowledges alone":           func(in *response.Input) { record(in, func(r *situation.Store) { r.Alone = true }) },
		"pangyo is 9 MB behind":              func(in *response.Input) { says(in, "ansan", "client/pangyo", "streaming quorum bytes=9999999") },
		"pangyo is 2s behind": func(in *response.Input) {
			says(in, "ansan", "client/pangyo", "streaming quorum bytes=1 replay_lag_ms=2000")
		},
		"not compared since the last of them came back": func(in *response.Input) { record(in, func(r *situation.Store) { r.Verified = time.Time{} }) },
		"were compared, but for [anyang]": func(in *response.Input) {
			record(in, func(r *situation.Store) { r.Verified, r.LeftOut = time.Time{}, []estate.MemberID{"anyang"} })
		},
		"found a difference: 3 rows of public.w on anyang": func(in *response.Input) {
			record(in, func(r *situation.Store) { r.Differs = "3 rows of public.w on anyang" })
		},
		"a premise of a promotion does not hold: fsync off": func(in *response.Input) { in.Premises["talk-db"] = []situation.Premise{{Text: "fsync off"}} },
		"pangyo was emptied on purpose":                     func(in *response.Input) { in.Intents["pangyo"] = situation.Drained },
		"pangyo is suspect": func(in *response.Input) {
			in.Now.Sites["pangyo"] = situation.Verdict{Site: "pangyo", State: situation.Suspect}
		},
	} {
		in := away()
		spoil(&in)
		f := in.Failback("talk-db")
		if f.Possible() || !slices.ContainsFunc(f.Against, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("%q is not said: %q", want, f.Against)
		}
	}
}
