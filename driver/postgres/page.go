package postgres

import "encoding/binary"

// What PostgreSQL builds its files of.
const (
	pageSize     = 8192
	segmentPages = 131072 // of a relation's file; the next one goes on in "NAME.1"
)

// sumLanes are the start values of the checksum of a page, one for each of 32 sums that go along it.
var sumLanes = [32]uint32{
	0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
	0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
	0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
	0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
}

// pageSum is the checksum of a page that stands at block of its relation, as PostgreSQL computes it
// (storage/checksum_impl.h); the two bytes in which it is kept count as zero.
func pageSum(page []byte, block uint32) uint16 {
	sums := sumLanes
	mix := func(lane int, v uint32) {
		t := sums[lane] ^ v
		sums[lane] = t*16777619 ^ t>>17
	}
	for at := 0; at < pageSize; at += 4 {
		v := binary.LittleEndian.Uint32(page[at:])
		if at == 8 {
			v &= 0xFFFF0000
		}
		mix(at/4%32, v)
	}
	for range 2 {
		for lane := range sums {
			mix(lane, 0)
		}
	}
	out := block
	for _, s := range sums {
		out ^= s
	}
	return uint16(out%65535 + 1) //nolint:gosec // it fits by now
}

// pageLSN is the place in the log of the last change to a page.
func pageLSN(page []byte) LSN {
	return LSN(binary.LittleEndian.Uint32(page))<<32 | LSN(binary.LittleEndian.Uint32(page[4:]))
}

// pageFits says whether a page's checksum is that of what it holds. One that was never used has none.
func pageFits(page []byte, block uint32) bool {
	if upper := binary.LittleEndian.Uint16(page[14:]); upper == 0 {
		return true
	}
	return binary.LittleEndian.Uint16(page[8:]) == pageSum(page, block)
}
