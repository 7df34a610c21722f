package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/haechi/haechi/core/replay"
)

// chapter is one part of a report, in one language.
type chapter struct {
	Title string
	Lead  []string
	Table *table
	Chart *chart
	Paras []string // below
}

// words picks one of the languages.
type words string

func (l words) of(t replay.Text) string { return l.say(t.En, t.Ko) }

func (l words) say(en, ko string) string {
	if l == "ko" {
		return ko
	}
	return en
}

// Replay draws a replay for a terminal, in "en" or "ko".
func Replay(w io.Writer, r replay.Report, lang string) {
	l := words(lang)
	fmt.Fprintln(w, l.of(r.Title))
	for _, p := range preface(r, l) {
		write(w, "", p)
	}
	for _, s := range chapters(r, l) {
		fmt.Fprintf(w, "\n%s\n", s.Title)
		for _, p := range s.Lead {
			write(w, "  ", p)
		}
		if s.Table != nil {
			s.Table.text(w)
		}
		for _, p := range s.Paras {
			write(w, "  ", p)
		}
	}
}

// ReplayMarkdown draws a replay as Markdown.
func ReplayMarkdown(w io.Writer, r replay.Report, lang string) {
	l := words(lang)
	for _, p := range preface(r, l) {
		fmt.Fprintf(w, "%s\n\n", p)
	}
	for _, s := range append(chapters(r, l), numbers(r, l)) {
		fmt.Fprintf(w, "### %s\n\n", s.Title)
		for _, p := range s.Lead {
			fmt.Fprintf(w, "%s\n\n", p)
		}
		if s.Table != nil {
			s.Table.markdown(w)
		}
		for _, p := range s.Paras {
			fmt.Fprintf(w, "- %s\n", p)
		}
		if len(s.Paras) > 0 {
			fmt.Fprintln(w)
		}
	}
}

// preface says what it is and what it rests on.
func preface(r replay.Report, l words) []string {
	var out []string
	for _, t := range r.Story {
		out = append(out, l.of(t))
	}
	count := map[replay.Label]int{}
	for _, n := range r.Numbers {
		count[n.Label]++
	}
	return append(out, fmt.Sprintf(
		l.say("Simulated: the loss of %s, counted from %s; medians of %s each, seed %d. It rests on %d numbers: %d sourced, %d derived from others, %d assumed.",
			"시뮬레이션: %s의 상실, %s부터 셈. 각각 %s의 중앙값, 시드 %d. 쓰인 값 %d개: 출처 있음 %d, 다른 값에서 유도 %d, 가정 %d."),
		strings.Join(r.Lose, ", "), r.Start.Format("2006-01-02 15:04"), l.say(strconv.Itoa(r.Runs)+" runs", strconv.Itoa(r.Runs)+"회"), r.Seed,
		len(r.Numbers), count[replay.Sourced], count[replay.Derived], count[replay.Assumed]))
}

func chapters(r replay.Report, l words) []chapter {
	out := []chapter{compared(r, l)}
	if len(r.Readings) > 0 && len(r.Readings[0].Milestones) > 0 {
		out = append(out, milestones(r, l))
	}
	if len(r.Readings) > 0 && len(r.Readings[0].Remedies) > 0 {
		for i := range r.Readings {
			out = append(out, remedies(r, i, l))
		}
	}
	for i := range r.Readings {
		out = append(out, sensitivity(r, i, l))
	}
	for _, t := range []struct {
		title string
		texts []replay.Text
	}{
		{l.say("Where it does not hold", "들어맞지 않는 곳"), r.Limits},
		{l.say("What it takes for granted", "숫자 없이 전제한 것"), r.Notes},
	} {
		s := chapter{Title: t.title}
		for _, p := range t.texts {
			s.Paras = append(s.Paras, l.of(p))
		}
		if len(s.Paras) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// compared is what was published beside what is simulated, in each reading.
func compared(r replay.Report, l words) chapter {
	s := chapter{Title: l.say("What was, and what is simulated", "실제와 시뮬레이션"), Chart: curve(r, l)}
	t := &table{Head: []string{counted(r, l), l.say("published", "공개된 값")}, Left: 1}
	limit := false
	for _, c := range r.Readings[0].Compared {
		limit = limit || c.Within > 0
	}
	if limit {
		t.Head = append(t.Head, l.say("may be off", "허용 오차"))
	}
	for i, read := range r.Readings {
		t.Head = append(t.Head, letter(i), l.say("off", "차이"))
		lead := fmt.Sprintf("%s: %s. %s", letter(i), l.of(read.Title), l.of(read.Why))
		if i == 0 && len(r.Readings) > 1 {
			lead = fmt.Sprintf(l.say("%s (assumed): %s. %s", "%s (가정): %s. %s"), letter(i), l.of(read.Title), l.of(read.Why))
		}
		s.Lead = append(s.Lead, lead)
	}
	for n, c := range r.Readings[0].Compared {
		row := []string{l.of(c.Title), amount(c.What, c.Published)}
		if limit {
			row = append(row, percent(c.Within))
		}
		for _, read := range r.Readings {
			x := read.Compared[n]
			row = append(row, amount(x.What, x.Simulated), off(x, l))
		}
		t.Rows = append(t.Rows, row)
		if k := l.of(c.Known); k != "" {
			s.Paras = append(s.Paras, l.of(c.Title)+": "+k+".")
		}
	}
	s.Table = t
	return s
}

// counted says what the numbers of a table are, where all are of one kind and the lines only say when.
func counted(r replay.Report, l words) string {
	for _, c := range r.Readings[0].Compared {
		if c.What != replay.Systems {
			return ""
		}
	}
	return l.say("systems back", "돌아온 시스템")
}

// off is how far the simulation is off, and a mark where that is too far.
func off(c replay.Compared, l words) string {
	if c.Simulated < 0 {
		return l.say("never", "없음")
	}
	s := fmt.Sprintf("%+.0f %%", 100*c.Off)
	if strings.TrimLeft(s, "+-") == "0 %" {
		s = "0 %"
	}
	if c.Within > 0 && math.Abs(c.Off) > c.Within {
		s += " !"
	}
	return s
}

// letter names a reading.
func letter(i int) string { return string(rune('A' + i)) }

func percent(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }

func amount(what string, x float64) string {
	switch {
	case what == replay.Servers || what == replay.Systems:
		return thousands(int(math.Round(x)))
	case x < 0:
		return "∞"
	}
	return fmt.Sprintf("%.1f h", x)
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// milestones are services seen out and back.
func milestones(r replay.Report, l words) chapter {
	s := chapter{
		Title: l.say("Single services, whose hours nothing was fitted to", "개별 서비스 (시각을 맞추지 않음)"),
		Lead:  []string{l.say("Hours since the fire began: when each was last reported out, first reported back, and back in the simulation (reading A). The order in which servers boot is the one in which services came back; the hours are not.", "화재 시작부터의 시간: 마지막으로 멈춤이 보도된 때, 복구가 처음 보도된 때, 시뮬레이션(해석 A)에서 돌아온 때. 서버를 켜는 순서는 실제로 돌아온 순서를 따르지만 시각은 맞추지 않았다.")},
	}
	t := &table{Head: []string{"", l.say("still out", "멈춰 있음"), l.say("back by", "복구 확인"), l.say("simulated", "시뮬레이션"), ""}, Left: 1}
	hour := func(x float64) string {
		if x == 0 {
			return ""
		}
		return fmt.Sprintf("%.1f h", x)
	}
	for _, m := range r.Readings[0].Milestones {
		say := l.say("within", "들어맞음")
		if m.Early() > 0.05 {
			say = fmt.Sprintf(l.say("%.1f h too early", "%.1f시간 이름"), m.Early())
		} else if m.Late() > 0.05 {
			say = fmt.Sprintf(l.say("%.1f h too late", "%.1f시간 늦음"), m.Late())
		}
		t.Rows = append(t.Rows, []string{l.of(m.Title), hour(m.Out), hour(m.By), hour(m.Simulated), say})
	}
	s.Table = t
	return s
}

// remedies is what each buys, alone and last.
func remedies(r replay.Report, i int, l words) chapter {
	read, ends := r.Readings[i], r.Ends()
	s := chapter{Title: fmt.Sprintf(l.say("Hours bought by each remedy, reading %s: %s", "대책마다 사는 시간, 해석 %s: %s"), letter(i), l.of(read.Title)), Chart: bought(r, i, l)}
	if i == 0 {
		s.Lead = append(s.Lead, l.say("Alone: hours less with this one alone. Last: hours more where all the others are there and this one is missing; 0 means that the others do its work.",
			"혼자: 이것만 있을 때 줄어드는 시간. 마지막: 다른 것이 다 있고 이것만 없을 때 늘어나는 시간. 0은 다른 대책이 그 일을 대신한다는 뜻이다."))
	}
	t := &table{Head: []string{""}, Left: 1}
	for _, e := range ends {
		t.Head = append(t.Head, fmt.Sprintf(l.say("%s: alone", "%s: 혼자"), l.of(e.Title)), l.say("last", "마지막"))
	}
	for _, b := range read.Remedies {
		row := []string{l.of(b.Title)}
		for _, e := range ends {
			row = append(row, tenth(b.Alone[e.ID]), tenth(b.Last[e.ID]))
		}
		t.Rows = append(t.Rows, row)
		if i == 0 {
			s.Lead = append(s.Lead, l.of(b.Title)+": "+l.of(b.What))
		}
		s.Paras = append(s.Paras, nothing(b, ends, l)...)
	}
	row := []string{l.say("all together", "모두 함께")}
	left := []string{l.say("and it takes", "남는 시간")}
	for n, e := range ends {
		row = append(row, tenth(read.Compared[at(read, ends[n].ID)].Simulated-read.Together[e.ID]), "")
		left = append(left, span(read.Together[e.ID]*3600), "")
	}
	t.Rows = append(t.Rows, row, left)
	s.Table = t
	return s
}

func at(read replay.Read, id string) int {
	for i, c := range read.Compared {
		if c.ID == id {
			return i
		}
	}
	return 0
}

// nothing says why a remedy buys nothing alone, the same reason once.
func nothing(b replay.Bought, ends []replay.Compared, l words) []string {
	var out []string
	said := map[string]bool{}
	for _, e := range ends {
		why := l.of(b.Nothing[e.ID])
		if tenth(b.Alone[e.ID]) != "0" || said[why] || why == "" {
			continue
		}
		said[why] = true
		out = append(out, fmt.Sprintf(l.say("%s buys nothing alone (%s): %s", "%s, 혼자서는 0 (%s): %s"), l.of(b.Title), l.of(e.Title), why))
	}
	return out
}

// tenth is a number of hours to a tenth.
func tenth(x float64) string {
	s := fmt.Sprintf("%.1f", x)
	if s == "-0.0" || s == "0.0" {
		return "0"
	}
	return s
}

// sensitivity is what halves and doubles change.
func sensitivity(r replay.Report, i int, l words) chapter {
	read := r.Readings[i]
	s := chapter{Title: fmt.Sprintf(l.say("Halved and doubled, reading %s", "절반과 두 배, 해석 %s"), letter(i))}
	if i == 0 {
		s.Chart = swing(r, l)
		s.Lead = append(s.Lead, l.say("Every number that is assumed or fitted: the outcome with half of it / with twice as much.", "가정했거나 맞춘 값마다: 그 절반일 때 / 두 배일 때의 결과."))
	}
	t := &table{Head: []string{counted(r, l)}, Left: 1}
	for _, c := range read.Compared {
		if !last(read, c) {
			t.Head = append(t.Head, l.of(c.Title))
		}
	}
	for _, m := range read.Moved {
		name := l.of(m.Title)
		if m.Label == replay.Derived {
			name += l.say(" (derived, fitted)", " (유도, 맞춤)")
		} else if fitted(r, m.Number) {
			name += l.say(" (fitted)", " (맞춤)")
		}
		if m.Remedy != "" {
			name += fmt.Sprintf(l.say(" (with remedy: %s; as it is: %s)", " (대책 적용: %s, 원래 값: %s)"), remedyTitle(read, m.Remedy, l), asIs(read, m))
		}
		row := []string{name}
		for _, c := range read.Compared {
			if !last(read, c) {
				row = append(row, strings.TrimSuffix(amount(c.What, m.Half[c.ID]), " h")+" / "+amount(c.What, m.Double[c.ID]))
			}
		}
		t.Rows = append(t.Rows, row)
	}
	s.Table = t
	return s
}

// last says that a figure is left out of the wide table of halves and doubles: of many systems, every
// second will do.
func last(read replay.Read, c replay.Compared) bool {
	return len(read.Compared) > 6 && at(read, c.ID)%3 != 0
}

func remedyTitle(read replay.Read, id string, l words) string {
	for _, b := range read.Remedies {
		if b.ID == id {
			return l.of(b.Title)
		}
	}
	return id
}

func asIs(read replay.Read, m replay.Moved) string {
	var out []string
	for _, c := range read.Compared {
		if c.What == replay.Back || c.What == replay.Everything {
			out = append(out, amount(c.What, m.As[c.ID]))
		}
	}
	return strings.Join(out, ", ")
}

func fitted(r replay.Report, name string) bool {
	for _, n := range r.Numbers {
		if n.Name == name {
			return n.Fitted != ""
		}
	}
	return false
}

// numbers is the list of all that it rests on.
func numbers(r replay.Report, l words) chapter {
	s := chapter{Title: l.say("All numbers", "모든 값")}
	t := &table{Head: []string{"", l.say("value", "값"), l.say("label", "구분"), l.say("from", "근거")}, Left: 4}
	labels := map[replay.Label]string{replay.Sourced: l.say("sourced", "출처"), replay.Derived: l.say("derived", "유도"), replay.Assumed: l.say("assumed", "가정")}
	for _, n := range r.Numbers {
		from := n.Source
		if n.Is != "" {
			from = "= `" + n.Is + "`"
		}
		if why := l.of(n.Why); why != "" {
			from = strings.TrimSpace(strings.TrimSuffix(from, ";") + "; " + why)
			from = strings.TrimPrefix(from, "; ")
		}
		if n.Fitted != "" {
			from += "; " + l.say("**fitted to the outcome**", "**결과에 맞춘 값**")
		}
		if n.Takes != "" {
			from = l.say("as in ", "다음과 같음: ") + n.Takes + "; " + from
		}
		t.Rows = append(t.Rows, []string{l.of(n.Title) + " `" + n.Name + "`", value(r, n), labels[n.Label], from})
	}
	s.Table = t
	return s
}

func value(r replay.Report, n replay.Stated) string {
	if n.At != "" {
		return fmt.Sprintf("%s (%.1f h)", r.Start.Add(time.Duration(n.Amount*float64(time.Hour))).Round(time.Minute).Format("01-02 15:04"), n.Amount)
	}
	s := strconv.FormatFloat(math.Round(n.Amount*100)/100, 'f', -1, 64)
	if n.Amount >= 1000 {
		s = thousands(int(math.Round(n.Amount)))
	}
	return strings.TrimSpace(s + " " + n.Unit)
}
