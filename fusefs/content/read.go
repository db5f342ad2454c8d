package content

import (
	"context"
	"errors"
	"io"
	"time"

	"ferry"
)

// followFor is how long a read waits for the news that the object it did not find
// was replaced by our own work.
const followFor = 500 * time.Millisecond

// Read fills p from off and returns how many bytes there are; fewer than asked
// means the end of the file. Bytes that are not here are fetched, with read-ahead.
// KindConflict if another client has replaced the version that h reads.
func (f *Files) Read(ctx context.Context, h *Handle, p []byte, off int64) (int, error) {
	for tries := 0; ; tries++ {
		n, rest, v, err := f.readLocal(h, p, off)
		if err != nil {
			return 0, err
		}
		if len(rest) == 0 {
			return n, nil
		}
		err = f.readRemote(ctx, h, v, p, off, rest)
		if err == nil {
			return n, nil
		}
		if errors.Is(err, errReaderClosed) && tries < 10 {
			continue // the bytes have moved while we waited
		}
		if !ferry.IsKind(err, ferry.KindConflict) && !ferry.IsKind(err, ferry.KindNotFound) || tries >= 3 {
			return 0, err
		}
		ours, ferr := f.followSoon(ctx, h.in)
		if ferr != nil {
			return 0, errors.Join(err, ferr)
		}
		if !ours {
			if t, ok := f.o.Tree.(interface{ Changed(key ferry.ObjectKey) }); ok {
				t.Changed(v.Key) // so that who opens it again finds the new one
			}
			return 0, &ferry.Error{
				Op: "content.read", Key: string(v.Key), Kind: ferry.KindConflict, Err: err,
				Msg: "another client has replaced or deleted the object since it was opened", Hint: "open the file again",
			}
		}
	}
}

// followSoon is follow with a little patience: the journal may know of our own
// work before the event arrives here.
func (f *Files) followSoon(ctx context.Context, in *inode) (bool, error) {
	in.mu.RLock()
	seen := in.settled
	in.mu.RUnlock()
	for until := time.Now().Add(followFor); ; {
		ours, err := f.follow(ctx, in)
		if ours || err != nil {
			return ours, err
		}
		in.mu.RLock()
		news := in.settled != seen
		in.mu.RUnlock()
		if news {
			return true, nil
		}
		if time.Now().After(until) {
			return false, nil
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return false, err
		}
	}
}

// readLocal reads what staging holds and fills in zeros; rest are the extents
// that must come from version v. n is how many bytes of p are inside the file.
func (f *Files) readLocal(h *Handle, p []byte, off int64) (n int, rest []ferry.Extent, v ferry.Version, err error) {
	in := h.in
	in.mu.RLock()
	defer in.mu.RUnlock()
	size := in.size
	if in.gen == "" {
		v = h.src.v
		size = v.Size
	}
	if off < 0 || off >= size {
		return 0, nil, v, nil
	}
	n = int(min(int64(len(p)), size-off))
	window := ferry.Extent{Offset: off, Length: int64(n)}
	switch {
	case in.gen == "":
		return n, []ferry.Extent{window}, v, nil
	case in.base == nil:
		m, err := in.file.ReadAt(p[:n], off)
		if m < n && (err == nil || errors.Is(err, io.EOF)) {
			clear(p[m:n]) // never: the file is as long as the content
			err = nil
		}
		return n, nil, v, staged(err)
	}
	v = *in.base
	for _, r := range in.extents.Runs(window) {
		part := p[r.Offset-off : r.End()-off]
		if r.In {
			if _, err := in.file.ReadAt(part, r.Offset); err != nil {
				return 0, nil, v, staged(err)
			}
			continue
		}
		theirs := r.Intersect(ferry.Extent{Length: in.limit})
		if theirs.Length > 0 {
			rest = append(rest, theirs)
		} else {
			theirs = ferry.Extent{Offset: r.Offset}
		}
		clear(p[theirs.End()-off : r.End()-off])
	}
	return n, rest, v, nil
}

// staged classifies an error of reading a staging file.
func staged(err error) error {
	if err == nil {
		return nil
	}
	return &ferry.Error{Op: "content.read", Kind: ferry.KindCorrupt, Err: err, Msg: "a staging file could not be read"}
}

// Borrow is Read without a copy, for bytes of a clean file that lie in one block.
// ok false says nothing but that Read has to be asked. Else done must be called,
// once, when data is not used any more.
func (f *Files) Borrow(ctx context.Context, h *Handle, n int, off int64) (data []byte, done func(), ok bool) {
	h.in.mu.RLock()
	clean := h.in.gen == "" && h.src != nil
	var v ferry.Version
	if clean {
		v = h.src.v
	}
	h.in.mu.RUnlock()
	if !clean || off < 0 || off >= v.Size {
		return nil, nil, false
	}
	e := ferry.Extent{Offset: off, Length: min(int64(n), v.Size-off)}
	b, err := f.reader(h, v).need(ctx, e.Offset, e.Length)
	if err != nil {
		return nil, nil, false
	}
	if b.End() >= e.End() {
		if data, err = b.bytes(ctx, e); err == nil {
			return data, b.drop, true
		}
	}
	b.drop()
	return nil, nil, false
}

// reader returns the handle's reader of v.
func (f *Files) reader(h *Handle, v ferry.Version) *reader {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rd != nil && h.rd.v != v {
		h.rd.close()
		h.rd = nil
	}
	if h.rd == nil {
		h.rd = f.ahead.openReader(v)
	}
	return h.rd
}

// readRemote fetches the extents into p, whose first byte is the file's at off.
func (f *Files) readRemote(ctx context.Context, h *Handle, v ferry.Version, p []byte, off int64, rest []ferry.Extent) error {
	rd := f.reader(h, v)
	for _, e := range rest {
		if err := rd.read(ctx, p[e.Offset-off:e.End()-off], e.Offset); err != nil {
			return err
		}
	}
	return nil
}
