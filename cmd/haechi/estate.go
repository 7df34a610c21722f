package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/count"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/tower"
	"github.com/haechi/haechi/tower/web"
)

func estateCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "estate", Short: "What there is: check, fmt, graph, generate, apply, show, diff, schema", RunE: parent}
	c.AddCommand(checkEstateCommand(o), formatEstateCommand(), graphEstateCommand(), generateCommand(), applyEstateCommand(o), showEstateCommand(o), diffEstateCommand(o), schemaCommand())
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
				return &misused{fmt.Errorf("the estate is not valid: %s", count.Of(len(out.Problems), "problem"))}
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
	fmt.Fprintf(w, "valid: %s, %s, %s, %s, %s\n", e.Name, count.Of(len(e.Sites), "site"), count.Of(len(e.Stores), "store"), count.Of(len(e.Services), "service"), count.Of(len(e.Names), "name"))
	if len(out.Missing) > 0 {
		fmt.Fprintln(w, "it only describes; before haechi can act on it, it needs:")
	}
	for _, m := range out.Missing {
		fmt.Fprintln(w, " ", m)
	}
}

// loadEstate reads files and checks them together.
func loadEstate(paths []string) (estate.Estate, error) {
	files, err := readFiles(paths)
	if err != nil {
		return estate.Estate{}, err
	}
	return estate.Load(files, tower.SettingsChecks())
}

func applyEstateCommand(o *options) *cobra.Command {
	var ifVersion int64
	c := &cobra.Command{
		Use: "apply FILE…", Short: "Make files the next version of the estate, and show what changes", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			next, err := loadEstate(args)
			if err != nil {
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
			have, _, unread := o.inForce(c)
			var done web.Applied
			if err := towers.sendRaw(c.Context(), http.MethodPost, path, kind, body, &done); err != nil {
				return err
			}
			return o.show(c, done, func(w io.Writer) {
				drawApplied(w, done)
				if unread != nil { // it is applied all the same
					fmt.Fprintln(w, "what would be lost cannot be compared:", unread)
					return
				}
				drawChange(w, have, next)
			})
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

// inForce is the version in force, empty where none was applied yet.
func (o *options) inForce(c *cobra.Command) (have estate.Estate, version uint64, err error) {
	now, err := o.estateNow(c)
	if err != nil || now.Version == 0 {
		return have, 0, err
	}
	if have, err = estate.Unmarshal(now.Estate); err != nil {
		return have, now.Version, fmt.Errorf("read version %d: %w", now.Version, err)
	}
	return have, now.Version, nil
}

func diffEstateCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "diff FILE…", Short: "What applying files would change; changes nothing", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			next, err := loadEstate(args)
			if err != nil {
				return err
			}
			old, version, err := o.inForce(c)
			if err != nil {
				return err
			}
			diff := append([]string{}, estate.Diff(old, next)...)
			return o.show(c, diff, func(w io.Writer) {
				fmt.Fprintf(w, "%s against version %d\n", count.Of(len(diff), "change"), version)
				for _, d := range diff {
					fmt.Fprintln(w, d)
				}
				drawChange(w, old, next)
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
