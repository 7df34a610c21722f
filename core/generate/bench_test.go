package generate_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/generate"
)

// BenchmarkAudit takes estates from YAML to JSON, as haechi audit does.
func BenchmarkAudit(b *testing.B) {
	bench := func(name string, depth int, o generate.Order) {
		b.Run(name, func(b *testing.B) {
			e, _, err := order{o, 41}.make()
			if err != nil {
				b.Fatal(err)
			}
			text := generate.Text(e)
			b.ReportAllocs()
			for b.Loop() {
				e, err := estate.Load([]estate.File{{Name: "generated.yaml", Data: text}}, nil)
				if err != nil {
					b.Fatal(err)
				}
				r, err := audit.Audit(audit.Input{Estate: e, Now: today, Depth: depth})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := json.Marshal(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for depth := 1; depth <= 2; depth++ {
		bench(fmt.Sprintf("servers=32000/depth=%d", depth), depth, generate.Order{Sites: 3, Servers: 32_000, Services: 134})
	}
	bench("servers=1000000", 1, generate.Order{Sites: 30, Servers: 1_000_000, Services: 2000})
	for _, services := range []int{250, 500, 1000, 2000, 4000} {
		bench(fmt.Sprintf("services=%d", services), 1, generate.Order{Sites: 3, Servers: 32_000, Services: services})
	}
}
