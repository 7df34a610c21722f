package web

import (
	"context"
	"net/http"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
)

// Started answers a request that opened a run.
type Started struct {
	Run run.ID `json:"run"`
}

// Accepted answers a request that was carried out.
type Accepted struct {
	OK bool `json:"ok"`
}

func (a desk) postEvacuate(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	var in struct{ Site string }
	if err := body(w, r, &in); err != nil {
		return nil, err
	}
	return a.start(r, by, Ask{Kind: plan.Evacuate, Subject: in.Site}, "site")
}

func (a desk) postFailover(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	var in struct{ Store, To string }
	if err := body(w, r, &in); err != nil {
		return nil, err
	}
	return a.start(r, by, Ask{Kind: plan.Failover, Subject: in.Store, To: in.To}, "store")
}

func (a desk) postAdopt(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	var in struct{ Store string }
	if err := body(w, r, &in); err != nil {
		return nil, err
	}
	return a.start(r, by, Ask{Kind: plan.AdoptNew, Subject: in.Store}, "store")
}

func (a desk) postServe(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	var in struct{ Site string }
	if err := body(w, r, &in); err != nil {
		return nil, err
	}
	return a.start(r, by, Ask{Kind: plan.Serve, Subject: in.Site}, "site")
}

func (a desk) postVerify(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	var in struct{ Store string }
	if err := body(w, r, &in); err != nil {
		return nil, err
	}
	return a.start(r, by, Ask{Kind: plan.VerifyAll, Subject: in.Store}, "store")
}

func (a desk) postRejoin(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	var in struct {
		Store, Member string
		Anew          bool
	}
	if err := body(w, r, &in); err != nil {
		return nil, err
	}
	if in.Member == "" {
		return nil, missing("member")
	}
	return a.start(r, by, Ask{Kind: plan.BringBack, Subject: in.Store, To: in.Member, Anew: in.Anew}, "store")
}

func (a desk) postCountOut(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	var in struct{ Store, Member string }
	if err := body(w, r, &in); err != nil {
		return nil, err
	}
	if in.Member == "" {
		return nil, missing("member")
	}
	return a.start(r, by, Ask{Kind: plan.Uncount, Subject: in.Store, To: in.Member}, "store")
}

func (a desk) getFailback(_ http.ResponseWriter, r *http.Request, _ string) (any, error) {
	store := r.URL.Query().Get("store")
	if store == "" {
		return nil, missing("store")
	}
	return a.Failback(r.Context(), store)
}

func (a desk) postFailback(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	var in struct{ Store string }
	if err := body(w, r, &in); err != nil {
		return nil, err
	}
	if in.Store == "" {
		return nil, missing("store")
	}
	ctx, cancel := acting(r)
	defer cancel()
	id, err := a.Home(ctx, by, in.Store)
	if err != nil {
		return nil, err
	}
	return Started{id}, nil
}

func (a desk) postReseat(_ http.ResponseWriter, r *http.Request, by string) (any, error) {
	return a.start(r, by, Ask{Kind: plan.Reseat, Subject: plan.Towers}, "towers")
}

func (a desk) postWaive(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	var in struct{ Host, Why string }
	if err := body(w, r, &in); err != nil {
		return nil, err
	}
	for field, value := range map[string]string{"host": in.Host, "why": in.Why} {
		if value == "" {
			return nil, missing(field)
		}
	}
	ctx, cancel := acting(r)
	defer cancel()
	return accepted(a.Waive(ctx, by, in.Host, in.Why))
}

func (a desk) start(r *http.Request, by string, ask Ask, field string) (any, error) {
	if ask.Subject == "" {
		return nil, missing(field)
	}
	ctx, cancel := acting(r)
	defer cancel()
	id, err := a.Start(ctx, by, ask)
	if err != nil {
		return nil, err
	}
	return Started{id}, nil
}

func (a desk) postArm(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	return a.armed(w, r, by, a.Arm)
}

func (a desk) deleteArm(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	return a.armed(w, r, by, a.Disarm)
}

func (a desk) armed(w http.ResponseWriter, r *http.Request, by string, do func(ctx context.Context, by, what string) error) (any, error) {
	var in struct{ What string }
	if err := body(w, r, &in); err != nil {
		return nil, err
	}
	if in.What == "" {
		return nil, missing("what")
	}
	ctx, cancel := acting(r)
	defer cancel()
	return accepted(do(ctx, by, in.What))
}

func (a desk) postHold(w http.ResponseWriter, r *http.Request, by string) (any, error) {
	var in struct{ Why string }
	if err := body(w, r, &in); err != nil {
		return nil, err
	}
	ctx, cancel := acting(r)
	defer cancel()
	return accepted(a.Hold(ctx, by, in.Why))
}

func (a desk) deleteHold(_ http.ResponseWriter, r *http.Request, by string) (any, error) {
	ctx, cancel := acting(r)
	defer cancel()
	return accepted(a.Release(ctx, by))
}

func (a desk) steer(how Steering) task {
	return func(_ http.ResponseWriter, r *http.Request, by string) (any, error) {
		ctx, cancel := acting(r)
		defer cancel()
		return accepted(a.Steer(ctx, by, run.ID(r.PathValue("id")), how))
	}
}

// acting bounds how long an act may keep its asker waiting.
func acting(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), actWithin)
}

func accepted(err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return Accepted{true}, nil
}

func missing(field string) error {
	return &Refused{Code: BadRequest, Why: `"` + field + `" is missing in the request`, Do: "nothing was done"}
}
