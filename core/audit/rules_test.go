package audit_test

import (
	"os"
	"strings"
	"testing"

	"github.com/haechi/haechi/core/audit"
)

// What programs say of a rule is what docs/audit.md says, word for word.
func TestRulesMeanWhatThePageSays(t *testing.T) {
	page, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range audit.Rules() {
		_, section, ok := strings.Cut(string(page), "## "+string(r)+"\n\n")
		if !ok {
			t.Errorf("the page has no section %s", r)
			continue
		}
		said, _, _ := strings.Cut(section, "\n\n")
		if strings.TrimSpace(said) != r.Means() {
			t.Errorf("%s: the page says\n%s\nthe rule says\n%s", r, said, r.Means())
		}
	}
}
