package patroni

import (
	"net"

	"github.com/haechi/haechi/lab"
)

// Names that the lab gives.
const (
	scope           = "talk-db"
	replicationRole = "haechi_replication"
	restPort        = "8008"
)

// restAddr is where a site's Patroni answers, beside its database.
func restAddr(p lab.Place) string { return net.JoinHostPort(p.Addr(21), restPort) }

// memberName is not the site's name alone: Patroni takes a list of synchronous
// members that says anyang for the beginning of "ANY …", and warns and assigns
// anew in every round. That is none of what is compared here.
func memberName(p lab.Place) string { return "db_" + string(p) }

type object = map[string]any

// config is one member's file.
func (c *Cluster) config(p lab.Place) (object, error) {
	w, err := c.lab.Wanted(p)
	if err != nil {
		return nil, err
	}
	return object{
		"scope": scope, "name": memberName(p),
		"ttl": c.settings.TTL, "loop_wait": c.settings.LoopWait, "retry_timeout": c.settings.RetryTimeout, // until it has read them from etcd
		"restapi":   object{"listen": restAddr(p), "connect_address": restAddr(p)},
		"etcd3":     object{"hosts": clientAddrs(p)},
		"bootstrap": object{"dcs": c.dynamic(w), "initdb": []any{object{"encoding": "UTF8"}, object{"locale": "C.UTF-8"}, "data-checksums", object{"auth-local": "peer"}, object{"auth-host": "scram-sha-256"}}},
		"postgresql": object{
			"listen": w.Address, "connect_address": w.Address, "bin_dir": w.Bin, "data_dir": w.Data,
			"pgpass": c.lab.At(p, "pg", "patroni.pgpass"), "use_unix_socket": true,
			"authentication": object{
				"superuser":   object{"username": postgresUser},
				"replication": object{"username": replicationRole, "password": w.Replication},
				"rewind":      object{"username": replicationRole, "password": w.Replication}, // Patroni grants it what pg_rewind needs
			},
			"parameters": object{"unix_socket_directories": w.Socket},
			"pg_hba":     w.HBA, "pg_ident": w.Ident,
			"basebackup": []any{object{"checkpoint": "fast"}},
		},
		"watchdog": object{"mode": "off"}, // there is none on this kind of machine
	}, nil
}

// dynamic is what all members share through etcd.
func (c *Cluster) dynamic(w lab.Wanted) object {
	s := c.settings
	return object{
		"ttl": s.TTL, "loop_wait": s.LoopWait, "retry_timeout": s.RetryTimeout,
		"synchronous_mode": true, "synchronous_mode_strict": s.Strict, "synchronous_node_count": s.Waited,
		"postgresql": object{"use_slots": s.Slots, "use_pg_rewind": s.Rewind, "parameters": w.Settings},
	}
}
