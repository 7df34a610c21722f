package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/sys/unix"
)

// towerDisk is the size of the file system that holds a tower's data: small, so
// that it can be filled; etcd reserves 64 MB at a time.
const towerDisk = 512 << 20

// raiseTowers starts three voters and waits until each answers on its page.
func (l *Lab) raiseTowers(ctx context.Context) error {
	for _, p := range sites {
		if err := l.makeDisk(ctx, p); err != nil {
			return err
		}
		if err := l.configureTower(p); err != nil {
			return err
		}
		if err := l.initTower(ctx, p); err != nil {
			return err
		}
	}
	for _, p := range sites {
		if err := l.startTower(p); err != nil {
			return err
		}
	}
	for _, p := range sites {
		if err := l.towerAnswers(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// makeDisk gives a tower a disk of its own: an ext4 image where the kernel has loop
// devices, so that fsync costs what it costs; else memory, and it says so.
func (l *Lab) makeDisk(ctx context.Context, p Place) error {
	point, image := l.at(p, "tower", "data"), l.at(p, "tower", "disk.img")
	if err := os.MkdirAll(point, 0o755); err != nil {
		return err
	}
	err := func() error {
		f, err := os.Create(image)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Truncate(towerDisk), f.Close()); err != nil {
			return err
		}
		if err := l.run(ctx, "mkfs.ext4", "-q", "-m", "0", image); err != nil {
			return err
		}
		return l.run(ctx, "mount", "-o", "loop,noatime", image, point)
	}()
	if err != nil {
		l.say("%s: no loop device (%v); the tower's data is in memory, where fsync costs nothing", p, err)
		if err := unix.Mount("haechi-lab", point, "tmpfs", 0, fmt.Sprintf("size=%d", towerDisk)); err != nil {
			return fmt.Errorf("mount a small disk for %s: %w", p.tower(), err)
		}
	}
	return own(point, towerUser, "", 0o700)
}

func (l *Lab) configureTower(p Place) error {
	cluster := map[string]any{}
	for _, s := range sites {
		cluster[s.tower()] = map[string]string{"site": string(s), "peer": s.towerAddr(), "etcd": s.etcdAddr()}
	}
	ticks := map[string]string{"heartbeat": "100ms", "election": "1s"}
	if l.o.Profile == "fast" {
		ticks = map[string]string{"heartbeat": "70ms", "election": "350ms"}
	}
	return l.writeYAML(l.at(p, "tower", "tower.yaml"), towerUser, map[string]any{
		"name": p.tower(), "site": string(p), "data": l.at(p, "tower", "data"), "cluster": cluster,
		"listen": map[string]string{"peer": p.towerAddr(), "page": pageAddr, "etcd_client": "127.0.0.1:2379"},
		"tls":    tlsFiles(l.at(p, "tower", "tls")), "etcd": ticks,
	})
}

// pageAddr is where each tower shows its page, inside its own place.
const pageAddr = "127.0.0.1:8600"

func (l *Lab) writeYAML(path, user string, v any) error {
	b, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	return write(path, user, "", 0o600, "# written by haechi-lab\n"+string(b))
}

// initTower says that the towers' cluster is new. A tower of the first release needs no word for that, and
// knows none.
func (l *Lab) initTower(ctx context.Context, p Place) error {
	out, err := l.Tower(ctx, p, "init")
	if err != nil && strings.Contains(out, "unknown command") {
		return nil
	}
	return err
}

func (l *Lab) startTower(p Place) error {
	_, err := l.start(spawn{ns: l.NS(p), user: towerUser, idle: true, nice: towerNice, dir: l.at(p, "tower"), log: string(p) + "-tower",
		args: []string{l.programIn(p, "haechi"), "tower", "--config", l.at(p, "tower", "tower.yaml")}})
	return err
}

// towerAnswers waits until the tower's page is there.
func (l *Lab) towerAnswers(ctx context.Context, p Place) error {
	client := &http.Client{Transport: &http.Transport{DialContext: l.DialIn(p), DisableKeepAlives: true}, Timeout: 2 * time.Second}
	return until(ctx, 30*time.Second, func() error {
		resp, err := client.Get("http://" + pageAddr + "/")
		if err == nil {
			err = resp.Body.Close()
		}
		if err != nil {
			return fmt.Errorf("%s does not answer: %w; its log ends with: %s", p.tower(), err, l.tail(string(p)+"-tower"))
		}
		return nil
	})
}

// tail is the last line of a log.
func (l *Lab) tail(log string) string {
	b, err := os.ReadFile(l.path("log", log+".log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// raiseObservers starts those who look from where users are.
func (l *Lab) raiseObservers(context.Context) error {
	towers := map[string]string{}
	for _, p := range sites {
		towers[p.tower()] = p.towerAddr()
	}
	for _, o := range observers {
		file := l.at(Users, o.Name, "observer.yaml")
		err := l.writeYAML(file, towerUser, map[string]any{"name": o.Name, "towers": towers, "tls": tlsFiles(l.at(Users, o.Name, "tls"))})
		if err != nil {
			return err
		}
		if err := l.startObserver(o.Name); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) startObserver(name string) error {
	_, err := l.start(spawn{ns: l.NS(Users), user: towerUser, idle: true, dir: l.at(Users, name), log: "users-" + name,
		args: []string{l.program("haechi"), "observer", "--config", l.at(Users, name, "observer.yaml")}})
	return err
}
