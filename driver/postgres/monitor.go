package postgres

import (
	"fmt"
	"slices"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
)

// Monitor is the account with which towers look at members from afar. It only reads;
// pg_monitor is all that it needs. Without one, towers only knock at the port.
type Monitor struct {
	User     string
	Database string
	Password estate.Secret
}

// MonitorOf reads a store's settings: {monitor: {user:, database:, password: {file:}}}.
// The zero value means that the estate names no such account.
func MonitorOf(settings map[string]any) (Monitor, []error) {
	var m Monitor
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, &estate.SettingError{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	for key := range settings {
		if key != "monitor" && key != "verify" {
			bad(key, "unknown key %q; the settings of a postgres store are: monitor, verify", key)
		}
	}
	raw, ok := settings["monitor"]
	if !ok {
		return m, errs
	}
	fields, ok := raw.(map[string]any)
	if !ok {
		bad("monitor", "must be a mapping of user, database and password")
		return m, errs
	}
	for key, value := range fields {
		switch text, isText := value.(string); {
		case key == "user" && isText:
			m.User = text
		case key == "database" && isText:
			m.Database = text
		case key == "password":
			secret, _ := value.(map[string]any)
			if m.Password.File, ok = secret["file"].(string); !ok {
				bad("monitor", "password must say where it stands: {file: /path}")
			}
		default:
			bad("monitor", "unknown or malformed key %q; it takes %v", key, slices.Sorted(slices.Values([]string{"user", "database", "password"})))
		}
	}
	if m.User == "" {
		bad("monitor", "user is required")
	}
	if m.Database == "" {
		m.Database = "postgres"
	}
	return m, errs
}

// PaceOf reads what a comparison may take of each member: {verify: {share: 0.2, rate: 128}}, a share of one
// processor and megabytes a second. The zero value of each stands for those.
func PaceOf(settings map[string]any) (agent.Pace, []error) {
	var p agent.Pace
	raw, ok := settings["verify"]
	if !ok {
		return p, nil
	}
	bad := func(format string, args ...any) (agent.Pace, []error) {
		return p, []error{&estate.SettingError{Key: "verify", Message: fmt.Sprintf(format, args...)}}
	}
	fields, ok := raw.(map[string]any)
	if !ok {
		return bad("must be a mapping of share and rate")
	}
	for key, value := range fields {
		n, isNumber := asNumber(value)
		switch {
		case key == "share" && isNumber:
			p.Share = n
		case key == "rate" && isNumber:
			p.Rate = int64(n * (1 << 20))
		default:
			return bad("unknown or malformed key %q; it takes share, a part of one processor, and rate, megabytes a second", key)
		}
	}
	if _, err := newPace(&p); err != nil {
		return bad("%v", err)
	}
	return p, nil
}

// asNumber reads a number, as YAML or JSON leave it.
func asNumber(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	}
	return 0, false
}

// SettingsCheck is what the estate checks a store's settings with.
func SettingsCheck() estate.SettingsCheck {
	text := map[string]any{"type": "string"}
	return estate.SettingsCheck{
		Schema: map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{
			"monitor": map[string]any{"type": "object", "additionalProperties": false, "required": []string{"user"}, "properties": map[string]any{
				"user": text, "database": text,
				"password": map[string]any{"type": "object", "properties": map[string]any{"file": text}},
			}},
			"verify": map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{
				"share": map[string]any{"type": "number", "minimum": leastShare, "maximum": 1}, "rate": map[string]any{"type": "number", "minimum": 1},
			}},
		}},
		Check: func(settings map[string]any) []error {
			_, errs := MonitorOf(settings)
			_, more := PaceOf(settings)
			return append(errs, more...)
		},
	}
}
