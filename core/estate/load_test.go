package estate_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
)

// engines is what a driver would say.
var engines = map[string]estate.SettingsCheck{
	"postgres": {
		Schema: map[string]any{"type": "object", "properties": map[string]any{"user": map[string]any{"type": "string"}}},
		Check: func(s map[string]any) []error {
			if _, ok := s["port"]; ok {
				return []error{&estate.SettingError{Key: "port", Message: "not a setting; the member's address has it"}, errors.New("and more")}
			}
			return nil
		},
	},
}

func TestProblems(t *testing.T) {
	datadriven.RunTest(t, "testdata/problems.txt", func(t *testing.T, d *datadriven.TestData) string {
		var settings map[string]estate.SettingsCheck
		if d.HasArg("engines") {
			settings = engines
		}
		e, err := estate.Load(filesIn(d.Input), settings)
		if err != nil {
			return strings.ReplaceAll(err.Error(), "\t", `\t`) + "\n"
		}
		return fmt.Sprintf("ok: %s, sites %v\n", e.Name, e.SiteIDs())
	})
}

// filesIn cuts the input at lines like "-- a.yaml".
func filesIn(input string) []estate.File {
	if !strings.HasPrefix(input, "-- ") {
		return []estate.File{{Name: "x.yaml", Data: []byte(input)}}
	}
	var out []estate.File
	for part := range strings.SplitSeq("\n"+input, "\n-- ") {
		if name, data, ok := strings.Cut(part, "\n"); ok {
			out = append(out, estate.File{Name: name, Data: []byte(data + "\n")})
		}
	}
	return out
}

func load(t *testing.T, name string) estate.Estate {
	t.Helper()
	data, err := os.ReadFile("../../examples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	e, err := estate.Load([]estate.File{{Name: name, Data: data}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestExampleSaysWhatItSays(t *testing.T) {
	e := load(t, "messenger.yaml")
	want := estate.Store{
		Engine: "postgres",
		Members: map[estate.MemberID]estate.Member{
			"a": {Site: "pangyo", Host: "db-p1", Address: "10.1.0.21:5432", Unit: "postgresql@15-main"},
			"b": {Site: "ansan"},
			"c": {Site: "anyang"},
		},
		Primary: "a", Any: 1, Alone: "refuse", Reads: "any",
	}
	if diff := cmp.Diff(want, e.Stores["talk-db"]); diff != "" {
		t.Errorf("store: %s", diff)
	}
	if diff := cmp.Diff(estate.Policy{
		Profile: "default", SiteLoss: estate.Auto, SiteLossByTier: map[int]estate.Consent{2: estate.OnePerson},
		AcceptDataLoss: estate.TwoPeople, DrillEvery: 90 * 24 * time.Hour,
	}, e.Policy); diff != "" {
		t.Errorf("policy: %s", diff)
	}
	if got := e.Pools["pangyo/web"].Requires[0].String(); got != "{any: [pangyo/ups-1, pangyo/ups-2]}" {
		t.Errorf("need: %s", got)
	}
	if got := e.Names["talk.example."]; got.TTL != 2*time.Second || len(got.Answers["ansan"]) != 1 || got.Answers["ansan"][0] != "10.2.0.5" {
		t.Errorf("name: %+v", got)
	}
}

// The example that describes lacks what the other has.
func TestActionable(t *testing.T) {
	if err := estate.Actionable(load(t, "three-sites.yaml"), engines); err != nil {
		t.Errorf("three-sites.yaml: %v", err)
	}
	err := estate.Actionable(load(t, "messenger.yaml"), engines)
	var lacks *estate.NotActionable
	if !errors.As(err, &lacks) {
		t.Fatalf("messenger.yaml: %v", err)
	}
	for _, want := range []string{
		"towers: tower-1: address is missing",
		"stores: talk-db: members: b: host is missing",
		"names: talk.example.: key is missing",
		"hosts: pangyo/ns: address is missing",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("does not say %q:\n%v", want, err)
		}
	}
}

// A store that is only described may be of any engine; the estate says so, and can be audited.
func TestAnyEngineCanBeDescribed(t *testing.T) {
	e, err := estate.Load([]estate.File{{Name: "x.yaml", Data: []byte("haechi: v1\nestate: x\nsites: {p: {}}\nstores: {queue: {engine: kafka, members: {a: {site: p}}}}\n")}}, engines)
	if err != nil {
		t.Fatal(err)
	}
	if err := estate.Actionable(e, engines); err == nil || !strings.Contains(err.Error(), `no driver speaks "kafka"`) {
		t.Errorf("actionable: %v", err)
	}
}

// Hostile or mistaken input ends quickly, with a sentence.
func TestRefusedBeforeItCosts(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		want string
	}{
		"100 MB":         {"haechi: v1\n" + strings.Repeat("# padding\n", 10<<20), "more than the 10 MB of YAML"},
		"alias bomb":     {bomb(), "anchors and aliases"},
		"merge key":      {"haechi: v1\n<<: {a: b}\n", "anchors and aliases"},
		"not UTF-8":      {"haechi: v1\nestate: \xff\xfe\n", "x.yaml:2:9: the byte 0xff is not UTF-8"},
		"UTF-16":         {"\xff\xfeh\x00a\x00", "x.yaml:1:1: the byte 0xff is not UTF-8"},
		"control":        {"haechi: v1\x00", "control character 0x00"},
		"brackets":       {strings.Repeat("[", 10000), "nested more than"},
		"braces":         {strings.Repeat("{a: ", 5000), "nested more than"},
		"dashes":         {strings.Repeat("- ", 10000), "nested more than"},
		"questions":      {strings.Repeat("? ", 10000), "nested more than"},
		"too many keys":  {"haechi: v1\n" + strings.Repeat("a:\n", 21000), "split the estate"},
		"too many words": {"haechi: [" + strings.Repeat("a,", 151000) + "]", "split it into several files"},
		"deep indent":    {deep(600), "nested more than"},
		"empty":          {"", "the file is empty"},
		"only comments":  {"# nothing\n", "the file is empty"},
		"many problems":  {"haechi: v1\nestate: x\nsites: {a: {}}\nhosts:\n" + strings.Repeat("  a b: {}\n", 1500), "more problems; mend the ones above first"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := estate.Load([]estate.File{{Name: "x.yaml", Data: []byte(c.data)}}, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want %q, got %.300v", c.want, err)
			}
		})
	}
	if _, err := estate.Load(nil, nil); err == nil {
		t.Error("no files: no error")
	}
	twice := estate.File{Name: "x", Data: []byte("haechi: v1\n")}
	if _, err := estate.Load([]estate.File{twice, twice}, nil); err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("one file twice: %v", err)
	}
}

// Many keys on one line stand beside each other, not in each other.
func TestALongLineIsNotDeep(t *testing.T) {
	sites := make([]string, 60)
	for i := range sites {
		sites[i] = fmt.Sprintf("s%d: {}", i)
	}
	_, err := estate.Load([]estate.File{{Name: "x.yaml", Data: []byte("haechi: v1\nestate: x\nsites: {" + strings.Join(sites, ", ") + "}\n")}}, nil)
	if err != nil {
		t.Error(err)
	}
}

func bomb() string {
	s := "haechi: v1\na0: &a0 [x, x]\n"
	for i := range 30 {
		s += fmt.Sprintf("a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	return s
}

func deep(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "%*sa:\n", 2*i, "")
	}
	return s.String()
}

// A name of any length is refused as one, and the message stays short enough to read.
func TestNamesWithoutEnd(t *testing.T) {
	for _, letter := range []string{"a", "판", "🔥", "ש"} {
		long := strings.Repeat(letter, 10_000)
		for _, line := range []string{"estate: NAME", "sites: {NAME: {}}", "services: {s: {requires: [NAME]}}", "names: {NAME.: {service: s}}", "NAME: {}", "scenarios: {s: [NAME]}", "sites: {p: {title: NAME}}", "include: [NAME]", "include: [NAME.yaml]"} {
			text := "haechi: v1\n" + strings.Replace(line, "NAME", long, 1) + "\n"
			_, err := estate.Load([]estate.File{{Name: "x.yaml", Data: []byte(text)}}, nil)
			if err == nil || !strings.Contains(err.Error(), "x.yaml:2:") || len(err.Error()) > 2000 {
				t.Errorf("%s of %s: %.300v", line, letter, err)
			}
		}
	}
}

// What a store's members and a name's servers have in common is missing once.
func TestWhatIsMissingIsSaidOnce(t *testing.T) {
	e, err := estate.Load([]estate.File{{Name: "x.yaml", Data: []byte(`
haechi: v1
estate: x
sites: {p: {}}
hosts: {ns: {site: p}}
external: {e: {}}
services: {s: {requires: [e]}}
names: {a.example.: {service: s, servers: [ns]}, b.example.: {service: s, servers: [ns]}}
`)}}, engines)
	if err != nil {
		t.Fatal(err)
	}
	lacks, ok := errors.AsType[*estate.NotActionable](estate.Actionable(e, engines))
	if !ok {
		t.Fatal("nothing is missing")
	}
	seen := map[string]bool{}
	for _, m := range lacks.Missing {
		if seen[m] {
			t.Errorf("twice: %s", m)
		}
		seen[m] = true
	}
}

func TestSpansAreWrittenAsFilesSayThem(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 5 * time.Minute: "5m", 90 * time.Minute: "1h30m", 10 * time.Hour: "10h", 36 * time.Hour: "36h", 48 * time.Hour: "2d", 1500 * time.Millisecond: "1.5s"} {
		if got := estate.Span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
