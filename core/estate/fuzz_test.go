package estate_test

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
)

// seed adds the estates that the other tests are about.
func seed(f *testing.F) {
	f.Helper()
	for _, name := range []string{"messenger.yaml", "three-sites.yaml"} {
		data, err := os.ReadFile("../../examples/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, file := range []string{"testdata/problems.txt", "testdata/format.txt"} {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for part := range strings.SplitSeq(string(data), "\n\n") {
			in, _, _ := strings.Cut(part, "\n----\n")
			if at := strings.Index(in, "\nhaechi: "); at >= 0 {
				f.Add([]byte(in[at+1:] + "\n"))
			}
		}
	}
}

// problemsStand checks that each problem says where it is, but for those that are of the whole.
func problemsStand(t *testing.T, err error) {
	t.Helper()
	wrong, ok := errors.AsType[*estate.Invalid](err)
	if !ok || len(wrong.Problems) == 0 {
		t.Fatalf("an error of another kind: %#v", err)
	}
	for _, p := range wrong.Problems {
		whole := p.File == "" && (strings.HasPrefix(p.Message, "estate: the estate has no name") || strings.HasPrefix(p.Message, "sites: no site is declared") || strings.HasPrefix(p.Message, "… and"))
		tooMuch := p.File == "x" && p.Line == 0 && strings.Contains(p.Message, "split it into several files")
		if !whole && !tooMuch && (p.File != "x" || p.Line < 1 || p.Col < 1) {
			t.Fatalf("a problem without a place: %#v", p)
		}
		if p.Message == "" {
			t.Fatalf("a problem that says nothing: %#v", p)
		}
	}
}

// Whatever a file holds, it is loaded as an estate that keeps the rules, or refused with places.
func FuzzLoad(f *testing.F) {
	seed(f)
	f.Add([]byte(bomb()))
	f.Add([]byte("haechi: v1\nsites: {a: {}, ? b : {}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := estate.File{Name: "x", Data: data}
		for _, pattern := range estate.Includes(file) { // what is asked of the disk stays in the folder
			if strings.HasPrefix(pattern, "/") || strings.Contains("/"+pattern+"/", "/../") {
				t.Fatalf("includes %q", pattern)
			}
		}
		e, err := estate.Load([]estate.File{file}, nil)
		if err != nil {
			problemsStand(t, err)
			return
		}
		if err := estate.Check(e); err != nil {
			t.Fatalf("loaded, but does not check: %v", err)
		}
		raw, err := estate.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := estate.Unmarshal(raw); err != nil || len(estate.Diff(e, back)) > 0 {
			t.Fatalf("stored otherwise: %v, %v", err, estate.Diff(e, back))
		}
	})
}

// with loads an estate in which one value, on line 4, is what the fuzzer says.
func with(t *testing.T, line, value string) (estate.Estate, bool) {
	t.Helper()
	text := "haechi: v1\nestate: x\nsites: {p: {}, q: {}}\n" + strings.Replace(line, "VALUE", value, 1) + "\n"
	e, err := estate.Load([]estate.File{{Name: "x", Data: []byte(text)}}, nil)
	if err != nil {
		problemsStand(t, err)
		if wrong, _ := errors.AsType[*estate.Invalid](err); wrong.Problems[0].Line < 4 {
			t.Fatalf("the problem is on line 4, not there: %v", err)
		}
	}
	return e, err == nil
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"0", "5", "-5s", "1 fortnight", "90d", "36500d", "36500d1ns", "213504d", "1d1h", "1.5d", "1h30m0.5s", "9223372036854775807ns", "9999999999999h", "1µs", "1μs", "1e3s", ".5s", "+1s", "１s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, ok := with(t, "pools: {a: {site: p, boot: VALUE}}", strconv.QuoteToASCII(s))
		if boot := e.Pools["a"].Boot; boot < 0 || boot > 100*365*24*time.Hour {
			t.Fatalf("%q is %v", s, boot)
		}
		if !ok {
			return
		}
		// What Go makes of the parts is what it is, and it may be written as Go writes it.
		again, ok := with(t, "pools: {a: {site: p, boot: VALUE}}", e.Pools["a"].Boot.String())
		if !ok || again.Pools["a"].Boot != e.Pools["a"].Boot {
			t.Fatalf("%q is %v, read again %v", s, e.Pools["a"].Boot, again.Pools["a"].Boot)
		}
	})
}

func FuzzQuantity(f *testing.F) {
	for _, s := range []string{"400kW", "0W", "-1W", "1e9kW", "99999999999999999999MW", "1.5 MVA", "400", "kW", "400 kw", ".5kW", "0x10W", "٤kW"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, ok := with(t, "domains: {a: {site: p, limit: VALUE}}", strconv.QuoteToASCII(s))
		if !ok {
			return
		}
		number := strings.TrimRight(e.Domains["a"].Limit, " kMWVA")
		if v, err := strconv.ParseFloat(number, 64); err != nil || v < 0 || v > 1e9 {
			t.Fatalf("%q was taken for a quantity: %v %v", s, v, err)
		}
	})
}

// Numbers, flags, days and words as YAML spells them, without quotes.
func FuzzScalar(f *testing.F) {
	for _, s := range []string{"1", "-1", "1e9", "1000000001", ".inf", ".nan", "0x10", "0o7", "1_000", "99999999999999999999", "true", "~", "", "2026-12-31", "2026-02-30", "판교", "\u202e", "\"a\\u202eb\"", "\"\\0\"", "🔥", "a: b", "[1]", "{}", "|", "'", "# c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "\n\r") {
			return // it would be another line
		}
		for _, line := range []string{
			"pools: {a: {site: p, servers: VALUE }}", "pools: {a: {site: p, watts: VALUE }}", "sites: {r: {title: VALUE }}", "external: { VALUE : {}}",
			"services: {a: {tier: VALUE , atleast: 1}}", "accepted: [{rule: spof, component: p, owner: o, why: w, until: VALUE }]", "towers: {a: {site: p, address: VALUE }}",
		} {
			text := "haechi: v1\nestate: x\n" + strings.Replace(line, "VALUE", s, 1) + "\n"
			e, err := estate.Load([]estate.File{{Name: "x", Data: []byte(text)}}, nil)
			if err != nil {
				problemsStand(t, err)
				continue
			}
			if a := e.Pools["a"]; a.Servers < 0 || !(a.Watts >= 0) || a.Servers > 1e9 || a.Watts > 1e9 {
				t.Fatalf("%q: %+v", s, a)
			}
		}
	})
}

func FuzzNeeds(f *testing.F) {
	for _, s := range []string{"[]", "[p]", "[p, {any: [q, {atleast: 2, of: [p, q]}]}]", "[{atleast: 3, of: [p, q]}]", "[{any: []}]", "[{atleast: -1, of: [p]}]", "[[p]]", "p", "[s@same-site, p@same-site]", "[{any: [p], of: [q]}]", strings.Repeat("[{any: ", 20) + "[p]" + strings.Repeat("}]", 20)} {
		f.Add(s)
	}
	var meets func(n estate.Need) bool
	meets = func(n estate.Need) bool { // with everything alive
		if n.Of == nil {
			return n.Name != ""
		}
		held := 0
		for _, o := range n.Of {
			if meets(o) {
				held++
			}
		}
		return n.AtLeast >= 1 && held >= n.AtLeast
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "\n\r") {
			return
		}
		e, ok := with(t, "services: {s: {requires: VALUE }}", s)
		if !ok {
			return
		}
		var spelt []string
		for _, n := range e.Services["s"].Requires {
			if !meets(n) {
				t.Fatalf("%q loads, and %s can never be met", s, n)
			}
			spelt = append(spelt, n.String())
		}
		again, ok := with(t, "services: {s: {requires: VALUE }}", "["+strings.Join(spelt, ", ")+"]")
		if !ok || !cmp.Equal(e.Services["s"].Requires, again.Services["s"].Requires) {
			t.Fatalf("%q is spelt %v, which is something else", s, spelt)
		}
	})
}

// What lies in the state store may be of another release, or broken.
func FuzzUnmarshal(f *testing.F) {
	for _, text := range []string{
		`{"haechi":"v1","estate":"x","sites":{"p":{}}}`,
		`{"haechi":"v2","estate":"x","sites":{"p":{"title":"판교"}}}`,
		`{"haechi":"v1","estate":"x","sites":{"p":{}},"stores":{"s":{"engine":"e","any":-1,"primary":"a","members":{"a":{"site":"p","host":"h"}}}}}`,
		`{"haechi":"v1","estate":"x","sites":{"p":{}},"links":{"l":{"between":["p",""]}},"services":{"s":{"rto":0,"requires":[{"atleast":9,"of":[{"name":"p"}]}]}}}`,
		`{"haechi":"v1","estate":"x","sites":{"p":{}},"domains":{"d":{"site":"p","requires":[{"name":"d"}]}},"scenarios":{"f":["p","p"]}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := estate.Unmarshal(data)
		if err != nil {
			return
		}
		raw, err := estate.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := estate.Unmarshal(raw); err != nil || len(estate.Diff(e, back)) > 0 {
			t.Fatalf("written and read again: %v", err)
		}
	})
}

// Formatting never changes what is loaded, keeps every comment, and leaves a formatted file alone.
func FuzzFormat(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := estate.Format(estate.File{Name: "x", Data: data})
		if err != nil {
			return
		}
		again, err := estate.Format(estate.File{Name: "x", Data: out})
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("formatted again (%v):\n%s\n---\n%s", err, out, again)
		}
		before, errBefore := estate.Load([]estate.File{{Name: "x", Data: data}}, nil)
		after, errAfter := estate.Load([]estate.File{{Name: "x", Data: out}}, nil)
		if (errBefore == nil) != (errAfter == nil) || !cmp.Equal(before, after) {
			t.Fatalf("loaded otherwise (%v, then %v):\n%s", errBefore, errAfter, cmp.Diff(before, after))
		}
	})
}
