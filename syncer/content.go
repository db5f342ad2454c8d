package syncer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"ferry"
)

// errDamaged says that a staging file does not have the bytes that its row speaks
// of.
var errDamaged = errors.New("its staging file is damaged")

// errBaseLost says that the version which a generation edits is not there any
// more: its unchanged bytes cannot be had.
var errBaseLost = &parkError{reason: "base lost: the version that this file changes was replaced or deleted by another client; what was written here stays in staging"}

// content reads a sealed generation as it shall be in the bucket: staging where
// the bytes are ours, the base below its limit, zeros elsewhere. It is for one
// request: reading on from where it stopped is cheap, elsewhere a new request
// for the base begins.
type content struct {
	generation ferry.Generation
	size       int64
	base       *ferry.Version
	limit      int64
	ours       *ferry.ExtentSet

	ctx  context.Context
	r    Remote
	file StagedFile

	mu     sync.Mutex
	stream io.ReadCloser // of the base, at pos, until end
	pos    int64
	end    int64
	err    error
}

func newContent(u *ferry.Upload, ours *ferry.ExtentSet) *content {
	c := &content{generation: u.Generation, size: u.Size, base: u.Base, limit: u.BaseLimit, ours: ours}
	if c.ours == nil {
		c.ours = ferry.NewExtentSet()
	}
	if c.base != nil {
		c.limit = min(c.limit, c.base.Size, c.size)
	}
	return c
}

// open opens the staging file. Without a base the file is the whole content: one
// that is too short has lost bytes, and zeros must not stand in for them.
func (c *content) open(ctx context.Context, s *Syncer) (err error) {
	c.ctx, c.r = ctx, s.r
	if c.file, err = s.o.Staging.Open(c.generation); err != nil {
		return &parkError{reason: "its staging file cannot be opened", err: err}
	}
	if c.base != nil {
		return nil
	}
	size, err := c.file.Size()
	if err == nil && size < c.size {
		err = fmt.Errorf("it has %d bytes and should have %d", size, c.size)
	}
	if err != nil {
		c.close()
		return &parkError{reason: errDamaged.Error(), err: err, is: errDamaged}
	}
	return nil
}

func (c *content) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream != nil {
		c.stream.Close()
		c.stream = nil
	}
	if c.file != nil {
		c.file.Close()
		c.file = nil
	}
}

// failure returns why reading failed, nil if it did not: the remote's own error
// for a body that could not be read says less.
func (c *content) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// ReadAt implements io.ReaderAt.
func (c *content) ReadAt(p []byte, off int64) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	want := min(int64(len(p)), c.size-off)
	if want <= 0 {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	runs := []ferry.Run{{Extent: ferry.Extent{Offset: off, Length: want}, In: true}}
	if c.base != nil {
		runs = c.ours.Runs(runs[0].Extent)
	}
	for _, run := range runs {
		b := p[run.Offset-off : run.End()-off]
		switch {
		case run.In:
			err = c.fromStaging(b, run.Offset)
		default:
			k := int(max(0, min(c.limit, run.End())-run.Offset))
			err = c.fromBase(b[:k], run.Offset)
			clear(b[k:])
		}
		if err != nil {
			c.err = err
			return n, err
		}
		n += len(b)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (c *content) fromStaging(b []byte, off int64) error {
	n, err := c.file.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = fmt.Errorf("bytes %d to %d are missing", off+int64(n), off+int64(len(b)))
	}
	return &parkError{reason: errDamaged.Error(), err: err, is: errDamaged}
}

func (c *content) fromBase(b []byte, off int64) error {
	for len(b) > 0 {
		if c.stream == nil || c.pos != off || off >= c.end {
			if c.stream != nil {
				c.stream.Close()
			}
			c.stream, c.pos, c.end = nil, off, c.limit
			if runs := c.ours.Runs(ferry.Extent{Offset: off, Length: c.limit - off}); len(runs) > 0 {
				c.end = runs[0].End() // only what is not ours
			}
			stream, err := c.r.Get(c.ctx, *c.base, ferry.Extent{Offset: off, Length: c.end - off})
			switch {
			case ferry.IsKind(err, ferry.KindConflict), ferry.IsKind(err, ferry.KindNotFound):
				return errBaseLost
			case err != nil:
				return err
			}
			c.stream = stream
		}
		n, err := io.ReadFull(c.stream, b[:min(int64(len(b)), c.end-off)])
		off, c.pos, b = off+int64(n), c.pos+int64(n), b[n:]
		if err != nil {
			c.stream.Close()
			c.stream = nil
			if ferry.KindOf(err) == ferry.KindInternal { // a connection that ended
				err = &ferry.Error{Op: "syncer.base", Key: string(c.base.Key), Kind: ferry.KindTransient, Msg: "the base could not be read on", Err: err}
			}
			return err
		}
	}
	return nil
}
