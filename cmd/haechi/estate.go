package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/tower"
	"github.com/haechi/haechi/tower/web"
)

func estateCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "estate", Short: "What there is: check, apply, show, diff, schema", RunE: parent}
	c.AddCommand(checkEstateCommand(o), applyEstateCommand(o), showEstateCommand(o), diffEstateCommand(o), schemaCommand())
	return c
}

// checked is what estate check says of the files.
type checked struct {
	Valid      bool             `json:"valid"`
	Problems   []estate.Problem `json:"problems"`
	Actionable bool             `json:"actionable"` // haechi can act on it, not only describe it
	Missing    []string         `json:"missing"`    // what it lacks for that
}

func checkEstateCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "check FILE…", Short: "Say everything that is wrong with estate files; needs no tower", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := loadEstate(args)
			wrong, invalid := errors.AsType[*estate.Invalid](err)
			if err != nil && !invalid {
				return err
			}
			out := checked{Valid: !invalid, Problems: []estate.Problem{}, Missing: []string{}}
			if invalid {
				out.Problems = wrong.Problems
			} else if lacks, ok := errors.AsType[*estate.NotActionable](estate.Actionable(e, tower.SettingsChecks())); ok {
				out.Missing = lacks.Missing
			}
			out.Actionable = out.Valid && len(out.Missing) == 0
			if err := o.show(c, out, func(w io.Writer) { drawChecked(w, e, out) }); err != nil {
				return err
			}
			if invalid {
				return &misused{fmt.Errorf("the estate is not valid: %s", count(len(out.Problems), "problem"))}
			}
			return nil
		},
	}
}

func drawChecked(w io.Writer, e estate.Estate, out checked) {
	for _, p := range out.Problems {
		fmt.Fprintln(w, p)
	}
	if !out.Valid {
		return
	}
	fmt.Fprintf(w, "valid: %s, %s, %s, %s, %s\n", e.Name, count(len(e.Sites), "site"), count(len(e.Stores), "store"), count(len(e.Services), "service"), count(len(e.Names), "name"))
	for _, m := range out.Missing {
		fmt.Fprintln(w, "it only describes, haechi cannot act on it:", m)
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// loadEstate reads files and checks them together.
func loadEstate(paths []string) (estate.Estate, error) {
	files, err := readFiles(paths)
	if err != nil {
		return estate.Estate{}, err
	}
	return estate.Load(files, tower.SettingsChecks())
}

func readFiles(paths []string) ([]estate.File, error) {
	var files []estate.File
	for _, path := range paths {
		data, err := readFile(path)
		if err != nil {
			return nil, &misused{fmt.Errorf("read the estate: %w", err)}
		}
		files = append(files, estate.File{Name: path, Data: data})
	}
	return files, nil
}

// readFile reads no more of a file than it takes to see that it is too large: one may have no end.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, estate.MaxBytes+1))
}

func applyEstateCommand(o *options) *cobra.Command {
	var ifVersion int64
	c := &cobra.Command{
		Use: "apply FILE…", Short: "Make files the next version of the estate, and show what changes", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := loadEstate(args); err != nil {
				return fmt.Errorf("nothing was applied:\n%w", err)
			}
			kind, body, err := form(args)
			if err != nil {
				return err
			}
			path := "estate"
			if ifVersion >= 0 {
				path = fmt.Sprintf("estate?if-version=%d", ifVersion)
			}
			towers, err := o.client()
			if err != nil {
				return err
			}
			var done web.Applied
			if err := towers.sendRaw(c.Context(), http.MethodPost, path, kind, body, &done); err != nil {
				return err
			}
			return o.show(c, done, func(w io.Writer) { drawApplied(w, done) })
		},
	}
	c.Flags().Int64Var(&ifVersion, "if-version", -1, "only if this `version` is still in force")
	return c
}

func drawApplied(w io.Writer, done web.Applied) {
	for _, d := range done.Diff {
		fmt.Fprintln(w, d)
	}
	fmt.Fprintf(w, "version %d is in force\n", done.Version)
}

// form packs files as the API takes them.
func form(paths []string) (kind string, body []byte, err error) {
	files, err := readFiles(paths)
	if err != nil {
		return "", nil, err
	}
	var b bytes.Buffer
	out := multipart.NewWriter(&b)
	for _, f := range files {
		part, err := out.CreateFormFile("file", f.Name)
		if err == nil {
			_, err = part.Write(f.Data)
		}
		if err != nil {
			return "", nil, err
		}
	}
	err = out.Close() // writes the end
	return out.FormDataContentType(), b.Bytes(), err
}

func showEstateCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "The version in force, as JSON", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			now, err := o.estateNow(c)
			if err != nil {
				return err
			}
			enc := json.NewEncoder(c.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(now)
		},
	}
}

func (o *options) estateNow(c *cobra.Command) (now web.EstateNow, err error) {
	towers, err := o.client()
	if err != nil {
		return now, err
	}
	return now, towers.get(c.Context(), "estate", &now)
}

func diffEstateCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "diff FILE…", Short: "What applying files would change; changes nothing", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			next, err := loadEstate(args)
			if err != nil {
				return err
			}
			now, err := o.estateNow(c)
			if err != nil {
				return err
			}
			var old estate.Estate
			if now.Version > 0 {
				if old, err = estate.Unmarshal(now.Estate); err != nil {
					return fmt.Errorf("read version %d: %w", now.Version, err)
				}
			}
			diff := append([]string{}, estate.Diff(old, next)...)
			return o.show(c, diff, func(w io.Writer) {
				fmt.Fprintf(w, "%s against version %d\n", count(len(diff), "change"), now.Version)
				for _, d := range diff {
					fmt.Fprintln(w, d)
				}
			})
		},
	}
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "The JSON Schema of estate files, for editors", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			raw, err := estate.Schema(tower.SettingsChecks())
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(append(raw, '\n'))
			return err
		},
	}
}
