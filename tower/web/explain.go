package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
)

// Failure is the body of every answer that is not a success.
type Failure struct {
	Code     Code             `json:"code"`
	Why      string           `json:"why"`
	Do       string           `json:"do,omitempty"`
	Tower    string           `json:"tower,omitempty"`
	Problems []estate.Problem `json:"problems,omitempty"` // of an estate, each with its place
}

// statuses has the status of each code.
var statuses = map[Code]int{
	BadRequest: http.StatusBadRequest,
	Forbidden:  http.StatusForbidden,
	NotFound:   http.StatusNotFound,
	Conflict:   http.StatusConflict,
	TooLarge:   http.StatusRequestEntityTooLarge,
	NotDriver:  http.StatusMisdirectedRequest,
	Unmet:      http.StatusUnprocessableEntity,
	NoQuorum:   http.StatusServiceUnavailable,
}

// explain says what the caller may know about err, and with which status. It is the
// only place that does. Anything not listed is our fault: the log gets the rest.
func explain(err error) (int, Failure) {
	if no, ok := errors.AsType[*Refused](err); ok {
		return statusOf(no.Code), Failure{Code: no.Code, Why: no.Why, Do: no.Do, Tower: no.Tower}
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge, Failure{Code: TooLarge, Why: "the request is larger than " + size(large.Limit)}
	}
	if wrong, ok := errors.AsType[*estate.Invalid](err); ok {
		return http.StatusUnprocessableEntity, Failure{Code: Unmet, Why: "the estate is not valid; nothing was changed", Problems: wrong.Problems}
	}
	if stuck, ok := errors.AsType[*plan.Stuck](err); ok {
		return http.StatusUnprocessableEntity, Failure{Code: Unmet, Why: fmt.Sprintf("no plan for %s: %s", stuck.Component, stuck.Why), Do: stuck.Out}
	}
	if errors.Is(err, plan.ErrNothing) {
		return http.StatusUnprocessableEntity, Failure{Code: Unmet, Why: plan.ErrNothing.Error() + ": nothing stands where it should not"}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return http.StatusGatewayTimeout, Failure{Code: "timeout", Why: "it took too long, and may have happened", Do: "look before you ask again: haechi status, haechi runs"}
	}
	return http.StatusInternalServerError, Failure{Code: "internal", Why: "something broke on our side; the tower's log says what"}
}

func statusOf(c Code) int {
	if status, known := statuses[c]; known {
		return status
	}
	return http.StatusUnprocessableEntity
}

// reply writes v as JSON.
func reply(w http.ResponseWriter, status int, v any) {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // the asker may have gone away: nobody left to tell
}
