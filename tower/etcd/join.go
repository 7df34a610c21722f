package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/storage/wal"
)

// A member without data never takes a vote for itself. Its data may have been lost, and then it has
// forgotten what it agreed to: were it to agree to something else, what a client was told is written could
// be undone. So it starts only where a person has said that the whole cluster is new ([Prepare]), or
// where the others have invited it as a new member.

// firstStart is the name of the file in a data directory that says so.
const firstStart = "first-start"

// askLimit bounds how long one of the others may take to say who the members are.
const askLimit = 2 * time.Second

// ErrNoSeat: the member has no data, and nobody has invited it.
var ErrNoSeat = errors.New("it has no data and no seat")

// HasData says whether a member has run in a data directory.
func HasData(dir string) bool { return wal.Exist(filepath.Join(dir, "member", "wal")) }

// Prepare marks a data directory as that of a cluster which is new as a whole: the member may make its
// data itself, once.
func Prepare(dir string) error {
	if HasData(dir) {
		return fmt.Errorf("%s holds data already; it is no first start", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, firstStart), nil, 0o600)
}

// Unprepare takes the mark back.
func Unprepare(dir string) error { return os.Remove(filepath.Join(dir, firstStart)) }

// Prepared says whether a data directory is marked.
func Prepared(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, firstStart))
	return err == nil
}

// Running says whether a member runs on a data directory now.
func Running(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "member", "snap", "db"))
	if err != nil {
		return false
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) //nolint:gosec // a file descriptor is small
	return errors.Is(err, syscall.EWOULDBLOCK)
}

// SetAside moves a data directory out of the way, and returns where it is now. Nothing is thrown away.
func SetAside(dir, why string, at time.Time) (string, error) {
	to := fmt.Sprintf("%s.%s-%s", dir, why, at.UTC().Format("20060102T150405"))
	if err := os.Rename(dir, to); err != nil {
		return "", fmt.Errorf("set the data of a member aside: %w", err)
	}
	return to, syncDir(filepath.Dir(dir))
}

// syncDir puts a directory's entries on disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Found is what a member without data hears from the others.
type Found struct {
	// Members are those of the cluster that has invited it, by name; nil: it is not invited.
	Members map[string]string
	Heard   bool   // one of the others answered
	Answers int    // how many did
	Why     string // of one that is not invited: what the others say
}

// member is one of those that another lists, in etcd's words.
type member struct {
	ID       uint64   `json:"id"`
	Name     string   `json:"name"`
	PeerURLs []string `json:"peerURLs"`
}

// Ask asks the others who the members are.
func Ask(ctx context.Context, c Config) Found {
	answers := make(chan []member)
	client, err := c.asker()
	if err != nil {
		return Found{Why: err.Error()}
	}
	others, heard := 0, 0
	for _, name := range c.names() {
		if name == c.Name {
			continue
		}
		others++
		u := c.url(c.InitialCluster[name])
		go func() { answers <- list(ctx, client, u.String()+"/members") }()
	}
	out := Found{Why: "none of the others answers"}
	for range others {
		if got := <-answers; got != nil {
			heard++
			out = better(out, c.read(got))
		}
	}
	out.Answers = heard
	return out
}

func better(a, b Found) Found {
	if a.Heard && (a.Members != nil || b.Members == nil) {
		return a
	}
	return b
}

func (c Config) asker() (*http.Client, error) {
	t := &http.Transport{DisableKeepAlives: true}
	if c.secure() {
		conf, err := c.tlsInfo().ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("ask the others: %w", err)
		}
		t.TLSClientConfig = conf
	}
	return &http.Client{Transport: t, Timeout: askLimit}, nil
}

// list returns nil where nobody answers with a list.
func list(ctx context.Context, client *http.Client, address string) []member {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var out []member
	if resp.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&out) != nil {
		return nil
	}
	return out
}

// read says what a list of members means for this one. One that was invited has no name before it has
// started.
func (c Config) read(all []member) Found {
	own := c.InitialCluster[c.Name]
	i := slices.IndexFunc(all, func(m member) bool { return hostOf(m.PeerURLs) == own })
	switch {
	case i < 0:
		return Found{Heard: true, Why: "the others have no seat for it yet"}
	case all[i].Name != "":
		return Found{Heard: true, Why: "the others count it as a member that has data; it has none, so it has to be seated anew"}
	}
	out := Found{Heard: true, Members: map[string]string{}}
	for _, m := range all {
		addr := hostOf(m.PeerURLs)
		out.Members[c.nameAt(addr, m)] = addr
	}
	return out
}

// nameAt is the tower that has an address, by this tower's own file.
func (c Config) nameAt(addr string, m member) string {
	for _, name := range c.names() {
		if c.InitialCluster[name] == addr {
			return name
		}
	}
	if m.Name != "" {
		return m.Name
	}
	return fmt.Sprintf("%x", m.ID)
}
