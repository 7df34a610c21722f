// Package count spells numbers of things for people.
package count

import "fmt"

// Of is a number with its noun, which is made plural by an s: "1 row", "2 rows".
func Of(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
