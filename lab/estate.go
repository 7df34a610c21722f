package lab

import (
	"fmt"
	"strings"
)

// estateYAML describes the lab to haechi, as an operator would write it.
func (l *Lab) estateYAML() string {
	ttl := "2s"
	if l.o.Profile == "fast" {
		ttl = "1s"
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# written by haechi-lab: three sites on one machine\nhaechi: v1\nestate: lab\nsites:")
	title := map[Place]string{Pangyo: "판교", Ansan: "안산", Anyang: "안양"}
	for _, p := range sites {
		line("  %s: {title: %s}", p, title[p])
	}
	line("observers:")
	for _, o := range observers {
		line("  %s: {address: %q}", o.Name, Users.Addr(o.Host)+":9443")
	}
	line("links:")
	for i, a := range sites {
		for _, b := range sites[i+1:] {
			line("  %s-%s: {between: [%s, %s], latency: %s}", a, b, a, b, siteDelay)
		}
	}
	line("pools:")
	for _, p := range sites {
		line("  %s/talk: {site: %s, servers: 1}", p, p)
	}
	line("hosts:")
	for _, p := range sites {
		line("  %s: {site: %s, agent: %q}", p.host(), p, p.agentAddr())
		line("  %s: {site: %s, agent: %q, address: %q, unit: named}", p.nameHost(), p, p.agentAddr(), p.nameAddr())
	}
	line("stores:\n  talk-db:\n    engine: postgres\n    tier: 0\n    members:")
	for _, p := range sites {
		line("      %s: {site: %s, host: %s, address: %q, unit: talk-db}", p, p, p.host(), p.postgresAddr())
	}
	line("    primary: pangyo\n    acknowledge: {any: 1}")
	if l.o.Alone {
		line("    alone: allow")
	}
	if l.o.Fresh {
		line("    reads: fresh")
	}
	line("    settings: {monitor: {user: haechi_monitor, database: postgres, password: {file: %s}}}", l.path("secrets", "monitor"))
	line("services:\n  talk:\n    tier: 0\n    rto: 30s\n    rpo: 0s\n    runs: {%s}", l.runs())
	line("    requires: [talk-db]\n    probes: [{http: \"http://{address}/healthz\"}]\n    rate: talk_acknowledged_total")
	line("names:\n  talk.example.:\n    service: talk\n    zone: example.\n    ttl: %s", ttl)
	var servers, answers []string
	for _, p := range sites {
		servers = append(servers, p.nameHost())
		answers = append(answers, fmt.Sprintf("%s: %q", p, p.GatewayAddr()))
	}
	line("    servers: [%s]\n    answers: {%s}", strings.Join(servers, ", "), strings.Join(answers, ", "))
	line("    key: {name: haechi-key., secret: {file: %s}}", l.path("secrets", "tsig"))
	line("towers:")
	for _, p := range sites {
		line("  %s: {site: %s, address: %q}", p.tower(), p, p.towerAddr())
	}
	line("policy: {profile: %s, site-loss: auto, accept-data-loss: two-people}", l.o.Profile)
	return b.String()
}

func (p Place) nameHost() string { return "ns-" + string(p) }

func (l *Lab) runs() string {
	var out []string
	for _, p := range sites {
		out = append(out, fmt.Sprintf("%s/talk: 1", p))
	}
	return strings.Join(out, ", ")
}
