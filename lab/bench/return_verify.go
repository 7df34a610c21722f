package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/verify"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
)

// lie is one that was planted, and how a comparison may name it.
type lie struct {
	at    lab.Place
	what  string
	kinds []verify.Kind
	table string // that is named, without its database
	key   string // of the row; empty: whatever is named
	plant func(context.Context, *lab.Lab, lab.Place) (lab.Proof, error)
}

// lies are those that are planted on two followers of a database of so many rows.
func lies(first, second lab.Place, rows int64) []lie {
	id := func(tenths int64) int64 { return max(1, rows*tenths/10) }
	where := func(id int64) string { return fmt.Sprintf("id = %d", id) }
	key := func(id int64) string { return fmt.Sprint(id) }
	kinds := func(k ...verify.Kind) []verify.Kind { return k }
	return []lie{
		{first, "a flipped bit", kinds(verify.Different), lab.BulkTable, key(id(2)), func(ctx context.Context, l *lab.Lab, p lab.Place) (lab.Proof, error) {
			return l.LieFlip(ctx, p, lab.BulkTable, where(id(2)), true)
		}},
		{first, "a missing row", kinds(verify.Missing), lab.BulkTable, key(id(5)), func(ctx context.Context, l *lab.Lab, p lab.Place) (lab.Proof, error) {
			return l.LieMissing(ctx, p, lab.BulkTable, where(id(5)))
		}},
		{first, "a row too many", kinds(verify.Extra), lab.BulkTable, key(rows + 900), func(ctx context.Context, l *lab.Lab, p lab.Place) (lab.Proof, error) {
			return l.LieExtra(ctx, p, lab.BulkTable, where(id(7)), rows+900)
		}},
		{second, "an index that lies", kinds(verify.Index), lab.BulkIndex, "", func(ctx context.Context, l *lab.Lab, p lab.Place) (lab.Proof, error) {
			return l.LieIndex(ctx, p, lab.BulkTable, lab.BulkIndex, where(id(8)), where(id(8)+1))
		}},
		{second, "a broken page", kinds(verify.Broken, verify.Page), lab.BulkRack, "", func(ctx context.Context, l *lab.Lab, p lab.Place) (lab.Proof, error) {
			return l.LieFlip(ctx, p, lab.BulkRack, where(400), false)
		}},
		{second, "a sequence set back", kinds(verify.Behind), lab.BulkSequence, "", func(ctx context.Context, l *lab.Lab, p lab.Place) (lab.Proof, error) {
			return l.LieSequence(ctx, p, lab.BulkSequence, 500)
		}},
	}
}

// names says whether a finding names the lie.
func (l lie) names(f verify.Finding) bool {
	return f.Member == string(l.at) && slices.Contains(l.kinds, f.Kind) && f.Table == "talk: "+l.table && (l.key == "" || f.Key == l.key)
}

// weigh says which lies nothing names, and which findings nobody planted. That rows are missing or too
// many shows in the index of their table on the same member, too.
func weigh(planted []lie, found []verify.Finding) (unnamed, strange []string) {
	for _, l := range planted {
		if !slices.ContainsFunc(found, l.names) {
			unnamed = append(unnamed, fmt.Sprintf("%s on %s in %s", l.what, l.at, l.table))
		}
	}
	for _, f := range found {
		follows := f.Kind == verify.Index && f.Table == "talk: "+lab.BulkIndex && slices.ContainsFunc(planted, func(l lie) bool {
			return string(l.at) == f.Member && l.table == lab.BulkTable
		})
		if !follows && !slices.ContainsFunc(planted, func(l lie) bool { return l.names(f) }) {
			strange = append(strange, f.String())
		}
	}
	return unnamed, strange
}

// verify plants lies on followers of the large database and has the members compared.
func (b *returns) verify(ctx context.Context) error {
	l, err := b.largeLab(ctx)
	if err != nil {
		return err
	}
	h := trial.Haechi{Lab: l}
	n, err := h.Ready(ctx, lab.Ansan)
	if err != nil {
		return err
	}
	followers := slices.DeleteFunc(lab.Sites(), func(p lab.Place) bool { return string(p) == n.Stores[0].Primary })
	planted := lies(followers[0], followers[1], lab.BulkRows(b.mb()))
	for _, lie := range planted {
		b.Say(fmt.Sprintf("%s: %s in %s", lie.at, lie.what, lie.table))
		if _, err := lie.plant(ctx, l, lie.at); err != nil {
			return err
		}
	}
	if err := h.AtRest(ctx, 3*time.Minute, 5*time.Second); err != nil {
		return err
	}
	idle, err := shares(ctx, l, func() error { return wait(ctx, 20*time.Second) })
	if err != nil {
		return err
	}
	var r comparison
	busy, err := shares(ctx, l, func() (err error) {
		r, err = compare(ctx, l)
		return err
	})
	if err != nil {
		return err
	}
	b.weighed(r, planted, idle, busy)
	return nil
}

// weighed adds what came of a comparison.
func (b *returns) weighed(r comparison, planted []lie, idle, busy map[lab.Place]float64) {
	unnamed, strange := weigh(planted, r.report.Found)
	all := len(planted) + len(strange)
	b.is("named", 100*float64(len(planted)-len(unnamed))/float64(all), fmt.Sprintf("%d were planted on two followers", len(planted)),
		prefixed("not named: ", some(unnamed)), prefixed("named, and not planted: ", some(strange)), b.scaled())
	var read int64
	for _, d := range r.report.Databases {
		read += d.Blocks * 8 >> 10
	}
	b.is("verify", r.seconds, fmt.Sprintf("%d MB of tables on each", read), b.scaled())
	most, who := 0.0, []string{}
	for _, p := range lab.Sites() {
		most = max(most, busy[p]-idle[p])
		who = append(who, fmt.Sprintf("%s %.1f", p, busy[p]-idle[p]))
	}
	b.is("share", max(0, most), fmt.Sprintf("PostgreSQL and agent, over all of the time, less what they took before: %s", strings.Join(who, ", ")), b.scaled())
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// comparison is what a comparison came to.
type comparison struct {
	seconds float64
	report  verify.Summary
}

// compare has an operator compare the members of talk's store. The command says by its end that they
// differ, which is what is wanted here.
func compare(ctx context.Context, l *lab.Lab) (comparison, error) {
	out, failed := l.Haechi(ctx, "verify", "talk-db", "-o", "json")
	return readCompared(out, failed)
}

func readCompared(out string, failed error) (comparison, error) {
	var r struct {
		Status string `json:"status"`
		Why    string `json:"why"`
		Steps  []struct {
			Seconds float64         `json:"seconds"`
			Report  *verify.Summary `json:"report"`
		} `json:"steps"`
	}
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&r); err != nil {
		return comparison{}, fmt.Errorf("haechi verify: %w", errors.Join(failed, err))
	}
	for _, s := range r.Steps {
		if s.Report != nil && r.Status == "done" {
			return comparison{s.Seconds, *s.Report}, nil
		}
	}
	return comparison{}, fmt.Errorf("haechi verify: it ended as %s: %s", r.Status, r.Why)
}

// shares is what the server and the agent of each site took of a core while something was done, in percent.
func shares(ctx context.Context, l *lab.Lab, do func() error) (map[lab.Place]float64, error) {
	spent := func() (map[lab.Place]time.Duration, error) {
		all, err := l.Usage()
		out := map[lab.Place]time.Duration{}
		for _, u := range all {
			if u.Role == lab.RolePostgres || u.Role == lab.RoleAgent {
				out[u.Place] += u.CPU + u.Children
			}
		}
		return out, err
	}
	before, err := spent()
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := do(); err != nil {
		return nil, err
	}
	after, err := spent()
	out := map[lab.Place]float64{}
	for p, d := range after {
		out[p] = 100 * (d - before[p]).Seconds() / time.Since(begun).Seconds()
	}
	return out, errors.Join(err, ctx.Err())
}
