package estate

// Place is where something stands in the files of an estate. Line and Col count from 1.
type Place struct {
	File      string
	Line, Col int
}

// Places says where each component of an estate is declared, members of stores as store/member. It is
// for files that [Load] has accepted; of others it knows what could be read.
func Places(files []File) map[string]Place {
	r, e, _ := read(files)
	names, _ := declared(e)
	out := map[string]Place{}
	add := func(name string, p path) {
		if at, ok := r.at[p.key()]; ok {
			out[name] = Place{at.file, at.line, at.col}
		}
	}
	for n, section := range names {
		add(n, path("").to(string(section), n))
	}
	for id, s := range e.Stores {
		for m := range s.Members {
			add(string(id)+"/"+string(m), path("").to("stores", string(id), "members", string(m)))
		}
	}
	return out
}
