package s3remote

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestLimiter: the rate holds over time, changes count at once, and no limit
// costs nothing. The clock is synctest's.
func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l limiter
		sendAll := func(bytes int) time.Duration {
			begin := time.Now()
			for sent := 0; sent < bytes; sent += piece {
				if err := l.wait(t.Context(), piece, func() {}); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(begin)
		}
		if took := sendAll(100 << 20); took != 0 {
			t.Errorf("without a limit it took %v", took)
		}
		for _, rate := range []int64{1 << 20, 10 << 20, 100_000} {
			l.set(rate)
			bytes := 10 * int(rate)
			if took := sendAll(bytes); took < 9*time.Second || took > 11*time.Second {
				t.Errorf("10 s worth of bytes at %d bytes/s took %v", rate, took)
			}
		}
		// A limit that is lifted frees who waits.
		l.set(1)
		_ = l.wait(t.Context(), piece, func() {})
		time.AfterFunc(time.Second, func() { l.set(0) })
		if took := sendAll(piece); took > 1200*time.Millisecond {
			t.Errorf("a lifted limit held for %v", took)
		}
		// Whoever waits is alive, and can be cancelled.
		l.set(1)
		_ = l.wait(t.Context(), piece, func() {})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		alive := 0
		if err := l.wait(ctx, piece, func() { alive++ }); err == nil || alive < 40 {
			t.Errorf("%v, %d signs of life in 5 s", err, alive)
		}
	})
}
