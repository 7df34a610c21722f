package postgres

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Advice is one thing that is missing or unsafe on a member, and what to do about it.
type Advice struct{ Text, Do string }

// advices collects them.
type advices []Advice

func (a *advices) say(do, format string, args ...any) {
	*a = append(*a, Advice{fmt.Sprintf(format, args...), do})
}

// bringsBack is what makes a follower of a member again.
const bringsBack = "wait for the run that brings it back: haechi runs; where there is none: haechi rejoin STORE MEMBER"

// Doctor says what is missing or unsafe on one member, judged by its own facts alone. [Premises]
// judges a whole store, in the same words where it is about the same. Before a store is adopted
// no agent knows what its member is, which is nothing to be said of each.
func Doctor(f map[string]string, adopted bool) (out []Advice) {
	var a advices
	switch {
	case f["running"] == "":
		a.say("look whether the agent's file declares the unit that the estate names", "its agent says nothing of it")
		return a
	case f["broken"] != "":
		a.say(bringsBack, "it is being made anew by a %s that has not ended: nothing starts it", f["broken"])
		return a
	case f["fenced"] == "true":
		a.say(bringsBack+", which reads what only it holds before anything is rewritten", "it is fenced: it stays stopped")
		return a
	case f["sealed"] == "true" || f["sealed"] == "begun":
		a.say("wait until the run ends or takes that back: haechi runs", "it is sealed: it receives from nobody")
	}
	switch {
	case f["running"] != "true" && !adopted:
		a.say("start it, then haechi adopts the store", "its server does not run")
	case f["running"] != "true":
		a.say("wait: its agent starts it when a tower says so; its log says why where that does not help", "its server does not run")
	case f["answers"] != "true":
		a.say("run the agent as the server's user, with peer authentication on the socket", "its server does not answer%s", because(f["error"]))
	default:
		a = slices.Concat(a, made(f, adopted), account(f), unsafe(f), blocked(f), comeback(f))
		if f["in_recovery"] == "false" {
			a = slices.Concat(a, weaker(f), unsalvageable(f)) // of the one that takes commits
		}
	}
	return a
}

// made compares what the agent made of the server with what the server is.
func made(f map[string]string, adopted bool) (out advices) {
	switch role := f["agent/role"]; {
	case role == "" && adopted:
		out.say("put the agent's state file back; without it nobody knows which orders it took", "its agent does not know what it is, though the store is adopted")
	case role == asPrimary && f["in_recovery"] == "true":
		out.say("wait for the run that has begun: haechi runs; where there is none: haechi rejoin STORE MEMBER", "its agent remembers a primary of epoch %s and its server is a standby", f["agent/reign"])
	case role == asFollower && f["in_recovery"] == "false":
		out.say("find out who promoted it by hand, and stop it before users write to it", "its agent made it a follower and its server takes writes")
	}
	return out
}

// account is about the role by which members receive. It is looked at where it is made.
func account(f map[string]string) (out advices) {
	switch role := f["replication_role"]; {
	case f["in_recovery"] == "true" || role == "ok":
	case role == "":
		out.say("CREATE ROLE "+ReplicationRole+" REPLICATION LOGIN", "role %s is missing", ReplicationRole)
	default:
		out.say("ALTER ROLE "+ReplicationRole+" REPLICATION LOGIN", "role %s is %s", ReplicationRole, role)
	}
	return out
}

// comeback is what would keep a member from coming back while this one is primary.
func comeback(f map[string]string) (out advices) {
	if f["lets_back"] == "false" {
		out.say(fmt.Sprintf("add to pg_hba.conf: host %s %s ADDRESS scram-sha-256; then reload", sourceDatabase, ReplicationRole),
			"pg_hba.conf lets %s into no database: no member could be rewound or copied from it", ReplicationRole)
	}
	return out
}

// unsafe are settings with which no member is promoted by itself.
func unsafe(f map[string]string) (out advices) {
	for _, on := range []string{"fsync", "full_page_writes"} {
		if f[on] != "on" {
			out.say("set "+on+" = on, and reload", "%s is %s: what it says is written can be lost with the power", on, f[on])
		}
	}
	if f["checksums"] != "on" && f["wal_log_hints"] != "on" {
		out.say("set wal_log_hints = on and restart, or run pg_checksums --enable on the stopped server", "neither data checksums nor wal_log_hints: it could not be rewound when it returns")
	}
	if f["credential"] == "0" && f["agent/role"] != "" {
		out.say("compare the root secret with the other hosts'; adopt again where somebody changed the role's password",
			"role %s has the credential of no known epoch: nobody could follow it as primary", ReplicationRole)
	}
	if v := f["open_replication"]; v != "" {
		out.say("make that scram-sha-256, and reload", "pg_hba.conf lets replication in without the credential (%s): a seal could not take it away", v)
	}
	if v := f["upstream_slot"]; v != "" {
		out.say("ALTER SYSTEM RESET primary_slot_name, reload, and keep log by wal_keep_size", "primary_slot_name is %s: another primary has no such slot, and would have no follower in it", v)
	}
	return out
}

// weaker are commits that do not wait for another member's disk.
func weaker(f map[string]string) (out advices) {
	if v := f["synchronous_commit"]; weak(v) {
		out.say("set synchronous_commit = on, and reload", "synchronous_commit is %s by default: commits do not wait for another member", v)
	}
	for _, k := range slices.Sorted(maps.Keys(f)) {
		if who, ok := strings.CutPrefix(k, "weaker_commit/"); ok && weak(f[k]) {
			out.say("ALTER ROLE or DATABASE … RESET synchronous_commit", "synchronous_commit is %s for %s: their commits do not wait for another member", f[k], who)
		}
	}
	return out
}

// unsalvageable is a primary of which, were it lost now, not every change could be read later that
// only it holds.
func unsalvageable(f map[string]string) (out advices) {
	if v := f["salvage_slot"]; v != "" && v != "kept" {
		out.say("mend that; a slot is made by itself then", "no slot keeps for later what only this primary would hold if it were lost (%s): its rows would be found by comparison alone, and only their last state", v)
	}
	return out
}

// blocked is a follower that a reader keeps from replaying.
func blocked(f map[string]string) (out advices) {
	if who := f["replay_blocked_by"]; who != "" {
		out.say("end that reader, or let hot_standby_feedback and max_standby_streaming_delay decide", "replay is blocked by %s", who)
	}
	return out
}
