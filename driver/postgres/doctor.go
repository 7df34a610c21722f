package postgres

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Doctor says what is missing or unsafe on one member, judged by its own facts alone, each with
// what to do. Premises judges a whole store.
func Doctor(f map[string]string) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if f["held"] == "true" {
		say("the host is held: its agent carries nothing out; remove the hold file to let it")
	}
	if f["fenced"] == "true" {
		say("it is fenced: it stays stopped; salvage what only it holds, then rewind or rebuild it")
		return out
	}
	if f["sealed"] == "true" || f["sealed"] == "begun" {
		say("it is sealed: it receives from nobody until a run ends or takes that back")
	}
	if f["running"] != "true" {
		say("its server does not run; the agent starts it when a tower says so")
		return out
	}
	if f["answers"] != "true" {
		say("its server does not answer the agent%s; the agent has to run as the server's user, with peer authentication on the socket", because(f["error"]))
		return out
	}
	return append(out, settingsAdvice(f)...)
}

// settingsAdvice is about a server that answers.
func settingsAdvice(f map[string]string) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch role := f["agent/role"]; {
	case role == "":
		say("it is not adopted: its agent does not know what it is; haechi adopts the store")
	case role == asPrimary && f["in_recovery"] == "true":
		say("its agent remembers a primary of epoch %s and its server is a standby: a promotion has begun, or it has to be rewound", f["agent/reign"])
	case role == asFollower && f["in_recovery"] == "false":
		say("its agent made it a follower and its server takes writes: somebody promoted it by hand")
	}
	switch f["replication_role"] {
	case "ok":
	case "":
		say("role %s is missing: CREATE ROLE %s REPLICATION LOGIN", ReplicationRole, ReplicationRole)
	default:
		say("role %s is %s: ALTER ROLE %s REPLICATION LOGIN", ReplicationRole, f["replication_role"], ReplicationRole)
	}
	if f["credential"] == "0" && f["agent/role"] != "" {
		say("the replication credential is of no known epoch: the root secret differs from the other hosts', or somebody changed the role's password")
	}
	if v := f["open_replication"]; v != "" {
		say("pg_hba.conf lets replication in without a credential (%s): make it scram-sha-256", v)
	}
	if v := f["upstream_slot"]; v != "" {
		say("primary_slot_name is %s, which another primary would not have: ALTER SYSTEM RESET primary_slot_name, reload, and keep log by wal_keep_size", v)
	}
	for _, on := range []string{"fsync", "full_page_writes"} {
		if f[on] != "on" {
			say("%s is %s: set %s = on", on, f[on], on)
		}
	}
	if f["checksums"] != "on" && f["wal_log_hints"] != "on" {
		say("it cannot be rewound: set wal_log_hints = on and restart, or run pg_checksums --enable on the stopped server")
	}
	for _, k := range slices.Sorted(maps.Keys(f)) {
		if who, ok := strings.CutPrefix(k, "weaker_commit/"); ok && weak(f[k]) {
			say("synchronous_commit is %s for %s: their commits can be lost; ALTER ROLE or DATABASE … RESET synchronous_commit", f[k], who)
		}
	}
	if who := f["replay_blocked_by"]; who != "" {
		say("replay is blocked by %s: end that reader, or let hot_standby_feedback and max_standby_streaming_delay decide", who)
	}
	return out
}
