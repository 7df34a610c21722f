package tower

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/seats"
	"github.com/haechi/haechi/driver/towers"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/etcd"
)

// etcd is how this tower's own member runs.
func (c Config) etcd(log *slog.Logger) etcd.Config {
	out := etcd.Config{
		Name: c.Name, DataDir: filepath.Join(c.Data, "etcd"), InitialCluster: map[string]string{},
		ClientListen: c.Listen.EtcdClient, Heartbeat: c.Etcd.Heartbeat, Election: c.Etcd.Election, TLS: c.TLS.pki(), Log: log,
	}
	at := map[estate.TowerID]estate.SiteID{}
	for name, seat := range c.Cluster {
		out.InitialCluster[name] = seat.Etcd
		at[estate.TowerID(name)] = seat.Site
	}
	for _, id := range seats.First(at) {
		out.Voters = append(out.Voters, string(id))
	}
	out.PeerListen = out.InitialCluster[c.Name]
	return out
}

// votesAtFirst says whether the tower is one of those that vote in a cluster that is made new.
func (c Config) votesAtFirst() bool {
	for _, name := range c.etcd(nil).Voters {
		if name == c.Name {
			return true
		}
	}
	return false
}

// towerAt is the tower that has a peer address of etcd, by this tower's own file.
func (c Config) towerAt(s etcd.Seat) estate.TowerID {
	for name, seat := range c.Cluster {
		if seat.Etcd == s.Addr {
			return estate.TowerID(name)
		}
	}
	if s.Name != "" {
		return estate.TowerID(s.Name)
	}
	return estate.TowerID(fmt.Sprintf("%x", s.ID))
}

// errOwnCluster: with an external cluster who votes there is not for haechi to say.
var errOwnCluster = errors.New("the towers' records are kept by an etcd cluster of your own; who votes there you decide")

// cluster is the towers' own etcd, as the driver of seats wants it.
type cluster struct{ n *Node }

func (c cluster) Seats(ctx context.Context) ([]towers.Seat, error) {
	if c.n.member == nil {
		return nil, errOwnCluster
	}
	all, err := etcd.Seats(ctx, c.n.client)
	if err != nil {
		return nil, err
	}
	var out []towers.Seat
	for _, s := range all {
		out = append(out, towers.Seat{ID: s.ID, Tower: c.n.cfg.towerAt(s), Learner: s.Learner, Started: s.Name != ""})
	}
	return out, nil
}

func (c cluster) Invite(ctx context.Context, tower estate.TowerID) error {
	seat, ok := c.n.cfg.Cluster[string(tower)]
	if !ok || seat.Etcd == "" {
		return fmt.Errorf("%s does not know where %s listens for etcd: add it to cluster: in every tower's file, and restart them one after the other", c.n.cfg.Name, tower)
	}
	return c.n.cfg.etcd(nil).Invite(ctx, c.n.client, seat.Etcd)
}

func (c cluster) Promote(ctx context.Context, s towers.Seat) error {
	err := etcd.Promote(ctx, c.n.client, s.ID)
	if errors.Is(err, etcd.ErrBehind) {
		return fmt.Errorf("%s: %w", s.Tower, towers.ErrBehind)
	}
	return err
}

func (c cluster) Remove(ctx context.Context, s towers.Seat) error {
	return etcd.Remove(ctx, c.n.client, s.ID)
}

// seater is the driver of seats.
func (n *Node) seater() towers.Driver {
	return towers.New(towers.Config{Cluster: cluster{n}, Drives: n.drivesUnder, Waits: n.waits})
}

// drivesUnder fails unless this tower drives under a term, by the word of a majority.
func (n *Node) drivesUnder(ctx context.Context, term uint64) error {
	d, err := n.store.Drive(ctx)
	if err != nil {
		return err
	}
	if mine, ok := n.driving(); !ok || d != mine || d.Term != term {
		return fmt.Errorf("%s drives under term %d", d.Tower, d.Term)
	}
	return nil
}

// saysWithin bounds how long a tower may take to say what it is.
const saysWithin = 2 * time.Second

// waits asks a tower whether it has no data and waits for a seat.
func (n *Node) waits(ctx context.Context, e estate.Estate, tower estate.TowerID) (bool, error) {
	if string(tower) == n.cfg.Name {
		return false, nil
	}
	address := e.Towers[tower].Address
	if address == "" {
		address = n.cfg.Cluster[string(tower)].Peer
	}
	facts, err := says(ctx, n.cfg.TLS.pki(), string(tower), address)
	return facts[response.FactSeat] == response.SeatWaits, err
}

// says asks a tower what it is.
func says(ctx context.Context, files pki.Files, tower, address string) (map[string]string, error) {
	conf, err := pki.ClientTLS(files, pki.Named(pki.Tower, tower))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, saysWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+alivePath, nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s what it is: %w", tower, err)
	}
	defer resp.Body.Close()
	facts := map[string]string{}
	if resp.StatusCode == http.StatusNoContent {
		return facts, nil // of the release before, which says no more than that it lives
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&facts); err != nil {
		return nil, fmt.Errorf("ask %s what it is: %s: %w", tower, resp.Status, err)
	}
	return facts, nil
}

// seat is what this tower is among the voters, as its own member knows.
func (n *Node) seat() seats.State {
	if n.member == nil {
		return ""
	}
	st := n.member.Status()
	for _, s := range st.Seats {
		if s.ID == st.ID && s.Learner {
			return seats.Learner
		} else if s.ID == st.ID {
			return seats.Voter
		}
	}
	return seats.Outside
}

// members are those of the towers' cluster that have started, of a list that the cluster gave.
func (n *Node) members(all []etcd.Seat) (out []response.Member) {
	for _, s := range all {
		if s.Name != "" {
			out = append(out, response.Member{Tower: n.cfg.towerAt(s), Voter: !s.Learner})
		}
	}
	return out
}

// seated is what the towers are, as this tower knows it now. It is empty with an external cluster.
func (n *Node) seated(b *beliefs) []seats.Tower {
	if n.member == nil {
		return nil
	}
	return response.Towers(b.estate, b.now, n.members(n.member.Status().Seats))
}

// agreedSeats is the same by the word of a majority.
func (n *Node) agreedSeats(ctx context.Context, b *beliefs) ([]seats.Tower, error) {
	if n.member == nil {
		return nil, nil
	}
	all, err := etcd.Seats(ctx, n.client)
	if err != nil {
		return nil, err
	}
	return response.Towers(b.estate, b.now, n.members(all)), nil
}
