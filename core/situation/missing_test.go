package situation_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// whole is an estate of three sites in which nothing is missing.
func whole() situation.Standing {
	e := sitesOf(false, "pangyo", "ansan", "anyang")
	s := situation.Standing{
		Estate: e, Now: situation.Situation{Sites: map[estate.SiteID]situation.Verdict{}, Things: map[string]situation.Verdict{}, Facts: map[string]map[string]string{}},
		Stores: map[estate.StoreID]situation.Store{"talk-db": {Epoch: 2, Primary: "pangyo", Sync: []estate.MemberID{"ansan", "anyang"}, Any: 1, LeastAny: 1, Verified: time.Unix(1, 0)}},
		Votes:  map[estate.TowerID]bool{},
	}
	for id := range e.Sites {
		s.Now.Sites[id] = situation.Verdict{State: situation.Up}
	}
	for _, t := range situation.Targets(e) {
		s.Now.Things[t.ID] = situation.Verdict{State: situation.Up}
		s.Now.Facts[t.ID] = map[string]string{situation.FactRunning: "true"}
	}
	primary := s.Now.Facts["pangyo/database/talk-db/pangyo"]
	primary[situation.FactRole], primary[situation.FactAnswers] = situation.RolePrimary, "true"
	for _, m := range []string{"ansan", "anyang"} {
		primary[situation.FactClient+m] = "streaming quorum flush_lsn=0/3000148 bytes=0 replay_lag_ms=3"
	}
	for id := range e.Towers {
		s.Votes[id] = true
	}
	return s
}

func TestNothingIsMissing(t *testing.T) {
	s := whole()
	if got := situation.Missing(s); len(got) != 0 {
		t.Fatalf("%v", got)
	}
	s.Votes = nil // not known is not missing
	if got := situation.Missing(s); len(got) != 0 {
		t.Fatalf("%v", got)
	}
}

func TestWhatIsMissing(t *testing.T) {
	record := func(f func(*situation.Store)) func(*situation.Standing) {
		return func(s *situation.Standing) {
			r := s.Stores["talk-db"]
			f(&r)
			s.Stores["talk-db"] = r
		}
	}
	fact := func(target, key, value string) func(*situation.Standing) {
		return func(s *situation.Standing) { s.Now.Facts[target][key] = value }
	}
	is := func(target string, state situation.State) func(*situation.Standing) {
		return func(s *situation.Standing) { s.Now.Things[target] = situation.Verdict{State: state} }
	}
	primary := "pangyo/database/talk-db/pangyo"
	for want, spoil := range map[string]func(*situation.Standing){
		"site pangyo pangyo: pangyo is suspect": func(s *situation.Standing) { s.Now.Sites["pangyo"] = situation.Verdict{State: situation.Suspect} },
		"primary talk-db : talk-db: it was never adopted, so nobody knows who may acknowledge: haechi adopt talk-db": record(func(r *situation.Store) { *r = situation.Store{} }),
		"primary talk-db pangyo: talk-db: its primary pangyo does not answer as one":                                 fact(primary, situation.FactRole, "follower"),
		"rule talk-db : talk-db: pangyo acknowledges alone, under a mandate":                                         record(func(r *situation.Store) { r.Alone = true }),
		"rule talk-db : talk-db: a write may be held by fewer than 1 besides the primary":                            record(func(r *situation.Store) { r.LeastAny = 0 }),
		"member talk-db anyang: talk-db: anyang is not counted: nothing rests on its word until it has come back":    record(func(r *situation.Store) { r.Former = []estate.MemberID{"anyang"} }),
		"member talk-db anyang: talk-db: anyang is not counted: it was the primary, and has not come back since": func(s *situation.Standing) {
			record(func(r *situation.Store) { r.Former = []estate.MemberID{"anyang"} })(s)
			fact("anyang/database/talk-db/anyang", situation.FactMade, situation.RolePrimary)(s)
		},
		"member talk-db anyang: talk-db: anyang is not counted: it is not on the list of those who hold a write": record(func(r *situation.Store) { r.Sync = r.Sync[:1] }),
		"member talk-db anyang: talk-db: anyang is being made anew (copy)":                                       fact("anyang/database/talk-db/anyang", situation.FactBroken, "copy"),
		"streaming talk-db anyang: talk-db: anyang does not run":                                                 fact("anyang/database/talk-db/anyang", situation.FactRunning, "false"),
		"streaming talk-db anyang: talk-db: anyang does not answer":                                              func(s *situation.Standing) { delete(s.Now.Facts, "anyang/database/talk-db/anyang") },
		"streaming talk-db ansan: talk-db: ansan does not receive from pangyo":                                   fact(primary, "client/ansan", ""),
		"streaming talk-db ansan: talk-db: ansan catches up with pangyo":                                         fact(primary, "client/ansan", "catchup async bytes=9"),
		"streaming talk-db ansan: talk-db: ansan does not receive from pangyo: it runs, and has no connection to it": func(s *situation.Standing) {
			fact(primary, "client/ansan", "")(s)
			fact("ansan/database/talk-db/ansan", situation.FactAnswers, "true")(s)
		},
		"streaming talk-db anyang: talk-db: anyang is 70 MB behind pangyo":                                             fact(primary, "client/anyang", fmt.Sprintf("streaming quorum bytes=%d", 70<<20)),
		"streaming talk-db anyang: talk-db: anyang is sealed":                                                          fact("anyang/database/talk-db/anyang", situation.FactSealed, "begun"),
		"differs talk-db : talk-db: its members differ: 1 row of messages":                                             record(func(r *situation.Store) { r.Differs = "1 row of messages" }),
		"verified talk-db : talk-db: its members were not compared since one of them came back: haechi verify talk-db": record(func(r *situation.Store) { r.Verified = time.Time{} }),
		"verified talk-db : talk-db: its members were compared, but for ansan, anyang: haechi verify talk-db": record(func(r *situation.Store) {
			r.Verified, r.LeftOut = time.Time{}, []estate.MemberID{"ansan", "anyang"}
		}),
		"answers talk.example. pangyo: talk.example.: no users are sent to pangyo":                          func(s *situation.Standing) { s.Withdrawn = out("pangyo") },
		"answers talk.example. pangyo: talk.example.: only some users are sent to pangyo":                   func(s *situation.Standing) { s.Withdrawn, s.Returning = out("pangyo"), out("pangyo") },
		"server ns-ansan ansan: the name server ns-ansan answers nobody before it is level with the others": fact("ansan/dns/ns-ansan", situation.FactLocked, "true"),
		"server ns-ansan ansan: the name server ns-ansan is dead":                                           is("ansan/dns/ns-ansan", situation.Dead),
		"gateway talk ansan: the gateway of talk in ansan is dead":                                          is("ansan/gateway/talk", situation.Dead),
		"agent db-ansan ansan: the agent of db-ansan is unknown":                                            is("ansan/agent/db-ansan", ""),
		"voter tower-ansan ansan: tower-ansan is dead":                                                      is("ansan/tower/tower-ansan", situation.Dead),
		"voter tower-ansan ansan: tower-ansan has no vote":                                                  func(s *situation.Standing) { s.Votes["tower-ansan"] = false },
	} {
		s := whole()
		spoil(&s)
		var got []string
		for _, l := range situation.Missing(s) {
			got = append(got, fmt.Sprintf("%s %s %s: %s", l.Kind, l.Component, l.Site, l.Text))
		}
		if strings.Join(got, "\n") != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func out(sites ...estate.SiteID) map[estate.NameID][]estate.SiteID {
	return map[estate.NameID][]estate.SiteID{"talk.example.": sites}
}

// What people emptied is missing on purpose; and a member that was never moved need not be compared.
func TestWhatIsMissingOnPurpose(t *testing.T) {
	s := whole()
	s.Withdrawn, s.Intents = out("pangyo"), map[estate.SiteID]situation.Intent{"pangyo": situation.Drained}
	r := s.Stores["talk-db"]
	r.Epoch, r.Verified = 1, time.Time{}
	s.Stores["talk-db"] = r
	if got := situation.Missing(s); len(got) != 0 {
		t.Fatalf("%v", got)
	}
}

func TestWhatTheReturnOfASiteCanHelp(t *testing.T) {
	s := whole()
	s.Now.Sites["ansan"], s.Withdrawn = situation.Verdict{State: situation.Lost}, out("pangyo")
	r := s.Stores["talk-db"]
	r.Verified = time.Time{}
	s.Stores["talk-db"] = r
	all := situation.Missing(s)
	if got := situation.InSite(all, "pangyo"); len(all) != 3 || len(got) != 2 || got[0].Kind != situation.LackVerified || got[1].Kind != situation.LackAnswers {
		t.Fatalf("of %v the site can help %v", all, got)
	}
	// A comparison waits for who is missing elsewhere; that members differ is known as it is.
	r.Sync, r.Former = []estate.MemberID{"pangyo"}, []estate.MemberID{"ansan"}
	for differs, want := range map[string]int{"": 1, "one row": 2} {
		r.Differs = differs
		s.Stores["talk-db"] = r
		if got := situation.InSite(situation.Missing(s), "pangyo"); len(got) != want || got[want-1].Kind != situation.LackAnswers {
			t.Fatalf("differs %q: the site can help %v", differs, got)
		}
	}
	// A store that is only described is adopted by people, or never.
	s.Stores["talk-db"] = situation.Store{}
	all = situation.Missing(s)
	if got := situation.InSite(all, "pangyo"); len(all) != 3 || len(got) != 1 || got[0].Kind != situation.LackAnswers {
		t.Fatalf("of %v the site can help %v", all, got)
	}
}

// Whoever brings members back has to know which.
func TestWhichMemberIsMissing(t *testing.T) {
	s := whole()
	delete(s.Now.Facts["pangyo/database/talk-db/pangyo"], "client/ansan")
	if got := s.OfStore("talk-db"); len(got) != 1 || got[0].Member != "ansan" {
		t.Fatalf("%+v", got)
	}
}
