package web

import (
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/simulate"
	"github.com/haechi/haechi/tower/report"
)

// ifPage is what the template of the page If draws.
type ifPage struct {
	Now     Now
	Audit   Audit
	View    report.View
	Top     []column
	Drawn   map[string]template.HTML // sections of the page Now that stand here, too
	Choices []string                 // names of components, for the field
	Lose    string                   // as asked
	Refusal string                   // why there is no answer
	Do      string                   // what to do about that
	If      *If
	Fates   []fate
	Fallen  []fallen
}

// fate is how one service does.
type fate struct {
	Service, State, Why string
	Short               float64 // servers that are missing
	Shed                bool
}

// fallen are the things of one kind that fall.
type fallen struct {
	Kind  string
	Names []string
}

// mostChoices is how many components the field offers.
const mostChoices = 1000

// what draws the page If: what would be lost, with what was picked, or for the audit alone.
func (p *page) what(w http.ResponseWriter, r *http.Request) {
	n, a, lose := Describe(p.desk.Now()), p.desk.Audit(), losing(r)
	v := ifPage{Now: n, Audit: a, View: report.Of(a.Report), Drawn: map[string]template.HTML{}, Lose: strings.Join(lose, ", ")}
	v.Choices = a.Names[:min(len(a.Names), mostChoices)]
	status := http.StatusOK
	if len(lose) > 0 {
		found, err := p.desk.If(r.Context(), lose)
		if err == nil {
			v.take(found)
		} else {
			var say Failure
			status, say = explain(err)
			if _, asked := errors.AsType[*Refused](err); !asked {
				p.log.Error("what if", "lose", lose, "error", err)
			}
			v.Refusal, v.Do = say.Why, say.Do
		}
	}
	sections, err := p.sections(n)
	if err == nil {
		for _, id := range []string{"band", "clock", "audited"} {
			v.Drawn[id] = template.HTML(sections[id]) //nolint:gosec // made by html/template just now
		}
		err = p.send(w, status, "if", v)
	}
	if err != nil {
		p.log.Error("draw the page If", "error", err)
		http.Error(w, "the page could not be drawn; the tower's log says why, and haechi audit has the same facts", http.StatusInternalServerError)
	}
}

// take sorts an answer for people: what is worst first.
func (v *ifPage) take(i If) {
	v.If = &i
	for _, state := range []string{"down", "degraded", "up"} {
		for _, s := range slices.Sorted(maps.Keys(i.Falls.Services)) {
			if i.Falls.Services[s] == state {
				v.Fates = append(v.Fates, fate{s, state, i.Falls.Why[s], i.Falls.Shortfall[s], slices.Contains(i.Falls.Shed, s)})
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(i.Falls.Falls)) {
		if k != "service" && k != "other" {
			v.Fallen = append(v.Fallen, fallen{k, i.Falls.Falls[k]})
		}
	}
}

// Down counts the services that are down.
func (v ifPage) Down() int { return v.count("down") }

// Short counts the services that lack servers.
func (v ifPage) Short() int {
	return len(slices.DeleteFunc(slices.Clone(v.Fates), func(f fate) bool { return f.Short == 0 }))
}

func (v ifPage) count(state string) int {
	return len(slices.DeleteFunc(slices.Clone(v.Fates), func(f fate) bool { return f.State != state }))
}

// Hurt are the services that are not up.
func (v ifPage) Hurt() []fate {
	return slices.DeleteFunc(slices.Clone(v.Fates), func(f fate) bool { return f.State == "up" && !f.Shed })
}

// Picked says whether a component is among what is lost.
func (v ifPage) Picked(name string) bool { return v.If != nil && slices.Contains(v.If.Lose, name) }

// Whys says why stores fall, each in a sentence.
func (v ifPage) Whys() []string {
	var out []string
	for _, s := range v.If.Falls.Falls["store"] {
		out = append(out, s+": "+v.If.Falls.Why[s])
	}
	return out
}

// badge is how bad it is what the audit found.
func badge(a AuditBrief) Level {
	if a.At.IsZero() || a.Why != "" || a.High > 0 {
		return Warn
	}
	return Fine
}

// losses says how much the audit has found.
func losses(a AuditBrief) string {
	switch {
	case a.At.IsZero() || a.Why != "":
		return "not audited"
	case a.High > 0:
		return fmt.Sprintf("%d of %d findings at high and above", a.High, a.All)
	case a.All > 0:
		return fmt.Sprintf("nothing at high and above, %d below", a.All)
	}
	return "nothing found"
}

// foreseen is one bar of the forecast: how long a service is gone.
type foreseen struct {
	Service  string
	P50, P95 string
	RTO      string
	Over     bool
	Bar      template.HTML
}

// foretold draws the services that are gone for a while, the longest first.
func foretold(f *simulate.Forecast) []foreseen {
	var gone []simulate.Service
	most := 0.0
	for _, s := range f.Services {
		if s.P95 > 0 || s.P95 < 0 {
			gone = append(gone, s)
			most = max(most, s.P95, s.P50)
			if s.RTO != nil && *s.RTO < 4*max(s.P95, 0) {
				most = max(most, *s.RTO)
			}
		}
	}
	slices.SortStableFunc(gone, func(a, b simulate.Service) int {
		switch {
		case (a.P95 < 0) != (b.P95 < 0):
			return map[bool]int{true: -1, false: 1}[a.P95 < 0]
		case a.P95 > b.P95:
			return -1
		case a.P95 < b.P95:
			return 1
		}
		return 0
	})
	var out []foreseen
	for _, s := range gone {
		x := foreseen{Service: s.Name, P50: lasting(s.P50), P95: lasting(s.P95), Over: s.Over, Bar: bar(s, most)}
		if s.RTO != nil {
			x.RTO = lasting(*s.RTO)
		}
		out = append(out, x)
	}
	return out
}

// bar draws one service: to its median full, to its 95th percentile lighter, with a mark at its RTO.
func bar(s simulate.Service, most float64) template.HTML {
	const wide = 400.0
	x := func(t float64) float64 {
		if t < 0 || most <= 0 {
			return wide
		}
		return max(2, wide*min(1, t/most))
	}
	tone := "ok"
	if s.Over || s.P95 < 0 {
		tone = "bad"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="span %s" viewBox="0 0 %g 18" preserveAspectRatio="none" aria-hidden="true"><rect class="late" y="3" width="%.1f" height="12"/><rect class="mid" y="3" width="%.1f" height="12"/>`, tone, wide, x(s.P95), x(s.P50))
	if s.RTO != nil && *s.RTO <= most {
		fmt.Fprintf(&b, `<rect class="rto" x="%.1f" width="2" height="18"/>`, min(x(*s.RTO), wide-2))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers and our own words only
}

// lasting writes seconds for people; -1 is never.
func lasting(s float64) string {
	if s < 0 {
		return "never"
	}
	if s > 0 && s < 10 {
		return fmt.Sprintf("%.2f s", s)
	}
	return span(time.Duration(s * float64(time.Second)))
}
