package web

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/pki"
)

// Limits of a request.
const (
	maxBody    = 64 << 10         // of a JSON body
	maxEstate  = 16 << 20         // of all estate files together
	readWithin = 10 * time.Second // a body that takes longer is not waited for
	actWithin  = 20 * time.Second // the desk answers within this
)

// API returns the JSON API, with its routes below "/api/v1/". It takes who asks from
// the client certificate of the TLS connection: people only, by their roles.
func API(desk Desk, log *slog.Logger) http.Handler {
	return api(desk, log, func(r *http.Request) (pki.Identity, error) { return pki.PeerIdentity(r.TLS) })
}

type desk struct {
	Desk
	log *slog.Logger
	who func(*http.Request) (pki.Identity, error)
}

// task answers one request of a person: a value to be sent as JSON, or an error for [explain].
type task func(w http.ResponseWriter, r *http.Request, by string) (any, error)

func api(d Desk, log *slog.Logger, who func(*http.Request) (pki.Identity, error)) http.Handler {
	a := desk{d, log, who}
	mux := http.NewServeMux()
	for route, t := range map[string]task{
		"GET now": a.getNow, "GET estate": a.getEstate, "GET plan": a.getPlan, "GET runs": a.getRuns,
		"GET runs/{id}": a.getRun, "GET journal": a.getJournal, "GET journal/head": a.getJournalHead, "GET doctor": a.getDoctor,
		"GET audit": a.getAudit, "GET failback": a.getFailback, "GET if": a.getIf,
		"GET salvages": a.getSalvages, "GET stores/{id}/history": a.getHistory,
	} {
		mux.Handle(at(route), a.allow(t, pki.Viewer, pki.Operator, pki.Approver))
	}
	for route, t := range map[string]task{
		"POST estate": a.postEstate, "POST evacuate": a.postEvacuate, "POST failover": a.postFailover, "POST adopt": a.postAdopt,
		"POST serve": a.postServe, "POST failback": a.postFailback, "POST rejoin": a.postRejoin, "POST count-out": a.postCountOut, "POST verify": a.postVerify,
		"POST salvages/{id}/apply": a.postApply, "POST salvages/{id}/discard": a.postDiscard,
		"POST reseat": a.postReseat, "POST waive": a.postWaive, "GET snapshot": a.getSnapshot,
		"POST arm": a.postArm, "DELETE arm": a.deleteArm, "POST hold": a.postHold, "DELETE hold": a.deleteHold,
		"POST runs/{id}/pause": a.steer(Pause), "POST runs/{id}/resume": a.steer(Resume), "POST runs/{id}/abort": a.steer(Abort),
	} {
		mux.Handle(at(route), a.allow(t, pki.Operator))
	}
	// Rows are users' data: whoever only looks after machines has no business with them.
	mux.Handle(at("GET salvages/{id}"), a.allow(a.getSalvage, pki.Operator, pki.Approver))
	mux.Handle(at("POST runs/{id}/approve"), a.allow(a.steer(Approve), pki.Approver))
	mux.HandleFunc("/api/v1/", func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, r, &Refused{Code: NotFound, Why: r.Method + " " + r.URL.Path + " is not part of this API"})
	})
	return mux
}

// at writes "GET now" as the mux wants it.
func at(route string) string {
	for i := range route {
		if route[i] == ' ' {
			return route[:i+1] + "/api/v1/" + route[i+1:]
		}
	}
	return route
}

// allow lets people with one of the roles in.
func (a desk) allow(t task, roles ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		by, err := a.admit(r, roles)
		if err != nil {
			a.fail(w, r, err)
			return
		}
		limit(w, r)
		answer, err := t(w, r, by)
		switch {
		case err != nil:
			a.fail(w, r, err)
		case answer != nil:
			reply(w, http.StatusOK, answer)
		}
	})
}

// admit says who asks, if that is a person who may.
func (a desk) admit(r *http.Request, roles []string) (by string, err error) {
	id, err := a.who(r)
	if err != nil {
		return "", &Refused{Code: Forbidden, Why: err.Error(), Do: "ask with a person's certificate from `haechi pki issue`"}
	}
	if id.Kind != pki.Person {
		return "", &Refused{Code: Forbidden, Why: "a certificate of kind " + string(id.Kind) + " gives no orders here", Do: "ask with a person's certificate from `haechi pki issue`"}
	}
	for _, role := range roles {
		if id.Has(role) {
			return id.Name, nil
		}
	}
	return "", &Refused{Code: Forbidden, Why: id.Name + " has not the role of " + roles[len(roles)-1], Do: "ask somebody who has, or issue a certificate with that role"}
}

// limit bounds how long a request's body may take. Where the connection cannot be
// bounded (in a test) the server's own limits hold.
func limit(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readWithin))
	}
}

// fail answers with an error, and logs it where it is our fault.
func (a desk) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, say := explain(err)
	if status >= http.StatusInternalServerError && say.Code != NoQuorum {
		a.log.Error("answer", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	reply(w, status, say)
}

func (a desk) getNow(http.ResponseWriter, *http.Request, string) (any, error) {
	return Describe(a.Now()), nil
}

func (a desk) getPlan(_ http.ResponseWriter, r *http.Request, _ string) (any, error) {
	q := r.URL.Query()
	for key, kind := range map[string]plan.Kind{"lose": plan.LoseSite, "evacuate": plan.Evacuate, "failover": plan.Failover, "adopt": plan.AdoptNew, "reseat": plan.Reseat} {
		if subject := q.Get(key); subject != "" && len(q) == 1+btoi(q.Has("to")) {
			return a.Plan(r.Context(), Ask{Kind: kind, Subject: subject, To: q.Get("to")})
		}
	}
	return nil, &Refused{Code: BadRequest, Why: "it is not clear what to plan", Do: "ask with exactly one of lose=SITE, evacuate=SITE, failover=STORE (then also to=MEMBER), adopt=STORE, reseat=towers"}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (a desk) getRuns(_ http.ResponseWriter, r *http.Request, _ string) (any, error) {
	all, err := a.Runs(r.Context())
	if all == nil {
		all = []Run{}
	}
	return all, err
}

func (a desk) getRun(_ http.ResponseWriter, r *http.Request, _ string) (any, error) {
	return a.Run(r.Context(), run.ID(r.PathValue("id")))
}

func (a desk) getHistory(_ http.ResponseWriter, r *http.Request, _ string) (any, error) {
	return a.History(r.Context(), estate.StoreID(r.PathValue("id")))
}

func (a desk) getDoctor(_ http.ResponseWriter, r *http.Request, _ string) (any, error) {
	all, err := a.Doctor(r.Context())
	if all == nil {
		all = []Finding{}
	}
	return all, err
}

// body reads a JSON body into v. Unknown keys are refused: a misspelt "to" must not move a store elsewhere.
func body(w http.ResponseWriter, r *http.Request, v any) error {
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	in.DisallowUnknownFields()
	err := in.Decode(v)
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return large
	}
	if err != nil {
		return &Refused{Code: BadRequest, Why: "the request's body cannot be read: " + err.Error(), Do: "nothing was done; send it again whole"}
	}
	return nil
}

// number reads a number from the query; absent is what it is without.
func number(r *http.Request, key string, absent int64) (int64, error) {
	text := r.URL.Query().Get(key)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, &Refused{Code: BadRequest, Why: key + "=" + text + " is not a number from 0 on"}
	}
	return n, nil
}
