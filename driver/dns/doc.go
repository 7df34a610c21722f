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
// (see below), is brought level under the lock, and is opened only
// after a signed query has shown what it will answer.
//
// # Setting up a BIND server
//
// The server's options hold
//
//	include "/var/lib/haechi/named/answers.conf";
//
// and no other allow-query; the zone is type primary with allow-update { key "haechi-key."; }.
// The agent's user may write the directory of answers.conf and run rndc; the server's user
// may read the file. Each start of the server locks it first, for systemd by a drop-in:
//
//	[Service]
//	ExecStartPre=/bin/sh -c 'echo "allow-query { key \"haechi-key.\"; };" > /var/lib/haechi/named/answers.conf'
//
// The price: a name server that is restarted while no tower can act stays silent until one
// can, or until a person writes "allow-query { any; };" into the file and runs rndc reconfig.
// Its neighbours answer meanwhile.
//
// # Decisions against
//
//   - No zone transfer between the servers: each is a primary and told by itself, so that
//     none needs another, least of all one in the lost site.
//   - No waiting for a server that is silent: it is named in the facts and brought level
//     when it returns.
package dns
