package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// LeastFree is how many bytes the disk of the data directory should have free. A member
// takes 32 MB for its log alone.
const LeastFree = 64 << 20

// quotaNearly is when the quota counts as nearly used up.
const quotaNearly = quotaBytes / 10 * 9

// Status is what a member knows at once, without asking anybody.
type Status struct {
	ID, LeaderID uint64
	Leader       string // tower that leads; "" if none is known
	HasLeader    bool   // there was a quorum within the last election timeout
	Term         uint64 // of raft, not of haechi's drive
	Applied      uint64
	DBBytes      int64
	FreeBytes    uint64 // on the disk of the data directory
	Cluster      uint64 // changes when the cluster is made anew of a snapshot, or by force
	Seats        []Seat // as this member knows them, sorted by address
}

// Status returns what the member knows now. It never blocks.
func (m *Member) Status() Status {
	s := m.etcd.Server
	out := Status{
		ID: uint64(s.MemberID()), LeaderID: uint64(s.Leader()), Term: s.Term(), Applied: s.AppliedIndex(),
		FreeBytes: freeBytes(m.cfg.DataDir), Cluster: uint64(s.Cluster().ID()),
	}
	if m.Failure() == "" {
		out.DBBytes = s.Backend().Size()
	} else {
		out.LeaderID = 0 // it does not take part any more
	}
	out.HasLeader = out.LeaderID != 0
	for _, member := range s.Cluster().Members() {
		out.Seats = append(out.Seats, Seat{ID: uint64(member.ID), Name: member.Name, Addr: hostOf(member.PeerURLs), Learner: member.IsLearner})
		if member.ID == types.ID(out.LeaderID) {
			out.Leader = member.Name
		}
	}
	slices.SortFunc(out.Seats, func(a, b Seat) int { return cmp.Compare(a.Addr, b.Addr) })
	return out
}

// HasLeader says whether the member follows or is a leader. Without one nothing
// can be written. It never blocks.
func (m *Member) HasLeader() bool { return m.etcd.Server.Leader() != 0 && m.Failure() == "" }

// LeaderChanged returns a channel that is closed when the leader changes next.
func (m *Member) LeaderChanged() <-chan struct{} { return m.etcd.Server.LeaderChangedNotify() }

// Health is what is wrong, in words for people.
type Health struct {
	Quorum   bool // a read that needs the quorum was answered
	Problems []string
}

// OK says whether nothing is wrong.
func (h Health) OK() bool { return h.Quorum && len(h.Problems) == 0 }

// Health asks the quorum, within ctx and 2 s at most, and looks at what may
// soon go wrong: alarms, the quota, the disk.
func (m *Member) Health(ctx context.Context) Health {
	h := clientHealth(ctx, m.client)
	if why := m.Failure(); why != "" { // before it was asked, or meanwhile
		return Health{Problems: []string{fmt.Sprintf("etcd gave up: %s; the tower starts nothing until it is restarted", why)}}
	}
	st := m.Status()
	if st.FreeBytes < LeastFree {
		h.Problems = append(h.Problems, fmt.Sprintf("the disk of %s has %d MB left; etcd stops when it is full", m.cfg.DataDir, st.FreeBytes>>20))
	}
	if st.DBBytes > quotaNearly {
		h.Problems = append(h.Problems, fmt.Sprintf("etcd's database has %d MB of the %d MB that it may have", st.DBBytes>>20, quotaBytes>>20))
	}
	return h
}

// ClientHealth is [Member.Health] for an external cluster.
func ClientHealth(ctx context.Context, c *clientv3.Client) Health { return clientHealth(ctx, c) }

func clientHealth(ctx context.Context, c *clientv3.Client) Health {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var h Health
	if err := askQuorum(ctx, c); err != nil {
		h.Problems = append(h.Problems, fmt.Sprintf("no quorum of towers answers (%v); nothing can be started", err))
		return h
	}
	h.Quorum = true
	alarms, err := c.AlarmList(ctx)
	if err != nil {
		h.Problems = append(h.Problems, fmt.Sprintf("etcd does not list its alarms: %v", err))
		return h
	}
	for _, a := range alarms.Alarms {
		h.Problems = append(h.Problems, alarmText(a))
	}
	return h
}

// askQuorum makes one read that the quorum has to confirm. An election that
// ends meanwhile is no fault, so it asks again.
func askQuorum(ctx context.Context, c *clientv3.Client) error {
	for {
		_, err := c.Get(ctx, "/haechi/health", clientv3.WithCountOnly())
		if !errors.Is(err, rpctypes.ErrLeaderChanged) {
			return err
		}
	}
}

func alarmText(a *pb.AlarmMember) string {
	switch a.Alarm {
	case pb.AlarmType_NOSPACE:
		return fmt.Sprintf("etcd member %x is over its quota and refuses writes (NOSPACE)", a.MemberID)
	case pb.AlarmType_CORRUPT:
		return fmt.Sprintf("etcd member %x holds other data than the rest (CORRUPT); seat it anew", a.MemberID)
	}
	return fmt.Sprintf("etcd member %x: alarm %v", a.MemberID, a.Alarm)
}

func freeBytes(dir string) uint64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0
	}
	return st.Bavail * uint64(st.Bsize)
}
