// Package plan turns an estate, a situation and a decision into ordered steps,
// each with its reason; or says why it cannot. Equal inputs give equal plans,
// byte for byte.
package plan

import (
	"github.com/haechi/haechi/core/estate"
)

// Verb is what a step does.
type Verb string

// The verbs. Their driver is chosen by Step.Driver.
const (
	Adopt     Verb = "adopt"     // store: bring an existing cluster under epochs; the first run of a store
	Halt      Verb = "halt"      // store: checkpoint, then stop the living primary cleanly (planned move)
	Seal      Verb = "seal"      // store: reachable members stop receiving from the old primary, durably
	Choose    Verb = "choose"    // store: the sealed member that holds the most
	Follow    Verb = "follow"    // store: the others receive from the chosen one
	Promote   Verb = "promote"   // store: the chosen one becomes primary under the new epoch
	Return    Verb = "return"    // store: the halted former primary comes back as a follower, then is listed
	Fence     Verb = "fence"     // store: a former primary that lives is stopped and kept for salvage
	Alone     Verb = "alone"     // store: the primary goes on without others, under a mandate
	Together  Verb = "together"  // store: the mandate ends, the others hold everything
	Close     Verb = "close"     // store: members of an isolated site answer no more reads
	Open      Verb = "open"      // store: what was closed answers again, as what it was
	Unseal    Verb = "unseal"    // store: members receive from the primary of the record again; undoes a seal, or is a step where one was left sealed
	Withdraw  Verb = "withdraw"  // name: answers that point to a site leave
	Level     Verb = "level"     // name server that came back: bring its zone level, then let it answer
	Announce  Verb = "announce"  // name: answers that point to a site come back
	Watch     Verb = "watch"     // name: what users see of a site whose answers came back stays well for a while
	Salvage   Verb = "salvage"   // store: a member that went another way is read before anything is rewritten, and what only it holds is kept in two sites
	Rejoin    Verb = "rejoin"    // store: the member becomes a follower of the record's primary again, by the least that does; it counts for nothing yet
	CountOut  Verb = "count-out" // store: on a member's word nothing rests any more: the primary lists it no more, and others hold all that was acknowledged
	Verify    Verb = "verify"    // store: do all members hold the same?
	Apply     Verb = "apply"     // store: rows of a salvage that people chose are written, in one transaction
	Discard   Verb = "discard"   // store: a salvage is given up by name
	Seat      Verb = "seat"      // tower: it becomes a voter, or stops being one
	Redundant Verb = "redundant" // site: the estate is as redundant as declared again, as far as the site can help
)

// Kind is what a plan is for.
type Kind string

// The kinds of plan.
const (
	LoseSite  Kind = "lose-site"  // a site is lost or isolated
	LoseStore Kind = "lose-store" // the primary of one store is dead, its site lives
	Evacuate  Kind = "evacuate"   // a living site is emptied on purpose
	Failover  Kind = "failover"   // a person moves one store
	CutUsers  Kind = "cut-users"  // users do not reach a site: traffic moves alone
	FenceOld  Kind = "fence-old"  // a former primary, or a second one, was seen alive
	LevelDNS  Kind = "level-dns"  // a name server came back
	GoAlone   Kind = "go-alone"   // too few others acknowledge, policy allows
	EndAlone  Kind = "end-alone"  // the others hold everything again
	LetGo     Kind = "let-go"     // a member is sealed, or follows nobody, for a run that is over
	AdoptNew  Kind = "adopt"      // a store comes under haechi
	Serve     Kind = "serve"      // a person lets a site answer users again
	Recover   Kind = "recover"    // a lost site is there again: its members, answers and voters come back
	BringBack Kind = "rejoin"     // one member of a store comes back: read, made a follower, listed
	Uncount   Kind = "count-out"  // one member of a store is gone for good, and is not counted on any more
	VerifyAll Kind = "verify"     // a store's members are compared
	Restore   Kind = "apply-salvage"
	GiveUp    Kind = "discard-salvage"
	Reseat    Kind = "reseat" // the towers' voters are placed so that the next loss can be borne
	// What a tower does alone, for its own site, while it hears no other, and after.
	CloseReads Kind = "close-reads" // a store's reads must be fresh, and here they cannot be
	OpenReads  Kind = "open-reads"  // the others are heard again
)

// Plan is a graph of steps. Its hash is over everything in it but the hash. A plan that
// came out of [Make] satisfies:
//
//  1. Steps[i].ID is i+1, and every After is smaller than the ID: the steps stand in an
//     order in which they can be done one by one;
//  2. no step needs a lost site: it names no member there, and stands there only where
//     it takes that site's answers out of a name;
//  3. every step has a Reason and a Limit;
//  4. at most one promote for each store, and every name keeps at least one answer.
type Plan struct {
	Version int      `json:"version"` // the release that a tower has to be of to carry it, see Release
	Kind    Kind     `json:"kind"`
	Subject string   `json:"subject"` // the site, store, name server or "towers" that it is about
	Lost    []string `json:"lost"`    // sites that no step may need
	Steps   []Step   `json:"steps"`
	Because []string `json:"because"`           // the verdict or the person's words
	Blocked []Stuck  `json:"blocked,omitempty"` // what could not be planned; the rest goes on
	Hash    string   `json:"hash"`
}

// Step is one act. Its ID is its place in the plan, from 1, so that equal inputs give
// equal IDs and a restarted executor finds its own journal.
type Step struct {
	ID        int               `json:"id"`
	Verb      Verb              `json:"verb"`
	Driver    string            `json:"driver"`            // "postgres", "dns", "towers", "eyes", "estate"
	Component string            `json:"component"`         // store, name, name server, tower, or site
	Site      estate.SiteID     `json:"site,omitempty"`    // where it acts, if in one place; of withdraw and announce: whose answers
	Members   []string          `json:"members,omitempty"` // store members (or name servers) that it may touch
	Args      map[string]string `json:"args,omitempty"`
	After     []int             `json:"after,omitempty"`
	Reason    Reason            `json:"reason"`
	Before    string            `json:"before"` // what is checked before, in words
	Checks    string            `json:"checks"` // what is checked after, in words
	Undo      Verb              `json:"undo,omitempty"`
	Limit     estate.Duration   `json:"limit"`
}

// OfStore says whether the step's component is a store.
func (s Step) OfStore() bool {
	switch s.Verb {
	case Withdraw, Announce, Level, Watch, Seat, Redundant:
		return false
	}
	return true
}

// Undo verbs. Unseal and Announce are two more.
const (
	Start Verb = "start" // the halted primary serves again
)

// Args of steps.
const (
	ArgWithdrawn = "withdrawn" // level: the sites whose answers are out, joined by ","; given where no other server can be asked
	ArgNeed      = "need"      // seal: how many members have to be sealed (m - k + 1)
	ArgOf        = "of"        // seal: how many could have helped to acknowledge (m)
	ArgHalted    = "halted"    // seal, choose, follow: those of the members that were primary and were halted cleanly, joined by ","
	ArgPrefer    = "prefer"    // choose: this member, where it holds as much as any other
	ArgAny       = "any"       // promote: how many members besides the primary hold a write before the client hears of it
	ArgSalvage   = "salvage"   // apply, discard: the salvage's ID
	ArgAlso      = "also"      // announce: name servers in sites that were out of reach, joined by ","; who answers by then is changed, too, and the step needs none
	ArgTTL       = "ttl"       // watch: how long resolvers may go by what they were told before
	ArgFor       = "for"       // watch: how long users have to fare well after that
	ArgRows      = "rows"      // apply: the numbers of its rows, "1,3-5"; none: all of them
	ArgOverwrite = "overwrite" // apply: "true" where rows that stand otherwise on the primary are to be overwritten
	ArgBy        = "by"        // apply, discard: the person who asked for it
	ArgMember    = "member"    // count-out: who is not counted on any more; the step needs nothing of it
	ArgAnew      = "anew"      // rejoin: "true" where the member is copied from its primary whatever is known of it
	ArgShare     = "share"     // rejoin: among how many members that come back beside each other the room of the link is shared; none: 1
)

// Reason is why a step stands in a plan. The zero value means that nobody gave one: a bug.
type Reason string

// Reasons.
const (
	PrimaryLost  Reason = "primary-lost"
	SiteLost     Reason = "site-lost"
	SiteIsolated Reason = "site-isolated"
	UsersCutOff  Reason = "users-cut-off"
	Asked        Reason = "asked"
	Returned     Reason = "returned"
	TooFew       Reason = "too-few-acknowledge"
	Whole        Reason = "whole-again"
	LeftSealed   Reason = "left-sealed"
	MemberDown   Reason = "member-down"
	MemberDeaf   Reason = "member-deaf" // it runs and counts, and its primary sends nothing to it
	Compare      Reason = "compare"     // whether all members hold the same
	// SecondPrimary is one that neither the record nor a run knows of.
	SecondPrimary Reason = "second-primary"
)
