package content

import (
	"context"
	"syscall"
	"time"

	"ferry"
	"ferry/fusefs/tree"
)

// zeroBlock is the unit in which zeros are written over a punched range.
const zeroBlock = 256 << 10

// Modes of fallocate(2).
const (
	fallocKeepSize  = 0x01
	fallocPunchHole = 0x02
	fallocZeroRange = 0x10
)

// SetSize truncates or extends the file that e describes, to size bytes. When it
// returned, that survives kill -9. No handle is needed.
func (f *Files) SetSize(ctx context.Context, e tree.Entry, size int64) error {
	if size < 0 || size > ferry.MaxObjectSize {
		return &ferry.Error{Op: "content.truncate", Kind: ferry.KindTooLarge, Msg: "an object holds at most 5 TiB"}
	}
	h, err := f.OpenFile(ctx, e, syscall.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Release(h)
	return f.truncate(h.in, size)
}

func (f *Files) truncate(in *inode, size int64) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.writable && size == in.size && size > 0 {
		return nil // nothing to put into the bucket
	}
	if err := f.makeWritable(in, size == 0); err != nil {
		return err
	}
	return f.setSize(in, size)
}

// setSize is the truncation itself. in.mu must be held and the inode be writable.
//
// Down is an intent, the change of the staging file, and a done: a kill between
// them is repeated at the next start, never after it, for later writes may have
// made the file longer again. Up needs no intent: without a base it is one step
// of the file system, with a base only the row changes.
func (f *Files) setSize(in *inode, size int64) error {
	old := in.size
	in.mtime = time.Now().UnixNano()
	defer in.publish()
	switch {
	case size == old:
		return nil
	case size > old:
		if in.base == nil {
			if err := in.file.Truncate(size); err != nil {
				return err
			}
		} else if err := f.resize(in, size, func(*ferry.Upload) {}); err != nil {
			return err
		}
		in.size = size
		if in.base == nil {
			f.o.Uploads.Grown(in.id, in.gen, size)
		}
		return nil
	}
	base, limit, extents := in.base, min(in.limit, size), in.extents
	if extents != nil {
		extents = extents.Clone()
		extents.Truncate(size)
	}
	if size == 0 {
		base, extents = nil, nil // nothing of the base is left: from now on the file is the truth
	}
	f.o.Crash("content.truncate.before")
	err := f.o.Journal.Update(func(tx ferry.Tx) error {
		u := tx.Upload(in.gen)
		if u == nil {
			return internal("content.truncate", "the generation being written has no row")
		}
		u.Truncating = size
		if u.Base != nil {
			u.BaseLimit = limit
			set := extents
			if size == 0 {
				u.Base, set = nil, ferry.NewExtentSet()
			}
			tx.SetExtents(in.gen, set)
		}
		tx.PutUpload(u)
		row, err := f.o.Tree.Ensure(tx, in.id)
		if err != nil {
			return err
		}
		row.Size = size
		tx.PutInode(row)
		return nil
	})
	if err != nil {
		return err
	}
	f.o.Crash("content.truncate.intent")
	in.base, in.limit, in.extents, in.size = base, limit, extents, size
	if have, err := in.file.Size(); err != nil {
		return err
	} else if have > size || in.base == nil {
		if err := in.file.Truncate(size); err != nil {
			return err
		}
	}
	f.o.Crash("content.truncate.cut")
	if err := f.resize(in, size, func(u *ferry.Upload) { u.Truncating = -1 }); err != nil {
		return err
	}
	f.o.Uploads.Rewritten(in.gen, ferry.Extent{Offset: size, Length: old - size})
	return nil
}

// resize journals a size and what else change does to the upload's row.
func (f *Files) resize(in *inode, size int64, change func(*ferry.Upload)) error {
	return f.o.Journal.Update(func(tx ferry.Tx) error {
		u := tx.Upload(in.gen)
		if u == nil {
			return internal("content.truncate", "the generation being written has no row")
		}
		change(u)
		tx.PutUpload(u)
		row, err := f.o.Tree.Ensure(tx, in.id)
		if err != nil {
			return err
		}
		row.Size = size
		if row.Attr.Mtime != in.mtime {
			touch(row, in.mtime)
		}
		tx.PutInode(row)
		in.journaledSize, in.journaledMtime = size, in.mtime
		return nil
	})
}

// Fallocate is fallocate(2). Space is not set aside: a plain allocation sets the
// size, a punched or zeroed range is written with zeros. Other modes are
// KindUnsupported.
func (f *Files) Fallocate(ctx context.Context, h *Handle, mode uint32, e ferry.Extent) error {
	switch {
	case !h.writer:
		return &ferry.Error{Op: "content.fallocate", Kind: ferry.KindBadHandle}
	case e.Offset < 0 || e.Length <= 0:
		return &ferry.Error{Op: "content.fallocate", Kind: ferry.KindInvalid}
	case e.Length > ferry.MaxObjectSize-e.Offset:
		return &ferry.Error{Op: "content.fallocate", Kind: ferry.KindTooLarge, Msg: "an object holds at most 5 TiB"}
	}
	switch mode {
	case fallocKeepSize:
		return nil
	case 0:
		return f.extend(h.in, e.End())
	case fallocZeroRange:
		if err := f.zero(ctx, h, e); err != nil {
			return err
		}
		return f.extend(h.in, e.End())
	case fallocZeroRange | fallocKeepSize, fallocPunchHole | fallocKeepSize:
		return f.zero(ctx, h, e)
	default:
		return &ferry.Error{Op: "content.fallocate", Kind: ferry.KindUnsupported}
	}
}

// extend makes the file at least size bytes long.
func (f *Files) extend(in *inode, size int64) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if size <= in.size {
		return nil
	}
	if err := f.makeWritable(in, false); err != nil {
		return err
	}
	return f.setSize(in, size)
}

// zero writes zeros over those bytes of e that lie inside the file.
func (f *Files) zero(ctx context.Context, h *Handle, e ferry.Extent) error {
	zeros := make([]byte, zeroBlock)
	for off := e.Offset; off < e.End(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.zeroSome(ctx, h, zeros, off, e.End())
		if err != nil || n == 0 {
			return err
		}
		off += int64(n)
	}
	return nil
}

func (f *Files) zeroSome(ctx context.Context, h *Handle, zeros []byte, off, end int64) (int, error) {
	if err := f.room(ctx, int64(len(zeros))); err != nil {
		return 0, err
	}
	in := h.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if end = min(end, in.size); off >= end {
		return 0, nil
	}
	if err := f.makeWritable(in, false); err != nil {
		return 0, err
	}
	return f.write(in, zeros[:min(int64(len(zeros)), end-off)], off)
}
