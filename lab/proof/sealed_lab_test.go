//go:build lab

package proof

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/web"
)

// A member is sealed although no run wants it, as an agent may leave it that was stopped between the end of
// its seal and the answer: it is let go again, and writes go on all the while.
func TestMemberLeftSealedIsLetGo(t *testing.T) {
	w := raise(t, "fast")
	n, err := w.now(lab.Pangyo)
	if err != nil {
		t.Fatal(err)
	}
	f := w.under(func() lab.Proof {
		began := time.Now()
		w.sealByHand(lab.Ansan, agent.Order{Version: 1, Verb: agent.Seal, Unit: "talk-db", Self: "ansan",
			Term: n.Driver.Term, Epoch: n.Stores[0].Epoch, Reign: n.Stores[0].Epoch})
		r := w.ended(lab.Anyang, 20*time.Second, began, "let-go", run.StatusDone)
		w.shows(lab.Anyang, 10*time.Second, "that ansan receives again", func(n web.Now) bool {
			for _, m := range n.Stores[0].Members {
				if m.ID == "ansan" {
					return m.Role == web.RoleFollower && m.Streaming && len(n.Stores[0].Unmet) == 0
				}
			}
			return false
		})
		w.always(2*time.Second, "nothing else is done", func() error {
			all, err := w.runs(lab.Anyang, began)
			if len(all) != 1 || all[0].ID != r.ID {
				err = errors.Join(err, fmt.Errorf("the runs are %s", tell(all)))
			}
			return err
		})
		return lab.Proof{At: began, What: "ansan was sealed by hand"}
	}, unmoved)
	w.served(f)
	w.stays(lab.Pangyo, f.At)
}

// sealByHand gives the agent of a site an order as a tower would, and finds the agent's clock out first.
func (w world) sealByHand(p lab.Place, o agent.Order) {
	w.Helper()
	h := w.asTower(5 * time.Second)
	defer h.CloseIdleConnections()
	for want := agent.Late; ; want = "" {
		a, err := give(h, p, o)
		if err != nil || a.Code != want {
			w.Fatalf("%s by hand: %+v, %v", o.Verb, a, err)
		}
		if want == "" {
			return
		}
		o.Life, o.Sent, o.Within = a.Life, a.Clock, 5*time.Second
	}
}

// asTower speaks to agents as the tower in pangyo does.
func (w world) asTower(patience time.Duration) *http.Client {
	w.Helper()
	conf, err := pki.ClientTLS(pki.FilesIn(w.At(lab.Pangyo, "tower", "tls")), pki.Only(pki.Agent))
	if err != nil {
		w.Fatal(err)
	}
	conf.NextProtos = []string{"h2"}
	return &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: w.DialIn(lab.Pangyo), TLSClientConfig: conf, ForceAttemptHTTP2: true}}
}

// give gives the agent of a site one order.
func give(h *http.Client, p lab.Place, o agent.Order) (a agent.Answer, err error) {
	body, err := json.Marshal(o)
	if err != nil {
		return a, err
	}
	resp, err := h.Post("https://"+p.Addr(21)+":9444/v1/order", "application/json", bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	return a, json.NewDecoder(resp.Body).Decode(&a)
}
