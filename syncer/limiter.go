package syncer

import (
	"context"
	"sync"
	"time"
)

// limiter bounds what is under way in number and in bytes, first come first
// served. The number follows the server: an answer that says "too much" halves
// it, success raises it again up to the limit, which may change at any time.
// Something larger than the bound on bytes goes alone.
type limiter struct {
	mu       sync.Mutex
	limit    int     // what was asked for
	allowed  float64 // what the server bears, 1..limit
	maxBytes int64
	count    int
	bytes    int64
	queue    []*turn
	slowed   time.Time
	now      func() time.Time
}

type turn struct {
	bytes int64
	ready chan struct{} // closed when the turn has come
}

func newLimiter(limit int, maxBytes int64, now func() time.Time) *limiter {
	return &limiter{limit: limit, allowed: float64(limit), maxBytes: maxBytes, now: now}
}

// acquire waits for its turn. The caller releases with the same bytes.
func (l *limiter) acquire(ctx context.Context, bytes int64) error {
	l.mu.Lock()
	t := &turn{bytes: bytes, ready: make(chan struct{})}
	l.queue = append(l.queue, t)
	l.admit()
	l.mu.Unlock()
	select {
	case <-t.ready:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-t.ready: // it came meanwhile: give it back
		l.give(bytes)
		return ctx.Err()
	default:
	}
	for i, q := range l.queue {
		if q == t {
			l.queue = append(l.queue[:i], l.queue[i+1:]...)
			break
		}
	}
	l.admit()
	return ctx.Err()
}

func (l *limiter) release(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.give(bytes)
}

func (l *limiter) give(bytes int64) {
	l.count--
	l.bytes -= bytes
	l.admit()
}

func (l *limiter) admit() {
	for len(l.queue) > 0 {
		t := l.queue[0]
		if l.count > 0 && (l.count >= int(l.allowed) || l.bytes+t.bytes > l.maxBytes) {
			return
		}
		l.queue = l.queue[1:]
		l.count++
		l.bytes += t.bytes
		close(t.ready)
	}
}

// slow halves what is allowed; answers to requests that were sent together count
// as one.
func (l *limiter) slow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); now.Sub(l.slowed) >= time.Second {
		l.slowed = now
		l.allowed = max(1, l.allowed/2)
	}
}

// fine raises what is allowed by one for as many successes as are allowed.
func (l *limiter) fine() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.allowed < float64(l.limit) {
		l.allowed = min(float64(l.limit), l.allowed+1/l.allowed)
		l.admit()
	}
}

// set changes the limit.
func (l *limiter) set(limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = max(1, limit)
	l.allowed = float64(l.limit)
	l.admit()
}
