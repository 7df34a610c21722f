// Package dns moves users by changing what names resolve to, at each authoritative
// server by itself, with signed updates (RFC 2136, TSIG).
//
// It has two sides. [Driver] is the tower's: it carries out withdraw, announce and
// level. [Unit] is the host's: an [agent.Unit] that locks a name server, so that it
// answers only queries signed with the key, and opens it again.
//
// # Never the last answer
//
// An update carries the exact set that was read as its prerequisite (RFC 2136, 2.4.2),
// and replaces it in the same message. The server compares and changes as one act, so two
// withdrawals at the same time cannot together empty a name: the second one is refused,
// reads again and finds nothing left to keep. The caller may also never be the reason:
// what would remain has to hold an address that the estate gives to another site.
//
// # What is asked of a server that was away
//
// A server that comes back answers from the zone that it had. So it is started locked
// (see docs/drivers.md and [Unit]), is brought level under the lock, and is opened only
// after a signed query has shown what it will answer.
//
// # Decisions against
//
//   - No zone transfer between the servers: each is a primary and told by itself, so that
//     none needs another, least of all one in the lost site.
//   - No waiting for a server that is silent: it is named in the facts and brought level
//     when it returns.
package dns
