package probe

import (
	"testing"
	"time"

	"github.com/haechi/haechi/core/situation"
)

// How long what users use took to answer is told; of the rest nobody asks, and of an answer that comes
// after a newer one it says nothing.
func TestHowLongGatewaysTakeIsTold(t *testing.T) {
	p, err := situation.Named("fast")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1000, 0)
	s := newSheet(p, at)
	answer := func(target string, kind situation.Kind, began, ended time.Duration) {
		s.note(result{target: situation.Target{ID: target, Kind: kind}, began: at.Add(began), at: at.Add(ended)})
	}
	s.begin("a/gateway/talk", at)
	s.begin("a/tower/tower-a", at)
	answer("a/gateway/talk", situation.KindGateway, 100*time.Millisecond, 107*time.Millisecond)
	answer("a/gateway/talk", situation.KindGateway, 0, 90*time.Millisecond)
	answer("a/tower/tower-a", situation.KindTower, 0, 5*time.Millisecond)
	looks := s.looks(at.Add(time.Second))
	if len(looks) != 2 || looks[0].Took != 7*time.Millisecond || looks[1].Took != 0 {
		t.Errorf("%+v", looks)
	}
}
