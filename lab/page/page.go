// Package page makes pages of PostgreSQL's files lie, for the lab: it edits a page of a server that is
// stopped, as src/include/storage/bufpage.h, itemid.h, access/htup_details.h and access/nbtree.h lay
// them out since PostgreSQL 9.3, on a machine that is little-endian.
package page

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/haechi/haechi/core/verify"
)

// Size is a page's, as PostgreSQL is built everywhere.
const Size = 8192

// perFile is how many pages a file has before the next begins.
const perFile = 131072

// Page is one.
type Page []byte

// TID is a row's place.
type TID struct {
	Block uint32
	Line  uint16
}

// String writes a place as PostgreSQL does.
func (t TID) String() string { return fmt.Sprintf("(%d,%d)", t.Block, t.Line) }

// ParseTID reads what String writes.
func ParseTID(s string) (t TID, err error) {
	if _, err = fmt.Sscanf(s, "(%d,%d)", &t.Block, &t.Line); err != nil {
		return t, fmt.Errorf("%q is no place of a row: %w", s, err)
	}
	return t, nil
}

// Edit changes one page of a relation, whose first file is at path. With sums the page says its
// right checksum afterwards, so that only who compares can find out; without, what it said before.
func Edit(path string, block uint32, sums bool, change func(Page) error) error {
	if n := block / perFile; n > 0 {
		path = fmt.Sprintf("%s.%d", path, n)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("edit a page: %w", err)
	}
	defer f.Close()
	p, at := make(Page, Size), int64(block%perFile)*Size
	if _, err := f.ReadAt(p, at); err != nil {
		return fmt.Errorf("edit page %d of %s: %w", block, path, err)
	}
	before := slices.Clone(p)
	if err := change(p); err != nil {
		return fmt.Errorf("edit page %d of %s: %w", block, path, err)
	}
	if slices.Equal(before, p) {
		return fmt.Errorf("edit page %d of %s: nothing was changed", block, path)
	}
	if sums {
		verify.SetSum(p, block)
	}
	if _, err := f.WriteAt(p, at); err != nil {
		return fmt.Errorf("edit page %d of %s: %w", block, path, err)
	}
	return f.Sync()
}

// The header of a page, and of what stands on it.
const (
	lowerAt, upperAt, specialAt = 12, 14, 16 // pd_lower, pd_upper, pd_special
	linesAt                     = 24         // pd_linp
	ctidAt, hoffAt              = 12, 22     // of a row: t_ctid, t_hoff
	normal                      = 1          // lp_flags of a line that points to something
)

func (p Page) u16(at int) uint16            { return binary.LittleEndian.Uint16(p[at:]) }
func (p Page) put16(at int, v uint16)       { binary.LittleEndian.PutUint16(p[at:], v) }
func (p Page) lines() uint16                { return (p.u16(lowerAt) - linesAt) / 4 }
func (p Page) lineAt(line uint16) int       { return linesAt + 4*(int(line)-1) }
func (p Page) raw(line uint16) uint32       { return binary.LittleEndian.Uint32(p[p.lineAt(line):]) }
func (p Page) setRaw(line uint16, v uint32) { binary.LittleEndian.PutUint32(p[p.lineAt(line):], v) }

// item is what a line points to.
func (p Page) item(line uint16) ([]byte, error) {
	if line < 1 || line > p.lines() {
		return nil, fmt.Errorf("there is no line %d, only %d", line, p.lines())
	}
	v := p.raw(line)
	off, flags, size := int(v&0x7FFF), v>>15&3, int(v>>17)
	if flags != normal || off+size > len(p) || size <= hoffAt && size < 8 {
		return nil, fmt.Errorf("line %d points to nothing", line)
	}
	return p[off : off+size], nil
}

// Flip turns a bit of the last byte of a row, which is the last letter of a text.
func (p Page) Flip(line uint16) error {
	row, err := p.item(line)
	if err != nil {
		return err
	}
	row[len(row)-1] ^= 1
	return nil
}

// Drop makes a row vanish, as if it had never been there. Indexes go on pointing to it.
func (p Page) Drop(line uint16) error {
	if _, err := p.item(line); err != nil {
		return err
	}
	p.setRaw(line, 0)
	return nil
}

// Copy puts a row there a second time and returns its line. change may give it another key; no index
// points to it.
func (p Page) Copy(block uint32, line uint16, change func(data []byte)) (uint16, error) {
	row, err := p.item(line)
	if err != nil {
		return 0, err
	}
	size := (len(row) + 7) &^ 7
	if int(p.u16(upperAt))-int(p.u16(lowerAt)) < size+4 {
		return 0, errors.New("the page has no room for another row")
	}
	upper := p.u16(upperAt) - uint16(size) //nolint:gosec // it fits in a page
	fresh := p[upper:][:len(row)]
	copy(fresh, row)
	next := p.lines() + 1
	binary.LittleEndian.PutUint16(fresh[ctidAt:], uint16(block>>16))
	binary.LittleEndian.PutUint16(fresh[ctidAt+2:], uint16(block)) //nolint:gosec // its lower half
	binary.LittleEndian.PutUint16(fresh[ctidAt+4:], next)
	change(fresh[fresh[hoffAt]:])
	p.put16(lowerAt, p.u16(lowerAt)+4)
	p.put16(upperAt, upper)
	p.setRaw(next, uint32(upper)|normal<<15|uint32(len(row))<<17) //nolint:gosec // it fits in a page
	return next, nil
}

// Repoint has an entry of a B-tree's leaf point to another row than its key's; false: there is none
// for that row here.
func (p Page) Repoint(from, to TID) bool {
	special := int(p.u16(specialAt))
	if special+16 > len(p) || p.u16(special+12)&1 == 0 { // btpo_flags: BTP_LEAF
		return false
	}
	for line := uint16(1); line <= p.lines(); line++ {
		e, err := p.item(line)
		if err != nil || binary.LittleEndian.Uint16(e[6:])&0x2000 != 0 { // t_info: INDEX_ALT_TID_MASK, no plain entry
			continue
		}
		if (TID{uint32(binary.LittleEndian.Uint16(e))<<16 | uint32(binary.LittleEndian.Uint16(e[2:])), binary.LittleEndian.Uint16(e[4:])}) == from {
			binary.LittleEndian.PutUint16(e, uint16(to.Block>>16))
			binary.LittleEndian.PutUint16(e[2:], uint16(to.Block)) //nolint:gosec // its lower half
			binary.LittleEndian.PutUint16(e[4:], to.Line)
			return true
		}
	}
	return false
}

// SetSequence has a sequence's page say that a number was handed out last.
func (p Page) SetSequence(last int64) error {
	row, err := p.item(1)
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(row[row[hoffAt]:], uint64(last)) //nolint:gosec // the same bits
	return nil
}
