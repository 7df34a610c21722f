package pki_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/pki"
)

// Each reason is told once a minute, with how many there were; noise is not told at all.
func TestRefusalsAreToldButNotEachOfThem(t *testing.T) {
	var out bytes.Buffer
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l := pki.ServerLog(slog.New(slog.NewTextHandler(&out, nil)), func() time.Time { return at })
	said := func() string { defer out.Reset(); return out.String() }
	expired := "http: TLS handshake error from 10.0.0.7:4242: " + pki.ErrExpired.Error() + ": CN=tower/tower-b"

	l.Print("http: TLS handshake error from 10.0.0.9:1: EOF")
	if s := said(); s != "" {
		t.Errorf("noise: %s", s)
	}
	l.Print(expired)
	if s := said(); !strings.Contains(s, "level=WARN") || !strings.Contains(s, "10.0.0.7:4242: certificate has expired: CN=tower/tower-b") {
		t.Errorf("the first: %s", s)
	}
	at = at.Add(59 * time.Second)
	for range 1000 {
		l.Print(expired)
	}
	if s := said(); s != "" {
		t.Errorf("too often: %s", s)
	}
	l.Print("http: TLS handshake error from 10.0.0.9:1: " + pki.ErrOtherCA.Error())
	if s := said(); !strings.Contains(s, "another CA") {
		t.Errorf("another reason: %s", s)
	}
	at = at.Add(time.Second)
	l.Print(expired)
	if s := said(); !strings.Contains(s, "like_it_since_the_last=1000") {
		t.Errorf("a minute later: %s", s)
	}
}
