// Package lab proves haechi: three sites and a place where users are, on one
// machine, with real servers and a network that can be hurt. Nothing in haechi
// knows of it: towers and agents have files, as on any host.
//
// [Lab.Up] raises it and [Lab.Down] removes it, in the same process;
// haechi-lab wraps a daemon around it. Every fault says how it knows that it
// happened.
package lab

import (
	"fmt"
	"net/netip"
	"path/filepath"
)

// Place is a site, or where users are.
type Place string

// The places.
const (
	Pangyo Place = "pangyo"
	Ansan  Place = "ansan"
	Anyang Place = "anyang"
	Users  Place = "users"
)

// Sites are the places that hold servers, in the order of their numbers.
var sites = []Place{Pangyo, Ansan, Anyang}

// places are all of them.
var places = []Place{Pangyo, Ansan, Anyang, Users}

// Sites lists the places that hold servers.
func Sites() []Place { return append([]Place(nil), sites...) }

// number is the third byte of every address in the place.
func (p Place) number() int {
	switch p {
	case Pangyo:
		return 1
	case Ansan:
		return 2
	case Anyang:
		return 3
	case Users:
		return 9
	}
	return 0
}

// IsSite says whether p holds servers.
func (p Place) IsSite() bool { return p.number() > 0 && p != Users }

// Addr is the address in p with the last byte host.
func (p Place) Addr(host int) string { return fmt.Sprintf("10.77.%d.%d", p.number(), host) }

func (p Place) net() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(p.number()), 0}), 24)
}

// Last bytes of the addresses in each site, and of those among users.
const (
	routerHost   = 1
	gatewayHost  = 5
	towerHost    = 11
	databaseHost = 21
	nameHost     = 53
	clientHost   = 100
)

// hosts are the last bytes of the addresses that a place's interface carries.
func (p Place) hosts() []int {
	if p == Users {
		return []int{11, 12, clientHost}
	}
	return []int{gatewayHost, towerHost, databaseHost, nameHost}
}

// observers are the observers on user networks and their addresses' last bytes.
var observers = []struct {
	Name string
	Host int
}{{"isp-a", 11}, {"isp-b", 12}}

// Addresses of what each site offers.
func (p Place) towerAddr() string    { return p.Addr(towerHost) + ":9443" }
func (p Place) etcdAddr() string     { return p.Addr(towerHost) + ":2380" }
func (p Place) agentAddr() string    { return p.Addr(databaseHost) + ":9444" }
func (p Place) postgresAddr() string { return p.Addr(databaseHost) + ":5432" }
func (p Place) nameAddr() string     { return p.Addr(nameHost) + ":53" }

// GatewayAddr is where the talk gateway of the site listens, as users see it.
func (p Place) GatewayAddr() string { return p.Addr(gatewayHost) + ":8080" }

// TowerAddr is where the site's tower answers people with certificates.
func (p Place) TowerAddr() string { return p.towerAddr() }

// NameServer is where the name server of the site listens.
func (p Place) NameServer() string { return p.nameAddr() }

// ClientAddr is the address from which the load's clients come.
func ClientAddr() string { return Users.Addr(clientHost) }

// Names of haechi's own things in a site.
func (p Place) tower() string { return "tower-" + string(p) }
func (p Place) host() string  { return "db-" + string(p) }

// NS is the network namespace of the place.
func (l *Lab) NS(p Place) string { return l.o.Name + "-" + string(p) }

// router is the network namespace between the places.
func (l *Lab) router() string { return l.o.Name + "-wan" }

// namespaces are all that a lab of this name makes.
func (l *Lab) namespaces() []string {
	out := []string{l.router()}
	for _, p := range places {
		out = append(out, l.NS(p))
	}
	return out
}

// path is a file or directory of the lab.
func (l *Lab) path(parts ...string) string {
	return filepath.Join(append([]string{l.o.Dir}, parts...)...)
}

// at is a file or directory of one place.
func (l *Lab) at(p Place, parts ...string) string {
	return l.path(append([]string{string(p)}, parts...)...)
}

// addr4 is an IPv4 address from its bytes.
func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }
