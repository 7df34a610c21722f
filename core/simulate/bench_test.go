package simulate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/haechi/haechi/core/simulate"
)

// many is an estate with so many stores, a third of them with their primaries in each site, and three services on each.
func many(stores int) string {
	var b strings.Builder
	b.WriteString("stores:\n")
	for i := range stores {
		m := []string{"pangyo", "ansan", "anyang"}
		fmt.Fprintf(&b, "  db-%d: {engine: postgres, members: {a: {site: %s}, b: {site: %s}, c: {site: %s}}}\n", i, m[i%3], m[(i+1)%3], m[(i+2)%3])
	}
	b.WriteString("services:\n")
	for i := range stores * 3 {
		fmt.Fprintf(&b, "  s-%d: {tier: %d, runs: {pangyo/web: 0, ansan/web: 0, anyang/web: 0}, requires: [db-%d, db-%d]}\n", i, i%4, i/3, i%stores)
	}
	return b.String()
}

func BenchmarkOnce(b *testing.B) {
	for _, stores := range []int{45, 500} {
		b.Run(fmt.Sprintf("%d stores", stores), func(b *testing.B) {
			e := load(b, base, towers, many(stores))
			s := simulation(b, e, simulate.Defaults(e), "pangyo")
			for n := 0; b.Loop(); n++ {
				s.Once(luck(n))
			}
		})
	}
}
