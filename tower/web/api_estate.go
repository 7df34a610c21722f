package web

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
)

// EstateNow answers GET estate.
type EstateNow struct {
	Version uint64          `json:"version"` // 0: none was applied
	Estate  json.RawMessage `json:"estate"`
}

func (a desk) getEstate(_ http.ResponseWriter, r *http.Request, _ string) (any, error) {
	raw, version, err := a.Estate(r.Context())
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 {
		raw = []byte("null")
	}
	return EstateNow{version, raw}, nil
}

// postEstate takes the files as multipart/form-data, each a part with its file name.
func (a desk) postEstate(w http.ResponseWriter, r *http.Request, _ string) (any, error) {
	by, err := a.who(r)
	if err != nil {
		return nil, err
	}
	version, err := number(r, "if-version", -1)
	if err != nil {
		return nil, err
	}
	files, err := parts(w, r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := acting(r)
	defer cancel()
	return a.Apply(ctx, by, files, version)
}

func parts(w http.ResponseWriter, r *http.Request) ([]File, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxEstate)
	in, err := r.MultipartReader()
	if err != nil {
		return nil, unread(err)
	}
	var files []File
	for {
		part, err := in.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, unread(err)
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return nil, unread(err)
		}
		files = append(files, File{Name: nameOf(part), Data: data})
	}
	if len(files) == 0 {
		return nil, unread(errors.New("there is no file in it"))
	}
	return files, nil
}

// nameOf keeps the folder of a file's name, which FileName leaves away: files that include others
// are known by it. Nothing is ever written under it.
func nameOf(part *multipart.Part) string {
	if _, more, err := mime.ParseMediaType(part.Header.Get("Content-Disposition")); err == nil {
		return more["filename"]
	}
	return part.FileName()
}

// unread is the refusal of a body that did not come whole. Nothing was applied.
func unread(err error) error {
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return large
	}
	return &Refused{Code: BadRequest, Why: "the estate's files cannot be read: " + err.Error(), Do: "nothing was changed; send them again whole, as multipart/form-data"}
}
