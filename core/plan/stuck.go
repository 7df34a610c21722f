package plan

import (
	"errors"
	"fmt"
)

// ErrNothing says that the situation asks for no step: no primary and no answer
// stands where it should not.
var ErrNothing = errors.New("nothing to do")

// Obstacle is why no plan saves a component. The zero value means that nobody gave one: a bug.
type Obstacle string

// Obstacles.
const (
	NotDeclared  Obstacle = "not-declared"
	NotAdopted   Obstacle = "not-adopted"
	NoMember     Obstacle = "no-member-left"
	TooFewToSeal Obstacle = "too-few-to-seal"
	TooFewLeft   Obstacle = "too-few-left"
	AcksAlone    Obstacle = "acknowledges-alone"
	TargetUnfit  Obstacle = "target-unfit"
	LastAnswer   Obstacle = "last-answer"
	NoServer     Obstacle = "no-name-server-left"
	NotReachable Obstacle = "not-reachable"
	UnknownKind  Obstacle = "unknown-kind"
	NobodyFormer Obstacle = "nobody-to-fence"
	AlreadySo    Obstacle = "already-so"
)

// Stuck reports a component that no plan can save, and the way out.
type Stuck struct {
	Component string   `json:"component"`
	Because   Obstacle `json:"because"`
	Why       string   `json:"why"` // what stands in the way, with its numbers
	Out       string   `json:"out"` // what a person can do
}

// Error says what, why and what to do, in one line.
func (s *Stuck) Error() string {
	return fmt.Sprintf("no plan for %s: %s: %s; %s", s.Component, s.Because, s.Why, s.Out)
}
