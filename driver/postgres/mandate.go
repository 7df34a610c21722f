package postgres

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/haechi/haechi/agent"
)

// How long a mandate may be: less could not be renewed in time, more would hardly end by itself.
const (
	leastMandate = time.Second
	mostMandate  = time.Minute
)

// nft runs one script of nftables and returns what it says.
type nft func(ctx context.Context, script string) (string, error)

// nftProgram is always called in the same way; what it is to do comes on its input.
const nftProgram = "/usr/sbin/nft"

// nftLimit is how long the kernel is given.
const nftLimit = 2 * time.Second

func runNFT(ctx context.Context, script string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, nftLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, nftProgram, "-f", "-")
	cmd.Stdin, cmd.Dir, cmd.Env = strings.NewReader(script), "/", []string{"LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", nftProgram, err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// table is the name of the unit's table. It is made of what [Settings.Validate] let through,
// and no other member on this host has the same port.
func (s Settings) table() string { return fmt.Sprintf("haechi_%s_%d", s.Store, s.Port) }

// mandateScript makes the table anew, in one transaction: nothing passes to or from the port
// unless the port is in the set, and for d it is. Without d it is not. The whole table is made
// each time, since others may have flushed it meanwhile.
func mandateScript(table string, port int, d time.Duration) string {
	element := ""
	if d > 0 {
		element = fmt.Sprintf("\n\t\telements = { %d timeout %dms }", port, d.Milliseconds())
	}
	return fmt.Sprintf(`table inet %[1]s
delete table inet %[1]s
table inet %[1]s {
	set mandate {
		type inet_service
		flags timeout%[3]s
	}
	chain input {
		type filter hook input priority -10
		tcp dport %[2]d tcp dport != @mandate drop
	}
	chain output {
		type filter hook output priority -10
		tcp sport %[2]d tcp sport != @mandate drop
	}
}
`, table, port, element)
}

// noMandateScript removes the table, which may be missing.
func noMandateScript(table string) string {
	return fmt.Sprintf("table inet %[1]s\ndelete table inet %[1]s\n", table)
}

// expiresOf finds how long an element has left in what nft lists, such as "expires 4s868ms".
var expiresOf = regexp.MustCompile(`\bexpires ((?:\d+m)?(?:\d+s)?(?:\d+ms)?)\b`)

// goAlone lets the primary acknowledge without others, or go on doing so. The kernel is told
// first: from then on it alone says how long clients are let through.
func (u *Unit) goAlone(ctx context.Context, o agent.Order, mem memory, m *agent.Memory) (map[string]string, error) {
	if err := u.mayBeAlone(o, mem); err != nil {
		return nil, err
	}
	if o.Renew {
		return u.renew(ctx, o, mem)
	}
	if in, err := u.local.value(ctx, "SELECT pg_is_in_recovery()"); err != nil || in != "f" {
		return nil, agent.Refuse(agent.Unsafe, "%s does not say that it takes writes, so it does not go on alone (%v)", u.set.Member, err)
	}
	if err := wanted(ctx, "alone"); err != nil {
		return nil, err
	}
	was := mem
	mem.Alone = &alone{Epoch: o.Epoch}
	if err := m.Save(mem); err != nil {
		return nil, err
	}
	if err := u.grant(ctx, o.Mandate); err != nil {
		if was.Alone != nil {
			return nil, fmt.Errorf("alone: the mandate ends soon: %w", err)
		}
		if serr := m.Save(was); serr != nil {
			return nil, fmt.Errorf("alone: %w", errors.Join(err, serr))
		}
		return nil, agent.Refuse(agent.Unsafe, "no mandate can be made that ends by itself; the agent needs CAP_NET_ADMIN (in its systemd unit: AmbientCapabilities=CAP_NET_ADMIN): %v", err)
	}
	u.forgetRule()
	if err := u.ruleInForce(ctx, mem); err != nil {
		return nil, fmt.Errorf("alone: %w", err)
	}
	f, err := u.promoted(ctx, mem)
	if err == nil {
		u.mandateFacts(mem, f)
	}
	return f, err
}

// mayBeAlone lets only the primary of the promotion that stands go on alone, and only where
// that would end by itself.
func (u *Unit) mayBeAlone(o agent.Order, mem memory) error {
	switch {
	case u.nft == nil:
		return agent.Refuse(agent.Unsafe, "no way to end a mandate is set up on this host, so it must not acknowledge alone; "+
			"set mandate: nft for this unit in the agent's file, and let the agent have CAP_NET_ADMIN")
	case o.Mandate < leastMandate || o.Mandate > mostMandate:
		return agent.Refuse(agent.BadOrder, "a mandate of %v; it must be between %v and %v", o.Mandate, leastMandate, mostMandate)
	case len(o.Sync) > 0 || o.Any != 0:
		return agent.Refuse(agent.BadOrder, "alone, and %d of %d members: which of the two?", o.Any, len(o.Sync))
	case mem.Fenced:
		return agent.Refuse(agent.Unsafe, "%s is fenced", u.set.Member)
	case mem.Role != asPrimary || o.Reign == 0 || mem.Reign != o.Reign:
		return agent.Refuse(agent.Unsafe, "%s is %s under epoch %d, the promotion that stands is of epoch %d", u.set.Member, orNothing(mem.Role), mem.Reign, o.Reign)
	case len(mem.List) == 0:
		return agent.Refuse(agent.Unsafe, "nobody told %s who acknowledges for it, so there would be no way back", u.set.Member)
	case o.Renew && (mem.Alone == nil || mem.Alone.Ending):
		return agent.Refuse(agent.Unsafe, "%s does not go on alone, so there is no mandate to renew", u.set.Member)
	}
	return nil
}

func orNothing(role string) string {
	if role == "" {
		return "nothing"
	}
	return role
}

// renew gives the mandate anew and asks nothing of the server, which may be busy.
func (u *Unit) renew(ctx context.Context, o agent.Order, mem memory) (map[string]string, error) {
	if err := u.grant(ctx, o.Mandate); err != nil {
		return nil, fmt.Errorf("renew the mandate: %w", err)
	}
	f := map[string]string{}
	mem.facts(f)
	u.mandateFacts(mem, f)
	return f, nil
}

// grant has the kernel let the port's packets through for d from now on.
func (u *Unit) grant(ctx context.Context, d time.Duration) error {
	if err := agent.Wanted(ctx); err != nil {
		return err
	}
	ends := time.Now().Add(d) // a little before the kernel's own end
	if _, err := u.nft(ctx, mandateScript(u.set.table(), u.set.Port, d)); err != nil {
		return err
	}
	u.mandateEnds(ends)
	return nil
}

func (u *Unit) mandateEnds(at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ends = at
}

// mandateFacts says how long the mandate lasts if nobody renews it.
func (u *Unit) mandateFacts(mem memory, f map[string]string) {
	if mem.Alone == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	f["mandate_ms"] = number(uint64(max(time.Until(u.ends), 0).Milliseconds()))
}

// endAlone remembers that the list is to be in force again.
func (mem *memory) endAlone() {
	if mem.Alone != nil {
		mem.Alone = &alone{Epoch: mem.Alone.Epoch, Ending: true}
	}
}

// endMandate takes the table away once the list is in force, or the server down: clients are
// let through again by nobody's leave. Where the member was not alone it does nothing.
func (u *Unit) endMandate(ctx context.Context, mem *memory, m *agent.Memory) error {
	if mem.Alone == nil {
		return nil
	}
	err := errors.New("mandate: nft is no longer set for this unit in the agent's file")
	if u.nft != nil {
		_, err = u.nft(ctx, noMandateScript(u.set.table()))
	}
	if err != nil {
		return fmt.Errorf("the table inet %s, which shuts the port when the mandate has ended, was not removed: %w", u.set.table(), err)
	}
	mem.Alone = nil
	return m.Save(*mem)
}

// aloneNoMore takes back what a server that is down would begin with: first the empty list, then the table.
func (u *Unit) aloneNoMore(ctx context.Context, mem *memory, m *agent.Memory) error {
	if mem.Alone == nil {
		return nil
	}
	mem.endAlone()
	if err := m.Save(*mem); err != nil {
		return err
	}
	if _, err := u.apply(*mem); err != nil {
		return err
	}
	return u.endMandate(ctx, mem, m)
}

// mandateBeforeStart makes sure that a server which begins alone is heard only under a mandate.
func (u *Unit) mandateBeforeStart(ctx context.Context, mem *memory, m *agent.Memory) error {
	switch {
	case mem.Alone == nil:
		return nil
	case mem.Alone.Ending:
		return u.aloneNoMore(ctx, mem, m)
	}
	if err := u.keepShut(ctx); err != nil {
		return agent.Refuse(agent.Unsafe, "%s would acknowledge alone and nothing would end that: %v", u.set.Member, err)
	}
	return nil
}

// Wake shuts the port of a member that is remembered as alone where the kernel has forgotten
// it, since the machine was started again. A table that stands is left as it is.
func (u *Unit) Wake(ctx context.Context, m *agent.Memory) error {
	mem, err := recall(m)
	if err != nil || mem.Alone == nil {
		return err
	}
	return u.keepShut(ctx)
}

// keepShut makes the table without a mandate where there is none, and else finds out how
// long the mandate lasts.
func (u *Unit) keepShut(ctx context.Context) error {
	if u.nft == nil {
		return fmt.Errorf("%s goes on alone, and mandate: nft is no longer set for this unit in the agent's file", u.set.Member)
	}
	listed, err := u.nft(ctx, fmt.Sprintf("list table inet %s\n", u.set.table()))
	if err == nil {
		if found := expiresOf.FindStringSubmatch(listed); found != nil {
			if left, err := time.ParseDuration(found[1]); err == nil {
				u.mandateEnds(time.Now().Add(left))
			}
		}
		return nil
	}
	if _, err := u.nft(ctx, mandateScript(u.set.table(), u.set.Port, 0)); err != nil {
		return fmt.Errorf("shut port %d until a tower renews the mandate: %w", u.set.Port, err)
	}
	return nil
}
