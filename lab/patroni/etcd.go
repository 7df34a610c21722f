package patroni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/lab"
)

// Addresses of a site's etcd: where haechi's tower would stand.
func clientAddr(p lab.Place) string { return net.JoinHostPort(hostOf(p.TowerAddr()), "2379") }
func peerAddr(p lab.Place) string   { return net.JoinHostPort(hostOf(p.TowerAddr()), "2380") }

// clientAddrs are those of all sites, the own one first.
func clientAddrs(own lab.Place) []string {
	out := []string{clientAddr(own)}
	for _, p := range lab.Sites() {
		if p != own {
			out = append(out, clientAddr(p))
		}
	}
	return out
}

// raiseEtcd starts three voters and waits until each knows the leader.
func (c *Cluster) raiseEtcd(ctx context.Context) error {
	for _, p := range lab.Sites() {
		if err := c.startVoter(p); err != nil {
			return err
		}
	}
	return until(ctx, 20*time.Second, func(ctx context.Context) error {
		_, err := c.EtcdLeader(ctx)
		return err
	})
}

// startVoter starts a site's etcd: a new one, or the one whose data lie there.
func (c *Cluster) startVoter(p lab.Place) error {
	var cluster []string
	for _, p := range lab.Sites() {
		cluster = append(cluster, fmt.Sprintf("%s=http://%s", p, peerAddr(p)))
	}
	dir := c.lab.At(p, "etcd")
	if err := lab.Own(dir, etcdUser, 0o700); err != nil {
		return err
	}
	peer, client := "http://"+peerAddr(p), "http://"+clientAddr(p)
	_, err := c.lab.StartJob(lab.Job{Place: p, User: etcdUser, Dir: dir, Log: string(p) + "-etcd", Args: []string{etcdProgram,
		"--name", string(p), "--data-dir", dir + "/data",
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--listen-client-urls", client, "--advertise-client-urls", client,
		"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-state", "new", "--initial-cluster-token", c.lab.NS(p)[:len(c.lab.NS(p))-len(p)],
		fmt.Sprintf("--heartbeat-interval=%d", c.settings.Heartbeat.Milliseconds()), fmt.Sprintf("--election-timeout=%d", c.settings.Election.Milliseconds()),
		"--logger=zap", "--log-level=warn"}})
	return err
}

// voter is what one etcd says of itself.
type voter struct {
	Header struct {
		Member string `json:"member_id"`
	} `json:"header"`
	Leader string `json:"leader"`
}

func (c *Cluster) voter(ctx context.Context, p lab.Place) (v voter, err error) {
	return v, c.call(ctx, p, http.MethodPost, "http://"+clientAddr(p)+"/v3/maintenance/status", struct{}{}, &v)
}

// EtcdLeader is the site of etcd's leader, once all voters agree on it.
func (c *Cluster) EtcdLeader(ctx context.Context) (lab.Place, error) {
	var at lab.Place
	var leaders []string
	for _, p := range lab.Sites() {
		v, err := c.voter(ctx, p)
		if err != nil {
			return "", err
		}
		if leaders = append(leaders, v.Leader); v.Leader == v.Header.Member {
			at = p
		}
	}
	if slices.Sort(leaders); at == "" || len(slices.Compact(leaders)) != 1 {
		return "", errors.New("etcd's voters do not agree on a leader")
	}
	return at, nil
}

// MoveEtcdLeader makes the voter in a site etcd's leader.
func (c *Cluster) MoveEtcdLeader(ctx context.Context, to lab.Place) error {
	return until(ctx, 20*time.Second, func(ctx context.Context) error {
		from, err := c.EtcdLeader(ctx)
		if err != nil || from == to {
			return err
		}
		v, err := c.voter(ctx, to)
		if err != nil {
			return err
		}
		var ok struct{}
		if err := c.call(ctx, from, http.MethodPost, "http://"+clientAddr(from)+"/v3/maintenance/transfer-leadership", map[string]string{"targetID": v.Header.Member}, &ok); err != nil {
			return err
		}
		return fmt.Errorf("etcd is led in %s, asked to move to %s", from, to)
	})
}
