package estate

import (
	"fmt"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// This file is the format of the estate file: every key that there is, what it
// means, and where it is read into.

const most = 1_000_000_000 // of anything that is counted

var (
	siteRef  = ref[SiteID](plainName)
	needDocs = "names that must live for it to live; also {any: [a, b]} and {atleast: 2, of: [a, b, c]}, nested at will"
)

func fileFields() []field[Estate] {
	return []field[Estate]{
		versionField(),
		estateName(),
		includeField(),
		declares("sites", "data centres", plainName, siteShape, func(e *Estate) *map[SiteID]Site { return &e.Sites }),
		declares("observers", "looks from where users are, outside all sites; no vote", plainName, observerShape, func(e *Estate) *map[ObserverID]Observer { return &e.Observers }),
		declares("domains", "anything inside a site that fails as one", plainName, domainShape, func(e *Estate) *map[string]Domain { return &e.Domains }),
		declares("links", "lines between two sites", plainName, linkShape, func(e *Estate) *map[string]Link { return &e.Links }),
		declares("pools", "identical servers in one site", plainName, poolShape, func(e *Estate) *map[string]Pool { return &e.Pools }),
		declares("hosts", "machines that haechi acts on through their agents", plainName, hostShape, func(e *Estate) *map[HostID]Host { return &e.Hosts }),
		declares("stores", "replicated data stores whose members live in several sites", plainName, storeShape(), func(e *Estate) *map[StoreID]Store { return &e.Stores }),
		declares("services", "what users use, or what other services use", plainName, serviceShape, func(e *Estate) *map[ServiceID]Service { return &e.Services }),
		declares("names", "what users resolve: absolute DNS names, with the final dot", dnsName, nameShape, func(e *Estate) *map[NameID]Name { return &e.Names }),
		declares("channels", "ways to reach people", plainName, channelShape, func(e *Estate) *map[string]Channel { return &e.Channels }),
		declares("teams", "who answers pages", plainName, teamShape, func(e *Estate) *map[string]Team { return &e.Teams }),
		declares("external", "things outside all sites that others depend on", plainName, object[External](), func(e *Estate) *map[string]External { return &e.External }),
		declares("towers", "haechi's own servers: they vote among themselves who drives", plainName, towerShape, func(e *Estate) *map[TowerID]Tower { return &e.Towers }),
		scenariosField(),
		acceptedField(),
		policyField(),
	}
}

func versionField() field[Estate] {
	s := oneOf("v1")
	return field[Estate]{key: "haechi", doc: "the version of this format: v1", must: true, schema: s.schema, read: func(r *reader, n ast.Node, p path, _ *Estate) {
		s.read(r, n, p)
	}}
}

func estateName() field[Estate] {
	s := ref[string](plainName)
	return field[Estate]{key: "estate", doc: "the name of the whole; one of the files says it", schema: s.schema, read: func(r *reader, n ast.Node, p path, into *Estate) {
		v, ok := s.read(r, n, p)
		switch {
		case !ok:
		case into.Name != "" && into.Name != v:
			r.fail(n, p, "the estate is called %q already at %s; files of one estate carry one name", into.Name, r.at[p])
		default:
			into.Name = v
		}
	}}
}

var siteShape = object(
	key("title", "its name for people", words[string](), func(s *Site) *string { return &s.Title }),
	key("witness", "true: it holds a vote and no load", flag, func(s *Site) *bool { return &s.Witness }),
)

var observerShape = object(
	key("address", "host:port of its listener", hostPort, func(o *Observer) *string { return &o.Address }),
)

var domainShape = object(
	key("site", "the site that it is in", siteRef, func(d *Domain) *SiteID { return &d.Site }).required(),
	key("kind", "what it is, for example battery-room, ups, power-feed, cooling-loop, floor, rack-row, network-core", words[string](), func(d *Domain) *string { return &d.Kind }),
	key("requires", needDocs, needs, func(d *Domain) *[]Need { return &d.Requires }),
	key("limit", "the power that it can carry, for example 400kW", quantity("kW", "MW", "W", "kVA", "MVA", "VA"), func(d *Domain) *string { return &d.Limit }),
)

var linkShape = object(
	linkBetween(),
	key("gbps", "its capacity each way, in Gbit/s", number(0, most), func(l *Link) *float64 { return &l.Gbps }),
	key("latency", "one way", duration, func(l *Link) *time.Duration { return &l.Latency }),
	key("requires", needDocs, needs, func(l *Link) *[]Need { return &l.Requires }),
)

func linkBetween() field[Link] {
	sites := list(siteRef)
	sch := schema{"type": "array", "items": siteRef.schema, "minItems": 2, "maxItems": 2}
	return field[Link]{key: "between", doc: "the two sites that it joins", must: true, schema: sch, read: func(r *reader, n ast.Node, p path, into *Link) {
		v, ok := sites.read(r, n, p)
		switch {
		case !ok:
		case len(v) != 2:
			r.fail(n, p, "a link joins two sites, here are %d", len(v))
		default:
			into.Between = [2]SiteID(v)
		}
	}}
}

var poolShape = object(
	key("site", "the site that it is in", siteRef, func(v *Pool) *SiteID { return &v.Site }).required(),
	key("servers", "how many there are", count(0, most), func(v *Pool) *int { return &v.Servers }),
	key("watts", "what one of them draws under load", number(0, most), func(v *Pool) *float64 { return &v.Watts }),
	key("boot", "from power on to serving", duration, func(v *Pool) *time.Duration { return &v.Boot }),
	key("requires", needDocs, needs, func(v *Pool) *[]Need { return &v.Requires }),
)

var hostShape = object(
	key("site", "the site that it is in", siteRef, func(v *Host) *SiteID { return &v.Site }).required(),
	key("agent", "host:port of its agent; without it the host is only described", hostPort, func(v *Host) *string { return &v.Agent }),
	key("address", "host:port of what runs there and is spoken to directly: for a name server its DNS port", hostPort, func(v *Host) *string { return &v.Address }),
	key("unit", "what its agent calls that", words[string](), func(v *Host) *string { return &v.Unit }),
	key("requires", needDocs, needs, func(v *Host) *[]Need { return &v.Requires }),
)

func storeShape() shape[Store] {
	primary := ref[MemberID](plainName)
	return object(
		key("engine", "the driver that speaks to it, for example postgres", ref[string](plainName), func(v *Store) *string { return &v.Engine }).required(),
		key("tier", "0 is saved first", count(0, 99), func(v *Store) *int { return &v.Tier }),
		key("members", "its copies, each with its site; names of their own within the store", dict[MemberID](plainName, memberShape), func(v *Store) *map[MemberID]Member { return &v.Members }).required(),
		field[Store]{key: "primary", doc: "the member that takes writes at first, the first by name when left away; afterwards the epoch says", schema: primary.schema, read: readPrimary(primary)},
		acknowledgeField(),
		key("alone", "may the primary acknowledge when too few others can? refuse (default): writes wait; allow: they go on under a journaled mandate", oneOf("refuse", "allow"), func(v *Store) *string { return &v.Alone }),
		key("reads", "may an isolated member go on answering reads? any (default): yes; fresh: its site withdraws it", oneOf("any", "fresh"), func(v *Store) *string { return &v.Reads }),
		key("lag", "what an asynchronous member is behind", duration, func(v *Store) *time.Duration { return &v.Lag }),
		key("gbps", "what its replication takes on each link, in Gbit/s", number(0, most), func(v *Store) *float64 { return &v.Gbps }),
		key("requires", needDocs, needs, func(v *Store) *[]Need { return &v.Requires }),
		key("after", "needed to start, not to run", needs, func(v *Store) *[]Need { return &v.After }),
		key("backup", "copies that a bad delete does not reach", list(backupShape), func(v *Store) *[]Backup { return &v.Backup }),
		key("settings", "the engine's own settings, checked by its driver", settingsShape, func(v *Store) *map[string]any { return &v.Settings }),
	)
}

// readPrimary says "two primaries" where a plain type error would puzzle.
func readPrimary(one shape[MemberID]) func(*reader, ast.Node, path, *Store) {
	return func(r *reader, n ast.Node, p path, into *Store) {
		if s, ok := n.(*ast.SequenceNode); ok {
			r.fail(n, p, "here are %d primaries; a store has exactly one, the others are its members", len(s.Values))
			return
		}
		if v, ok := one.read(r, n, p); ok {
			into.Primary = v
		}
	}
}

func acknowledgeField() field[Store] {
	return within("acknowledge", "who has to hold a write before the client hears of it",
		key("any", "how many members besides the primary; 1 when left away; 0: none, the primary acknowledges alone", count(0, 99), func(v *Store) *int { return &v.Any }),
	)
}

var backupShape = object(
	key("at", "the site, the thing outside, or any other component that it lies in", ref[string](plainName), func(v *Backup) *string { return &v.At }),
	key("offline", "true: nothing that runs can write to it", flag, func(v *Backup) *bool { return &v.Offline }),
	key("every", "how often it is made", duration, func(v *Backup) *time.Duration { return &v.Every }),
	key("last", "when the newest was made, where that is known", day, func(v *Backup) *time.Time { return &v.Last }),
)

var memberShape = object(
	key("site", "the site that it is in", siteRef, func(v *Member) *SiteID { return &v.Site }).required(),
	key("host", "the host whose agent acts on it", ref[HostID](plainName), func(v *Member) *HostID { return &v.Host }),
	key("address", "host:port where it takes clients", hostPort, func(v *Member) *string { return &v.Address }),
	key("unit", "what its agent calls it", words[string](), func(v *Member) *string { return &v.Unit }),
)

var serviceShape = object(
	key("tier", "0 is saved first", count(0, 99), func(v *Service) *int { return &v.Tier }),
	key("rto", "how long it may be gone", optional(duration), func(v *Service) **time.Duration { return &v.RTO }),
	key("rpo", "how much of what it took may be lost, as time", optional(duration), func(v *Service) **time.Duration { return &v.RPO }),
	key("load", "servers' worth of work at peak, over all sites", number(0, most), func(v *Service) *float64 { return &v.Load }),
	key("atleast", "the share of load that is enough, from 0 to 1; 1 when left away", number(0, 1), func(v *Service) *float64 { return &v.AtLeast }),
	key("runs", "pools that it runs on, with the servers given to it", dict[string](plainName, count(0, most)), func(v *Service) *map[string]int { return &v.Runs }),
	key("requires", needDocs, needs, func(v *Service) *[]Need { return &v.Requires }),
	key("wants", "what it is worse without, but lives", needs, func(v *Service) *[]Need { return &v.Wants }),
	key("after", "needed to start, not to run", needs, func(v *Service) *[]Need { return &v.After }),
	key("team", "who answers its pages", ref[string](plainName), func(v *Service) *string { return &v.Team }),
	key("probes", "how each instance is looked at", list(probeShape), func(v *Service) *[]Probe { return &v.Probes }),
	key("rate", "the Prometheus counter of acknowledged work, read at /metrics of the probe's address", words[string](), func(v *Service) *string { return &v.Rate }),
)

var probeShape = object(
	key("http", "a URL that answers 2xx while the instance works; {address} stands for an answer of the service's name", httpURL, func(v *Probe) *string { return &v.HTTP }).required(),
	key("every", "time between two looks at an instance that answers; the profile's when left away", duration, func(v *Probe) *time.Duration { return &v.Every }),
)

var nameShape = object(
	key("service", "the service that it leads to", ref[ServiceID](plainName), func(v *Name) *ServiceID { return &v.Service }).required(),
	key("zone", "the zone that it is in, with the final dot", ref[string](dnsName), func(v *Name) *string { return &v.Zone }),
	key("ttl", "how long resolvers keep an answer; whole seconds", duration, func(v *Name) *time.Duration { return &v.TTL }),
	key("servers", "hosts of the authoritative servers, each of which is told by itself", list(ref[HostID](plainName)), func(v *Name) *[]HostID { return &v.Servers }),
	key("answers", "for each site that may serve, its addresses", dict[SiteID](plainName, oneOrMore(answer)), func(v *Name) *map[SiteID][]string { return &v.Answers }),
	key("key", "the TSIG key (hmac-sha256) with which the servers accept changes", object(
		key("name", "its name, with the final dot", ref[string](dnsName), func(k *TSIG) *string { return &k.Name }).required(),
		key("secret", "where its secret stands, in base64", secretShape, func(k *TSIG) *Secret { return &k.Secret }).required(),
	), func(v *Name) *TSIG { return &v.Key }),
)

var secretShape = object(
	key("file", "the absolute path of a file on the tower's host that holds nothing else", absolutePath, func(s *Secret) *string { return &s.File }),
	key("command", "a program and its arguments that print it; no shell", list(words[string]()), func(s *Secret) *[]string { return &s.Command }),
)

var channelShape = object(
	key("kind", "how it reaches people, for example sms, email, call", words[string](), func(v *Channel) *string { return &v.Kind }).required(),
	key("requires", needDocs, needs, func(v *Channel) *[]Need { return &v.Requires }),
)

var teamShape = object(
	key("channels", "how it is reached", list(ref[string](plainName)), func(v *Team) *[]string { return &v.Channels }),
)

var towerShape = object(
	key("site", "the site that it stands in", siteRef, func(v *Tower) *SiteID { return &v.Site }).required(),
	key("address", "host:port where other towers, agents and people reach it", hostPort, func(v *Tower) *string { return &v.Address }),
)

// scenariosField is a section whose names are no components: nothing can require a scenario.
func scenariosField() field[Estate] {
	return declares("scenarios", "components that may be lost together, as one accident", plainName, list(ref[string](plainName)), func(e *Estate) *map[string][]string { return &e.Scenarios })
}

var acceptedShape = object(
	key("rule", "the rule of the finding", ref[string](plainName), func(v *Accepted) *string { return &v.Rule }).required(),
	key("component", "the component of the finding", words[string](), func(v *Accepted) *string { return &v.Component }).required(),
	key("owner", "who has taken it on", words[string](), func(v *Accepted) *string { return &v.Owner }).required(),
	key("until", "the first day on which it is over, as 2026-12-31", day, func(v *Accepted) *time.Time { return &v.Until }).required(),
	key("why", "why", words[string](), func(v *Accepted) *string { return &v.Why }).required(),
)

// acceptedField is a list to which each file adds.
func acceptedField() field[Estate] {
	l := list(acceptedShape)
	return field[Estate]{key: "accepted", doc: "findings of the audit that somebody has taken on for a time", schema: l.schema, read: func(r *reader, n ast.Node, p path, into *Estate) {
		if first, twice := r.at[p]; twice && first.file != r.file {
			r.fail(n, p, "accepted risks stand already at %s; keep them in one file", first)
			return
		}
		into.Accepted, _ = l.read(r, n, p)
	}}
}

func policyField() field[Estate] {
	fields := policyFields()
	return field[Estate]{key: "policy", doc: "what may happen by itself", schema: objectSchema(fields), read: func(r *reader, n ast.Node, p path, into *Estate) {
		if first, twice := r.at[p]; twice && first.file != r.file {
			r.fail(n, p, "the policy stands already at %s; keep it in one file", first)
			return
		}
		readObject(r, n, p, fields, &into.Policy)
	}}
}

func policyFields() []field[Policy] {
	return []field[Policy]{
		key("profile", "how long silence lasts before it counts: default (2 s) or fast (0.5 s, for good links)", oneOf("default", "fast"), func(v *Policy) *string { return &v.Profile }),
		siteLossField(),
		key("site-return", "who has to agree before what was lost comes back: auto (default), one-person, two-people", oneOf(Auto, OnePerson, TwoPeople), func(v *Policy) *Consent { return &v.SiteReturn }),
		key("accept-data-loss", "who has to agree before acknowledged writes are given up: two-people (default) or one-person", oneOf(OnePerson, TwoPeople), func(v *Policy) *Consent { return &v.AcceptDataLoss }),
		key("answer", "the time in which people answer what haechi asks, in 95 of 100 cases: 30m when left away", duration, func(v *Policy) *time.Duration { return &v.Answer }),
		key("drill-every", "how often readiness has to be proven", duration, func(v *Policy) *time.Duration { return &v.DrillEvery }),
		key("backup-every", "how old the newest backup of a store may be", duration, func(v *Policy) *time.Duration { return &v.BackupEvery }),
		key("reseat-after", "how long a tower is gone before its vote is given to one that stands by: 15m when left away", duration, func(v *Policy) *time.Duration { return &v.ReseatAfter }),
		key("shed", "tiers that are given up first when capacity is short, in this order", list(count(0, 99)), func(v *Policy) *[]int { return &v.Shed }),
	}
}

// siteLossField is one consent for all, or one for each tier.
func siteLossField() field[Policy] {
	one := oneOf(Auto, OnePerson, TwoPeople)
	sch := schema{"anyOf": []schema{one.schema, {
		"type": "object", "additionalProperties": false,
		"properties":        schema{"default": one.schema},
		"patternProperties": schema{"^[0-9]{1,2}$": one.schema},
	}}}
	doc := "who has to agree when a site is lost: auto (default), one-person, two-people; or by tier: {default: auto, 2: one-person}"
	return field[Policy]{key: "site-loss", doc: doc, schema: sch, read: func(r *reader, n ast.Node, p path, into *Policy) {
		if _, ok := stringOf(n); ok {
			into.SiteLoss, _ = one.read(r, n, p)
			return
		}
		entries, ok := r.entries(n, p)
		if !ok {
			return
		}
		for _, e := range entries {
			q := p.to(e.key)
			v, ok := one.read(r, e.value, q)
			if !ok {
				continue
			}
			if e.key == "default" {
				into.SiteLoss = v
				continue
			}
			tier, ok := tierOf(e.key)
			if !ok {
				r.fail(e.at, p, "%q is no tier; write a number from 0 to 99, or default", short(e.key))
				continue
			}
			if into.SiteLossByTier == nil {
				into.SiteLossByTier = map[int]Consent{}
			}
			into.SiteLossByTier[tier] = v
		}
	}}
}

func tierOf(s string) (int, bool) {
	var n int
	if _, err := fmt.Sscanf(s, "%d", &n); err != nil || fmt.Sprint(n) != s || n < 0 || n > 99 {
		return 0, false
	}
	return n, true
}
