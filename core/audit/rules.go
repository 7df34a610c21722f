package audit

import "strings"

// ruleTexts says what each rule looks for, in the words of docs/audit.md, as Markdown.
var ruleTexts = []struct {
	rule Rule
	text string
}{
	{SiteLoss, "A service is down after the loss of one site, or of a named accident that holds one. Severity by its tier."},
	{SPOF, "A service is down after the loss of one thing smaller than a site: a host, domain, pool, link, channel, member of a store, something outside, or a named accident without a site. Severity by its tier."},
	{CommonMode, "A service or store, lost in all sites at once (a bad release, an expired certificate), takes more than half of the other services of tier 0 and 1 along. Low: no redundancy helps against it, only care."},
	{SharedFate, "Two or more alternatives, and so many that the rest does not suffice, fall to one thing smaller than a site: redundancy on paper. Alternatives are what an `any` or `atleast` lists, a store's members, the pools of a service's `runs`. The component is the first by name of those that declare them; high where a service of tier 0 or 1 stands on one, else medium."},
	{Capacity, "A service is short of room after the loss of one site, though not down: living servers given to it, free servers of pools that it runs in, and servers of the tiers that `policy: shed` gives up, are together less than `load` × `atleast`. Severity by its tier."},
	{Power, "The watts that fall on a feed, UPS or room, today or when its twin is lost, exceed its `limit`. Load is shared equally among the living alternatives of an `any`. High."},
	{LinkCapacity, "What must cross a link, each store's `gbps` from its primary to each other member, does not fit: today, after the loss of a site, or of another link. High."},
	{RPO, "A store that a service requires can lose more than the service's `rpo` when one site is lost: it acknowledges before another member holds the write (`any: 0`; what is lost is `lag`, or unknown), may acknowledge alone (`alone: allow`), or has all that hold a write in one site. Severity by the service's tier."},
	{RTO, "A service is interrupted by the loss of one site, or of one thing smaller, and comes back later than its `rto` allows, in the 95th of a hundred simulated cases. What policy leaves to people counts with the time that people take (`policy: answer`). Severity by its tier."},
	{Quorum, "The loss of a site leaves no majority of the towers, so that haechi starts nothing; or takes the primary of a store and leaves too few other members to promote one without losing a write (m − k + 1). Critical for a site; a store by the best tier that stands on it."},
	{BootstrapCycle, "After a power cut everything starts from nothing: what waits in a ring, through `requires` and `after`, never does. High with a member of tier 0 or 1, else medium."},
	{TierInversion, "A service requires one of a lower tier, which is saved later. High for tier 0 and 1, else medium."},
	{PagePath, "A service of a team, or one of tier 0, is down, and no channel of the team works; or all its channels fall to one thing, as a single one does. By the best tier of the team's services."},
	{Backup, "Replication copies a bad delete. A store has no `backup:` outside the sites of its members or offline, or none as new as `policy: backup-every` wants. Medium."},
	{Residual, "After one site is gone a service or store would not survive another (with `--depth 2`: one thing elsewhere). Only where its own pools or members run out. Low: two accidents at once."},
	{Untested, "`policy: drill-every` is set, and no drill has proven the site or service since. What was never tried does not work. Medium."},
	{Stale, "The estate declares a component that a tower looked for and did not see. Medium."},
}

// Rules lists all rules, in the order of docs/audit.md.
func Rules() []Rule {
	out := make([]Rule, len(ruleTexts))
	for i, r := range ruleTexts {
		out[i] = r.rule
	}
	return out
}

// Means says what a rule looks for and how bad it is, as Markdown.
func (r Rule) Means() string {
	for _, t := range ruleTexts {
		if t.rule == r {
			return t.text
		}
	}
	return ""
}

// Title is the first sentence of what a rule means.
func (r Rule) Title() string {
	first, _, _ := strings.Cut(r.Means(), ". ")
	return strings.TrimSuffix(first, ".") + "."
}
