package graph

import (
	"cmp"
	"slices"
)

// Measures of the picture, in pixels.
const (
	letter    = 6.8 // the width of one at 12px; wide ones take two
	padding   = 10  // left and right of a name
	height    = 26  // of a node
	gap       = 14  // between two nodes of a row
	rowStep   = 78  // from one row to the next
	margin    = 24  // around everything, and within the box of a site
	heading   = 34  // above the first row, and above the first row of a site
	mostWide  = 12  // nodes in a row over the sites; more go into a further row
	mostASite = 4   // the same in a site
	sweeps    = 12
)

// picture is a graph whose nodes have places. Rows go from what leans on others down to what they
// lean on; the first ones are over all sites, the others within them, and links stand below.
type picture struct {
	*graph
	rows  [][]*node
	over  int // how many rows are over the sites
	links []*node
	left  map[string]float64 // of the box of each site
	right map[string]float64
	width float64
}

// place decides on rows, on the order within them, and on how far right each node stands: the
// method of Sugiyama, Tagawa and Toda (1981) with the sites as columns.
func place(g *graph) *picture {
	p := &picture{graph: g, left: map[string]float64{}, right: map[string]float64{}}
	for _, n := range g.nodes {
		n.width = wide(n.label)*letter + 2*padding
	}
	p.layer()
	p.bend()
	for range sweeps {
		p.order(func(n *node) []*node { return n.above }, p.rows)
		p.order(func(n *node) []*node { return n.below }, reversed(p.rows))
	}
	p.columns()
	for range sweeps {
		p.settle(func(n *node) []*node { return n.above }, p.rows)
		p.settle(func(n *node) []*node { return n.below }, reversed(p.rows))
	}
	p.settle(func(n *node) []*node { return append(slices.Clone(n.above), n.below...) }, p.rows)
	p.shift()
	return p
}

func wide(s string) float64 {
	w := 0.0
	for _, r := range s {
		w++
		if r > 0x2e80 {
			w++
		}
	}
	return w
}

// layer gives each node its row: over the sites as far down as those that lean on it leave it, in
// them as far up. Edges that close a ring are passed over.
func (p *picture) layer() {
	var over, within []*node
	for _, n := range p.nodes {
		switch {
		case n.kind == "link":
			p.links = append(p.links, n)
		case n.site == "":
			over = append(over, n)
		default:
			within = append(within, n)
		}
	}
	down, up := map[*node][]*node{}, map[*node][]*node{}
	for _, x := range p.edges {
		if (x.from.site == "") == (x.to.site == "") && x.from.kind != "link" && x.to.kind != "link" {
			down[x.from], up[x.to] = append(down[x.from], x.to), append(up[x.to], x.from)
		}
	}
	heights := depths(over, down)
	tall := 0
	for _, h := range heights {
		tall = max(tall, h)
	}
	for _, n := range over {
		n.row = tall - heights[n]
	}
	p.rows = cut(over, mostWide)
	p.over = len(p.rows)
	deep := depths(within, up)
	for _, n := range within {
		n.row = deep[n]
	}
	p.rows = append(p.rows, cut(within, mostASite)...)
	for i, row := range p.rows {
		for _, n := range row {
			n.row = i
		}
	}
}

// depths is the longest way from each node, rings cut open.
func depths(nodes []*node, next map[*node][]*node) map[*node]int {
	depth, open := map[*node]int{}, map[*node]bool{}
	var walk func(n *node) int
	walk = func(n *node) int {
		if d, ok := depth[n]; ok {
			return d
		}
		open[n] = true
		d := 0
		for _, m := range next[n] {
			if !open[m] {
				d = max(d, walk(m)+1)
			}
		}
		open[n] = false
		depth[n] = d
		return d
	}
	for _, n := range nodes {
		walk(n)
	}
	return depth
}

// cut makes rows of nodes, and several of one where a site, or what is over them, has too many.
func cut(nodes []*node, most int) [][]*node {
	byRow := map[int]map[string][]*node{}
	last := -1
	for _, n := range nodes {
		if byRow[n.row] == nil {
			byRow[n.row] = map[string][]*node{}
		}
		byRow[n.row][n.site] = append(byRow[n.row][n.site], n)
		last = max(last, n.row)
	}
	var out [][]*node
	for r := range last + 1 {
		var parts [][]*node
		for _, site := range sorted(byRow[r]) {
			for i, part := range slices.Collect(slices.Chunk(byRow[r][site], most)) {
				if i == len(parts) {
					parts = append(parts, nil)
				}
				parts[i] = append(parts[i], part...)
			}
		}
		out = append(out, parts...)
	}
	return out
}

// bend gives edges that pass rows a place in each, so that they go around what stands there.
func (p *picture) bend() {
	for _, x := range p.edges {
		top, bottom := x.from, x.to
		if top.kind == "link" || bottom.kind == "link" || bottom.kind == "site" || top.kind == "site" {
			continue
		}
		if top.row > bottom.row {
			top, bottom = bottom, top
		}
		last := top
		for r := top.row + 1; r < bottom.row; r++ {
			n := &node{row: r, width: 2}
			if r >= p.over {
				n.site = bottom.site
			}
			p.rows[r] = append(p.rows[r], n)
			x.bends = append(x.bends, n)
			meet(last, n)
			last = n
		}
		if top.row != bottom.row {
			meet(last, bottom)
		}
	}
}

func meet(upper, lower *node) {
	upper.below, lower.above = append(upper.below, lower), append(lower.above, upper)
}

// order sorts each row by where the neighbours stand on average; what has none stays.
func (p *picture) order(neighbours func(*node) []*node, rows [][]*node) {
	at := map[*node]float64{}
	for _, row := range p.rows {
		for i, n := range row {
			at[n] = (float64(i) + 0.5) / float64(len(row))
		}
	}
	for _, row := range rows {
		want := map[*node]float64{}
		for _, n := range row {
			want[n] = mean(neighbours(n), at[n], func(m *node) float64 { return at[m] })
		}
		slices.SortStableFunc(row, func(a, b *node) int {
			return cmp.Or(cmp.Compare(a.site, b.site), cmp.Compare(want[a], want[b]))
		})
		for i, n := range row {
			at[n] = (float64(i) + 0.5) / float64(len(row))
		}
	}
}

func mean(of []*node, otherwise float64, value func(*node) float64) float64 {
	if len(of) == 0 {
		return otherwise
	}
	sum := 0.0
	for _, n := range of {
		sum += value(n)
	}
	return sum / float64(len(of))
}

// columns sets the sites side by side, each as wide as its widest row, and gives all nodes a first place.
func (p *picture) columns() {
	x := 0.0
	for _, s := range p.sites {
		most := wide(s.label+"  "+s.says) * letter * 1.2
		for _, row := range p.rows[p.over:] {
			most = max(most, packed(slices.DeleteFunc(slices.Clone(row), func(n *node) bool { return n.site != s.name })))
		}
		p.left[s.name], p.right[s.name] = x, x+most+2*margin
		x += most + 3*margin
	}
	p.width = x
	for i, row := range p.rows {
		at := (p.width - packed(row)) / 2
		for j, n := range row {
			if i >= p.over && (j == 0 || row[j-1].site != n.site) {
				at = p.left[n.site] + margin
			}
			n.x = at + n.width/2
			if j+1 < len(row) {
				at += n.width/2 + step(n, row[j+1]) - row[j+1].width/2
			}
		}
	}
}

// step is how far apart the middles of two neighbours stand at least. Lines go closer together.
func step(a, b *node) float64 {
	between := float64(gap)
	if a.name == "" && b.name == "" {
		between = gap / 3.0
	}
	return a.width/2 + between + b.width/2
}

func packed(row []*node) float64 {
	w := 0.0
	for i, n := range row {
		w += n.width
		if i > 0 {
			w += step(row[i-1], n) - row[i-1].width/2 - n.width/2
		}
	}
	return w
}

// settle moves the nodes of each row as near to their neighbours as their order and the boxes allow.
func (p *picture) settle(neighbours func(*node) []*node, rows [][]*node) {
	for _, row := range rows {
		for from := 0; from < len(row); {
			to := from + 1
			for to < len(row) && row[to].site == row[from].site {
				to++
			}
			p.spread(row[from:to], neighbours)
			from = to
		}
	}
}

// spread solves least squares under the order, with the pool of adjacent violators.
func (p *picture) spread(part []*node, neighbours func(*node) []*node) {
	type pool struct{ sum, count float64 }
	var pools []pool
	offset := make([]float64, len(part)) // of each node from the first, packed
	for i, n := range part {
		if i > 0 {
			offset[i] = offset[i-1] + step(part[i-1], n)
		}
		want := mean(neighbours(n), n.x, func(m *node) float64 { return m.x }) - offset[i]
		pools = append(pools, pool{want, 1})
		for k := len(pools) - 1; k > 0 && pools[k-1].sum/pools[k-1].count > pools[k].sum/pools[k].count; k-- {
			pools[k-1].sum, pools[k-1].count = pools[k-1].sum+pools[k].sum, pools[k-1].count+pools[k].count
			pools = pools[:k]
		}
	}
	i := 0
	for _, q := range pools {
		for range int(q.count) {
			part[i].x = q.sum/q.count + offset[i]
			i++
		}
	}
	site := part[0].site
	if site == "" {
		return
	}
	least := p.left[site] + margin + part[0].width/2
	most := p.right[site] - margin - part[len(part)-1].width/2 - offset[len(part)-1]
	for i, n := range part {
		n.x = max(least+offset[i], min(most+offset[i], n.x))
	}
}

// shift moves everything right until it stands in the picture, and finds how wide that is.
func (p *picture) shift() {
	least, most := 0.0, p.width-margin
	for _, row := range p.rows {
		for _, n := range row {
			least, most = min(least, n.x-n.width/2), max(most, n.x+n.width/2)
		}
	}
	by := margin - least
	for _, row := range p.rows {
		for _, n := range row {
			n.x += by
		}
	}
	for _, s := range p.sites {
		p.left[s.name] += by
		p.right[s.name] += by
	}
	p.width = most + by + margin
	p.lay(by)
}

// lay sets links in lines below everything.
func (p *picture) lay(from float64) {
	at, line := from, 0
	for _, l := range p.links {
		l.width = wide(l.says)*letter + 2*padding
		if at > from && at+l.width > p.width-margin {
			at, line = from, line+1
		}
		l.row, l.x = line, at+l.width/2
		at += l.width + gap
	}
}

func reversed(rows [][]*node) [][]*node {
	out := slices.Clone(rows)
	slices.Reverse(out)
	return out
}
