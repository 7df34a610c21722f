package estate

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// nameRule says which words may be names of one kind.
type nameRule struct {
	what    string
	pattern *regexp.Regexp
	hint    string
}

func (n nameRule) wrong(s string) string {
	switch {
	case len(s) > maxName:
		return fmt.Sprintf("it is longer than %d letters", maxName)
	case strings.ContainsFunc(s, func(r rune) bool { return r > '~' }):
		return "names are of letters from a to z, since they go into certificates, addresses and commands; other scripts are fine in title, kind and why"
	case !n.pattern.MatchString(s):
		return n.hint
	}
	return ""
}

var (
	plainName = nameRule{
		"a name", regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$`),
		"names begin and end with a letter or digit, and hold letters, digits, and . _ / - between",
	}
	dnsName = nameRule{
		"a DNS name", regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)+$`),
		"write it in full, with the final dot, for example talk.example.",
	}
	anyKey = nameRule{"a key", regexp.MustCompile(`^[^\x00-\x1f]+$`), "control characters do not belong into a key"}
)

// stringOf returns the text of a scalar that YAML reads as text.
func stringOf(n ast.Node) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	}
	return "", false
}

// text is a value that a check may refuse with a sentence.
func text[V ~string](what string, more schema, wrong func(string) string) shape[V] {
	s := schema{"type": "string"}
	for k, v := range more {
		s[k] = v
	}
	return shape[V]{schema: s, read: func(r *reader, n ast.Node, p path) (V, bool) {
		t, ok := stringOf(n)
		if !ok {
			hint := ""
			if _, scalar := n.(ast.ScalarNode); scalar && n.Type() != ast.NullType {
				hint = "; put it into quotes if it is meant as text"
			}
			r.fail(n, p, "here %s is needed, this is %s%s", what, kindOf(n), hint)
			return "", false
		}
		if why := wrong(t); why != "" {
			r.fail(n, p, "%q is not %s: %s", short(t), what, why)
			return "", false
		}
		return V(t), true
	}}
}

// words is free text on one line.
func words[V ~string]() shape[V] {
	return text[V]("text", nil, func(s string) string {
		switch {
		case strings.TrimSpace(s) == "":
			return "it says nothing; write something or leave the key away"
		case len(s) > 4096:
			return "it is longer than 4096 bytes"
		}
		return ""
	})
}

// ref is a name that has to be declared elsewhere; check.go looks for it.
func ref[V ~string](name nameRule) shape[V] {
	return text[V](name.what, schema{"pattern": name.pattern.String()}, name.wrong)
}

// oneOf is one of a few words.
func oneOf[V ~string](choices ...V) shape[V] {
	all := make([]string, len(choices))
	for i, c := range choices {
		all[i] = string(c)
	}
	return text[V]("one of "+strings.Join(all, ", "), schema{"enum": all}, func(s string) string {
		if slices.Contains(all, s) {
			return ""
		}
		return DidYouMean(s, all)
	})
}

// flag is true or false.
var flag = shape[bool]{schema: schema{"type": "boolean"}, read: func(r *reader, n ast.Node, p path) (bool, bool) {
	if b, ok := n.(*ast.BoolNode); ok {
		return b.Value, true
	}
	r.fail(n, p, "here true or false is needed, this is %s", kindOf(n))
	return false, false
}}

// number is a finite number in a range.
func number(least, most float64) shape[float64] {
	return shape[float64]{schema: schema{"type": "number", "minimum": least, "maximum": most}, read: func(r *reader, n ast.Node, p path) (float64, bool) {
		v, ok := floatOf(n)
		if !ok {
			r.fail(n, p, "here a number is needed, this is %s%s", kindOf(n), digits(n, least, most))
			return 0, false
		}
		if !(v >= least && v <= most) {
			r.fail(n, p, "%s is out of range: it has to be between %s and %s", plain(v), plain(least), plain(most))
			return 0, false
		}
		return v, true
	}}
}

// digits says how to write what is a number and was read as text: one in quotes, in powers of ten, or too large.
func digits(n ast.Node, least, most float64) string {
	if t, ok := stringOf(n); ok {
		if _, err := strconv.ParseFloat(t, 64); err == nil || errors.Is(err, strconv.ErrRange) {
			return fmt.Sprintf("; write it in digits, without quotes, from %s to %s", plain(least), plain(most))
		}
	}
	return ""
}

func plain(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// count is a whole number in a range.
func count(least, most int) shape[int] {
	num := number(float64(least), float64(most))
	return shape[int]{schema: schema{"type": "integer", "minimum": least, "maximum": most}, read: func(r *reader, n ast.Node, p path) (int, bool) {
		if _, ok := n.(*ast.IntegerNode); !ok {
			r.fail(n, p, "here a whole number is needed, this is %s%s", kindOf(n), digits(n, float64(least), float64(most)))
			return 0, false
		}
		v, ok := num.read(r, n, p)
		return int(v), ok
	}}
}

func floatOf(n ast.Node) (float64, bool) {
	switch v := n.(type) {
	case *ast.IntegerNode:
		switch i := v.Value.(type) {
		case int64:
			return float64(i), true
		case uint64:
			return float64(i), true
		}
	case *ast.FloatNode:
		return v.Value, !math.IsNaN(v.Value) && !math.IsInf(v.Value, 0)
	}
	return 0, false
}

var durationPart = regexp.MustCompile(`^([0-9]+)d(.*)$`)

// duration is a time span such as 200ms, 1m30s or 90d. 0 needs no unit.
var duration = shape[time.Duration]{
	schema: schema{"type": []string{"string", "integer"}, "pattern": `^([0-9]{1,6}d)?([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))*$|^0$`, "maximum": 0, "minimum": 0},
	read: func(r *reader, n ast.Node, p path) (time.Duration, bool) {
		if i, ok := n.(*ast.IntegerNode); ok {
			if v, _ := floatOf(i); v == 0 {
				return 0, true
			}
			r.fail(n, p, "%s has no unit; write for example %ss or %sms", i.Token.Value, short(i.Token.Value), short(i.Token.Value))
			return 0, false
		}
		t, ok := stringOf(n)
		if !ok {
			r.fail(n, p, "here a time span such as 200ms, 2s or 90d is needed, this is %s", kindOf(n))
			return 0, false
		}
		d, err := parseDuration(t)
		if err != nil {
			r.fail(n, p, "%q is not a time span: %v", short(t), err)
			return 0, false
		}
		return d, true
	},
}

func parseDuration(s string) (time.Duration, error) {
	days, rest := time.Duration(0), s
	if m := durationPart.FindStringSubmatch(s); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil || n > maxDays {
			return 0, errSpan
		}
		days, rest = time.Duration(n)*24*time.Hour, m[2]
	}
	if rest == "" && s != "" {
		return days, nil
	}
	d, err := time.ParseDuration(rest)
	switch {
	case err != nil && spanShape.MatchString(rest):
		return 0, errSpan // it does not fit into 64 bits
	case err != nil:
		return 0, fmt.Errorf("write a number and one of the units ns, us, ms, s, m, h, d, for example 1m30s; days are whole and come first")
	case d < 0 || d > maxDays*24*time.Hour-days:
		return 0, errSpan
	}
	return days + d, nil
}

// Span draws a time span as a file says it: 1d, 12h, 1m30s.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	if d != 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// maxDays keeps time spans where arithmetic on them cannot overflow.
const maxDays = 100 * 365

var (
	errSpan   = errors.New("it has to be between 0 and a hundred years")
	spanShape = regexp.MustCompile(`^-?([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`)
)

// day is a date, or an instant as RFC 3339 writes it.
var day = shape[time.Time]{
	schema: schema{"type": "string", "pattern": `^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]+(Z|[+-][0-9]{2}:[0-9]{2}))?$`},
	read: func(r *reader, n ast.Node, p path) (time.Time, bool) {
		t, ok := stringOf(n)
		if !ok {
			r.fail(n, p, "here a day such as 2026-12-31 is needed, this is %s", kindOf(n))
			return time.Time{}, false
		}
		for _, layout := range []string{time.DateOnly, time.RFC3339} {
			if d, err := time.Parse(layout, t); err == nil {
				return d.UTC(), true
			}
		}
		r.fail(n, p, "%q is no day; write it as 2026-12-31, or an instant as 2026-12-31T15:30:00Z", short(t))
		return time.Time{}, false
	},
}

// quantity is a number with a unit, kept as written.
func quantity(units ...string) shape[string] {
	re := regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?(` + strings.Join(units, "|") + `)$`)
	return text[string]("a quantity such as 400"+units[0], schema{"pattern": re.String()}, func(s string) string {
		m := re.FindStringSubmatch(s)
		if m == nil {
			return "write a number and one of the units " + strings.Join(units, ", ")
		}
		if v, err := strconv.ParseFloat(m[1], 64); err != nil || v > most {
			return fmt.Sprintf("the number has to be between 0 and %d", most)
		}
		return ""
	})
}

// hostPort is an address and a port; the address is an IP or a host name.
var hostPort = text[string]("an address with a port", nil, func(s string) string {
	i := strings.LastIndex(s, ":")
	if i <= 0 {
		return "write host:port, for example 10.1.0.21:5432"
	}
	if port, err := strconv.ParseUint(s[i+1:], 10, 16); err != nil || port == 0 {
		return "the port has to be a number from 1 to 65535"
	}
	host := s[:i]
	if bare, ok := strings.CutPrefix(host, "["); ok {
		if _, err := netip.ParseAddr(strings.TrimSuffix(bare, "]")); err == nil && strings.HasSuffix(bare, "]") {
			return ""
		}
		return "between [ and ] there has to be an IPv6 address"
	}
	if _, err := netip.ParseAddr(host); err == nil && !strings.Contains(host, ":") {
		return ""
	}
	if strings.Contains(host, ":") {
		return "write an IPv6 address between [ and ]"
	}
	if !dnsName.pattern.MatchString(strings.TrimSuffix(host, ".")+".") || looksLikeIP(host) {
		return "the host is neither an IP address nor a host name"
	}
	return ""
})

// looksLikeIP finds a mistyped IPv4 address, which would pass for a host name.
func looksLikeIP(host string) bool {
	return strings.Trim(host, "0123456789.") == ""
}

// answer is an IP address, with a port where probes need one.
var answer = text[string]("an IP address", nil, func(s string) string {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return ""
	}
	if ap, err := netip.ParseAddrPort(s); err == nil && ap.Port() != 0 && ap.Addr().Zone() == "" {
		return ""
	}
	return "write ip or ip:port, for example 10.1.0.5 or [2001:db8::5]:443"
})
