package s3remote

import (
	"context"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync"

	"github.com/minio/highwayhash"

	"ferry"
)

// source is the bytes of one request's body. The transport may ask for them more
// than once (a kept connection that the server had closed): each attempt starts
// anew with fresh sums.
type source struct {
	src    io.ReaderAt
	extent ferry.Extent
	key    *[32]byte  // of the digest; nil for none
	known  ferry.ETag // the MD5, if it was computed before; then it is not again
	md5    *hashers

	mu   sync.Mutex
	last *attempt
}

// attempt is one reading of a source. It sums while it reads, so that the sums
// are of the bytes that were sent, whatever happens to the source meanwhile.
type attempt struct {
	source *source
	// before is called with the size of each piece, and may make it wait.
	before func(ctx context.Context, n int) error
	// after is called with what was read.
	after func(n int)
	ctx   context.Context

	mu      sync.Mutex
	pos     int64
	md5     hash.Hash // nil if the source's is known
	release func()    // of md5
	digest  hash.Hash
	err     error
	stopped bool
}

var errStopped = errors.New("the call that sends this body is over")

// open begins a new attempt.
func (s *source) open(ctx context.Context, before func(context.Context, int) error, after func(int)) *attempt {
	a := s.attempt()
	a.ctx, a.before, a.after = ctx, before, after
	s.mu.Lock()
	prev := s.last
	s.last = a
	s.mu.Unlock()
	if prev != nil {
		prev.stop()
	}
	return a
}

func (s *source) attempt() *attempt {
	a := &attempt{source: s}
	if s.known == "" {
		a.md5, a.release = s.md5.new(s.extent.Length)
	}
	if s.key != nil {
		a.digest, _ = highwayhash.New(s.key[:]) // fails for other key sizes only
	}
	return a
}

// piece is how much is read at once: small enough that a rate limit is smooth.
const piece = 64 << 10

// Read implements io.Reader for the transport.
func (a *attempt) Read(p []byte) (int, error) {
	p, err := a.next(p)
	if err != nil {
		return 0, err
	}
	if err := a.before(a.ctx, len(p)); err != nil {
		return 0, err
	}
	n, err := a.read(p)
	a.after(n)
	return n, err
}

// next returns the piece of p that is read next.
func (a *attempt) next(p []byte) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	left := a.source.extent.Length - a.pos
	switch {
	case a.stopped:
		return nil, errStopped
	case a.err != nil:
		return nil, a.err
	case left == 0:
		return nil, io.EOF
	}
	return p[:min(int64(len(p)), piece, left)], nil
}

func (a *attempt) read(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return 0, errStopped
	}
	n, err := a.source.src.ReadAt(p, a.source.extent.Offset+a.pos)
	if a.md5 != nil {
		a.md5.Write(p[:n])
	}
	if a.digest != nil {
		a.digest.Write(p[:n])
	}
	a.pos += int64(n)
	if n == len(p) {
		return n, nil
	}
	a.err = sourceError(err)
	return n, a.err
}

// sourceError says why a body could not be read to its end. An error that has a
// Kind keeps it.
func sourceError(err error) error {
	e := &ferry.Error{Op: "s3remote.body", Kind: ferry.KindCorrupt, Msg: "the bytes to send cannot be read", Err: err}
	switch own, ok := errors.AsType[*ferry.Error](err); {
	case ok:
		return own
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Kind, e.Msg = ferry.KindInvalid, "the body is shorter than was said"
	}
	return e
}

// sumFirst computes the MD5 before anything is sent.
func (s *source) sumFirst() ([]byte, error) {
	h, release := s.md5.new(s.extent.Length)
	defer release()
	n, err := io.Copy(h, io.NewSectionReader(s.src, s.extent.Offset, s.extent.Length))
	if err != nil || n < s.extent.Length {
		return nil, sourceError(err)
	}
	sum := h.Sum(nil)
	s.known = ferry.ETag(hex.EncodeToString(sum))
	return sum, nil
}

// Close implements io.Closer for the transport.
func (a *attempt) Close() error { return nil }

// stop ends the reading: when it returns, the source is not touched any more.
func (a *attempt) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stopped && a.release != nil {
		a.release()
	}
	a.stopped = true
}

// stop ends all reading of the source. The transport may still hold a body when
// it has returned; the caller is free to reuse the bytes after this.
func (s *source) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil {
		s.last.stop()
	}
}

// sums returns MD5 (in hex, as in an ETag) and digest of the last attempt, and
// whether that was all of the body.
func (s *source) sums() (etag ferry.ETag, digest []byte, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil { // an empty body is never opened
		s.last = s.attempt()
	}
	a := s.last
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.digest != nil {
		digest = a.digest.Sum(nil)
	}
	etag = s.known
	if etag == "" {
		etag = ferry.ETag(hex.EncodeToString(a.md5.Sum(nil)))
	}
	return etag, digest, a.pos == s.extent.Length
}

// err returns why the source could not be read, nil if it could.
func (s *source) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return nil
	}
	s.last.mu.Lock()
	defer s.last.mu.Unlock()
	return s.last.err
}

// placeholder stands for a body in minio-go's request: it must not be a Seeker,
// so that minio-go does not try to rewind it. The transport puts an attempt in
// its place.
type placeholder struct{}

func (placeholder) Read([]byte) (int, error) { return 0, io.EOF }
