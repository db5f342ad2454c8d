package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"ferry"
	"ferry/syncer"
)

// healthRemote is a remote that remembers whether the server answers. A server
// that refuses (403, 412) answers. Safe for concurrent use.
type healthRemote struct {
	syncer.Remote
	onChange func(offline bool, err error)

	mu      sync.Mutex
	failed  int       // calls in a row that got no answer
	since   time.Time // when the first of them ended
	last    time.Time // when the last call ended
	why     error
	offline bool
}

// offlineAfter is how many calls in a row must fail: one lost connection is not
// a server that is away. One that cannot be reached at all is.
const offlineAfter = 3

func newHealthRemote(r syncer.Remote, onChange func(offline bool, err error)) *healthRemote {
	return &healthRemote{Remote: r, onChange: onChange}
}

// seen notes how a call ended and returns its error.
func (h *healthRemote) seen(ctx context.Context, err error) error {
	unanswered := ferry.IsKind(err, ferry.KindTransient) || ferry.IsKind(err, ferry.KindUnknown)
	if err != nil && ctx.Err() != nil {
		return err // the caller gave up: it says nothing of the server
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.last = now
	before := h.offline
	if !unanswered {
		h.failed, h.why, h.offline = 0, nil, false
	} else {
		if h.failed++; h.failed == 1 {
			h.since = now
		}
		h.why = err
		h.offline = h.offline || h.failed >= offlineAfter || errors.Is(err, ferry.ErrOffline)
	}
	if h.offline != before && h.onChange != nil {
		h.onChange(h.offline, err)
	}
	return err
}

// setOffline says that the server did not answer at start.
func (h *healthRemote) setOffline(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.offline, h.failed, h.why, h.since, h.last = true, offlineAfter, err, time.Now(), time.Now()
}

// state returns whether the server is away, since when and why.
func (h *healthRemote) state() (offline bool, since time.Time, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.offline, h.since, h.why
}

// ask makes a call of its own if none ended lately: nobody else may be asking.
func (h *healthRemote) ask(ctx context.Context, stale time.Duration) {
	h.mu.Lock()
	fresh := time.Since(h.last) < stale
	h.mu.Unlock()
	if fresh {
		return
	}
	// An outer deadline must count as no answer, so seen gets a context without it.
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := h.Remote.List(short, ferry.ListRequest{Max: 1})
	_ = h.seen(ctx, err)
}

// watch asks now and then while the server is away, so that its return is noticed
// without anybody reading or writing.
func (h *healthRemote) watch(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		h.mu.Lock()
		doubtful := h.failed > 0
		h.mu.Unlock()
		if doubtful {
			h.ask(ctx, 2*time.Second)
		}
	}
}

func (h *healthRemote) Head(ctx context.Context, key ferry.ObjectKey) (ferry.Object, error) {
	o, err := h.Remote.Head(ctx, key)
	return o, h.seen(ctx, err)
}

func (h *healthRemote) Get(ctx context.Context, v ferry.Version, e ferry.Extent) (io.ReadCloser, error) {
	body, err := h.Remote.Get(ctx, v, e)
	return body, h.seen(ctx, err)
}

func (h *healthRemote) List(ctx context.Context, req ferry.ListRequest) (ferry.Page, error) {
	p, err := h.Remote.List(ctx, req)
	return p, h.seen(ctx, err)
}

func (h *healthRemote) Put(ctx context.Context, key ferry.ObjectKey, body io.ReaderAt, size int64, o ferry.PutOptions) (ferry.Version, error) {
	v, err := h.Remote.Put(ctx, key, body, size, o)
	return v, h.seen(ctx, err)
}

func (h *healthRemote) NewUpload(ctx context.Context, key ferry.ObjectKey, o ferry.PutOptions) (ferry.UploadID, error) {
	id, err := h.Remote.NewUpload(ctx, key, o)
	return id, h.seen(ctx, err)
}

func (h *healthRemote) PutPart(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID, n ferry.PartNumber, body io.ReaderAt, e ferry.Extent) (ferry.Part, error) {
	p, err := h.Remote.PutPart(ctx, key, id, n, body, e)
	return p, h.seen(ctx, err)
}

func (h *healthRemote) CopyPart(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID, n ferry.PartNumber, from ferry.Version, src ferry.Extent) (ferry.Part, error) {
	p, err := h.Remote.CopyPart(ctx, key, id, n, from, src)
	return p, h.seen(ctx, err)
}

func (h *healthRemote) ListParts(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID) ([]ferry.Part, error) {
	parts, err := h.Remote.ListParts(ctx, key, id)
	return parts, h.seen(ctx, err)
}

func (h *healthRemote) Complete(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID, parts []ferry.Part, cond ferry.Precondition) (ferry.Version, error) {
	v, err := h.Remote.Complete(ctx, key, id, parts, cond)
	return v, h.seen(ctx, err)
}

func (h *healthRemote) Abort(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID) error {
	return h.seen(ctx, h.Remote.Abort(ctx, key, id))
}

func (h *healthRemote) Copy(ctx context.Context, from ferry.Version, to ferry.ObjectKey, o ferry.PutOptions) (ferry.Version, error) {
	v, err := h.Remote.Copy(ctx, from, to, o)
	return v, h.seen(ctx, err)
}

func (h *healthRemote) Delete(ctx context.Context, keys []ferry.ObjectKey) (map[ferry.ObjectKey]error, error) {
	failed, err := h.Remote.Delete(ctx, keys)
	return failed, h.seen(ctx, err)
}
