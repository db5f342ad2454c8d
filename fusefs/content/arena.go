package content

import (
	"context"
	"sync"
)

const (
	blockMin = 128 << 10 // the least that is fetched, and the alignment
	blockMax = 4 << 20   // the most that one GET fetches
)

// arena bounds the buffers of all readers together.
type arena struct {
	limit int64
	pools [6]sync.Pool // of buffers of 128 KiB << i

	mu    sync.Mutex
	inUse int64
	freed chan struct{} // closed and replaced when something is given back
}

func newArena(limit int64) *arena {
	return &arena{limit: max(limit, 2*blockMax), freed: make(chan struct{})}
}

// class returns which pool serves n bytes and how many bytes that takes.
func class(n int64) (i int, size int64) {
	size = blockMin
	for size < n {
		size <<= 1
		i++
	}
	return i, size
}

// try returns a buffer of n bytes (at most blockMax), nil if the arena is full.
func (a *arena) try(n int64) []byte {
	i, size := class(n)
	a.mu.Lock()
	if a.inUse+size > a.limit {
		a.mu.Unlock()
		return nil
	}
	a.inUse += size
	a.mu.Unlock()
	if b, ok := a.pools[i].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, size)
}

// take is try that calls reclaim and waits until there is room.
func (a *arena) take(ctx context.Context, n int64, reclaim func()) ([]byte, error) {
	for {
		a.mu.Lock()
		freed := a.freed
		a.mu.Unlock()
		if b := a.try(n); b != nil {
			return b, nil
		}
		reclaim()
		if b := a.try(n); b != nil {
			return b, nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// give takes a buffer back.
func (a *arena) give(b []byte) {
	b = b[:cap(b)]
	i, size := class(int64(len(b)))
	a.pools[i].Put(&b)
	a.mu.Lock()
	a.inUse -= size
	close(a.freed)
	a.freed = make(chan struct{})
	a.mu.Unlock()
}

func (a *arena) used() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inUse
}
