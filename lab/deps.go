package lab

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Dep is one thing that the lab needs from the system.
type Dep struct {
	File    string // shows that it is there
	Package string // Debian's name for what brings it
	roles   []Role // nil: always needed
}

const postgresBin = "/usr/lib/postgresql/15/bin"

// deps are all that the lab needs besides Go.
var deps = []Dep{
	{"/usr/sbin/ip", "iproute2", nil},
	{"/dev/net/tun", "", nil},
	{"/usr/sbin/mkfs.ext4", "e2fsprogs", []Role{RoleTower}},
	{postgresBin + "/postgres", "postgresql-15", []Role{RolePostgres}},
	{"/usr/sbin/named", "bind9", []Role{RoleNamed}},
	{"/usr/sbin/rndc", "bind9-utils", []Role{RoleNamed}},
}

// Missing says what has to be installed for the roles (nil means all), with the
// command that does it; nil when nothing is missing.
func Missing(roles []Role) error {
	var packages []string
	for _, d := range deps {
		if d.roles != nil && roles != nil && !slices.ContainsFunc(d.roles, func(r Role) bool { return slices.Contains(roles, r) }) {
			continue
		}
		if _, err := os.Stat(d.File); err == nil {
			continue
		}
		if d.Package == "" {
			return fmt.Errorf("lab: %s is missing: load the tun module (modprobe tun), or give the container this device", d.File)
		}
		packages = append(packages, d.Package)
	}
	if len(packages) == 0 {
		return nil
	}
	list := strings.Join(packages, " ")
	return fmt.Errorf("lab: not installed: %s. On Debian 12: make deps, or apt-get install --no-install-recommends %s", list, list)
}
