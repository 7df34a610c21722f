package trial

import (
	"testing"
	"time"
)

func TestAPageCostsSomething(t *testing.T) {
	if cost := PageCost(); cost <= 0 || cost > time.Millisecond {
		t.Errorf("a page costs %v", cost)
	}
}
