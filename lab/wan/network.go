package wan

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// Place is one end of the network: a site, or where users are.
type Place struct {
	Name   string       `json:"name"`
	Net    netip.Prefix `json:"net"`    // IPv4; addresses of the place
	Device string       `json:"device"` // TUN device that leads to it
}

// Direction names one line.
type Direction struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// String draws the direction as "pangyo>ansan".
func (d Direction) String() string { return d.From + ">" + d.To }

// Counters count the packets of one direction since the router started.
type Counters struct {
	Packets uint64 `json:"packets"` // delivered
	Bytes   uint64 `json:"bytes"`   // delivered
	Cut     uint64 `json:"cut"`     // dropped because the line is cut, also what was under way
	Lost    uint64 `json:"lost"`    // dropped by chance
	Queue   uint64 `json:"queue"`   // dropped because the line was full
}

// MaxPacket is the largest packet that is carried, in bytes.
const MaxPacket = 1500

// Packet is a buffer with a packet in it. Packets are reused.
type Packet struct {
	Due  time.Duration // when it arrives, on the clock of whoever calls Offer
	From int           // index of the place that it left
	To   int           // index of the place that it goes to
	N    int           // length in Data
	Data [MaxPacket + 36]byte
}

// Bytes is the packet as it came.
func (p *Packet) Bytes() []byte { return p.Data[:p.N] }

// MaxQueued is how many packets may be under way in one direction.
const MaxQueued = 1 << 14

// direction is a line, the packets on it and what was counted.
type direction struct {
	line
	counters Counters
	queue    []*Packet // ring
	head, n  int
}

func (d *direction) push(p *Packet) {
	d.queue[(d.head+d.n)&(MaxQueued-1)] = p
	d.n++
}

func (d *direction) pop() *Packet {
	p := d.queue[d.head]
	d.queue[d.head] = nil
	d.head = (d.head + 1) & (MaxQueued - 1)
	d.n--
	return p
}

// Network holds what is under way between places. It knows no clock and no
// device: the caller says what time it is, and gives the chance. It belongs to
// one goroutine.
type Network struct {
	places []Place
	lines  [][]*direction // [from][to]
	active []*direction   // every direction once, for walks
	free   []*Packet
	draw   func() float64
	strays uint64
}

// NewNetwork joins every pair of places by link, both ways. Draw gives the
// chance for loss and jitter, in [0,1).
func NewNetwork(places []Place, link func(from, to string) Link, draw func() float64) (*Network, error) {
	n := &Network{places: places, draw: draw}
	for i, from := range places {
		if !from.Net.Addr().Is4() {
			return nil, fmt.Errorf("wan: place %s: %v is not an IPv4 network", from.Name, from.Net)
		}
		row := make([]*direction, len(places))
		for j, to := range places {
			if i == j {
				continue
			}
			l := link(from.Name, to.Name)
			if err := l.Validate(); err != nil {
				return nil, fmt.Errorf("wan: %s>%s: %w", from.Name, to.Name, err)
			}
			row[j] = &direction{line: line{Link: l}, queue: make([]*Packet, MaxQueued)}
			n.active = append(n.active, row[j])
		}
		n.lines = append(n.lines, row)
	}
	return n, nil
}

// Buffer gives an empty packet to read into. It comes back through Offer (when
// dropped) or Release.
func (n *Network) Buffer() *Packet {
	if last := len(n.free) - 1; last >= 0 {
		p := n.free[last]
		n.free = n.free[:last]
		return p
	}
	return &Packet{}
}

// Release takes a packet back for reuse.
func (n *Network) Release(p *Packet) { n.free = append(n.free, p) }

// Offer hands over a packet that left the place with index from at now.
func (n *Network) Offer(now time.Duration, from int, p *Packet) Fate {
	to, ok := n.destination(p.Bytes())
	if !ok || to == from {
		n.strays++
		n.Release(p)
		return Stray
	}
	d := n.lines[from][to]
	due, fate := d.admit(now, p.N, n.draw)
	if fate == Carried && d.n == MaxQueued {
		fate = DroppedByQueue
	}
	switch fate {
	case Carried:
		p.Due, p.From, p.To = due, from, to
		d.push(p)
		return Carried
	case DroppedByCut:
		d.counters.Cut++
	case DroppedByLoss:
		d.counters.Lost++
	default:
		d.counters.Queue++
	}
	n.Release(p)
	return fate
}

// destination finds the place that an IPv4 packet goes to.
func (n *Network) destination(b []byte) (int, bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return 0, false
	}
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(b[16:20]))
	addr := netip.AddrFrom4(a)
	for i := range n.places {
		if n.places[i].Net.Contains(addr) {
			return i, true
		}
	}
	return 0, false
}

// Next says when the next packet arrives.
func (n *Network) Next() (due time.Duration, ok bool) {
	d := n.first()
	if d == nil {
		return 0, false
	}
	return d.queue[d.head].Due, true
}

// Pop takes the packet that arrives first, if it has arrived by now. Its
// direction counts it as delivered.
func (n *Network) Pop(now time.Duration) *Packet {
	d := n.first()
	if d == nil || d.queue[d.head].Due > now {
		return nil
	}
	p := d.pop()
	d.counters.Packets++
	d.counters.Bytes += uint64(p.N)
	return p
}

// first is the direction whose packet arrives first. Each direction keeps its
// own order, so looking at the heads of a dozen queues is all the heap we need.
func (n *Network) first() *direction {
	var best *direction
	for _, d := range n.active {
		if d.n > 0 && (best == nil || d.queue[d.head].Due < best.queue[best.head].Due) {
			best = d
		}
	}
	return best
}

// Change is a new setting of some fields of one direction; nil leaves a field as it is.
type Change struct {
	Direction
	Delay  *time.Duration `json:"delay,omitempty"`
	Jitter *time.Duration `json:"jitter,omitempty"`
	Loss   *float64       `json:"loss,omitempty"`
	Rate   *int64         `json:"rate,omitempty"`
	Cut    *bool          `json:"cut,omitempty"`
}

// apply returns the link with the change made.
func (c Change) apply(l Link) Link {
	set(&l.Delay, c.Delay)
	set(&l.Jitter, c.Jitter)
	set(&l.Loss, c.Loss)
	set(&l.Rate, c.Rate)
	set(&l.Cut, c.Cut)
	return l
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Set makes all changes, or none and says why.
func (n *Network) Set(changes []Change) error {
	lines := make([]*direction, len(changes))
	for i, c := range changes {
		d, err := n.find(c.Direction)
		if err != nil {
			return err
		}
		if err := c.apply(d.Link).Validate(); err != nil {
			return fmt.Errorf("%v: %w", c.Direction, err)
		}
		lines[i] = d
	}
	for i, c := range changes {
		d := lines[i]
		d.change(c.apply(d.Link))
		for d.Cut && d.n > 0 {
			n.Release(d.pop())
			d.counters.Cut++
		}
	}
	return nil
}

func (n *Network) find(dir Direction) (*direction, error) {
	from, to := n.index(dir.From), n.index(dir.To)
	if from < 0 || to < 0 || from == to {
		return nil, fmt.Errorf("%v: no such direction; the places are %v", dir, n.names())
	}
	return n.lines[from][to], nil
}

func (n *Network) index(name string) int {
	for i, p := range n.places {
		if p.Name == name {
			return i
		}
	}
	return -1
}

func (n *Network) names() []string {
	var out []string
	for _, p := range n.places {
		out = append(out, p.Name)
	}
	return out
}

// LineStatus is one direction as it is now.
type LineStatus struct {
	Direction
	Link     Link     `json:"link"`
	Queued   int      `json:"queued"` // packets under way
	Counters Counters `json:"counters"`
}

// Lines lists every direction in the order of the places.
func (n *Network) Lines() []LineStatus {
	var out []LineStatus
	for i, row := range n.lines {
		for j, d := range row {
			if d != nil {
				dir := Direction{n.places[i].Name, n.places[j].Name}
				out = append(out, LineStatus{dir, d.Link, d.n, d.counters})
			}
		}
	}
	return out
}

// Strays counts packets that did not go from one place to another.
func (n *Network) Strays() uint64 { return n.strays }
