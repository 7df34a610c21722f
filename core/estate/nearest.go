package estate

import (
	"slices"
	"strings"
)

// maxCandidates bounds the search for a nearest name: it costs their number
// times the square of their length.
const maxCandidates = 20000

// nearest returns the candidate that is spelt most like name, if one is near
// enough that a slip of the fingers explains the difference. Of equally near
// ones it takes the first in alphabetical order.
func nearest(name string, candidates []string) (string, bool) {
	if len(candidates) > maxCandidates || len(name) > maxName {
		return "", false
	}
	limit := max(1, min(3, len(name)/3))
	best, found := limit+1, ""
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if len(c)-len(name) > limit || len(name)-len(c) > limit {
			continue
		}
		if d := distance(strings.ToLower(name), strings.ToLower(c)); d < best {
			best, found = d, c
		}
	}
	return found, found != ""
}

// distance is the number of letters to insert, drop, replace or swap with a
// neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, last := make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := range x {
		row := make([]int, len(y)+1)
		row[0] = i + 1
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(y)]
}

// DidYouMean ends a message about a name that is not known.
func DidYouMean(name string, known []string) string {
	if n, ok := nearest(name, known); ok {
		return `did you mean "` + n + `"?`
	}
	known = slices.Sorted(slices.Values(known))
	const show = 12
	switch {
	case len(known) == 0:
		return "none is declared"
	case len(known) > show:
		return "there are, among others: " + strings.Join(known[:show], ", ")
	}
	return "there are: " + strings.Join(known, ", ")
}
