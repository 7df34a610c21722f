package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// forceLimit bounds how long a member may take to run alone on its own data.
const forceLimit = time.Minute

// Copy writes what the client's member holds to w: etcd's own snapshot, which proves itself by a hash at its
// end. It is consistent; what the member has not heard of yet is not in it.
func Copy(ctx context.Context, c *clientv3.Client, w io.Writer) error {
	r, err := c.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("copy the records: %w", err)
	}
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("copy the records: %w", err)
	}
	return nil
}

// Restore makes the data directory of this member in a new cluster whose records are those of a file that
// [Copy] wrote. Members that are made with the same token and the same voters find each other; token is
// new for each cluster, so that nobody of another one is taken for one of this. The directory must not be
// there, and appears as a whole or not at all.
func Restore(c Config, file, token string) error {
	if HasData(c.DataDir) {
		return fmt.Errorf("%s holds data already; move it away first, if it is not needed any more", c.DataDir)
	}
	if _, ok := c.first()[c.Name]; !ok {
		return fmt.Errorf("%s is none of those that vote at first (%v); start it without restoring, and it waits to be seated", c.Name, c.Voters)
	}
	made := c.DataDir + ".made"
	if err := os.RemoveAll(made); err != nil {
		return err
	}
	setWALSize()
	u := c.url(c.InitialCluster[c.Name])
	err := bounded(func(fatal func(string)) error {
		return snapshot.NewV3(logger(c.log(), fatal)).Restore(snapshot.RestoreConfig{
			SnapshotPath: file, Name: c.Name, OutputDataDir: made, PeerURLs: []string{u.String()},
			InitialCluster: c.urls(c.first()), InitialClusterToken: token,
		})
	})
	if err != nil {
		return errors.Join(fmt.Errorf("make the data of %s: %w", c.Name, err), os.RemoveAll(made))
	}
	if err := os.Remove(c.DataDir); err != nil && !os.IsNotExist(err) { // it may be there and empty
		return errors.Join(fmt.Errorf("make the data of %s: %w", c.Name, err), os.RemoveAll(made))
	}
	if err := os.Rename(made, c.DataDir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(c.DataDir))
}

// Alone writes to w what a stopped member holds, its last log included, as [Copy] does. It works on a copy of the
// data directory, in which the member goes on alone for a moment, reached by nobody; the data itself stays
// as it is. What the others had agreed to and this member has not heard of is not in it.
func Alone(ctx context.Context, c Config, w io.Writer) error {
	if !HasData(c.DataDir) {
		return fmt.Errorf("%s holds no data", c.DataDir)
	}
	ctx, cancel := context.WithTimeout(ctx, forceLimit)
	defer cancel()
	dir, err := os.MkdirTemp(filepath.Dir(c.DataDir), ".alone-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(filepath.Join(dir, "etcd"), os.DirFS(c.DataDir)); err != nil {
		return fmt.Errorf("copy %s: %w", c.DataDir, err)
	}
	setWALSize()
	e := c.embedded()
	nowhere := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	e.Dir, e.ForceNewCluster = filepath.Join(dir, "etcd"), true
	e.ListenPeerUrls, e.ListenClientUrls, e.AdvertiseClientUrls = []url.URL{nowhere}, nil, nil
	e.PeerTLSInfo, e.ClientTLSInfo = embed.NewConfig().PeerTLSInfo, embed.NewConfig().ClientTLSInfo
	m := &Member{cfg: c, failed: make(chan struct{})}
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger(c.log(), m.fail))
	if err := m.start(ctx, e); err != nil {
		return fmt.Errorf("go on alone: %w", err)
	}
	defer m.etcd.Close()
	client := v3client.New(m.etcd.Server)
	defer client.Close()
	if err := askQuorum(ctx, client); err != nil { // confirmed by itself: it has taken in all of its log
		return fmt.Errorf("go on alone: %w", err)
	}
	return Copy(ctx, client, w)
}

// bounded runs what may end its goroutine by a fatal line of etcd's.
func bounded(f func(fatal func(string)) error) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("etcd gave up")
		defer func() { done <- err }()
		err = f(func(why string) { err = fmt.Errorf("etcd gave up: %s", why) })
	}()
	return <-done
}

// log is where etcd speaks to; nowhere, if the configuration says nothing.
func (c Config) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}
