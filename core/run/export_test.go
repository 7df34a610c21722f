package run

// WantedOfEach is what a run wants, and the same with each step asked, none passed over.
func (r Run) WantedOfEach() (quick, each []Command) {
	for i := range r.Steps {
		each = append(each, r.wants(i)...)
	}
	return r.wanted(), each
}
