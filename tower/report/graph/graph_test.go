package graph

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/estate"
)

func load(t *testing.T, text string) estate.Estate {
	t.Helper()
	e, err := estate.Load([]estate.File{{Name: "x.yaml", Data: []byte(text)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func example(t *testing.T, name string) estate.Estate {
	t.Helper()
	data, err := os.ReadFile("../../../examples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return load(t, string(data))
}

func draw(t *testing.T, e estate.Estate, o Options) string {
	t.Helper()
	out, err := SVG(e, o)
	if err != nil {
		t.Fatal(err)
	}
	for dec := xml.NewDecoder(bytes.NewReader(out)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return string(out)
		} else if err != nil {
			t.Fatalf("no XML: %v\n%s", err, out)
		}
	}
}

func TestThePictureHoldsEverything(t *testing.T) {
	svg := draw(t, example(t, "messenger.yaml"), Options{})
	for _, want := range []string{
		"site pangyo", "판교", "service talk: tier 0", "store talk-db: postgres, tier 0", "member talk-db/a: first primary of talk-db", "pool ansan/web: 1200 servers",
		"domain pangyo/ups-1: ups 400kW", "host db-p1", "tower tower-3", "external carrier-k", "channel sms: sms", "team talk-oncall", "name talk.example.", "observer isp-a",
		"link pangyo-ansan: pangyo – ansan", "requires one of several", "starts after", "wants",
	} {
		if !strings.Contains(svg, ">"+want) {
			t.Errorf("%q is missing", want)
		}
	}
	if again := draw(t, example(t, "messenger.yaml"), Options{}); again != svg {
		t.Error("the same estate is drawn otherwise")
	}
}

func TestOneComponentWithWhatItNeedsAndWhatNeedsIt(t *testing.T) {
	e := example(t, "messenger.yaml")
	for _, c := range []struct {
		o        Options
		with, no []string
	}{
		{Options{Of: "talk", Depth: 1}, []string{"service auth", "name talk.example.", "pool pangyo/web", "site pangyo"}, []string{"domain pangyo/ups-1", "channel sms", "tower tower-1", "service mail-service"}},
		{Options{Of: "talk"}, []string{"domain pangyo/battery", "host db-p1"}, []string{"channel sms", "tower tower-1"}},
		{Options{Of: "pangyo/battery"}, []string{"service talk", "domain pangyo/ups-2", "site pangyo"}, []string{"pool ansan/web", "channel sms", "tower tower-1"}},
		{Options{Of: "pangyo", Depth: 1}, []string{"tower tower-1", "member talk-db/a"}, []string{"service talk", "site ansan"}},
		{Options{Of: "pangyo-ansan"}, []string{"link pangyo-ansan"}, []string{"service talk"}},
		{Options{Of: "talk-db/a"}, []string{"host db-p1", "store talk-db", "service talk"}, []string{"member talk-db/b"}},
	} {
		svg := draw(t, e, c.o)
		for _, want := range c.with {
			if !strings.Contains(svg, "<title>"+want) {
				t.Errorf("%+v: %s is missing", c.o, want)
			}
		}
		for _, no := range c.no {
			if strings.Contains(svg, "<title>"+no) {
				t.Errorf("%+v: %s has nothing to do with it", c.o, no)
			}
		}
	}
	if _, err := SVG(e, Options{Of: "tolk"}); err == nil || !strings.Contains(err.Error(), `did you mean "talk"?`) {
		t.Errorf("a component that there is not: %v", err)
	}
}

func TestComponentsLead(t *testing.T) {
	e := example(t, "messenger.yaml")
	s := e.Sites["pangyo"]
	s.Title = `<script>"&`
	e.Sites["pangyo"] = s
	svg := draw(t, e, Options{Of: "talk", Link: func(c string) string {
		if c == "auth" {
			return ""
		}
		return `?of="` + c + `"&x`
	}})
	if !strings.Contains(svg, `<a href="?of=&#34;talk&#34;&amp;x">`) || strings.Contains(svg, "auth&#34;&amp;x") || strings.Contains(svg, "<script") {
		t.Error("the links, or what is escaped, are wrong")
	}
}

// anyEstate draws services, pools and domains that lean on each other at random, rings of services included.
func anyEstate(t *rapid.T) estate.Estate {
	e := estate.Estate{Name: "x", Sites: map[estate.SiteID]estate.Site{}, Domains: map[string]estate.Domain{}, Services: map[estate.ServiceID]estate.Service{}}
	var sites []estate.SiteID
	for i := range rapid.IntRange(1, 4).Draw(t, "sites") {
		sites = append(sites, estate.SiteID(fmt.Sprint("site-", i)))
		e.Sites[sites[i]] = estate.Site{}
	}
	need := func(kind string, below int) []estate.Need {
		var out []estate.Need
		for range rapid.IntRange(0, 3).Draw(t, "needs") {
			if below > 0 {
				out = append(out, estate.Need{Name: fmt.Sprint(kind, rapid.IntRange(0, below-1).Draw(t, "need"))})
			}
		}
		return out
	}
	domains := rapid.IntRange(0, 20).Draw(t, "domains")
	for i := range domains {
		e.Domains[fmt.Sprint("d", i)] = estate.Domain{Site: rapid.SampledFrom(sites).Draw(t, "site"), Requires: need("d", i)}
	}
	services := rapid.IntRange(0, 30).Draw(t, "services")
	for i := range services {
		e.Services[estate.ServiceID(fmt.Sprint("s", i))] = estate.Service{Requires: append(need("s", services), need("d", domains)...), After: need("s", services)}
	}
	return e
}

// No two components stand on each other, each stands in its box, and lines go down but for rings.
func TestNothingStandsOnAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEstate(t)
		p := place(read(e))
		seen := 0
		for i, row := range p.rows {
			for j, n := range row {
				if n.name != "" {
					seen++
				}
				if n.row != i {
					t.Fatalf("%s stands in row %d and says %d", n.name, i, n.row)
				}
				if j > 0 && n.x < row[j-1].x+step(row[j-1], n)-0.01 {
					t.Fatalf("%q stands on %q", n.name, row[j-1].name)
				}
				if n.x-n.width/2 < 0 || n.x+n.width/2 > p.width {
					t.Fatalf("%q stands outside", n.name)
				}
				if (n.site != "") != (i >= p.over) || n.site != "" && (n.x-n.width/2 < p.left[n.site] || n.x+n.width/2 > p.right[n.site]) {
					t.Fatalf("%q stands outside its site", n.name)
				}
			}
		}
		if seen != len(e.Domains)+len(e.Services) {
			t.Fatalf("%d components of %d stand", seen, len(e.Domains)+len(e.Services))
		}
		a, err := SVG(e, Options{})
		b, _ := SVG(e, Options{})
		if err != nil || !bytes.Equal(a, b) {
			t.Fatalf("drawn otherwise the second time: %v", err)
		}
	})
}
