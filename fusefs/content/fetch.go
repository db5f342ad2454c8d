package content

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"ferry"
)

const (
	// readStep is how many bytes are read from a body before readers are told.
	readStep = 256 << 10
	// stallAfter is how long a body may give no byte before the GET is made again.
	stallAfter   = 15 * time.Second
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 3 * time.Second
)

// block is a run of bytes that is here or under way. It is freed when the list
// that it is in, its fetch and all who copy from it have let go.
type block struct {
	ferry.Extent
	buf   []byte
	arena *arena

	mu     sync.Mutex
	refs   int
	filled int64         // bytes that are here
	done   bool          // the fetch has ended
	err    error         // why it ended early
	more   chan struct{} // closed and replaced when filled, done or err change
	cancel context.CancelFunc
	used   time.Time // guarded by the reader
}

func newBlock(a *arena, e ferry.Extent, buf []byte, cancel context.CancelFunc) *block {
	// One reference is the list's, one the fetch's.
	return &block{Extent: e, buf: buf, arena: a, refs: 2, more: make(chan struct{}), cancel: cancel, used: time.Now()}
}

func (b *block) hold() {
	b.mu.Lock()
	b.refs++
	b.mu.Unlock()
}

func (b *block) drop() {
	b.mu.Lock()
	b.refs--
	last := b.refs == 0
	b.mu.Unlock()
	if last {
		b.arena.give(b.buf)
		b.buf = nil
	}
}

// wanted reports whether anybody waits for the block, or copies from it: to take it
// away from them would only make them fetch it again.
func (b *block) wanted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	others := b.refs - 1 // the list's
	if !b.done {
		others-- // the fetch's
	}
	return others > 0
}

// advance says that n more bytes are here.
func (b *block) advance(n int) {
	b.mu.Lock()
	b.filled += int64(n)
	close(b.more)
	b.more = make(chan struct{})
	b.mu.Unlock()
}

func (b *block) end(err error) {
	b.mu.Lock()
	b.done, b.err = true, err
	close(b.more)
	b.more = make(chan struct{})
	b.mu.Unlock()
}

// failed reports whether the block ended without all of its bytes.
func (b *block) failed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done && b.filled < b.Length
}

// copyTo copies the bytes of p's extent (which must lie in b) once they are here.
func (b *block) copyTo(ctx context.Context, p []byte, off int64) error {
	data, err := b.bytes(ctx, ferry.Extent{Offset: off, Length: int64(len(p))})
	copy(p, data)
	return err
}

// bytes returns the bytes of e (which must lie in b) once they are here. They are
// the caller's until it lets its reference go.
func (b *block) bytes(ctx context.Context, e ferry.Extent) ([]byte, error) {
	from, to := e.Offset-b.Offset, e.End()-b.Offset
	for {
		b.mu.Lock()
		filled, done, err, more := b.filled, b.done, b.err, b.more
		b.mu.Unlock()
		switch {
		case filled >= to:
			return b.buf[from:to], nil
		case done && err == nil:
			return nil, internal("content.fetch", "a fetch ended early without a reason")
		case done:
			return nil, err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// fetch fills b from version v. A temporary failure is tried again from where it
// broke off, until Options.RetryFor has passed without a byte.
func (f *Files) fetch(ctx context.Context, v ferry.Version, b *block) {
	backoff, since := firstBackoff, time.Now()
	for {
		before := b.filled
		err := f.get(ctx, v, b)
		if err == nil {
			b.end(nil)
			return
		}
		if b.filled > before {
			backoff, since = firstBackoff, time.Now()
		}
		patience := f.o.RetryFor
		switch ferry.KindOf(err) {
		case ferry.KindTransient:
		case ferry.KindUnknown:
			patience /= 3
		default:
			b.end(err)
			return
		}
		if ctx.Err() != nil {
			b.end(ctx.Err())
			return
		}
		if time.Since(since)+backoff > patience {
			b.end(err)
			return
		}
		if err := wait(ctx, backoff/2+rand.N(backoff)/2); err != nil {
			b.end(err)
			return
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

// get makes one GET for what b lacks. A body that gives nothing for a while is
// given up.
func (f *Files) get(ctx context.Context, v ferry.Version, b *block) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stalled := time.AfterFunc(stallAfter, cancel)
	defer stalled.Stop()
	body, err := f.o.Remote.Get(ctx, v, ferry.Extent{Offset: b.Offset + b.filled, Length: b.Length - b.filled})
	if err != nil {
		return stallError(ctx, err)
	}
	defer body.Close()
	for b.filled < b.Length {
		n, err := body.Read(b.buf[b.filled:min(b.filled+readStep, b.Length)])
		if n > 0 {
			b.advance(n)
			stalled.Reset(stallAfter)
		}
		if err != nil && b.filled < b.Length {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return stallError(ctx, err)
		}
	}
	return nil
}

// stallError gives a broken body the kind that it has: trying again may help.
func stallError(ctx context.Context, err error) error {
	var known *ferry.Error
	if errors.As(err, &known) && ctx.Err() == nil {
		return err
	}
	return &ferry.Error{Op: "content.get", Kind: ferry.KindTransient, Err: err, Msg: "the server stopped sending"}
}
