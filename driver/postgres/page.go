package postgres

import "encoding/binary"

// What PostgreSQL builds its files of, unless whoever built it chose otherwise, which is rare.
const (
	pageSize     = 8192
	segmentPages = 131072 // of a relation's file; the next one goes on in "NAME.1"
)

// pageLSN is the place in the log of the last change to a page.
func pageLSN(page []byte) LSN {
	return LSN(binary.LittleEndian.Uint32(page))<<32 | LSN(binary.LittleEndian.Uint32(page[4:]))
}
