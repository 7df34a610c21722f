package talk

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// schedule is when one client intends to send. It depends on the seed alone and
// never on the server: a slow server does not make the load lighter.
type schedule struct {
	rand   *rand.Rand
	period time.Duration
	at     time.Duration // from the load's beginning
}

// newSchedule spreads clients over the period; each then sends about once a
// period, between half and one and a half of it after the one before.
func newSchedule(seed uint64, client int, period time.Duration) *schedule {
	r := rand.New(rand.NewPCG(seed, uint64(client)))
	return &schedule{rand: r, period: period, at: time.Duration(r.Int64N(int64(period)))}
}

// Next returns when the next message is intended, from the load's beginning.
func (s *schedule) Next() time.Duration {
	now := s.at
	s.at += s.period/2 + time.Duration(s.rand.Int64N(int64(s.period)))
	return now
}

// space is the namespace of the ids that loads pick.
var space = uuid.NewSHA1(uuid.NameSpaceDNS, []byte("load.talk.example."))

// messageID is the id of a client's nth message: the same for the same seed.
func messageID(seed uint64, tag string, client, n int) string {
	return uuid.NewSHA1(space, fmt.Appendf(nil, "%d/%s/%d/%d", seed, tag, client, n)).String()
}

// authorOf and bodyOf write into the message itself who sent it and as which one
// of its own, so that the judge needs no other record to see a double. The seed
// and the tag keep two loads on one database apart.
func authorOf(seed uint64, tag string, client int) string {
	return fmt.Sprintf("client-%04d@%d%s", client, seed, tag)
}

func bodyOf(n int) string {
	return fmt.Sprintf("#%d The quick brown fox jumps over the lazy dog, and writes home about it.", n)
}

func roomOf(client, rooms int) string { return fmt.Sprintf("room-%03d", client%rooms) }

// numberOf reads n back from a body; ok is false for a message that no load wrote.
func numberOf(body string) (n int, ok bool) {
	if len(body) < 2 || body[0] != '#' {
		return 0, false
	}
	end := 1
	for end < len(body) && body[end] >= '0' && body[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(body[1:end])
	return n, err == nil
}
