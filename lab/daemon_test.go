package lab

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A page of another origin, or one that was rebound to our address by DNS, must
// not be able to set fire to anything.
func TestPageObeysOnlyItself(t *testing.T) {
	page := (&Daemon{more: make(chan struct{})}).page()
	for _, c := range []struct {
		name, method, host, header string
		want                       int
	}{
		{"own page", "GET", "127.0.0.1:8650", "", http.StatusOK},
		{"rebound name", "GET", "evil.example:8650", "", http.StatusForbidden},
		{"form of another page", "POST", "127.0.0.1:8650", "", http.StatusForbidden},
		{"own button, lab not up", "POST", "127.0.0.1:8650", "page", http.StatusUnprocessableEntity},
	} {
		path := "/"
		if c.method == "POST" {
			path = "/act"
		}
		r := httptest.NewRequest(c.method, path, strings.NewReader(`["fire","pangyo"]`))
		r.Host = c.host
		r.Header.Set("X-Haechi-Lab", c.header)
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestPageComesFromTheNextTowerWhenOneIsGone(t *testing.T) {
	var asked []string
	tower := func(name string, lives *bool) tripper {
		return func(*http.Request) (*http.Response, error) {
			asked = append(asked, name)
			if !*lives {
				return nil, errors.New("burned")
			}
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(name))}, nil
		}
	}
	a, b := true, true
	any := &anyTower{towers: []http.RoundTripper{tower("a", &a), tower("b", &b)}}
	get := func() {
		t.Helper()
		if _, err := any.RoundTrip(httptest.NewRequest("GET", "/", nil)); err != nil {
			t.Fatal(err)
		}
	}
	get()
	a = false
	get()
	get()
	if got := strings.Join(asked, ""); got != "aabb" {
		t.Errorf("asked %s, want aabb: the one that answered last is asked first", got)
	}
	b = false
	if _, err := any.RoundTrip(httptest.NewRequest("GET", "/", nil)); err == nil {
		t.Error("nobody lives, and yet an answer came")
	}
}
