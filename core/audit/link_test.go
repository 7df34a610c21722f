package audit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
)

// linked draws four sites, some lines between them, and a store with members in some.
func linked(t *rapid.T) estate.Estate {
	var b strings.Builder
	b.WriteString("haechi: v1\nestate: x\nsites: {s0: {}, s1: {}, s2: {}, s3: {}}\nexternal: {e0: {}, e1: {}}\nlinks:\n  spare: {between: [s0, s1]}\n")
	for i := range 4 {
		for j := i + 1; j < 4; j++ {
			if rapid.IntRange(0, 3).Draw(t, "line") > 0 {
				fmt.Fprintf(&b, "  l%d%d: {between: [s%d, s%d], requires: [%s]}\n", i, j, i, j, some(t, "e0", "e1"))
			}
		}
	}
	members := rapid.IntRange(2, 5).Draw(t, "members")
	fmt.Fprintf(&b, "stores:\n  db: {engine: x, alone: %s, acknowledge: {any: %d}, members: {", rapid.SampledFrom([]string{"allow", "refuse"}).Draw(t, "alone"), rapid.IntRange(1, members-1).Draw(t, "any"))
	for m := range members {
		fmt.Fprintf(&b, "m%d: {site: s%d}, ", m, rapid.IntRange(0, 3).Draw(t, "site"))
	}
	b.WriteString("}}\nservices: {v: {requires: [db]}}\n")
	e, err := estate.Load([]estate.File{{Name: "x", Data: []byte(b.String())}}, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	return e
}

// reaches says whether a way of living links leads from one site to another, by walking all of them.
func reaches(e estate.Estate, gone map[string]bool, from, to estate.SiteID) bool {
	at := map[estate.SiteID]bool{from: !gone[string(from)]}
	for range e.Sites {
		for n, l := range e.Links {
			if gone[n] || gone[string(l.Between[0])] || gone[string(l.Between[1])] {
				continue
			}
			if at[l.Between[0]] || at[l.Between[1]] {
				at[l.Between[0]], at[l.Between[1]] = true, true
			}
		}
	}
	return at[to]
}

// takesWrites is the rule of a store's writes, said once more: with the primary that it has, or one by a safe
// promotion, and enough others that hold what it writes.
func takesWrites(e estate.Estate, gone map[string]bool) bool {
	st := e.Stores["db"]
	hears := func(a, b estate.MemberID) bool {
		return !gone["db/"+string(a)] && !gone["db/"+string(b)] && reaches(e, gone, st.Members[a].Site, st.Members[b].Site)
	}
	for c := range st.Members {
		if gone["db/"+string(c)] {
			continue
		}
		sealed, hold := 0, 0
		for m := range st.Members {
			if m != st.Primary && hears(c, m) {
				sealed++
			}
			if m != c && (c == st.Primary || m != st.Primary) && hears(c, m) {
				hold++
			}
		}
		if c != st.Primary && sealed < len(st.Members)-1-st.Any+1 {
			continue
		}
		if hold >= st.Any || st.Alone == "allow" {
			return true
		}
	}
	return false
}

func TestStoresFallWithTheWaysBetweenThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := linked(t)
		if _, err := audit.After(e); err != nil {
			t.Skip("down with nothing lost")
		}
		all := after(t, e, nil).Components
		lose := rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, 3, rapid.ID[string]).Draw(t, "lose")
		a := after(t, e, lose)
		want := "up"
		if !takesWrites(e, a.Gone) || slices.Contains(lose, "db") || slices.Contains(lose, "v") {
			want = "down"
		}
		if got := a.Services["v"]; got != want {
			t.Fatalf("without %v the service is %s, and should be %s; gone: %v", lose, got, want, a.Gone)
		}
	})
}
