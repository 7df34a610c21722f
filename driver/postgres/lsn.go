package postgres

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a place in the write-ahead log, in bytes. It is text in JSON, as PostgreSQL writes it.
type LSN uint64

// ParseLSN reads "0/3000148"; empty text is 0, unknown.
func ParseLSN(s string) (LSN, error) {
	if s == "" {
		return 0, nil
	}
	hi, lo, ok := strings.Cut(s, "/")
	h, err := strconv.ParseUint(hi, 16, 32)
	l, err2 := strconv.ParseUint(lo, 16, 32)
	if !ok || err != nil || err2 != nil {
		return 0, fmt.Errorf("%q is not a position in the log", s)
	}
	return LSN(h<<32 | l), nil
}

// String writes the place as PostgreSQL does.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint32(l)) }

// MarshalText writes what String writes.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what ParseLSN reads.
func (l *LSN) UnmarshalText(b []byte) error {
	v, err := ParseLSN(string(b))
	*l = v
	return err
}

func yes(b bool) string        { return strconv.FormatBool(b) }
func number(n uint64) string   { return strconv.FormatUint(n, 10) }
func toNumber(s string) uint64 { n, _ := strconv.ParseUint(s, 10, 64); return n }
func toLSN(s string) LSN       { l, _ := ParseLSN(s); return l }
