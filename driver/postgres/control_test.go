package postgres

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is not certain is read by pg_controldata: another version, another end, half of a write.
func TestAControlFileIsReadWhereItIsCertain(t *testing.T) {
	file := func(edit func(raw []byte)) []byte {
		raw := make([]byte, 8192)
		binary.NativeEndian.PutUint32(raw[8:], 1300)
		binary.NativeEndian.PutUint32(raw[16:], 1)
		binary.NativeEndian.PutUint64(raw[32:], 0x2_0150_0718)
		binary.NativeEndian.PutUint32(raw[48:], 7)
		edit(raw)
		binary.NativeEndian.PutUint32(raw[288:], crc32.Checksum(raw[:288], crc32.MakeTable(crc32.Castagnoli)))
		return raw
	}
	got, ok := cleanEnd(file(func([]byte) {}))
	if diff := cmp.Diff(map[string]string{controlState: "shut down", controlAt: "2/1500718", controlTimeline: "7"}, got); !ok || diff != "" {
		t.Error(ok, diff)
	}
	torn := file(func([]byte) {})
	torn[33] ^= 1
	for what, raw := range map[string][]byte{
		"a newer version":       file(func(raw []byte) { raw[8]++ }),
		"a standby's end":       file(func(raw []byte) { raw[16] = 2 }),
		"no end":                file(func(raw []byte) { raw[16] = 6 }),
		"half of it is written": torn,
		"cut off":               torn[:290],
		"empty":                 nil,
	} {
		if got, ok := cleanEnd(raw); ok {
			t.Errorf("%s: %v", what, got)
		}
	}
}
