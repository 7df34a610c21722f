package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/haechi/haechi/agent"
)

// Unit is the host's side of one member.
type Unit struct {
	set    Settings
	secret []byte
	local  *local
	log    *slog.Logger

	status  status
	proving sync.Mutex // one checkpoint in the background at a time

	nft nft // nil: nothing on this host could end a mandate

	conf    sync.Mutex // the server's configuration is edited by one at a time
	slots   slots
	reading reading // of what only this member holds
	canary  canary
	checks  checks

	mu     sync.Mutex // guards what follows
	known  known
	proven int       // the checkpointer that has surely read a list
	rules  int       // how often that was to be proven anew
	ends   time.Time // when the mandate ends, as far as this process knows

	back returning // the attempt to bring the member back, where one is under way
}

// known spares the work of finding a credential's epoch again.
type known struct {
	stored string
	likely []uint64
	last   uint64
	epoch  uint64
}

var _ agent.Unit = (*Unit)(nil)

// NewUnit returns the host's side of one member. The server need not run.
func NewUnit(set Settings, log *slog.Logger) (*Unit, error) {
	if err := set.Validate(); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	secret, err := readSecret(set.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	u := &Unit{set: set, secret: secret, local: &local{socket: set.Socket, port: set.Port},
		log: log.With("store", set.Store, "member", set.Member)}
	if set.Mandate == byNFT {
		u.nft = runNFT
	}
	return u, nil
}

// Look answers status, position and digest.
func (u *Unit) Look(ctx context.Context, o agent.Order, m *agent.Memory) (map[string]string, error) {
	mem, err := recall(m)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Verb == agent.Position:
		return u.position(ctx, o, mem, m.Epoch()), nil
	case o.Verb == agent.Digest && o.Salvage != nil:
		return u.salvageRows(ctx, o)
	case o.Verb == agent.Digest:
		return u.digest(ctx, o)
	}
	f := u.look(ctx, o, mem, m.Epoch())
	u.mandateFacts(mem, f)
	u.back.facts(f)
	u.slotFacts(f)
	u.reading.facts(f)
	u.canary.tell(f)
	u.checks.tell(f)
	return f, nil
}

// Do carries out what changes the member.
func (u *Unit) Do(ctx context.Context, o agent.Order, m *agent.Memory) (map[string]string, error) {
	mem, err := recall(m)
	if err != nil {
		return nil, err
	}
	if o.Epoch == 0 {
		return nil, agent.Refuse(agent.BadOrder, "%s of a store's member needs an epoch", o.Verb)
	}
	if o.Self != "" && o.Self != u.set.Member {
		return nil, agent.Refuse(agent.BadOrder, "this unit is member %s, the order is for %s", u.set.Member, o.Self)
	}
	defer u.status.forget()
	if o.Verb == agent.Salvage && mem.Rebuild.broken() {
		return mem.readBefore(), nil
	}
	if o.Verb != agent.Check {
		u.local.dropKept() // what is looked at is about to be something else
	}
	if o.Verb != agent.Rejoin {
		if err := u.giveWay(ctx, o, &mem, m); err != nil {
			return nil, err
		}
	}
	switch o.Verb {
	case agent.Seal:
		return u.seal(ctx, o, mem, m)
	case agent.Unseal:
		return u.unseal(ctx, o, mem, m)
	case agent.Follow:
		return u.follow(ctx, o, mem, m)
	case agent.Promote:
		return u.promote(ctx, o, mem, m)
	case agent.Start:
		return u.start(ctx, o, mem, m)
	case agent.Stop:
		return u.stop(ctx, o, mem, m)
	case agent.Fence:
		return u.fence(ctx, o, mem, m)
	case agent.Rejoin:
		return u.rejoin(ctx, o, mem, m)
	case agent.Salvage:
		return u.salvage(ctx, o, mem, m)
	case agent.Apply:
		return u.applySalvage(ctx, o, mem)
	case agent.Check:
		return u.check(ctx, o, mem)
	default:
		return nil, agent.Refuse(agent.UnknownVerb, "verb %q is not for a database", o.Verb)
	}
}

// SavesFirst: what the member is to be is on disk before anything is changed.
func (u *Unit) SavesFirst() {}

var (
	_ agent.SavesFirst = (*Unit)(nil)
	_ agent.Wakes      = (*Unit)(nil)
	_ agent.Tends      = (*Unit)(nil)
	_ agent.KeepsFiles = (*Unit)(nil)
)

// wanted refuses an order that nobody waits for any more, before its first effect.
func wanted(ctx context.Context, what string) error {
	if err := agent.Wanted(ctx); err != nil {
		return agent.Refuse(agent.Late, "%s: %v", what, err)
	}
	return nil
}

// apply makes configuration and credential what mem says, durably, and says whether the
// server has to read its configuration again.
func (u *Unit) apply(mem memory) (bool, error) {
	changed, err := u.applySoon(mem)
	if err != nil {
		return false, err
	}
	return changed, u.settle()
}

// applySoon does the same and does not wait for the disk. Until settle has returned, a loss
// of power may leave the old files; the memory knows better and has them written again
// before the server is started.
func (u *Unit) applySoon(mem memory) (bool, error) {
	set := map[string]string{"primary_conninfo": ""}
	if mem.Role == asFollower && !mem.Sealed && mem.Upstream != nil {
		line := passLine(*mem.Upstream, credential(u.secret, u.set.Store, mem.Upstream.Credential))
		if err := agent.Replace(u.set.Passfile, []byte(line), 0o600); err != nil {
			return false, err
		}
		set["primary_conninfo"] = conninfo(u.set.Member, u.set.Passfile, *mem.Upstream)
		set["recovery_target_timeline"] = "latest"
		set["wal_retrieve_retry_interval"] = "100ms"
	} else if err := agent.Remove(u.set.Passfile); err != nil {
		return false, err
	}
	if names, ok := mem.names(); ok {
		set["synchronous_standby_names"] = names
	}
	u.conf.Lock()
	defer u.conf.Unlock()
	return setConf(u.set.Data, set)
}

// settle puts what applySoon wrote on disk.
func (u *Unit) settle() error {
	return errors.Join(agent.SyncFile(u.set.Passfile), agent.SyncFile(filepath.Join(u.set.Data, autoConf)))
}

// reload has the running server read its configuration.
func (u *Unit) reload() error {
	pid := u.postmaster()
	if pid == 0 {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	return nil
}

// inForce waits until the server shows a setting as wanted: nothing else, such as its
// command line, wins over what the agent wrote.
func (u *Unit) inForce(ctx context.Context, name, want string) error {
	var have string
	for range 400 {
		var err error
		if have, err = u.local.value(ctx, "SELECT current_setting("+quote(name)+")"); err != nil {
			return err
		}
		if have == want {
			return nil
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: the server shows %q though %s says %q; its command line may win over the file", name, have, filepath.Join(u.set.Data, autoConf), want)
}

// credentialNow is the epoch whose credential the replication role has in this member's
// own catalogue, as far as it has replayed. See [credentialEpoch].
func (u *Unit) credentialNow(ctx context.Context, last uint64, likely ...uint64) (uint64, error) {
	stored, err := u.local.rows(ctx, "SELECT coalesce(rolpassword, '') FROM pg_authid WHERE rolname = "+quote(ReplicationRole))
	if err != nil {
		return 0, err
	}
	if len(stored) == 0 {
		return 0, fmt.Errorf("role %s is missing: as a superuser, CREATE ROLE %s REPLICATION LOGIN", ReplicationRole, ReplicationRole)
	}
	u.mu.Lock()
	k := u.known
	u.mu.Unlock()
	if k.stored == stored[0][0] && (k.epoch != 0 || k.last == last && slices.Equal(k.likely, likely)) {
		return k.epoch, nil
	}
	k = known{stored[0][0], likely, last, credentialEpoch(u.secret, u.set.Store, stored[0][0], last, likely...)}
	u.mu.Lock()
	u.known = k
	u.mu.Unlock()
	return k.epoch, nil
}

// Tend keeps what lies on a primary for the day on which it is lost: the slots from which what only it held
// is read, and the row that says how much that was.
func (u *Unit) Tend(ctx context.Context, m *agent.Memory, may func() bool) {
	var both sync.WaitGroup
	both.Go(func() { u.keepCanary(ctx, m, may) })
	u.tendSlotsOf(ctx, m, may)
	both.Wait()
}
