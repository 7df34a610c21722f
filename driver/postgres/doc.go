// Package postgres moves the primary of a PostgreSQL store without losing a write
// that a client was told is safe, and without two members that acknowledge.
//
// It has two sides. [Unit] is the host's: an [agent.Unit] that changes one member,
// locally, as the operating system's user of the server. [Driver] is the tower's: it
// carries out the steps of a plan by giving orders to the members' agents, and reads
// nothing but their answers.
//
// # What an agent remembers
//
// What a member is (primary of which epoch, follower of whom, sealed, fenced, halted)
// stands in the agent's state file before it is brought about. Configuration and
// credential are made from it, so an order that was cut off is ended by the same order
// again, and a server is started only as what the file says.
//
// # How a seal is proven
//
// The credential goes first, then primary_conninfo, then the WAL receiver by SIGTERM. A
// receiver that was still connecting shows in no view, and behind a slow link it could
// begin to acknowledge long after a view was empty; so the proof is that no child of the
// server is a receiver or too young to have a name, in several looks. Whichever comes
// later finds neither address nor credential. Replay may still be blocked or behind: that
// has no say in what is acknowledged, only in how soon the member can be promoted.
//
// # How a rule is proven
//
// Commits wait for followers only while a flag in shared memory says so, and that flag
// is set by the checkpointer when it reads the configuration. A checkpointer that is
// busy syncing files may do so seconds later, and a member that was promoted meanwhile
// acknowledges alone. So the list is set at the seal already, and the promotion waits
// until the checkpointer was seen to sleep in its own loop after it was signalled.
//
// # Credentials
//
// The replication role has one password: credential(epoch) = hex(HMAC-SHA256(root secret of the
// store, store|epoch)), epoch being that of the promotion that stands. Every agent can
// compute it; it is never sent and never stored elsewhere. A follower's passfile has one line, for the
// host and port of its upstream only.
//
//   - Seal removes the passfile.
//   - Follow before the promotion writes the credential that the candidate's role has at that
//     time, which is the one of an earlier epoch: its agent tells which by trying
//     (fact "credential"), and the tower passes it on (Upstream.Credential).
//   - Promote gives the role the new epoch's credential once enough followers are
//     connected: a connection that stands is not asked again. The password itself is not sent even
//     locally: the agent computes the SCRAM verifier.
//   - Follow is then repeated with the new credential, which rewrites the passfile alone.
//
// A member that comes back with what it had is refused by the new primary.
//
// # How a member comes back
//
// By the least that does, which the agent finds out and says: a start; following as it is, where it holds nothing
// beyond the place at which its timeline was left; pg_rewind; a copy. Where two histories part is told by
// their history files, and by the log itself: at its last checkpoint, or before the fork, the member must hold
// byte by byte what its primary holds, since timelines of equal number may be of two promotions that knew
// nothing of each other, and pg_rewind would call them the same.
//
// The work is a job of the agent, begun by the order and asked after by the same order. Before a byte is rewritten
// the memory says that the data directory is broken, and by what; then no order but that one, or a fence, does
// anything with it. A rewind begins with standby.signal there; a copy removes the control file first and
// puts it back last, so that nobody starts half of one by hand either. What was cut off is not continued but
// made good: a copy compares what lies there with the source, chunk by chunk, by hashes, and takes what differs.
// Configuration and certificates in the data directory are the member's own and are kept beside its passfile meanwhile.
//
// The source is read in one session of the replication role, by the functions that pg_rewind calls and those that mark
// a base backup; its agent grants them. A temporary slot keeps the log that the member will need: it ends with
// the session, and is given up before it keeps too much. What is taken off the source is counted and bounded.
//
// A member that counts is never rewritten. Where it would have to be, it is first taken off the primary's list and,
// once others hold all that was acknowledged, off the record.
//
// # How what only a former primary holds is found
//
// On each primary the agent keeps a logical slot for each database and moves it on to what the rule's
// number of listed members has flushed. Any such place is on at least one of the sealed, so the next primary
// leaves the timeline there or later: a slot that never went beyond reaches back to the fork. pg_waldump
// proves before that whether any transaction ended beyond the fork at all. The member is then started apart:
// nobody but the agent reaches it, and it reaches nobody. Where a slot does not reach back (it was given up,
// a promotion was accepted with a loss, the member was a follower) rows are found by the transactions that wrote them,
// which the log names, or the horizon of the promotion: the record remembers with each one which transactions had ended.
//
// A backend that waits for other members still shows its transaction. Fencing looks for these before it
// stops the server in a way that answers nobody, so of their clients it is known that they were told nothing.
//
// What was found is remembered together with the place at which the data directory stood then. A member
// whose data moved since was started by other hands and is read again; one whose salvage does not lie in two sites is
// never rewritten.
//
// # How a mandate ends
//
// A primary that is to acknowledge alone gets an nftables table first, which lets nothing pass to
// or from the server's port, over loopback neither, unless the port is in a set; the port is put
// there with a timeout. Then its list is emptied, which lets go the commits that wait. Each
// renewal makes the whole table anew in one transaction, since a reload of the host's own rules
// flushes it. If none comes the kernel drops the element, also where the agent is stopped or
// nothing in user space runs any more. To end it the list is in force and proven first, then
// the table goes. After a restart of the agent the table stays as it is; after one of the
// machine the agent makes it again, shut.
//
// It does not reach who connects over the unix socket (the agent has to; a pooler on the host
// would), nor a server in a container with a network of its own. A virtual machine that is frozen
// does not count time: when it goes on, so does the rest of its mandate.
package postgres
