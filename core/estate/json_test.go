package estate_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/estate"
)

// anyEstate draws a valid estate as Load would return it: no empty map or list.
func anyEstate(t *rapid.T) estate.Estate {
	name := rapid.StringMatching(`[a-z][a-z0-9/]{0,6}[a-z0-9]`)
	fresh := map[string]bool{}
	unique := func(label string) string {
		n := name.Filter(func(s string) bool { return !fresh[s] }).Draw(t, label)
		fresh[n] = true
		return n
	}
	span := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "span"))
	})
	e := estate.Estate{Name: unique("estate"), Sites: map[estate.SiteID]estate.Site{}}
	for range rapid.IntRange(1, 4).Draw(t, "sites") {
		e.Sites[estate.SiteID(unique("site"))] = estate.Site{Title: rapid.String().Draw(t, "title"), Witness: rapid.Bool().Draw(t, "witness")}
	}
	site := rapid.SampledFrom(e.SiteIDs())
	for range rapid.IntRange(0, 3).Draw(t, "hosts") {
		if e.Hosts == nil {
			e.Hosts = map[estate.HostID]estate.Host{}
		}
		e.Hosts[estate.HostID(unique("host"))] = estate.Host{Site: site.Draw(t, "site"), Requires: anyNeeds(t, e, 2)}
	}
	for range rapid.IntRange(0, 3).Draw(t, "stores") {
		if e.Stores == nil {
			e.Stores = map[estate.StoreID]estate.Store{}
		}
		s := estate.Store{
			Engine: "postgres", Tier: rapid.IntRange(0, 9).Draw(t, "tier"), Lag: span.Draw(t, "lag"), Alone: "refuse", Reads: "any",
			Gbps: rapid.Float64Range(0, 1e6).Draw(t, "gbps"), Members: map[estate.MemberID]estate.Member{}, After: anyNeeds(t, e, 2),
			Settings: rapid.SampledFrom([]map[string]any{nil, {"a": 1.5, "b": []any{"x", true, nil}, "c": map[string]any{"d": "e"}}}).Draw(t, "settings"),
		}
		for i := range rapid.IntRange(1, 4).Draw(t, "members") {
			s.Members[estate.MemberID(fmt.Sprint("m", i))] = estate.Member{Site: site.Draw(t, "site")}
		}
		s.Primary = rapid.SampledFrom(s.MemberIDs()).Draw(t, "primary")
		s.Any = rapid.IntRange(0, len(s.Members)-1).Draw(t, "any")
		e.Stores[estate.StoreID(unique("store"))] = s
	}
	e.Policy = estate.Policy{Profile: "fast", SiteLoss: estate.Auto, AcceptDataLoss: estate.TwoPeople, DrillEvery: span.Draw(t, "drill")}
	if rapid.Bool().Draw(t, "tiers") {
		e.Policy.SiteLossByTier = map[int]estate.Consent{3: estate.OnePerson}
		e.Policy.SiteReturn = estate.TwoPeople
		e.Policy.Shed = []int{3, 2}
	}
	return e
}

func anyNeeds(t *rapid.T, e estate.Estate, depth int) []estate.Need {
	var out []estate.Need
	for range rapid.IntRange(0, 2).Draw(t, "needs") {
		if inner := []estate.Need(nil); depth > 0 && rapid.Bool().Draw(t, "nested") {
			if inner = anyNeeds(t, e, depth-1); inner != nil {
				out = append(out, estate.Need{AtLeast: rapid.IntRange(1, len(inner)).Draw(t, "atleast"), Of: inner})
				continue
			}
		}
		out = append(out, estate.Need{Name: string(rapid.SampledFrom(e.SiteIDs()).Draw(t, "need"))})
	}
	return out
}

func TestMarshalRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEstate(t)
		raw, err := estate.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := estate.Unmarshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Fatal(diff)
		}
		again, err := estate.Marshal(back)
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("not canonical (%v):\n%s\n%s", err, raw, again)
		}
		if d := estate.Diff(e, back); len(d) != 0 {
			t.Fatalf("no change, but: %v", d)
		}
	})
}

// A difference is seen, in both directions.
func TestDiffSeesEveryChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyEstate(t), anyEstate(t)
		rawA, _ := estate.Marshal(a)
		rawB, _ := estate.Marshal(b)
		ab, ba := estate.Diff(a, b), estate.Diff(b, a)
		if same := bytes.Equal(rawA, rawB); same != (len(ab) == 0) || same != (len(ba) == 0) {
			t.Fatalf("same=%v, but:\n%v\n%v", same, ab, ba)
		}
	})
}

func TestExamplesSurviveStorage(t *testing.T) {
	for _, name := range []string{"messenger.yaml", "three-sites.yaml"} {
		e := load(t, name)
		raw, err := estate.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := estate.Unmarshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestUnmarshalHoldsToTheRules(t *testing.T) {
	for data, want := range map[string]string{
		`{`:               "cannot be read",
		`{"haechi":"v2"}`: `format "v2"`,
		`{"haechi":"v1"}`: "no site is declared",
		`{"haechi":"v1","estate":"x","sites":{"p":{}},"hosts":{"h":{}}}`:                                                     "hosts: h: site is missing",
		`{"haechi":"v1","estate":"x","sites":{"p":{}},"stores":{"s":{"engine":"e","members":{"a":{"site":"q"}}}}}`:           `"q" is not declared under sites`,
		`{"haechi":"v1","estate":"x","sites":{"p":{}},"links":{"l":{"between":["p",""]}}}`:                                   "a link joins two sites",
		`{"haechi":"v1","estate":"x","sites":{"p":{}},"stores":{"s":{"any":-1,"primary":"a","members":{"a":{"site":"p"}}}}}`: "any is less than 0",
	} {
		if _, err := estate.Unmarshal([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want %q, got %v", data, want, err)
		}
	}
}

func TestDiffInWords(t *testing.T) {
	a := load(t, "three-sites.yaml")
	b := load(t, "three-sites.yaml")
	b.Sites["seoul"] = estate.Site{}
	s := b.Stores["talk-db"]
	s.Members = maps.Clone(s.Members)
	delete(s.Members, "anyang")
	s.Any, s.Primary, s.Lag, s.Settings = 0, "ansan", time.Second, map[string]any{"user": "x"}
	b.Stores["talk-db"] = s
	n := b.Names["talk.example."]
	n.Answers = map[estate.SiteID][]string{"pangyo": {"10.0.0.1"}, "seoul": {"10.0.0.2"}}
	b.Names["talk.example."] = n
	b.Policy.SiteLoss = estate.TwoPeople
	delete(b.Towers, "tower-ansan")
	got := strings.Join(estate.Diff(a, b), "\n")
	if diff := cmp.Diff(strings.Join([]string{
		"name talk.example.: answer ansan removed",
		"name talk.example.: answer anyang removed",
		"name talk.example.: answer pangyo: [10.77.1.5:8080] -> [10.0.0.1]",
		"name talk.example.: answer seoul added: [10.0.0.2]",
		"policy: site-loss: auto -> two-people",
		"site seoul added",
		"store talk-db: any: 1 -> 0",
		"store talk-db: lag: 0s -> 1s",
		"store talk-db: member anyang removed",
		"store talk-db: primary: pangyo -> ansan",
		`store talk-db: settings: {} -> {"user":"x"}`,
		"tower tower-ansan removed",
	}, "\n"), got); diff != "" {
		t.Error(diff)
	}
}

// Whatever the schema lists, the loader knows, at every depth.
func TestSchemaAndLoaderAgree(t *testing.T) {
	raw, err := estate.Schema(engines)
	if err != nil {
		t.Fatal(err)
	}
	var top map[string]any
	if err := json.Unmarshal(raw, &top); err != nil {
		t.Fatal(err)
	}
	known := 0
	var walk func(s map[string]any, before, after string)
	walk = func(s map[string]any, before, after string) {
		props, _ := s["properties"].(map[string]any)
		for _, k := range slices.Sorted(maps.Keys(props)) {
			known++
			doc := before + `"` + k + `": {}` + after
			_, err := estate.Load([]estate.File{{Name: "x", Data: []byte(doc)}}, nil)
			if err != nil && strings.Contains(err.Error(), fmt.Sprintf("key %q is not known", k)) {
				t.Errorf("in the schema, not in the loader: %s: %v", doc, err)
			}
			sub := props[k].(map[string]any)
			if sub["description"] == nil {
				t.Errorf("%s has no description", doc)
			}
			walk(sub, before+`"`+k+`": {`, "}"+after)
			if entry, ok := sub["additionalProperties"].(map[string]any); ok {
				walk(firstOf(entry), before+`"`+k+`": {"x.": {`, "}}"+after)
			}
			if item, ok := sub["items"].(map[string]any); ok {
				walk(item, before+`"`+k+`": [{`, "}]"+after)
			}
		}
	}
	walk(top, "{", "}")
	if known < 80 {
		t.Errorf("only %d keys found in the schema", known)
	}
	for _, key := range []string{`"postgres"`, `"#/$defs/needs"`, `"acknowledge"`, `"site-loss"`, `"secret"`} {
		if !bytes.Contains(raw, []byte(key)) {
			t.Errorf("the schema lacks %s", key)
		}
	}
}

// The schema that the examples name is the one that the loader stands by. Run the
// tests with -rewrite to renew it.
func TestSchemaBesideTheExamplesIsCurrent(t *testing.T) {
	const file = "../../examples/estate.schema.json"
	want, err := estate.Schema(nil)
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if f := flag.Lookup("rewrite"); f != nil && f.Value.String() == "true" {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date: go test ./core/estate -run Schema -rewrite", file)
	}
}

// Whatever the schema lists is explained in docs/estate.md.
func TestEveryKeyIsInTheDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/estate.md")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := estate.Schema(nil)
	if err != nil {
		t.Fatal(err)
	}
	var top any
	if err := json.Unmarshal(raw, &top); err != nil {
		t.Fatal(err)
	}
	var walk func(v any)
	walk = func(v any) {
		switch x := v.(type) {
		case map[string]any:
			props, _ := x["properties"].(map[string]any)
			for k := range props {
				if word := regexp.MustCompile("[`.#, ]" + regexp.QuoteMeta(k) + "[`.:,\\[\n ]"); !word.Match(doc) {
					t.Errorf("docs/estate.md does not explain %q", k)
				}
			}
			for _, y := range x {
				walk(y)
			}
		case []any:
			for _, y := range x {
				walk(y)
			}
		}
	}
	walk(top)
}

// firstOf looks through the allOf that ties settings to engines.
func firstOf(s map[string]any) map[string]any {
	if all, ok := s["allOf"].([]any); ok {
		return all[0].(map[string]any)
	}
	return s
}
