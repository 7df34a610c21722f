package talk

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// JudgeConfig is where the judge looks.
type JudgeConfig struct {
	Tally      Tally         // what was acknowledged
	DSN        string        // of the database, all hosts in it; required
	GatewayURL string        // of a talk gateway, such as http://10.77.2.5:8080; required
	Patience   time.Duration // how long a database or gateway may stay silent; default 15 s

	// Dial makes the judge's connections, for one that sits in another network
	// namespace; nil for the ordinary way.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Judge reads everything back, from the database itself and through talk, and
// holds it against what was acknowledged.
func Judge(ctx context.Context, c JudgeConfig) (Verdict, error) {
	if c.Patience == 0 {
		c.Patience = 15 * time.Second
	}
	database, err := patiently(ctx, c.Patience, func(ctx context.Context) ([]Message, error) { return readDatabase(ctx, c) })
	if err != nil {
		return Verdict{}, fmt.Errorf("talk: judge: database: %w", err)
	}
	history, err := readHistory(ctx, c, rooms(c.Tally, database))
	if err != nil {
		return Verdict{}, fmt.Errorf("talk: judge: history: %w", err)
	}
	return Compare(c.Tally, database, history), nil
}

// rooms lists all rooms that were acknowledged or stored.
func rooms(y Tally, database []Message) (out []string) {
	seen := map[string]bool{}
	for _, a := range y.Acks {
		seen[a.Room] = true
	}
	for _, m := range database {
		seen[m.Room] = true
	}
	for room := range seen {
		out = append(out, room)
	}
	slices.Sort(out)
	return out
}

// readDatabase reads every row from the primary, in the order of its places.
func readDatabase(ctx context.Context, c JudgeConfig) ([]Message, error) {
	config, err := pgx.ParseConfig(c.DSN)
	if err != nil {
		return nil, err
	}
	if c.Dial != nil {
		config.DialFunc = c.Dial
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, `SELECT id::text, room, author, body, seq, at, attempt FROM messages ORDER BY seq`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanMessage)
}

// readHistory reads every page of every room through talk.
func readHistory(ctx context.Context, c JudgeConfig, rooms []string) (out []Message, err error) {
	client := &http.Client{Transport: &http.Transport{DialContext: c.Dial}}
	defer client.CloseIdleConnections()
	for _, room := range rooms {
		for after := int64(0); ; {
			page, err := patiently(ctx, c.Patience, func(ctx context.Context) ([]Message, error) {
				return readPage(ctx, client, c.GatewayURL, room, after)
			})
			if err != nil {
				return nil, fmt.Errorf("room %s after %d: %w", room, after, err)
			}
			if len(page) == 0 {
				break
			}
			out, after = append(out, page...), page[len(page)-1].Seq
		}
	}
	return out, nil
}

func readPage(ctx context.Context, client *http.Client, base, room string, after int64) ([]Message, error) {
	to := strings.TrimSuffix(base, "/") + "/rooms/" + url.PathEscape(room) + "/messages?limit=" + strconv.Itoa(pageMost) +
		"&after=" + strconv.FormatInt(after, 10)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(resp.StatusCode)
	}
	var page struct {
		Messages []Message `json:"messages"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		return nil, err
	}
	return page.Messages, nil
}

// patiently tries until it succeeds or patience is over; each try has a time
// limit of its own, so that one dead connection does not eat all of it.
func patiently(ctx context.Context, patience time.Duration, try func(context.Context) ([]Message, error)) ([]Message, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		once, done := context.WithTimeout(ctx, max(patience/3, time.Second))
		got, err := try(once)
		done()
		if err == nil {
			return got, nil
		}
		if wait(ctx, 200*time.Millisecond); ctx.Err() != nil {
			return nil, err
		}
	}
}

// JudgeMain is the subcommand that judges: flags in args, the verdict as one
// JSON object to out. A broken promise is a verdict, not an error.
func JudgeMain(ctx context.Context, args []string, out, errs io.Writer) error {
	f := flag.NewFlagSet("judge", flag.ContinueOnError)
	f.SetOutput(errs)
	var c JudgeConfig
	log := f.String("log", "", "`file` that the load wrote with --log")
	f.StringVar(&c.DSN, "dsn", "", "PostgreSQL connection `string`, all hosts in it")
	f.StringVar(&c.GatewayURL, "url", "", "`address` of a gateway, such as http://10.77.2.5:8080")
	f.DurationVar(&c.Patience, "patience", 0, "how long the database or the gateway may stay silent")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *log == "" || c.DSN == "" || c.GatewayURL == "" {
		return errors.New("talk: judge: --log, --dsn and --url are required")
	}
	file, err := os.Open(*log)
	if err != nil {
		return fmt.Errorf("talk: judge: %w", err)
	}
	defer file.Close()
	if c.Tally, err = ReadLog(file); err != nil {
		return err
	}
	v, err := Judge(ctx, c)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(struct {
		OK bool `json:"ok"`
		Verdict
	}{v.OK(), v})
}
