package content

import (
	"context"
	"sync"
	"syscall"
	"time"

	"ferry"
	"ferry/fusefs/tree"
)

// Handle is one open(2). Its use may be concurrent; Release ends it.
type Handle struct {
	in       *inode
	writer   bool
	released sync.Once

	mu  sync.Mutex
	src *source // what this handle reads while the inode has no generation
	rd  *reader // read-ahead over one version; nil until bytes are asked for
}

// Inode returns which inode the handle is of.
func (h *Handle) Inode() ferry.InodeID { return h.in.id }

// OpenFile opens the inode that e describes. flags are open(2)'s; of them the
// access mode and O_TRUNC count. KindConflict if the file is not there any more.
func (f *Files) OpenFile(ctx context.Context, e tree.Entry, flags uint32) (*Handle, error) {
	if e.Kind != ferry.File {
		return nil, &ferry.Error{Op: "content.open", Kind: ferry.KindInvalid, Msg: "not a regular file"}
	}
	in := f.ref(e.ID)
	h := &Handle{in: in, writer: flags&syscall.O_ACCMODE != syscall.O_RDONLY}
	err := f.attachSoon(ctx, h, e)
	if err != nil {
		f.unref(in)
		return nil, err
	}
	if flags&syscall.O_TRUNC != 0 && h.writer {
		if err := f.truncate(in, 0); err != nil {
			f.Release(h)
			return nil, err
		}
	}
	return h, nil
}

// attachSoon is attach with a little patience: the rows of a file may have been
// closed since e was made, and the tree know its object a moment later.
func (f *Files) attachSoon(ctx context.Context, h *Handle, e tree.Entry) error {
	for until := time.Now().Add(followFor); ; {
		err := f.attach(ctx, h, e)
		if !ferry.IsKind(err, ferry.KindConflict) || e.Unlinked || time.Now().After(until) {
			return err
		}
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return err
		}
		if e, err = f.o.Tree.Stat(ctx, e.ID); err != nil {
			return err
		}
	}
}

// attach brings the inode's state up to date with e and joins the handle to it.
func (f *Files) attach(ctx context.Context, h *Handle, e tree.Entry) error {
	in := h.in
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case !in.loaded:
		if err := f.load(in, e); err != nil {
			return err
		}
	case in.gen != "" && e.Content == "" && !in.writable:
		if _, err := f.reload(in, e.Version); err != nil {
			return err
		}
	case in.gen == "" && e.Content == "" && e.Version != nil && !in.src.v.Same(*e.Version):
		// Another version is there. e may be older than what we settled meanwhile:
		// ask again, once, with the events counted.
		seen := in.settled
		in.mu.Unlock()
		fresh, err := f.o.Tree.Stat(ctx, in.id)
		in.mu.Lock()
		if err != nil {
			return err
		}
		if v := fresh.Version; seen == in.settled && in.gen == "" && v != nil && fresh.Content == "" && !in.src.v.Same(*v) {
			in.src = nil // handles opened before keep theirs
			f.useRemote(in, *v)
		}
	}
	h.src = in.src
	if h.writer {
		in.writers++
	}
	return nil
}

// Flush is close(2) of one descriptor: size and mtime as they are now survive
// kill -9 when it returned. Nothing is sent.
func (f *Files) Flush(h *Handle) error {
	in := h.in
	in.mu.Lock()
	defer in.mu.Unlock()
	return f.journalAttrs(in)
}

// Fsync returns when the file's bytes and rows survive a power cut.
func (f *Files) Fsync(ctx context.Context, h *Handle) error {
	if err := f.Flush(h); err != nil {
		return err
	}
	if err := h.in.syncDeferred(); err != nil {
		return err
	}
	return f.o.Journal.Sync(ctx)
}

// Release ends the handle. After the last one that may write, the generation is
// sealed; after the last one at all, the tree is told.
func (f *Files) Release(h *Handle) {
	h.released.Do(func() {
		h.mu.Lock()
		if h.rd != nil {
			h.rd.close()
			h.rd = nil
		}
		h.mu.Unlock()
		in := h.in
		in.mu.Lock()
		if h.writer {
			in.writers--
		}
		var sealed ferry.Generation
		if in.writers == 0 && in.writable {
			gen := in.gen
			if err := f.seal(in); err != nil {
				// The rows still say that it is being written: the next start seals it.
				f.o.Log.Error("a file could not be sealed", "inode", in.id, "generation", gen, "error", err)
			} else if !in.writable {
				sealed = gen
			}
		}
		in.mu.Unlock()
		f.unref(in)
		if sealed != "" {
			f.o.Uploads.Sealed(sealed)
			f.o.Wake()
		}
	})
}
