package generate

import (
	"slices"

	"github.com/haechi/haechi/core/estate"
)

// decoys draws what looks like a fault and is none: an audit must not take it for one.
func (w *world) decoys() {
	w.wantedLines()
	w.scratch()
	w.secondCopy()
}

// wantedLines lie in one duct, and who has them only wants them.
func (w *world) wantedLines() {
	id := pick(w.Chance, w.seated)
	at := w.sites[0]
	in := string(at) + "/"
	w.e.Domains[in+"conduit"] = estate.Domain{Site: at, Kind: "cable-duct"}
	w.e.Domains[in+"feed-line-1"] = estate.Domain{Site: at, Kind: "line", Requires: names(in + "conduit")}
	w.e.Domains[in+"feed-line-2"] = estate.Domain{Site: at, Kind: "line", Requires: names(in + "conduit")}
	s := w.e.Services[id]
	s.Wants = append(slices.Clone(s.Wants), anyOf(in+"feed-line-1", in+"feed-line-2"))
	w.e.Services[id] = s
}

// scratch loses what it likes: nobody who requires it minds.
func (w *world) scratch() {
	st := w.store("scratch-files", "ceph")
	s := w.e.Stores[st]
	s.Any, s.Alone, s.Lag = 0, "allow", 0
	w.e.Stores[st] = s
	for _, id := range w.seated {
		if v := w.e.Services[id]; v.RPO == nil && w.IntN(4) == 0 {
			v.Requires = append(slices.Clone(v.Requires), name(string(st)))
			w.e.Services[id] = v
		}
	}
}

// secondCopy lies beside a member, besides one that is out of reach.
func (w *world) secondCopy() {
	id := pick(w.Chance, w.stores)
	s := w.e.Stores[id]
	s.Backup = append([]estate.Backup{{At: string(s.Members[s.Primary].Site), Every: hour}}, s.Backup...)
	w.e.Stores[id] = s
}
