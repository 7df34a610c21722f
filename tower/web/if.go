package web

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/simulate"
)

// Audit is what would be lost of the estate in force, by what the tower knows.
type Audit struct {
	At      time.Time `json:"at,omitzero"` // when it was audited; zero: not yet
	Version uint64    `json:"version"`     // of the estate
	TookMS  float64   `json:"took_ms"`
	Why     string    `json:"why,omitempty"` // there is no report
	audit.Report
	Names []string `json:"-"` // of all components
}

// Brief is an audit in a few numbers.
func (a Audit) Brief() AuditBrief {
	return AuditBrief{At: a.At, Why: a.Why, High: len(a.Open(audit.High)), All: len(a.Open(audit.Low))}
}

// AuditBrief is how much the audit has found that nobody has accepted.
type AuditBrief struct {
	At   time.Time `json:"at,omitzero"` // when; zero: not yet
	Why  string    `json:"why,omitempty"`
	High int       `json:"high"` // at high and above
	All  int       `json:"all"`
}

// If is what would be if some components were lost now.
type If struct {
	At       time.Time          `json:"at"`
	Version  uint64             `json:"version"` // of the estate
	Lose     []string           `json:"lose"`
	Gone     []string           `json:"gone"`  // sites that are gone already, and counted in
	Falls    audit.Fallen       `json:"falls"` // what falls, and how services do after haechi has done its work
	Plans    []plan.Plan        `json:"plans"` // what would be done
	Stuck    []string           `json:"stuck"` // what could not be planned, and the way out
	Forecast *simulate.Forecast `json:"forecast,omitempty"`
	NoTimes  string             `json:"no_times,omitempty"` // why there is no forecast
}

// foresight is what this package asks of a tower about what has not happened.
type foresight interface {
	// Audit is the newest audit of the estate in force. It does not block.
	Audit() Audit
	// If says what would be if some components were lost now. It may take seconds.
	If(ctx context.Context, lose []string) (If, error)
}

func (a desk) getAudit(http.ResponseWriter, *http.Request, string) (any, error) {
	r := a.Audit()
	if r.Why != "" {
		return nil, &Refused{Code: Unmet, Why: r.Why, Do: "ask again in a moment, or audit a file: haechi audit FILE"}
	}
	return r, nil
}

func (a desk) getIf(_ http.ResponseWriter, r *http.Request, _ string) (any, error) {
	lose := losing(r)
	if len(lose) == 0 {
		return nil, &Refused{Code: BadRequest, Why: "it is not said what would be lost", Do: "ask with lose=COMPONENT, for example a site; several with commas"}
	}
	return a.If(r.Context(), lose)
}

// most bounds what is lost together in one question.
const most = 20

// losing lists what a request would lose: lose=a&lose=b, or lose=a,b.
func losing(r *http.Request) []string {
	var out []string
	for _, v := range r.URL.Query()["lose"] {
		for n := range strings.SplitSeq(v, ",") {
			if n = strings.TrimSpace(n); n != "" && !slices.Contains(out, n) && len(out) < most {
				out = append(out, n)
			}
		}
	}
	return out
}
