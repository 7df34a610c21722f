package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/count"
)

// BlastText draws for a terminal what one accident takes along, and why.
func BlastText(w io.Writer, f audit.Fallen) {
	lost := strings.Join(f.Lost, " and ")
	n := 0
	for _, names := range f.Falls {
		n += len(names)
	}
	if n == 0 {
		write(w, "", fmt.Sprintf("nothing falls with %s", lost))
	} else {
		write(w, "", fmt.Sprintf("%s fall with %s", count.Of(n, "component"), lost))
	}
	for _, k := range kinds(f) {
		switch k {
		case "service", "store":
		case "other":
			write(w, "  ", "names, teams and observers: "+some(f.Falls[k], 3*few))
		default:
			write(w, "  ", fmt.Sprintf("%s: %s", count.Of(len(f.Falls[k]), k), some(f.Falls[k], 3*few)))
		}
	}
	for _, k := range []string{"store", "service"} {
		if len(f.Falls[k]) > 0 {
			fmt.Fprintln(w)
			write(w, "", count.Of(len(f.Falls[k]), k)+" down:")
		}
		for _, name := range f.Falls[k] {
			write(w, "  ", name+": "+f.Why[name])
		}
	}
	textSurvivors(w, f)
}

// textSurvivors draws which services go on, and how.
func textSurvivors(w io.Writer, f audit.Fallen) {
	up, hurt := 0, []string{}
	for _, s := range slices.Sorted(maps.Keys(f.Services)) {
		switch f.Services[s] {
		case "up":
			up++
		case "degraded":
			if x := f.Shortfall[s]; x > 0 {
				s += fmt.Sprintf(" (%s servers missing)", servers(x))
			}
			hurt = append(hurt, s)
		}
	}
	fmt.Fprintln(w)
	if len(hurt) > 0 {
		write(w, "", "degraded: "+strings.Join(hurt, ", "))
	}
	if len(f.Shed) > 0 {
		write(w, "", "given up for others: "+strings.Join(f.Shed, ", "))
	}
	if all := len(f.Services); up == all {
		write(w, "", "every service stays up")
	} else {
		write(w, "", fmt.Sprintf("%d of %d services stay up", up, all))
	}
}

func kinds(f audit.Fallen) []string { return slices.Sorted(maps.Keys(f.Falls)) }

// CutsText draws for a terminal what takes a service down.
func CutsText(w io.Writer, of string, cuts [][]string) {
	if len(cuts) == 0 {
		write(w, "", fmt.Sprintf("no %d things that are lost together take %s down", audit.MostInCut, of))
		return
	}
	size := 0
	for _, c := range cuts {
		if len(c) != size {
			size = len(c)
			n := len(slices.DeleteFunc(slices.Clone(cuts), func(o []string) bool { return len(o) != size }))
			write(w, "", cutsHead(of, size, n))
		}
		write(w, "  ", strings.Join(c, " + "))
	}
}

func cutsHead(of string, size, n int) string {
	if size == 1 {
		return fmt.Sprintf("%s is down when one of these is lost (%d):", of, n)
	}
	return fmt.Sprintf("%s is down when these %d are lost together, and not with fewer (%d):", of, size, n)
}
