package postgres

import (
	"fmt"
	"slices"

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
		if key != "monitor" {
			bad(key, "unknown key %q; the settings of a postgres store are: monitor", key)
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

// SettingsCheck is what the estate checks a store's settings with.
func SettingsCheck() estate.SettingsCheck {
	text := map[string]any{"type": "string"}
	return estate.SettingsCheck{
		Schema: map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{
			"monitor": map[string]any{"type": "object", "additionalProperties": false, "required": []string{"user"}, "properties": map[string]any{
				"user": text, "database": text,
				"password": map[string]any{"type": "object", "properties": map[string]any{"file": text}},
			}},
		}},
		Check: func(settings map[string]any) []error { _, errs := MonitorOf(settings); return errs },
	}
}
