package peer_test

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/peer"
)

// seen is a view of two things of which one says something new each time.
func seen(boot string, seq uint64) situation.View {
	facts := map[string]string{"role": "primary", "lsn": strconv.FormatUint(seq, 10)}
	if seq%2 == 0 {
		facts["sealed"] = "true"
	}
	return situation.View{Observer: "tower-a", Site: "a", Boot: boot, Seq: seq, Looks: []situation.Look{
		{Target: "agent", Ever: true, Facts: map[string]string{"unit": "talk-db", "reads": "any", "version": strings.Repeat("15", 40)}, Said: time.Duration(seq)},
		{Target: "database", Ever: true, Facts: facts},
		{Target: "gateway", Silent: time.Second, Refused: seq == 3},
	}[(seq+1)%3%2:]} // one of them is not there at times
}

// taken is a receiver that keeps what it takes, and counts what came in whole and in part.
type taken struct {
	*peer.Receiver
	older bool // knows no parts

	mu    sync.Mutex // guards what follows
	got   chan situation.View
	paths map[string]int
	bytes map[string]int64
}

func newTaken() *taken {
	t := &taken{got: make(chan situation.View, 100), paths: map[string]int{}, bytes: map[string]int64{}}
	t.Receiver = receiver(func(v situation.View) { t.got <- v })
	return t
}

func (k *taken) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	k.mu.Lock()
	k.paths[req.URL.Path]++
	k.bytes[req.URL.Path] += req.ContentLength
	r := k.Receiver
	k.mu.Unlock()
	if k.older && req.URL.Path != peer.Path {
		http.NotFound(w, req)
		return
	}
	r.ServeHTTP(w, req)
}

func (k *taken) counts() (whole, parts int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.paths[peer.Path], k.paths[peer.ChangesPath]
}

// arrives sends views one by one and holds what is taken against them.
func (k *taken) arrives(t *testing.T, s *peer.Sender, views ...situation.View) {
	t.Helper()
	for _, v := range views {
		s.Send(v)
		if d := cmp.Diff(v, wait(t, k.got, "the view")); d != "" {
			t.Fatalf("view %d: %s", v.Seq, d)
		}
	}
}

func TestFactsThatWereToldAreNotSentAgain(t *testing.T) {
	p, k := newPlace(t), newTaken()
	s := p.sender(p.files(pki.Tower, "tower-a"), peer.Peer{Name: "tower-b", Address: p.tower(k)})
	k.arrives(t, s, seen("one", 1), seen("one", 2), seen("one", 3), seen("one", 5))
	if whole, parts := k.counts(); whole != 1 || parts != 3 {
		t.Errorf("%d whole, %d in part", whole, parts)
	}
	k.mu.Lock()
	if whole, part := k.bytes[peer.Path], k.bytes[peer.ChangesPath]/3; part >= whole {
		t.Errorf("a part has %d bytes, the whole %d", part, whole)
	}
	k.mu.Unlock()
	k.arrives(t, s, seen("two", 1))
	if whole, _ := k.counts(); whole != 2 {
		t.Error("an observer that has begun anew tells everything")
	}
}

func TestAReceiverThatForgotGetsTheWholeView(t *testing.T) {
	p, k := newPlace(t), newTaken()
	s := p.sender(p.files(pki.Tower, "tower-a"), peer.Peer{Name: "tower-b", Address: p.tower(k)})
	k.arrives(t, s, seen("one", 1), seen("one", 2))
	k.mu.Lock()
	k.Receiver = receiver(k.Take)
	k.mu.Unlock()
	k.arrives(t, s, seen("one", 3), seen("one", 4))
	if whole, parts := k.counts(); whole != 2 || parts != 3 {
		t.Errorf("%d whole, %d in part: once it asks for all, then it goes on", whole, parts)
	}
	if s.Contacts()["tower-b"].Error != "" {
		t.Error(s.Contacts())
	}
}

func TestATowerOfTheReleaseBeforeGetsWholeViews(t *testing.T) {
	p, k := newPlace(t), newTaken()
	k.older = true
	s := p.sender(p.files(pki.Tower, "tower-a"), peer.Peer{Name: "tower-b", Address: p.tower(k)})
	k.arrives(t, s, seen("one", 1), seen("one", 2), seen("one", 3), seen("one", 4))
	if whole, parts := k.counts(); whole != 4 || parts != 1 {
		t.Errorf("%d whole, %d in part: it is tried once for each connection", whole, parts)
	}
}

// One sender's views say nothing of what another has told, even of the same observer.
func TestPartsBelongToTheirSender(t *testing.T) {
	p, k := newPlace(t), newTaken()
	addr := p.tower(k)
	users := seen("one", 1)
	users.Observer, users.Site = "isp-a", ""
	s := p.sender(p.files(pki.Observer, "isp-a"), peer.Peer{Name: "tower-b", Address: addr})
	k.arrives(t, s, users)
	passed := users
	passed.Seq = 2
	other := p.sender(p.files(pki.Tower, "tower-a"), peer.Peer{Name: "tower-b", Address: addr})
	other.Pass(passed, []string{"tower-b"})
	if d := cmp.Diff(passed, wait(t, k.got, "the view")); d != "" {
		t.Error(d)
	}
	if whole, parts := k.counts(); whole != 2 || parts != 0 {
		t.Errorf("%d whole, %d in part", whole, parts)
	}
}

func TestAPartWithoutItsWholeIsRefused(t *testing.T) {
	p, k := newPlace(t), newTaken()
	addr := p.tower(k)
	c, err := pki.ClientTLS(p.files(pki.Tower, "tower-a"), nil)
	must(t, err)
	part := `{"observer": "tower-a", "site": "a", "boot": "one", "seq": 8, "since": 7, "gone": {"agent": ["unit"]}, "looks": []}`
	status, answer, err := post(t, c, addr+peer.ChangesPath, strings.NewReader(part))
	if err != nil || status != http.StatusConflict || !strings.Contains(answer, "number 7 of tower-a") || len(k.got) > 0 {
		t.Errorf("%d, %q, %v, %d taken", status, answer, err, len(k.got))
	}
}
