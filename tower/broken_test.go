package tower

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haechi/haechi/tower/etcd"
)

func TestATowerWithAFullDiskIsStartedAnewWhenThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		began := time.Now()
		time.AfterFunc(time.Hour, func() { free.Store(etcd.LeastFree) })
		if !awaitRoom(t.Context(), free.Load, restFor, roomEvery) {
			t.Fatal("it gave up")
		}
		if took := time.Since(began); took < time.Hour || took > time.Hour+2*roomEvery {
			t.Fatalf("it went on after %v", took)
		}

		began = time.Now() // it was not the disk
		if !awaitRoom(t.Context(), free.Load, restFor, roomEvery) || time.Since(began) != restFor {
			t.Fatalf("it went on after %v", time.Since(began))
		}

		free.Store(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if awaitRoom(ctx, free.Load, restFor, roomEvery) {
			t.Fatal("it went on without room")
		}
	})
}

func TestRunSaysWhyItCannotStart(t *testing.T) {
	c := newPlace(t).config()
	c.Listen.Page = "127.0.0.1:1x"
	if err := Run(t.Context(), c, logged(t)); err == nil || errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "listen.page") {
		t.Fatalf("err = %v", err)
	}
}
