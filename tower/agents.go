package tower

import (
	"fmt"
	"sync"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/driver/dns"
	"github.com/haechi/haechi/driver/postgres"
	"github.com/haechi/haechi/pki"
)

// agents keeps one client for each agent that was spoken to.
type agents struct {
	files pki.Files
	line  func() string // by which records this tower goes

	mu      sync.Mutex               // guards what follows
	clients map[string]*agent.Client // by "name@address"
}

// at returns the client of the agent that serves as name at address.
func (a *agents) at(name, address string) (agent.Caller, error) {
	if address == "" {
		return nil, fmt.Errorf("host %s has no agent in the estate; give it one: hosts: {%s: {agent: host:port}}", name, name)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := name + "@" + address
	if c, ok := a.clients[key]; ok {
		return c, nil
	}
	c, err := agent.NewClient(name, address, a.files)
	if err != nil {
		return nil, err
	}
	c.Line = a.line
	a.clients[key] = c
	return c, nil
}

func (n *Node) startAgents() (func() error, error) {
	line := func() string { return n.store.Snapshot().Line.Code }
	n.agents = &agents{files: n.cfg.TLS.pki(), line: line, clients: map[string]*agent.Client{}}
	return n.agents.close, nil
}

// close hangs up everywhere.
func (a *agents) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.clients {
		c.Close()
	}
	return nil
}

// agentOf reaches the agent of a host. Hosts that share an agent share its certificate,
// which carries the name of the first of them.
func (n *Node) agentOf(host estate.HostID, address string) (agent.Caller, error) {
	name := host
	if shared := n.beliefs().estate.SharedAgent(host); len(shared) > 0 {
		name = shared[0]
	}
	return n.agents.at(string(name), address)
}

// drivers are all that this tower can order, by the name that plans use.
func (n *Node) drivers() map[string]driver.Driver {
	return map[string]driver.Driver{
		"postgres":        postgres.New(n.agentOf),
		"dns":             dns.New(dns.Config{Agents: n.agentOf}),
		plan.Towers:       n.seater(),
		plan.EstateDriver: whole{n},
		plan.Eyes:         watchers{n.beliefs, n.now},
	}
}

// SettingsChecks are what the drivers say about the settings of their stores.
func SettingsChecks() map[string]estate.SettingsCheck {
	return map[string]estate.SettingsCheck{"postgres": postgres.SettingsCheck()}
}
