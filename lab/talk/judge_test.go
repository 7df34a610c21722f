package talk

import (
	"slices"
	"testing"
)

// kept is what a database holds when every promise was kept.
func kept(y Tally) (out []Message) {
	for _, a := range y.Acks {
		out = append(out, Message{ID: a.ID, Room: a.Room, Author: authorOf(y.Seed, y.Tag, a.Client), Body: bodyOf(a.N), Seq: a.Seq})
	}
	return out
}

func TestCompare(t *testing.T) {
	y := fire()
	all := kept(y)
	without := func(i int) []Message { return slices.Delete(slices.Clone(all), i, i+1) }
	with := func(i int, change func(*Message)) []Message {
		out := slices.Clone(all)
		change(&out[i])
		return out
	}
	again := all[3]
	again.ID, again.Seq = messageID(2, "", 9, 9), 9999 // the same words under another id
	late := slices.Clone(all)
	late[3], late[4] = late[4], late[3]
	for _, c := range []struct {
		name                               string
		database, history                  []Message
		lost, doubled, disordered, changed int
	}{
		{"EverythingKept", all, all, 0, 0, 0, 0},
		{"NothingLeft", nil, nil, 7, 0, 0, 0},
		{"MissingInDatabase", without(3), all, 1, 0, 0, 0},
		{"MissingInHistory", all, without(3), 1, 0, 0, 0},
		{"MissingInBothIsOneLoss", without(3), without(3), 1, 0, 0, 0},
		{"ListedTwice", all, append(slices.Clone(all), all[6]), 0, 1, 0, 0},
		{"StoredUnderTwoIDs", append(slices.Clone(all), again), all, 0, 1, 0, 0},
		{"PlacedBeforeItsElder", with(4, func(m *Message) { m.Seq = 1 }), all, 0, 0, 1, 1},
		{"ListedBeforeItsElder", all, late, 0, 0, 1, 0},
		{"OtherWords", with(2, func(m *Message) { m.Body = "something else" }), all, 0, 0, 0, 1},
		{"OtherRoom", all, with(2, func(m *Message) { m.Room = "elsewhere" }), 0, 0, 0, 1},
		{"OthersMayWriteToo", append(slices.Clone(all), Message{ID: "p", Room: "lobby", Author: "guest", Body: "안녕", Seq: 77}), all, 0, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Compare(y, c.database, c.history)
			if v.Lost != c.lost || v.Duplicated != c.doubled || v.OutOfOrder != c.disordered || v.Changed != c.changed {
				t.Errorf("lost %d duplicated %d out of order %d changed %d, want %d %d %d %d",
					v.Lost, v.Duplicated, v.OutOfOrder, v.Changed, c.lost, c.doubled, c.disordered, c.changed)
			}
			if v.OK() != (c.lost+c.doubled+c.disordered+c.changed == 0) {
				t.Errorf("OK says %v", v.OK())
			}
		})
	}
}

func TestVerdictCountsTheStreams(t *testing.T) {
	y := fire()
	y.Streams = Streams{Duplicated: 2, OutOfOrder: 3}
	v := Compare(y, kept(y), kept(y))
	if v.Duplicated != 2 || v.OutOfOrder != 3 || v.OK() {
		t.Errorf("%+v", v)
	}
}

func TestNothingAcknowledgedIsNoSuccess(t *testing.T) {
	if Compare(Tally{}, nil, nil).OK() {
		t.Error("a load that was never answered proves nothing")
	}
}
