package trial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/pki"
)

// Standing is in which sites those stand that a fire may take.
type Standing struct {
	Primary lab.Place `json:"primary"`
	Driver  lab.Place `json:"driver"` // the tower that drives
	Leader  lab.Place `json:"leader"` // of etcd
}

// String says it in half a line.
func (s Standing) String() string {
	return fmt.Sprintf("primary in %s, driver in %s, etcd's leader in %s", s.Primary, s.Driver, s.Leader)
}

// Together says whether all of them stand in one site.
func (s Standing) Together(site lab.Place) bool { return s == Standing{site, site, site} }

// Apart says whether the primary stands in a site, and none of the others does.
func (s Standing) Apart(site lab.Place) bool {
	return s.Primary == site && s.Driver != site && s.Leader != site && s.Driver != "" && s.Leader != ""
}

// Standing asks now: the tower in a site who is primary and who drives, and etcd's own
// voters who leads.
func (h Haechi) Standing(ctx context.Context, from lab.Place) (s Standing, err error) {
	n, err := h.Page(ctx, from)
	if err != nil {
		return s, err
	}
	if len(n.Stores) != 1 {
		return s, fmt.Errorf("%d stores, not one", len(n.Stores))
	}
	s.Primary, s.Driver = lab.Place(n.Stores[0].Primary), lab.Place(strings.TrimPrefix(n.Driver.Tower, "tower-"))
	s.Leader, err = h.leader(ctx)
	return s, err
}

// leader is the site whose voter says of itself that it leads etcd.
func (h Haechi) leader(ctx context.Context) (lab.Place, error) {
	var errs []error
	for _, p := range lab.Sites() {
		v, err := h.voter(ctx, p)
		if err == nil && v.Leader == v.Header.MemberId {
			return p, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(append(errs, errors.New("nobody leads etcd"))...)
}

// LeadIn has the voter in a site lead etcd.
func (h Haechi) LeadIn(ctx context.Context, site lab.Place) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		err := h.leadOnce(ctx, site)
		if err == nil {
			return nil
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("have etcd led in %s: %w", site, err)
		}
	}
}

// leadOnce asks the leader to hand over, if the site's voter does not lead already.
func (h Haechi) leadOnce(ctx context.Context, site lab.Place) error {
	wanted, err := h.voter(ctx, site)
	if err != nil {
		return err
	}
	if wanted.Leader == wanted.Header.MemberId {
		return nil
	}
	p, err := h.leader(ctx)
	if err != nil {
		return err
	}
	return h.etcd(p, func(c *clientv3.Client) error {
		within, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if _, err := c.MoveLeader(within, wanted.Header.MemberId); err != nil {
			return err
		}
		return fmt.Errorf("it was led in %s until now", p)
	})
}

func (h Haechi) voter(ctx context.Context, p lab.Place) (s *clientv3.StatusResponse, err error) {
	err = h.etcd(p, func(c *clientv3.Client) error {
		within, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		s, err = c.Status(within, etcdAddr)
		return err
	})
	return s, err
}

// etcdAddr is where a tower lets etcdctl in, inside its own site.
const etcdAddr = "127.0.0.1:2379"

// etcd speaks to the voter of a site as its tower.
func (h Haechi) etcd(p lab.Place, do func(*clientv3.Client) error) error {
	tls, err := pki.ClientTLS(pki.FilesIn(h.Lab.At(p, "tower", "tls")), pki.Only(pki.Tower))
	if err != nil {
		return err
	}
	dial := h.Lab.DialIn(p)
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{etcdAddr}, TLS: tls, DialTimeout: 2 * time.Second, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return dial(ctx, "tcp", addr) })},
	})
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // it was used to its end
	return do(c)
}
