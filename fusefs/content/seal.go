package content

import (
	"context"

	"ferry"
)

// journalAttrs writes size and mtime into the inode's row if they have changed.
// in.mu must be held.
func (f *Files) journalAttrs(in *inode) error {
	if !in.writable || in.size == in.journaledSize && in.mtime == in.journaledMtime {
		return nil
	}
	mtime := in.mtime
	err := f.o.Journal.Update(func(tx ferry.Tx) error {
		row, err := f.o.Tree.Ensure(tx, in.id)
		if err != nil {
			return err
		}
		mtime = in.into(row, tx.Upload(in.gen))
		tx.PutInode(row)
		return nil
	})
	if err == nil {
		in.journaledSize, in.journaledMtime = in.size, mtime
	}
	return err
}

// into puts size and times into the row and returns the mtime that it has then.
//
// The metadata of a multipart upload is fixed when it is opened. If that was while
// the file was being written for the first time, its mtime stays what it was then:
// the time at which writing began. The time of the last write would cost a copy of
// the whole object at the server.
func (in *inode) into(row *ferry.Inode, u *ferry.Upload) int64 {
	row.Size = in.size
	if in.fresh && u != nil && u.State == ferry.StateStreaming {
		return row.Attr.Mtime
	}
	if in.mtime != in.journaledMtime && row.Attr.Mtime != in.mtime {
		touch(row, in.mtime)
	}
	return row.Attr.Mtime
}

// touch sets a row's mtime, Unix nanoseconds.
func touch(row *ferry.Inode, mtime int64) {
	row.Attr.Mtime, row.Attr.Ctime = mtime, mtime
	row.AttrSeq++
}

// deferSync keeps the bytes of a file that is being written for the first time out
// of barriers: nothing is promised of them before close or fsync. With a base it
// must not, for the extents that are journaled say that the bytes are there; nor
// for bytes that were closed before. in.mu must be held.
func (in *inode) deferSync() {
	if in.fresh && in.base == nil {
		in.file.Defer(true)
	}
}

// syncDeferred makes the bytes durable that barriers pass over.
func (in *inode) syncDeferred() error {
	in.mu.RLock()
	defer in.mu.RUnlock()
	if !in.writable || in.base != nil || in.file == nil {
		return nil
	}
	return in.file.Sync()
}

// seal says that the content is final: it survives kill -9, and its upload may
// end. An unlinked file is not sealed, for nobody wants it in the bucket.
// in.mu must be held.
func (f *Files) seal(in *inode) error {
	if in.base == nil {
		size, err := in.file.Size()
		if err != nil {
			return err
		}
		in.size = size
	}
	in.file.Defer(false)
	var label Label
	mtime, sealed := in.mtime, false
	f.o.Crash("content.seal.before")
	err := f.o.Journal.Update(func(tx ferry.Tx) error {
		row, err := f.o.Tree.Ensure(tx, in.id)
		if err != nil {
			return err
		}
		u := tx.Upload(in.gen)
		if u == nil || row.Content != in.gen {
			return internal("content.seal", "the generation being written is not the inode's content")
		}
		mtime = in.into(row, u)
		tx.PutInode(row)
		u.Size, u.Path = in.size, row.Path
		if u.State.Writable() && !row.Unlinked {
			if u.State, err = u.State.Next(ferry.EventSealed); err != nil {
				return err
			}
		}
		sealed = !u.State.Writable()
		tx.PutUpload(u)
		label = Label{
			Inode: in.id, Path: row.Path, Attr: row.Attr, Size: in.size, Sealed: sealed,
			Base: in.base, BaseLimit: in.limit,
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.o.Crash("content.seal.after")
	in.mtime, in.journaledSize, in.journaledMtime = mtime, in.size, mtime
	if !sealed {
		return nil
	}
	in.writable = false
	in.publish()
	if in.extents != nil {
		label.Extents = in.extents.All()
	}
	// The label is for the day the journal is lost; without it the file is as safe.
	if err := in.file.Label(label); err != nil {
		f.o.Log.Warn("a staging file could not be labelled", "generation", in.gen, "error", err)
	}
	return nil
}

// Recover is for the daemon's start, before the first handle: truncations that
// have no done are repeated, and every generation that was being written is
// sealed as it is. Generations of inodes that are gone are given up.
func (f *Files) Recover(ctx context.Context) error {
	var todo []*ferry.Upload
	err := f.o.Journal.View(func(tx ferry.Tx) error {
		for u := range tx.Uploads() {
			if u.State.NeedsBytes() && (u.State.Writable() || u.Truncating >= 0) {
				todo = append(todo, u)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, u := range todo {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.recoverOne(u); err != nil {
			return err
		}
	}
	if len(todo) > 0 {
		f.o.Wake()
	}
	return nil
}

func (f *Files) recoverOne(u *ferry.Upload) error {
	file, err := f.o.Staging.Open(u.Generation)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // a failed close loses no bytes
	if u.Truncating >= 0 {
		if err := file.Truncate(u.Truncating); err != nil {
			return err
		}
	}
	size, err := file.Size()
	if err != nil {
		return err
	}
	mtime, err := file.Mtime()
	if err != nil {
		return err
	}
	return f.o.Journal.Update(func(tx ferry.Tx) error {
		u := tx.Upload(u.Generation)
		if u == nil {
			return nil
		}
		in := tx.Inode(u.Inode)
		if in == nil || in.Content != u.Generation {
			ferry.Supersede(tx, u.Generation)
			return nil
		}
		if u.Truncating >= 0 {
			u.Truncating = -1
			tx.PutUpload(u)
		}
		if !u.State.Writable() || in.Unlinked {
			return nil
		}
		if u.Base != nil {
			size = in.Size
			if all := tx.Extents(u.Generation).All(); len(all) > 0 {
				size = max(size, all[len(all)-1].End())
			}
		}
		if in.Size != size {
			// Written since its attributes were journaled, so its mtime is later too.
			in.Size = size
			touch(in, max(in.Attr.Mtime, mtime))
			tx.PutInode(in)
		}
		u.Size = size
		var err error
		if u.State, err = u.State.Next(ferry.EventSealed); err != nil {
			return err
		}
		tx.PutUpload(u)
		return nil
	})
}
