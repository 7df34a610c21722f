package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Seat is one member of the cluster, as the cluster knows it.
type Seat struct {
	ID      uint64
	Name    string // of the tower; "" as long as it was only invited and has never started
	Addr    string // host:port of its peer listener
	Learner bool   // it is sent everything, and has no vote
}

// ErrBehind: a learner does not hold what the others hold yet, so it gets no vote.
var ErrBehind = errors.New("it has not caught up yet")

// Seats are the members, confirmed by the quorum, sorted by address.
func Seats(ctx context.Context, c *clientv3.Client) ([]Seat, error) {
	got, err := c.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the members: %w", err)
	}
	var out []Seat
	for _, m := range got.Members {
		out = append(out, Seat{ID: m.ID, Name: m.Name, Addr: hostOf(m.PeerURLs), Learner: m.IsLearner})
	}
	slices.SortFunc(out, func(a, b Seat) int { return cmp.Compare(a.Addr, b.Addr) })
	return out, nil
}

// Invite makes the tower at addr (host:port) a learner. It starts as one as soon as it asks.
func (c Config) Invite(ctx context.Context, client *clientv3.Client, addr string) error {
	u := c.url(addr)
	if _, err := client.MemberAddAsLearner(ctx, []string{u.String()}); err != nil {
		return fmt.Errorf("invite %s: %w", addr, err)
	}
	return nil
}

// Promote gives a learner its vote, once it has caught up.
func Promote(ctx context.Context, c *clientv3.Client, id uint64) error {
	_, err := c.MemberPromote(ctx, id)
	switch {
	case errors.Is(err, rpctypes.ErrMemberLearnerNotReady):
		return fmt.Errorf("promote member %x: %w", id, ErrBehind)
	case err != nil:
		return fmt.Errorf("promote member %x: %w", id, err)
	}
	return nil
}

// Remove takes a member out for good: what it holds never counts again.
func Remove(ctx context.Context, c *clientv3.Client, id uint64) error {
	_, err := c.MemberRemove(ctx, id)
	if err != nil && !errors.Is(err, rpctypes.ErrMemberNotFound) {
		return fmt.Errorf("remove member %x: %w", id, err)
	}
	return nil
}

// ClusterID says which cluster the client speaks with. A cluster that is made of a snapshot, or that one
// member goes on as by force, is another one.
func ClusterID(ctx context.Context, c *clientv3.Client) (uint64, error) {
	got, err := c.Get(ctx, "/haechi/health", clientv3.WithCountOnly(), clientv3.WithSerializable())
	if err != nil {
		return 0, fmt.Errorf("ask for the cluster's ID: %w", err)
	}
	return got.Header.ClusterId, nil
}

// hostOf is the host:port of a member's first URL.
func hostOf(urls []string) string {
	if len(urls) == 0 {
		return ""
	}
	u, err := url.Parse(urls[0])
	if err != nil {
		return urls[0]
	}
	return u.Host
}
