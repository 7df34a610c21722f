package estate

import "encoding/json"

// Schema returns the JSON Schema (draft 2020-12) of an estate file, indented.
// It comes from the same table as [Load]. settings is what is passed to Load.
func Schema(settings map[string]SettingsCheck) ([]byte, error) {
	top := objectSchema(fileFields())
	top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	top["title"] = "haechi estate file"
	top["$defs"] = schema{"needs": needsSchema()}
	if rules := engineRules(settings); len(rules) > 0 {
		stores := top["properties"].(schema)["stores"].(schema)
		stores["additionalProperties"] = schema{"allOf": append([]schema{stores["additionalProperties"].(schema)}, rules...)}
	}
	return json.MarshalIndent(top, "", "  ")
}

// engineRules tie the shape of settings to the engine.
func engineRules(settings map[string]SettingsCheck) []schema {
	if len(settings) == 0 {
		return nil
	}
	out := []schema{{"properties": schema{"engine": schema{"enum": sorted(settings)}}}}
	for _, engine := range sorted(settings) {
		if s := settings[engine].Schema; s != nil {
			out = append(out, schema{
				"if":   schema{"properties": schema{"engine": schema{"const": engine}}},
				"then": schema{"properties": schema{"settings": s}},
			})
		}
	}
	return out
}
