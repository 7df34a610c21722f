package etcd

import (
	"fmt"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/haechi/haechi/pki"
)

// ExternalClient reaches a cluster that haechi does not run. Its members are
// known by host name or IP, as etcd does it; f may be zero for plain HTTP on
// loopback. The connection is made in the background.
func ExternalClient(endpoints []string, f pki.Files) (*clientv3.Client, error) {
	if len(endpoints) == 0 {
		return nil, fmt.Errorf("external etcd: no endpoints")
	}
	c := clientv3.Config{
		Endpoints:            endpoints,
		DialTimeout:          2 * time.Second,
		DialKeepAliveTime:    2 * time.Second,
		DialKeepAliveTimeout: time.Second,
		AutoSyncInterval:     0,
		MaxCallSendMsgSize:   maxRequestBytes + 1<<20, // its own default is 2 MB
		Logger:               zap.NewNop(),
	}
	if f != (pki.Files{}) {
		info := transport.TLSInfo{CertFile: f.Cert, KeyFile: f.Key, TrustedCAFile: f.CA, Logger: zap.NewNop()}
		t, err := info.ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("external etcd: %w", err)
		}
		c.TLS = t
	}
	client, err := clientv3.New(c)
	if err != nil {
		return nil, fmt.Errorf("external etcd %v: %w", endpoints, err)
	}
	return client, nil
}
