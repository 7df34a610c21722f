package tower

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/seats"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/state"
)

// Person is who does what no tower does by itself, and why. Both are required.
type Person struct{ By, Why string }

func (p Person) check() error {
	if strings.TrimSpace(p.By) == "" || strings.TrimSpace(p.Why) == "" {
		return errors.New("who does this, and why, is journaled: both are needed")
	}
	return nil
}

// Restoration says what a tower's data is made of.
type Restoration struct {
	File string // the snapshot
	// Code is what the first tower of this restore was given, for all others of it; "": this is the first.
	Code string
	// Of allows a snapshot of a cluster with another certificate authority, by its estate's name.
	Of string
}

// Restore makes this tower's data of a snapshot, in a cluster that is new as a whole: it is done on the host of each tower that votes,
// from the same file, while none of them runs. The first one draws a code, the others are given it: towers with different codes
// are no cluster together, also where they were made of one file, so what is left of an earlier restore is let into none.
// When they run again everything is disarmed, and nobody drives before all agents were asked what terms and
// epochs they have seen. Where it is refused nothing has changed.
func Restore(ctx context.Context, cfg Config, r Restoration, p Person) (h SnapshotHead, code string, err error) {
	if err := p.check(); err != nil {
		return h, "", err
	}
	if len(cfg.Etcd.Endpoints) > 0 {
		return h, "", errOwnCluster
	}
	c := cfg.etcd(nil)
	if err := mayRestore(ctx, cfg, c); err != nil {
		return h, "", err
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return h, "", err
	}
	records, err := os.CreateTemp(cfg.Data, ".records-")
	if err != nil {
		return h, "", err
	}
	defer os.Remove(records.Name())
	defer records.Close()
	if h, err = ReadSnapshot(r.File, records); err != nil {
		return h, "", err
	}
	if err := errors.Join(ours(cfg, h, r.Of), records.Close()); err != nil {
		return h, "", fmt.Errorf("%s: %w", r.File, err)
	}
	if code, err = h.code(r.Code); err != nil {
		return h, "", fmt.Errorf("%s: %w", r.File, err)
	}
	return h, code, cfg.begin(c, records.Name(), "haechi "+h.mark()+" "+code,
		turn{Kind: state.Restored, From: h.String(), By: p.By, Why: p.Why, Code: code})
}

// mark tells a snapshot from others.
func (h SnapshotHead) mark() string {
	return fmt.Sprintf("%s %d %s", h.Journal.Hash, h.Line, h.At.UTC().Format(time.RFC3339Nano))
}

// code checks the code of a restore of this snapshot, or draws one where given is empty: two groups by which it
// differs from every other restore, and one by which a slip of the pen, and another file, show.
func (h SnapshotHead) code(given string) (string, error) {
	random := strings.ToLower(rand.Text()[:8])
	given = strings.ToLower(strings.TrimSpace(given))
	if given != "" {
		random = strings.ReplaceAll(given, "-", "")
		random = random[:min(8, len(random))]
	}
	sum := sha256.Sum256([]byte(h.mark() + " " + random))
	code := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:4]
	if len(random) == 8 {
		code = random[:4] + "-" + random[4:] + "-" + code
	}
	if given != "" && given != code {
		return "", fmt.Errorf("%q is no code of a restore of it: copy the code from what the first host printed, and the file from where that host had it", given)
	}
	return code, nil
}

// mayRestore refuses what would make a tower forget, or make a second cluster beside one that runs.
func mayRestore(ctx context.Context, cfg Config, c etcd.Config) error {
	switch {
	case !cfg.votesAtFirst():
		return ErrStandsBy
	case etcd.HasData(c.DataDir):
		if t, err := readTurn(cfg.turnFile()); err == nil && t.Code != "" {
			return fmt.Errorf("it was restored already, and has not begun since; the others are restored with --code %s. To restore it anew, move %s away first", t.Code, c.DataDir)
		}
		return fmt.Errorf("%s holds data; where that is no use any more, move it away (mv %s %s.old), then restore", c.DataDir, c.DataDir, c.DataDir)
	case etcd.Ask(ctx, c).Heard:
		return errors.New("another tower runs: where a majority of them does, start this one without restoring, and it waits until it is seated; else stop all towers, restore on each host that holds no data yet, then start them")
	}
	return nil
}

// ours refuses the snapshot of another cluster.
func ours(cfg Config, h SnapshotHead, other string) error {
	ca, err := pki.Authorities(cfg.TLS.pki())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(ca, func(one string) bool { return slices.Contains(h.CA, one) }) && (other == "" || other != h.Estate) {
		return fmt.Errorf("it is of another cluster: %s, with towers %v and another certificate authority than this host's (%s); if it is the right one all the same, say so: --of %s",
			h.Estate, h.Towers, cfg.TLS.CA, h.Estate)
	}
	return nil
}

// begin makes the data of the tower, and leaves word for its start of how it came to that.
func (c Config) begin(e etcd.Config, records, token string, t turn) error {
	raw, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := agent.WriteDurably(c.turnFile(), append(raw, '\n'), 0o600); err != nil {
		return err
	}
	if err := etcd.Restore(e, records, token); err != nil {
		return errors.Join(err, os.Remove(c.turnFile()))
	}
	if err := handOver(c.Data, e.DataDir, c.turnFile()); err != nil {
		return errors.Join(err, os.RemoveAll(e.DataDir), os.Remove(c.turnFile())) // made just now, of what is there still
	}
	return nil
}

// Recovery is what is known before a tower goes on alone.
type Recovery struct {
	Voters  []string // that the towers' file names as the first
	Answer  int      // of the others that answer now
	DataDir string
}

// MayRecover says whether a stopped tower can be made to go on alone, and what is known of the others. It is
// refused while a majority of them is there.
func MayRecover(ctx context.Context, cfg Config) (Recovery, error) {
	if len(cfg.Etcd.Endpoints) > 0 {
		return Recovery{}, errOwnCluster
	}
	c := cfg.etcd(nil)
	r := Recovery{Voters: c.Voters, DataDir: c.DataDir}
	if !etcd.HasData(c.DataDir) {
		return r, fmt.Errorf("%s holds no data, so there is nothing to go on with; restore a snapshot: haechi tower restore", c.DataDir)
	}
	if etcd.Running(c.DataDir) {
		return r, fmt.Errorf("the tower runs; stop it first, and be sure that nothing starts it meanwhile")
	}
	if r.Answer = etcd.Ask(ctx, c).Answers; r.Answer+1 >= seats.Quorum(len(c.Voters)) {
		return r, fmt.Errorf("%d of the other towers answer: with this one they are a majority, so start it, and nothing has to be recovered; where they go on without it, it says so, and what to do; where this one is to go on and they are not, stop them first", r.Answer)
	}
	return r, nil
}

// Recover makes a stopped tower go on alone, as the only voter of another cluster, with all that it has heard
// of. lost are sites that are given up: their agents are not waited for, and terms and epochs rise by more than
// they can have seen. The data as it was is kept beside, and where anything fails it stays in force.
func Recover(ctx context.Context, cfg Config, p Person, lost []estate.SiteID, at time.Time) (kept string, err error) {
	if err := p.check(); err != nil {
		return "", err
	}
	if _, err := MayRecover(ctx, cfg); err != nil {
		return "", err
	}
	for _, s := range lost {
		if s == cfg.Site {
			return "", fmt.Errorf("%s is this tower's own site; it cannot be lost to it", s)
		}
	}
	c := cfg.etcd(nil)
	c.Voters = []string{c.Name}
	records, err := os.CreateTemp(cfg.Data, ".records-")
	if err != nil {
		return "", err
	}
	defer os.Remove(records.Name())
	defer records.Close()
	if err := etcd.Alone(ctx, c, records); err != nil {
		return "", err
	}
	if err := records.Close(); err != nil {
		return "", err
	}
	if kept, err = etcd.SetAside(c.DataDir, "before-recover", at); err != nil {
		return "", err
	}
	err = cfg.begin(c, records.Name(), fmt.Sprintf("haechi %s alone %s", c.Name, at.UTC().Format(time.RFC3339Nano)),
		turn{Kind: state.Recovered, From: "what " + c.Name + " had heard of", By: p.By, Why: p.Why, Lost: lost})
	if err != nil {
		return "", errors.Join(err, os.Rename(kept, filepath.Clean(c.DataDir)))
	}
	return kept, nil
}
