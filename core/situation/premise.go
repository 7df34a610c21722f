package situation

// Premise is something that a promotion by itself rests on, and that does not hold.
type Premise struct {
	Text string
	// Borne: the promotion is right all the same, it only takes longer or ends who is in its way.
	// It is reported before, and a person need not be asked. All others forbid a promotion by itself.
	Borne bool
}

// String returns the premise in words, for people.
func (p Premise) String() string {
	if p.Borne {
		return p.Text + ": a promotion by itself deals with it"
	}
	return p.Text + ": no promotion by itself"
}

// Forbidding are those, in words, that forbid a promotion by itself.
func Forbidding(all []Premise) (out []string) {
	for _, p := range all {
		if !p.Borne {
			out = append(out, p.Text)
		}
	}
	return out
}
