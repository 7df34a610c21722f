package generate

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// Text draws an estate as a file: sections in the order of docs/estate.md, a component a line. What
// silence means is left unsaid.
func Text(e estate.Estate) []byte {
	d := &drawing{}
	fmt.Fprintf(d, "haechi: v1\nestate: %s\n", e.Name)
	section(d, "sites", "", e.Sites, func(s estate.Site) string { return flow("title", s.Title, "witness", yes(s.Witness)) })
	section(d, "observers", "looks from where users are, outside all sites", e.Observers, func(o estate.Observer) string { return flow("address", o.Address) })
	section(d, "external", "what others run", e.External, func(estate.External) string { return "{}" })
	section(d, "domains", "what fails as one inside a site", e.Domains, func(v estate.Domain) string {
		return flow("site", string(v.Site), "kind", v.Kind, "requires", needs(v.Requires), "limit", v.Limit)
	})
	section(d, "links", "", e.Links, func(v estate.Link) string {
		return flow("between", fmt.Sprintf("[%s, %s]", v.Between[0], v.Between[1]), "gbps", number(v.Gbps), "latency", span(v.Latency), "requires", needs(v.Requires))
	})
	section(d, "pools", "identical servers", e.Pools, func(v estate.Pool) string {
		return flow("site", string(v.Site), "servers", strconv.Itoa(v.Servers), "watts", number(v.Watts), "boot", span(v.Boot), "requires", needs(v.Requires))
	})
	section(d, "hosts", "machines of which each counts", e.Hosts, func(v estate.Host) string { return flow("site", string(v.Site), "requires", needs(v.Requires)) })
	section(d, "stores", "", e.Stores, store)
	section(d, "services", "", e.Services, service)
	section(d, "names", "what users resolve", e.Names, func(v estate.Name) string {
		return flow("service", string(v.Service), "zone", v.Zone, "ttl", span(v.TTL), "servers", list(v.Servers), "answers", dict(v.Answers, func(a []string) string { return strings.Join(a, ", ") }))
	})
	section(d, "channels", "ways to reach people", e.Channels, func(v estate.Channel) string { return flow("kind", v.Kind, "requires", needs(v.Requires)) })
	section(d, "teams", "", e.Teams, func(v estate.Team) string { return flow("channels", list(v.Channels)) })
	section(d, "towers", "haechi's own voters", e.Towers, func(v estate.Tower) string { return flow("site", string(v.Site)) })
	section(d, "scenarios", "accidents that take several things", e.Scenarios, list[string])
	policy(d, e.Policy)
	return d.Bytes()
}

type drawing struct{ bytes.Buffer }

// section draws one section; comment says what it holds, where its name does not.
func section[K ~string, V any](d *drawing, name, comment string, all map[K]V, draw func(V) string) {
	if len(all) == 0 {
		return
	}
	if comment != "" {
		comment = " # " + comment
	}
	fmt.Fprintf(d, "\n%s:%s\n", name, comment)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(d, "  %s: %s\n", k, draw(all[k]))
	}
}

func store(v estate.Store) string {
	say := []string{"engine", v.Engine, "tier", strconv.Itoa(v.Tier), "members", dict(v.Members, func(m estate.Member) string {
		return flow("site", string(m.Site), "host", string(m.Host))
	})}
	if v.Primary != v.MemberIDs()[0] {
		say = append(say, "primary", string(v.Primary))
	}
	if len(v.Members) > 1 && v.Any != 1 {
		say = append(say, "acknowledge", flow("any", strconv.Itoa(v.Any)))
	}
	if v.Alone != "refuse" {
		say = append(say, "alone", v.Alone)
	}
	say = append(say, "lag", span(v.Lag), "gbps", number(v.Gbps), "requires", needs(v.Requires), "after", needs(v.After))
	var backups []string
	for _, b := range v.Backup {
		backups = append(backups, flow("at", b.At, "offline", yes(b.Offline), "every", span(b.Every)))
	}
	return flow(append(say, "backup", list(backups))...)
}

func service(v estate.Service) string {
	return flow("tier", strconv.Itoa(v.Tier), "rto", promised(v.RTO), "rpo", promised(v.RPO), "load", number(v.Load), "atleast", number(v.AtLeast),
		"runs", dict(v.Runs, strconv.Itoa), "requires", needs(v.Requires), "wants", needs(v.Wants), "after", needs(v.After), "team", v.Team)
}

func policy(d *drawing, p estate.Policy) {
	d.WriteString("\npolicy:\n")
	var shed []string
	for _, t := range p.Shed {
		shed = append(shed, strconv.Itoa(t))
	}
	all := []string{
		"site-loss", string(p.SiteLoss), "accept-data-loss", string(p.AcceptDataLoss),
		"drill-every", span(p.DrillEvery), "backup-every", span(p.BackupEvery), "shed", list(shed),
	}
	for i := 0; i < len(all); i += 2 {
		if all[i+1] != "" {
			fmt.Fprintf(d, "  %s: %s\n", all[i], all[i+1])
		}
	}
}

// flow draws a mapping on one line from keys and values in turn; what has no value is left away.
func flow(of ...string) string {
	var parts []string
	for i := 0; i < len(of); i += 2 {
		if of[i+1] != "" {
			parts = append(parts, of[i]+": "+of[i+1])
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func dict[K ~string, V any](all map[K]V, draw func(V) string) string {
	if len(all) == 0 {
		return ""
	}
	var of []string
	for _, k := range slices.Sorted(maps.Keys(all)) {
		of = append(of, string(k), draw(all[k]))
	}
	return flow(of...)
}

func list[S ~string](all []S) string {
	if len(all) == 0 {
		return ""
	}
	parts := make([]string, len(all))
	for i, s := range all {
		parts[i] = string(s)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func needs(all []estate.Need) string {
	parts := make([]string, len(all))
	for i, n := range all {
		parts[i] = n.String()
	}
	return list(parts)
}

func yes(b bool) string {
	if b {
		return "true"
	}
	return ""
}

func number(x float64) string {
	if x == 0 {
		return ""
	}
	return strconv.FormatFloat(x, 'f', -1, 64)
}

func promised(d *time.Duration) string {
	switch {
	case d == nil:
		return ""
	case *d == 0:
		return "0s"
	}
	return span(*d)
}

// span draws a time; of 0 nothing.
func span(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return estate.Span(d)
}
