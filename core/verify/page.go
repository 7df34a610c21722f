package verify

import "encoding/binary"

// A page's checksum as PostgreSQL reckons it since 9.3, see src/include/storage/checksum_impl.h: FNV-1a,
// altered, on 32 lanes of 32 bits that are mixed at the end; then the block's number is added, so
// that a page in the wrong place shows, and it is folded to 16 bits that are never 0.

const (
	// Lanes times four bytes is what a page's size is a multiple of.
	Lanes   = 32
	fnvMul  = 16777619
	sumAt   = 8  // PageHeaderData.pd_checksum
	upperAt = 14 // PageHeaderData.pd_upper: 0 on a page that was never used
)

// laneStart are the lanes' first values, checksumBaseOffsets.
var laneStart = [Lanes]uint32{
	0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
	0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
	0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
	0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
}

// PageSum is the checksum that a page should have as block number blk of its relation.
func PageSum(page []byte, blk uint32) uint16 {
	sums := laneStart
	mix := func(lane int, v uint32) {
		t := sums[lane] ^ v
		sums[lane] = t*fnvMul ^ t>>17
	}
	for at := 0; at < len(page); at += 4 * Lanes {
		for lane := range Lanes {
			v := binary.LittleEndian.Uint32(page[at+4*lane:])
			if at == 0 && lane == sumAt/4 {
				v &^= 0xFFFF // the checksum itself counts as 0
			}
			mix(lane, v)
		}
	}
	for range 2 {
		for lane := range Lanes {
			mix(lane, 0)
		}
	}
	var all uint32
	for _, s := range sums {
		all ^= s
	}
	return uint16((all^blk)%65535 + 1)
}

// PageHas is the checksum that a page says; unused: it was never written to, and says none.
func PageHas(page []byte) (sum uint16, unused bool) {
	return binary.LittleEndian.Uint16(page[sumAt:]), binary.LittleEndian.Uint16(page[upperAt:]) == 0
}

// Sound says that a page has the checksum that it says, or was never used.
func Sound(page []byte, blk uint32) bool {
	has, unused := PageHas(page)
	return unused || has == PageSum(page, blk)
}

// SetSum has a page say the checksum that it has.
func SetSum(page []byte, blk uint32) {
	binary.LittleEndian.PutUint16(page[sumAt:], PageSum(page, blk))
}
