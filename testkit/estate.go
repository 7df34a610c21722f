package testkit

import (
	"fmt"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// ThreeSites is an estate as the lab has it: pangyo, ansan and anyang, a name server in each,
// the name talk.example. with an answer in each, and the given stores with a member in each,
// named after its site, pangyo first; and the record of each store, adopted under epoch 1.
func ThreeSites(stores ...estate.StoreID) (estate.Estate, map[estate.StoreID]situation.Store) {
	e := estate.Estate{Name: "test", Sites: map[estate.SiteID]estate.Site{}, Hosts: map[estate.HostID]estate.Host{},
		Stores: map[estate.StoreID]estate.Store{}, Services: map[estate.ServiceID]estate.Service{}, Names: map[estate.NameID]estate.Name{}}
	name := estate.Name{Service: "talk", Zone: "example.", Answers: map[estate.SiteID][]string{}}
	sites := []estate.SiteID{"pangyo", "ansan", "anyang"}
	for i, s := range sites {
		e.Sites[s] = estate.Site{}
		agent := fmt.Sprintf("10.77.%d.21:9444", i+1)
		e.Hosts[estate.HostID("db-"+s)] = estate.Host{Site: s, Agent: agent}
		e.Hosts[estate.HostID("ns-"+s)] = estate.Host{Site: s, Agent: agent, Unit: "named", Address: fmt.Sprintf("10.77.%d.53:53", i+1)}
		name.Servers = append(name.Servers, estate.HostID("ns-"+s))
		name.Answers[s] = []string{fmt.Sprintf("10.77.%d.5:8080", i+1)}
	}
	var needs []estate.Need
	records := map[estate.StoreID]situation.Store{}
	for _, id := range stores {
		s := estate.Store{Engine: "postgres", Any: 1, Primary: "pangyo", Members: map[estate.MemberID]estate.Member{}}
		for i, site := range sites {
			s.Members[estate.MemberID(site)] = estate.Member{Site: site, Host: estate.HostID("db-" + site),
				Address: fmt.Sprintf("10.77.%d.21:5432", i+1), Unit: string(id)}
		}
		e.Stores[id] = s
		records[id] = situation.Store{Epoch: 1, Next: 1, Primary: "pangyo", Sync: []estate.MemberID{"ansan", "anyang"}, Any: 1, LeastAny: 1}
		needs = append(needs, estate.Need{Name: string(id)})
	}
	e.Services["talk"] = estate.Service{Requires: needs}
	e.Names["talk.example."] = name
	return e, records
}
