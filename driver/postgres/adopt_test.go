package postgres

import (
	"errors"
	"maps"
	"strings"
	"testing"
)

// Every member is judged before anything changes, and all that is wrong is said at once.
func TestAdoptableSaysEverythingThatIsWrong(t *testing.T) {
	fine := map[string]string{"answers": "true", "in_recovery": "true", "system": "7", "version_num": "150010", "version": "15.10", "replication_role": "ok"}
	tests := map[string]struct {
		member string
		spoil  map[string]string
		want   string
	}{
		"AnotherCluster":    {"b", map[string]string{"system": "8"}, "member b: system identifier 8, the primary's is 7: another cluster"},
		"AnotherVersion":    {"b", map[string]string{"version_num": "160004", "version": "16.4"}, "member b: PostgreSQL 16.4, the primary has 15.10"},
		"TooOld":            {"a", map[string]string{"version_num": "130001", "version": "13.1"}, "member a: PostgreSQL 13.1; 14 is the oldest that haechi knows"},
		"NoRole":            {"b", map[string]string{"replication_role": ""}, "member b: role haechi_replication is missing: CREATE ROLE haechi_replication REPLICATION LOGIN"},
		"RoleWithoutRight":  {"a", map[string]string{"replication_role": "without LOGIN"}, "member a: role haechi_replication is without LOGIN: ALTER ROLE haechi_replication REPLICATION LOGIN"},
		"AgentIsLockedOut":  {"b", map[string]string{"answers": "false", "error": "no pg_hba.conf entry"}, "member b: the server does not answer its agent: no pg_hba.conf entry"},
		"PrimaryIsAStandby": {"a", map[string]string{"in_recovery": "true"}, "member a: the estate calls it the primary, its server is a standby"},
		"TwoPrimaries":      {"b", map[string]string{"in_recovery": "false"}, "member b: the estate has another primary (a), its server is no standby"},
		"Slot":              {"b", map[string]string{"upstream_slot": "b_slot"}, "member b: primary_slot_name is b_slot"},
		"Fenced":            {"b", map[string]string{"fenced": "true", "answers": "false"}, "member b: its agent remembers it as a former primary"},
		"FencedPrimary":     {"a", map[string]string{"fenced": "true", "answers": "false"}, "member a: the estate calls it the primary, and its agent remembers it as fenced"},
		"FormerIsDown":      {"b", map[string]string{"agent/role": "primary", "answers": "false"}, "haechi rejoin STORE MEMBER, which first salvages what only it holds"},
		"BeingMadeAnew":     {"b", map[string]string{"broken": "copy", "answers": "false"}, "as one that is being made anew"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			facts := map[string]map[string]string{"a": maps.Clone(fine), "b": maps.Clone(fine), "c": maps.Clone(fine)}
			facts["a"]["in_recovery"] = "false"
			facts["c"]["sealed"] = "true" // by a run of records that were lost: to follow ends it
			if errs := adoptable("a", facts); len(errs) > 0 {
				t.Fatalf("a whole cluster: %v", errs)
			}
			maps.Copy(facts[tt.member], tt.spoil)
			if err := errors.Join(adoptable("a", facts)...); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\ndoes not say %q", err, tt.want)
			}
		})
	}
}
