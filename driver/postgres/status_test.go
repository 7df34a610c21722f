package postgres

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A look that takes longer than who asked for it waits is not ended, which would cost the server its session, nor made
// twice: whoever asks next has its answer.
func TestALookGoesOnForWhoAsksNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s status
		var looks atomic.Int32
		look := func(ctx context.Context) map[string]string {
			looks.Add(1)
			select {
			case <-time.After(time.Second):
				return map[string]string{"answers": "true"}
			case <-ctx.Done():
				return map[string]string{"error": ctx.Err().Error()}
			}
		}
		asked := func(patience time.Duration) map[string]string {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			return s.shared(ctx, look)
		}
		if f := asked(300 * time.Millisecond); f != nil {
			t.Errorf("after 0.3 s: %v", f)
		}
		began := time.Now()
		if f := asked(time.Minute); f != nil || time.Since(began) != lookFor {
			t.Errorf("after %v: %v", time.Since(began), f)
		}
		if f := asked(time.Minute); f["answers"] != "true" || looks.Load() != 1 {
			t.Errorf("%v after %d looks", f, looks.Load())
		}
		if f := asked(time.Minute); f["answers"] != "true" || looks.Load() != 1 {
			t.Errorf("%v after %d looks, and it was asked just now", f, looks.Load())
		}
		time.Sleep(looked + 1)
		if f := asked(300 * time.Millisecond); f != nil || looks.Load() != 2 {
			t.Errorf("%v after %d looks", f, looks.Load())
		}
		s.forget() // something was done: what is under way may show how it was before
		if f := asked(300 * time.Millisecond); f != nil || looks.Load() != 3 {
			t.Errorf("%v after %d looks", f, looks.Load())
		}
		time.Sleep(time.Second)
	})
}
