package agent

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/haechi/haechi/core/plan"
)

// An agent may be of the release before its tower's: see [plan.Release]. It refuses orders with fields that it
// does not know, so a tower gives it none: a field that came after release 1 carries the tag since, with the
// release, and ",optional" where the order means the same without it.

// sinceVerb are the verbs that came after release 1.
var sinceVerb = map[Verb]int{Salvage: 2, Rejoin: 2, Apply: 2, Check: 2, Digest: 2}

// fit returns the order as an agent of a release understands it, or says what it would not understand.
func (o Order) fit(release int) (Order, error) {
	release = max(release, 1) // one that says nothing is of the first
	if since := sinceVerb[o.Verb]; since > release {
		return o, fmt.Errorf("it is of release %d and does not know %s: upgrade haechi-agent there first", release, o.Verb)
	}
	v := reflect.ValueOf(&o).Elem()
	for i, f := range reflect.VisibleFields(v.Type()) {
		tag, tagged := f.Tag.Lookup("since")
		if !tagged || v.Field(i).IsZero() {
			continue
		}
		var since int
		number, optional, _ := strings.Cut(tag, ",")
		if _, err := fmt.Sscan(number, &since); err != nil || since <= release {
			continue
		}
		if optional == "" {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			return o, fmt.Errorf("it is of release %d and does not know %q of %s: upgrade haechi-agent there first", release, name, o.Verb)
		}
		v.Field(i).SetZero()
	}
	return o, nil
}

// fits is fit as a refusal of the agent at host, which was not asked.
func (c *Client) fits(o Order) (Order, error) {
	c.mu.Lock()
	release, known := c.release, c.spoken
	c.mu.Unlock()
	if !known {
		release = plan.Release // it says so with its first answer
	}
	fitting, err := o.fit(release)
	if err != nil {
		return o, &Refused{Host: c.host, Order: o, Answer: Answer{Code: UnknownVerb, Error: err.Error()}}
	}
	return fitting, nil
}
