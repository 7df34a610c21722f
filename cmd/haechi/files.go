package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/haechi/haechi/core/estate"
)

// readFiles reads the files of an estate: those that are named, those in folders that are named,
// and those that one of them includes.
func readFiles(paths []string) ([]estate.File, error) {
	var files []estate.File
	for _, p := range paths {
		named, err := filesOf(p)
		for _, name := range named {
			var data []byte
			if data, err = readFile(os.Open(name)); err != nil {
				break
			}
			files = append(files, estate.File{Name: filepath.ToSlash(filepath.Clean(name)), Data: data})
		}
		if err != nil {
			return nil, &misused{fmt.Errorf("read the estate: %w", err)}
		}
	}
	files, err := withIncludes(files, inFolder)
	if err != nil {
		return nil, &misused{fmt.Errorf("read the estate: %w", err)}
	}
	return files, nil
}

// filesOf lists the estate's files in a folder, by name; anything else stands for itself.
func filesOf(p string) ([]string, error) {
	if info, err := os.Stat(p); err != nil || !info.IsDir() {
		return []string{p}, err
	}
	entries, err := os.ReadDir(p)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if estate.IsFileName(e.Name()) && !e.IsDir() {
			out = append(out, filepath.Join(p, e.Name()))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no .yaml or .yml file; folders below it are read where a file includes them", p)
	}
	return out, nil
}

// inFolder opens a folder so that nothing outside can be reached, by links neither.
func inFolder(dir string) (fs.FS, error) {
	root, err := os.OpenRoot(filepath.FromSlash(dir))
	if err != nil {
		return nil, err
	}
	return root.FS(), nil
}

// withIncludes adds the files that others include, each once. An include that finds nothing is
// left to estate.Load, which knows where it stands.
func withIncludes(files []estate.File, open func(dir string) (fs.FS, error)) ([]estate.File, error) {
	have, size := map[string]bool{}, 0
	for _, f := range files {
		have[f.Name] = true
		size += len(f.Data)
	}
	for i := 0; i < len(files) && size <= estate.MaxBytes; i++ { // files grows
		from := files[i].Name
		patterns := estate.Includes(files[i])
		if len(patterns) == 0 {
			continue
		}
		tree, err := open(path.Dir(from))
		if err != nil {
			return nil, fmt.Errorf("what %s includes: %w", from, err)
		}
		for _, pattern := range patterns {
			found, err := answers(tree, path.Clean(pattern))
			if err != nil {
				return nil, fmt.Errorf("what %s includes: %w", from, err)
			}
			for _, below := range found {
				name := path.Join(path.Dir(from), below)
				if have[name] || !estate.Included(from, pattern, name) {
					continue
				}
				data, err := readFile(tree.Open(below))
				if err != nil {
					return nil, fmt.Errorf("%s, which %s includes: %w", name, from, err)
				}
				have[name] = true
				size += len(data)
				files = append(files, estate.File{Name: name, Data: data})
			}
		}
	}
	return files, nil
}

// answers lists the files that answer to a pattern, by name. One that is there and cannot be
// looked at is an error; one that is not there is not.
func answers(tree fs.FS, pattern string) ([]string, error) {
	if _, err := fs.Stat(tree, pattern); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	found, err := fs.Glob(tree, pattern)
	slices.Sort(found)
	return found, err
}

// readFile reads no more of a file than it takes to see that it is too large: one may have no end.
func readFile(f fs.File, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, estate.MaxBytes+1))
}
