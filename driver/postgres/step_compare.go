package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/verify"
)

const (
	// bite is how long a member should work on one question: short beside what replay, or who
	// alters a table, would notice.
	bite = 150 * time.Millisecond
	// sizeFirst is how many blocks the first question is about.
	sizeFirst = 512
	// silentFor is for how long a member may leave what it is asked without an answer, as its agent's restart does. A
	// follower is left out then, and the rest is compared without it; without the primary the try is over.
	silentFor = time.Minute
	// askFor is how long one answer is waited for: longer than an agent works on it.
	askFor = 40 * time.Second
	// alterFor is how long whoever alters a table is given before it is begun again.
	alterFor = 3 * time.Second
	// behindFor is how long a follower is waited for that has not replayed yet what is asked about.
	behindFor = 30 * time.Second
)

// databases compares one after the other.
func (v *comparer) databases(ctx context.Context) error {
	var all []string
	if err := v.digest(ctx, v.c.Members[0], agent.Question{Want: agent.WantDatabases}, &all); err != nil {
		return err
	}
	slices.Sort(all)
	for _, db := range all {
		if db < v.c.Database {
			continue
		}
		if db > v.c.Database {
			v.c.Database, v.c.Place, v.c.Found = db, verify.Place{}, verify.Report{}
		}
		r, err := v.database(ctx, db)
		if no, refused := errors.AsType[*agent.Refused](err); refused && no.Answer.Code == agent.BadOrder {
			r = verify.Report{LeftOut: []verify.Omission{{Name: "all", Why: "it was made, or dropped, or closed meanwhile: " + no.Answer.Error}}}
		} else if err != nil {
			return fmt.Errorf("database %s: %w", db, err)
		}
		v.c.Done.Join(db+": ", r)
		if v.c.Counts == nil {
			v.c.Counts = map[string]verify.Count{}
		}
		v.c.Counts[db] = r.Count
		v.c.Database, v.c.Place, v.c.Found = db+"\x00", verify.Place{}, verify.Report{} // the next in order
	}
	return nil
}

// database compares one, with those followers that answer. It goes on where it was when one of them falls silent.
func (v *comparer) database(ctx context.Context, db string) (verify.Report, error) {
	for {
		r, err := v.tables(ctx, db)
		if err == nil {
			err = v.sequences(ctx, db, &r)
		}
		if err == nil || !v.leave(err) {
			return r, err
		}
	}
}

// silentError is a member that has not answered for too long.
type silentError struct {
	member string
	err    error
}

func (e *silentError) Error() string { return fmt.Sprintf("%v, for %v", e.err, silentFor) }
func (e *silentError) Unwrap() error { return e.err }

// leave leaves a follower that is silent out of what is still to be compared; false: that is not why it cannot go on,
// or there would be nobody left.
func (v *comparer) leave(err error) bool {
	no, ok := errors.AsType[*silentError](err)
	if !ok || no.member == v.c.Members[0] || len(v.c.Members) < 3 {
		return false
	}
	v.c.Members = slices.DeleteFunc(slices.Clone(v.c.Members), func(m string) bool { return m == no.member })
	left := verify.Omission{Name: no.member, Why: fmt.Sprintf("has not answered for %v (%v)", silentFor, no.err)}
	v.c.Silent = append(v.c.Silent, left)
	v.tell(fmt.Sprintf("%s is left out: it %s", left.Name, left.Why), true)
	return true
}

// tables has the machine ask until nothing is left.
func (v *comparer) tables(ctx context.Context, db string) (verify.Report, error) {
	list, err := v.list(ctx, db)
	if err != nil {
		return verify.Report{}, err
	}
	m := verify.New(v.c.Members[0], v.c.Members[1:], list, v.c.Place, v.c.Found)
	for {
		m.Size(v.size)
		ask, more := m.Next()
		if p := m.Settled(); p.Table != v.c.Place.Table || p.Block != v.c.Place.Block {
			v.c.Place, v.c.Found = p, m.Report()
		}
		if !more {
			if len(m.Again()) == 0 {
				return m.Report(), nil
			}
			if err := pause(ctx, alterFor); err != nil {
				return verify.Report{}, err
			}
			if list, err = v.list(ctx, db); err != nil {
				return verify.Report{}, err
			}
			m.Add(list)
			continue
		}
		done, of := m.Progress()
		v.tell(fmt.Sprintf("database %s: %d of %d MB", db, done*pageSize>>20, of*pageSize>>20), false)
		answers, took, err := v.ask(ctx, db, ask)
		if err != nil {
			return verify.Report{}, err
		}
		m.Hear(answers)
		if !ask.Rows && ask.Wait == 0 {
			v.size = sized(v.size, took)
		}
	}
}

// sized is how many blocks to ask of next, so that a question takes about a bite.
func sized(size uint32, took time.Duration) uint32 {
	switch {
	case took < bite/2:
		size *= 2
	case took > 2*bite:
		size /= 2
	}
	return min(max(size, 8), 1<<16)
}

// list are the tables of a database, as the primary has them.
func (v *comparer) list(ctx context.Context, db string) ([]verify.Table, error) {
	var out []verify.Table
	for after := uint32(0); ; {
		var page []verify.Table
		if err := v.digest(ctx, v.c.Members[0], agent.Question{Want: agent.WantTables, Database: db, After: after}, &page); err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return out, nil
		}
		out = append(out, page...)
		after = page[len(page)-1].ID
	}
}

// ask puts a question of the machine to its members, all at the same time, and rests as long as the
// pace asks for. took is how long the slowest worked.
func (v *comparer) ask(ctx context.Context, db string, ask verify.Ask) (map[string]verify.Answer, time.Duration, error) {
	if ask.Wait > 0 {
		if err := pause(ctx, min(time.Duration(ask.Wait)*100*time.Millisecond, 2*time.Second)); err != nil {
			return nil, 0, err
		}
	}
	q := agent.Question{Want: agent.WantSums, Database: db, Spans: ask.Spans}
	if ask.Rows {
		q.Want = agent.WantRows
	}
	began := time.Now()
	answers, err := each(ask.Members, func(m string) (a verify.Answer, err error) {
		err = v.digest(ctx, m, q, &a)
		if err == nil && a.Main != (m == v.c.Members[0]) {
			err = fmt.Errorf("member %s: %w", m, errMoved)
		}
		if err == nil && len(a.Part) != len(ask.Spans) {
			err = fmt.Errorf("member %s: %d answers to %d spans", m, len(a.Part), len(ask.Spans))
		}
		return a, err
	})
	if err != nil {
		return nil, 0, err
	}
	var took, worked time.Duration
	for _, a := range answers {
		took, worked = max(took, a.Took), max(worked, cmp.Or(a.Worked, a.Took))
	}
	var blocks int64
	for i, s := range ask.Spans {
		to := s.To
		if to == 0 {
			to = max(answers[ask.Members[0]].Part[i].Blocks, s.From)
		}
		blocks += int64(to - s.From)
	}
	return answers, took, v.pace.rest(ctx, &v.owed, v.pace.after(worked, time.Since(began), blocks*pageSize))
}

// each asks members at the same time.
func each[T any](members []string, f func(string) (T, error)) (map[string]T, error) {
	type reply struct {
		member string
		value  T
		err    error
	}
	replies := make(chan reply, len(members))
	for _, m := range members {
		go func() {
			value, err := f(m)
			replies <- reply{m, value, err}
		}()
	}
	out := map[string]T{}
	var errs []error
	for range members {
		r := <-replies
		out[r.member] = r.value
		errs = append(errs, r.err)
	}
	return out, errors.Join(errs...)
}

// digest puts one question to a member, again while it may yet answer it. The error of one that does not is a
// [silentError].
func (v *comparer) digest(ctx context.Context, member string, q agent.Question, out any) error {
	asked := time.Now()
	for try := 1; ; try++ {
		o := v.order(agent.Digest, member)
		o.Question = &q
		once, cancel := context.WithTimeout(ctx, askFor)
		a, err := v.call(once, member, o)
		cancel()
		if err == nil {
			if err := json.Unmarshal([]byte(a.Facts[agent.FactDigest]), out); err != nil {
				return fmt.Errorf("member %s: its answer cannot be read: %w", member, err)
			}
			return nil
		}
		r, refused := errors.AsType[*agent.Refused](err)
		switch {
		case refused && !slices.Contains([]agent.Code{agent.Failed, agent.Busy, agent.Late, agent.Held, agent.Unsafe}, r.Answer.Code):
			return err
		case ctx.Err() == nil && time.Since(asked) >= silentFor:
			return &silentError{member, err}
		}
		if perr := pause(ctx, min(time.Duration(try)*500*time.Millisecond, 3*time.Second)); perr != nil {
			return errors.Join(err, perr)
		}
	}
}

// sequences compares those of a database. What is found is looked at twice before it counts, since
// people may set a sequence back and forth in between.
func (v *comparer) sequences(ctx context.Context, db string, r *verify.Report) error {
	for after := uint32(0); ; {
		before, err := v.sequencesOf(ctx, db, v.c.Members[0], after, 0)
		if err != nil || len(before.Sequences) == 0 {
			return err
		}
		found, left, err := v.judgeSequences(ctx, db, after, before)
		if err == nil && len(found) > 0 {
			var again []verify.Finding
			if again, _, err = v.judgeSequences(ctx, db, after, before); err == nil {
				found = slices.DeleteFunc(found, func(f verify.Finding) bool {
					return !slices.ContainsFunc(again, func(g verify.Finding) bool { return g.Kind == f.Kind && g.Member == f.Member && g.Table == f.Table })
				})
			}
		}
		if err != nil {
			return err
		}
		r.Found, r.LeftOut = append(r.Found, found...), append(r.LeftOut, left...)
		r.Sequences += len(before.Sequences)
		after = before.Sequences[len(before.Sequences)-1].ID
	}
}

// judgeSequences looks at the followers, and once more at the primary. A follower that does not get so
// far in time is left out.
func (v *comparer) judgeSequences(ctx context.Context, db string, after uint32, before verify.SequencesAnswer) (found []verify.Finding, left []verify.Omission, err error) {
	theirs, err := each(v.c.Members[1:], func(m string) (verify.SequencesAnswer, error) { return v.sequencesOf(ctx, db, m, after, before.To) })
	if err != nil {
		return nil, nil, err
	}
	now, err := v.sequencesOf(ctx, db, v.c.Members[0], after, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, m := range slices.Sorted(maps.Keys(theirs)) {
		if theirs[m].From < before.To {
			left = append(left, verify.Omission{Name: "sequences on " + m, Why: "it is too far behind to be compared"})
			continue
		}
		found = append(found, verify.Sequences(m, before.Sequences, theirs[m].Sequences, now.Sequences)...)
	}
	return found, left, nil
}

// sequencesOf is what a member says, once it has replayed to a place, or could not in time.
func (v *comparer) sequencesOf(ctx context.Context, db, member string, after uint32, from verify.LSN) (verify.SequencesAnswer, error) {
	for end := time.Now().Add(behindFor); ; {
		var a verify.SequencesAnswer
		err := v.digest(ctx, member, agent.Question{Want: agent.WantSequences, Database: db, After: after}, &a)
		if err != nil || a.From >= from || time.Now().After(end) {
			return a, err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return a, err
		}
	}
}

// checkTries is how often a member's job is begun again that ended early, and came no further.
const checkTries = 3

// checks has every member read its own pages and indexes, each at its own pace.
func (v *comparer) checks(ctx context.Context) error {
	if v.c.Checks == nil {
		v.c.Checks = map[string]verify.Check{}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type news struct {
		member string
		check  verify.Check
		err    error
		over   bool
	}
	told := make(chan news)
	var open []string
	for _, m := range v.c.Members {
		if v.c.Checks[m].Over() {
			continue
		}
		open = append(open, m)
		base := v.c.Checks[m]
		go func() {
			err := v.checkOne(ctx, m, base, func(c verify.Check) {
				select {
				case told <- news{member: m, check: c}:
				case <-ctx.Done():
				}
			})
			select {
			case told <- news{member: m, err: err, over: true}:
			case <-ctx.Done():
			}
		}()
	}
	for left := len(open); left > 0; {
		select {
		case n := <-told:
			switch {
			case n.over && n.err != nil:
				return n.err
			case n.over:
				left--
			default:
				v.c.Checks[n.member] = n.check
				v.tell(checkWords(v.c.Checks), false)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func checkWords(all map[string]verify.Check) string {
	var out []string
	for _, m := range slices.Sorted(maps.Keys(all)) {
		c := all[m]
		if c.Over() {
			out = append(out, m+" is read")
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s, %d of %d MB", m, c.Phase, c.Done>>20, c.All>>20))
	}
	return strings.Join(out, "; ")
}

// checkOne asks one member until its job is over. last is what earlier jobs did. What cannot be had is
// left out with the reason: the comparison of rows stands.
func (v *comparer) checkOne(ctx context.Context, member string, last verify.Check, tell func(verify.Check)) error {
	base, job, failedAt, heard := last, "", "-", time.Now()
	for asked, misses, failed := 0, 0, 0; ; asked++ {
		now, err := v.askCheck(ctx, member, last.Cursor)
		if err == nil && now.Job != job { // a new one, which goes on where the last one came to
			base, job = last, now.Job
		}
		switch {
		case err != nil:
			misses++
		default:
			misses, heard, last = 0, time.Now(), base.Join(now)
		}
		if last.Error != "" && err == nil {
			if failed++; last.Cursor != failedAt {
				failed, failedAt = 1, last.Cursor
			}
			err = errors.New(last.Error)
			last.Error = ""
		}
		r, refused := errors.AsType[*agent.Refused](err)
		if failed >= checkTries || misses > 0 && time.Since(heard) >= silentFor || refused && !slices.Contains([]agent.Code{agent.Busy, agent.Late, agent.Failed}, r.Answer.Code) {
			last.Phase = verify.PhaseDone
			last.LeftOut = append(last.LeftOut, verify.Omission{Name: "pages and indexes of " + member, Why: fmt.Sprintf("not all were read: %v", err)})
		}
		tell(last)
		if last.Over() {
			return nil
		}
		wait := time.Second
		if misses == 0 {
			wait = min(20*time.Millisecond<<min(asked, 6), wait) // a small member is soon read
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// askCheck begins a member's job, or asks how far it is.
func (v *comparer) askCheck(ctx context.Context, member, from string) (verify.Check, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	o := v.order(agent.Check, member)
	o.Resume, o.Pace = from, &v.bounds
	var c verify.Check
	a, err := v.call(ctx, member, o)
	if err == nil {
		err = json.Unmarshal([]byte(a.Facts[agent.FactCheck]), &c)
	}
	return c, err
}
