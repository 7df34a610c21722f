package lab

import (
	"strings"
	"testing"
)

// What is missing is named with the command that brings it, all at once, and only
// what is wanted is asked for.
func TestMissingSaysWhatToInstall(t *testing.T) {
	all := deps
	t.Cleanup(func() { deps = all })
	deps = []Dep{
		{"/", "there", nil},
		{"/nowhere/postgres", "postgresql-15", []Role{RolePostgres}},
		{"/nowhere/named", "bind9", []Role{RoleNamed}},
	}
	for _, tt := range []struct {
		name  string
		roles []Role
		want  string // "" is no error
	}{
		{"everything", nil, "lab: not installed: postgresql-15 bind9. On Debian 12: make deps, or apt-get install --no-install-recommends postgresql-15 bind9"},
		{"one role", []Role{RoleNamed}, "lab: not installed: bind9."},
		{"a role that needs none", []Role{RoleGateway}, ""},
	} {
		err := Missing(tt.roles)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	deps = []Dep{{"/nowhere/tun", "", nil}}
	if err := Missing(nil); err == nil || !strings.Contains(err.Error(), "modprobe tun") {
		t.Errorf("a device: %v", err)
	}
}
