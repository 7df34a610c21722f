package estate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// File is one file of an estate, already read.
type File struct {
	Name string // a path with slashes: for messages, and for what include: means
	Data []byte
}

// SettingsCheck is what a driver says about the settings of its engine's stores.
type SettingsCheck struct {
	// Schema is the JSON Schema of the mapping under settings; nil allows anything.
	Schema map[string]any
	// Check returns what is wrong; nil means that nothing can be. A
	// [*SettingError] among the errors is shown at the key that it names.
	Check func(settings map[string]any) []error
}

// SettingError is a problem with one key of a store's settings.
type SettingError struct {
	Key     string
	Message string // what is wrong and what to do
}

func (e *SettingError) Error() string { return e.Key + ": " + e.Message }

// Load reads an estate out of its files and checks it. settings holds what each
// engine's driver says; when it is nil, any engine with any settings is accepted, and so is any
// engine of a store whose members say nothing of where they are reached.
// What policy and stores leave unsaid is filled in with the defaults, so that
// equal meanings are equal values. The error is a [*Invalid] that lists every
// problem; the estate is then empty.
func Load(files []File, settings map[string]SettingsCheck) (Estate, error) {
	r, e, whole := read(files)
	if whole {
		fillIn(r, &e)
		for _, f := range append(check(e), checkSettings(e, settings)...) {
			if !r.spoilt(f.at) && !r.cannotSay(f) {
				r.report(r.find(f.at), f.at, "%s", r.withPlace(f))
			}
		}
	}
	if err := invalid(r.problems, files); err != nil {
		return Estate{}, err
	}
	return e, nil
}

// read merges the files. whole is false when a part could not be read at all,
// so that checks for names would blame the wrong lines.
func read(files []File) (r *reader, e Estate, whole bool) {
	r = newReader()
	if wrong := sizes(files); wrong != "" {
		r.problems = append(r.problems, Problem{Message: wrong})
		return r, e, false
	}
	fields := fileFields()
	whole = true
	for _, f := range files {
		tree, problems := parse(f)
		if len(problems) > 0 {
			r.problems = append(r.problems, problems...)
			whole = false
			continue
		}
		r.file = f.Name
		if !readObject(r, tree, "", fields, &e) {
			whole = false
		}
	}
	return r, e, r.checkIncludes(files) && whole
}

func sizes(files []File) string {
	if len(files) == 0 {
		return "no estate file was given; name at least one"
	}
	total, names := 0, map[string]bool{}
	for _, f := range files {
		if names[f.Name] {
			return fmt.Sprintf("the file %s was given twice", f.Name)
		}
		names[f.Name] = true
		total += len(f.Data)
	}
	if total > MaxBytes {
		return fmt.Sprintf("the estate has more than the %d MB of YAML that are read; is it the right file? Identical servers belong into pools", MaxBytes>>20)
	}
	return ""
}

// fillIn writes down what silence means.
func fillIn(r *reader, e *Estate) {
	orElse(&e.Policy.Profile, "default")
	orElse(&e.Policy.SiteLoss, Auto)
	orElse(&e.Policy.AcceptDataLoss, TwoPeople)
	for id, s := range e.Stores {
		orElse(&s.Alone, "refuse")
		orElse(&s.Reads, "any")
		at := path("").to("stores", string(id))
		if members := s.MemberIDs(); len(members) > 0 && !r.said(at.to("primary")) {
			s.Primary = members[0]
		}
		if len(s.Members) > 1 && !r.said(at.to("acknowledge", "any")) {
			s.Any = 1
		}
		e.Stores[id] = s
	}
}

func orElse[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// checkSettings asks each store's driver.
func checkSettings(e Estate, settings map[string]SettingsCheck) []finding {
	if settings == nil {
		return nil
	}
	var out []finding
	for _, id := range sorted(e.Stores) {
		s, at := e.Stores[id], path("").to("stores", string(id))
		c, known := settings[s.Engine]
		if !known && !e.acted(s) {
			continue // a store that is only described may be of any engine
		}
		if !known {
			out = append(out, finding{at: at.to("engine"), say: fmt.Sprintf("no driver speaks %q; %s", s.Engine, DidYouMean(s.Engine, sorted(settings)))})
			continue
		}
		if c.Check == nil {
			continue
		}
		for _, err := range c.Check(s.Settings) {
			where := at.to("settings")
			if se, ok := errors.AsType[*SettingError](err); ok {
				out = append(out, finding{at: where.to(se.Key), say: se.Message})
				continue
			}
			out = append(out, finding{at: where, say: err.Error()})
		}
	}
	return out
}

// cannotSay is about names that may stand in a section that could not be read.
func (r *reader) cannotSay(f finding) bool {
	if !f.missing {
		return false
	}
	for p := range r.bad {
		section := strings.TrimPrefix(string(p), sep)
		if strings.Contains(section, sep) {
			continue
		}
		if f.mayBeFrom == nil || slices.Contains(f.mayBeFrom, kind(section)) {
			return true
		}
	}
	return false
}

// withPlace adds where the other end of a problem stands.
func (r *reader) withPlace(f finding) string {
	if f.see == "" {
		return f.say
	}
	return fmt.Sprintf("%s (%s)", f.say, r.find(f.see))
}

func sorted[K ~string, V any](m map[K]V) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b K) int { return strings.Compare(string(a), string(b)) })
	return out
}
