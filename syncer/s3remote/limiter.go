package s3remote

import (
	"context"
	"sync"
	"time"
)

// limiter holds bodies back to a rate that may change at any time: a token
// bucket that may go into debt, so that a piece larger than the bucket passes
// and the next one waits for it.
type limiter struct {
	mu     sync.Mutex
	rate   float64 // bytes per second, 0 for no limit
	tokens float64
	at     time.Time
}

// burst is how long a pause may be made up for.
const burst = 200 * time.Millisecond

func (l *limiter) set(bytesPerSecond int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate, l.tokens, l.at = float64(max(bytesPerSecond, 0)), 0, time.Now()
}

// wait returns when n bytes may go. alive is called at least every tenth of a
// second meanwhile.
func (l *limiter) wait(ctx context.Context, n int, alive func()) error {
	for {
		pause := l.take(n)
		if pause == 0 {
			return nil
		}
		alive()
		select {
		case <-time.After(min(pause, 100*time.Millisecond)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take takes n tokens and returns 0, or how long to wait before asking again.
func (l *limiter) take(n int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate == 0 {
		return 0
	}
	now := time.Now()
	l.tokens = min(l.tokens+now.Sub(l.at).Seconds()*l.rate, burst.Seconds()*l.rate)
	l.at = now
	if l.tokens < 0 {
		return time.Duration(-l.tokens/l.rate*float64(time.Second)) + time.Millisecond
	}
	l.tokens -= float64(n)
	return 0
}
