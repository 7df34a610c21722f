package situation_test

import (
	"fmt"

	"github.com/haechi/haechi/core/estate"
)

// sitesOf is the estate of the lab, as far as observers care: in each site a
// tower, a host with an agent for database and name server, and a gateway.
func sitesOf(witness bool, names ...estate.SiteID) estate.Estate {
	e := estate.Estate{
		Sites: map[estate.SiteID]estate.Site{}, Towers: map[estate.TowerID]estate.Tower{}, Hosts: map[estate.HostID]estate.Host{},
		Observers: map[estate.ObserverID]estate.Observer{"isp-a": {}, "isp-b": {}},
		Services:  map[estate.ServiceID]estate.Service{"talk": {Probes: []estate.Probe{{HTTP: "http://{address}:8080/healthz"}}}},
	}
	store := estate.Store{Engine: "postgres", Members: map[estate.MemberID]estate.Member{}, Primary: estate.MemberID(names[0]), Any: 1}
	name := estate.Name{Service: "talk", Zone: "example.", Answers: map[estate.SiteID][]string{}}
	for i, site := range names {
		at := func(host int) string { return fmt.Sprintf("10.77.%d.%d", i+1, host) }
		isWitness := witness && i == len(names)-1
		e.Sites[site] = estate.Site{Witness: isWitness}
		e.Towers[estate.TowerID("tower-"+site)] = estate.Tower{Site: site, Address: at(11) + ":9443"}
		if isWitness {
			continue
		}
		db, ns := estate.HostID("db-"+site), estate.HostID("ns-"+site)
		e.Hosts[db] = estate.Host{Site: site, Agent: at(21) + ":9444", Unit: "talk-db"}
		e.Hosts[ns] = estate.Host{Site: site, Agent: at(21) + ":9444", Unit: "named", Address: at(53) + ":53"}
		store.Members[estate.MemberID(site)] = estate.Member{Site: site, Host: db, Address: at(21) + ":5432", Unit: "talk-db"}
		name.Servers = append(name.Servers, ns)
		name.Answers[site] = []string{at(5)}
	}
	e.Stores = map[estate.StoreID]estate.Store{"talk-db": store}
	e.Names = map[estate.NameID]estate.Name{"talk.example.": name}
	return e
}
