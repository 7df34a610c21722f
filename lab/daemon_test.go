package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
	any := &anyOf{all: []http.RoundTripper{tower("a", &a), tower("b", &b)}}
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

func TestMessageGoesToTheNextGatewayUnchanged(t *testing.T) {
	var got []string
	gateway := func(name string, status int) tripper {
		return func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			got = append(got, name+" "+string(body))
			return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: io.NopCloser(strings.NewReader(name))}, err
		}
	}
	any := &anyOf{all: []http.RoundTripper{
		tripper(func(r *http.Request) (*http.Response, error) {
			_, err := io.ReadAll(r.Body) // it burns with half an answer under way
			return nil, errors.Join(err, errBurned)
		}),
		gateway("waits", http.StatusServiceUnavailable), gateway("takes", http.StatusOK),
	}}
	for range 2 {
		resp, err := any.RoundTrip(httptest.NewRequest("PUT", "/rooms/r/messages/1", strings.NewReader("hello")))
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp, err)
		}
	}
	if want := "waits hello,takes hello,takes hello"; strings.Join(got, ",") != want {
		t.Errorf("%q, want %q", strings.Join(got, ","), want)
	}
}

// The lab knows that a site burns while its processes still die: whoever reads a stream from
// there must not wait for the last of them.
func TestStreamEndsWithTheFire(t *testing.T) {
	var f fires
	hangs := tripper(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, context.Cause(r.Context())
	})
	u := upstream{"10.77.1.5:8080", hangs, f.of(Pangyo)}
	got := make(chan error)
	go func() {
		_, err := u.RoundTrip(httptest.NewRequest("GET", "/stream", nil))
		got <- err
	}()
	f.light(Ansan)
	f.light(Pangyo)
	if err := <-got; !errors.Is(err, errBurned) {
		t.Error(err)
	}
	f.out(Pangyo)
	select {
	case <-u.burns():
		t.Error("it burns though it was rebuilt")
	default:
	}
}

// The command that was called says what is in the way, and what to do about it, for the demo too,
// which cannot do without its ports.
func TestListenSaysWhoHasThePort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	before := free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = open([]door{{port: before}, {port: port}})
	for _, want := range []string{"address already in use", fmt.Sprintf("another program has port %d", port), fmt.Sprintf("ss -ltnp 'sport = :%d'", port), "haechi lab up does without with --no-ports"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	again, err := listen(before)
	if err != nil {
		t.Fatalf("the port that was free is still held: %v", err)
	}
	_ = again.Close()
}
