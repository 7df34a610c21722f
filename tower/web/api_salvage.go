package web

import (
	"net/http"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
)

// SalvageRows is one salvage with some of its rows.
type SalvageRows struct {
	Salvage situation.Salvage `json:"salvage"`
	Rows    []SalvageRow      `json:"rows"`
	Next    int               `json:"next,omitempty"` // the first row that is not shown; 0: there is none
}

// SalvageRow is a row that only one member holds. What is long is cut, see SalvageValue.
type SalvageRow struct {
	N        int            `json:"n"`
	Database string         `json:"database"`
	Schema   string         `json:"schema"`
	Table    string         `json:"table"`
	Op       string         `json:"op"` // insert, update, delete, truncate
	Key      []string       `json:"key,omitempty"`
	Old      []SalvageValue `json:"old,omitempty"`
	New      []SalvageValue `json:"new,omitempty"`
	Now      []SalvageValue `json:"now,omitempty"` // what stands there on the primary
	Stands   string         `json:"stands"`        // how that is to the salvage, one of the words below
	Why      string         `json:"why,omitempty"` // why it cannot be said how it stands
	XID      uint32         `json:"xid,omitempty"`
	At       time.Time      `json:"at,omitzero"`
	Told     string         `json:"told"` // never, unknown
	Because  string         `json:"because,omitempty"`
	Note     string         `json:"note,omitempty"`
	Written  bool           `json:"written,omitempty"` // it was written back
}

// How a row stands on the primary.
const (
	StandsSo      = "as the salvage has it"
	StandsBefore  = "as it was before, nobody has changed it since"
	StandsChanged = "otherwise, somebody has changed it since"
	StandsMissing = "not there"
	StandsUnknown = "not known"
)

// SalvageValue is one column's value as people see it.
type SalvageValue struct {
	Column string `json:"column"`
	Text   string `json:"text,omitempty"`
	State  string `json:"state,omitempty"` // null, untouched
	Bytes  int    `json:"bytes,omitempty"` // how long it is, where Text is only its beginning
}

func (a desk) getSalvages(_ http.ResponseWriter, r *http.Request, _ string) (any, error) {
	all, err := a.Salvages(r.Context())
	if all == nil {
		all = []situation.Salvage{}
	}
	return all, err
}

func (a desk) getSalvage(_ http.ResponseWriter, r *http.Request, _ string) (any, error) {
	from, err := number(r, "from", 1)
	if err != nil {
		return nil, err
	}
	ctx, cancel := acting(r)
	defer cancel()
	return a.Salvage(ctx, r.PathValue("id"), int(from))
}

func (a desk) postApply(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	var in struct {
		Rows           string
		All, Overwrite bool
	}
	if err := body(w, r, &in); err != nil {
		return nil, err
	}
	if (in.Rows == "") != in.All {
		return nil, &Refused{Code: BadRequest, Why: "either rows or all has to be said", Do: "nothing was done; look at the rows first: haechi salvage show " + r.PathValue("id")}
	}
	if in.Rows != "" {
		if _, err := situation.ParseRows(in.Rows); err != nil {
			return nil, &Refused{Code: BadRequest, Why: err.Error(), Do: "nothing was done"}
		}
	}
	return a.start(r, by, Ask{Kind: plan.Restore, Subject: r.PathValue("id"), Rows: in.Rows, Overwrite: in.Overwrite}, "id")
}

func (a desk) postDiscard(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	if err := body(w, r, &struct{}{}); err != nil {
		return nil, err
	}
	return a.start(r, by, Ask{Kind: plan.GiveUp, Subject: r.PathValue("id")}, "id")
}
