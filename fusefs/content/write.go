package content

import (
	"context"
	"errors"
	"time"

	"ferry"
)

// grownEvery is how far a file has to grow before the syncer is told again.
const grownEvery = 1 << 20

// Write writes p at off. When it returned, the bytes survive kill -9. n may be
// short with an error. KindNoSpace if the staging budget is used up and nothing
// was stored for a while.
func (f *Files) Write(ctx context.Context, h *Handle, p []byte, off int64) (n int, err error) {
	switch {
	case !h.writer:
		return 0, &ferry.Error{Op: "content.write", Kind: ferry.KindBadHandle}
	case off < 0 || off+int64(len(p)) > ferry.MaxObjectSize:
		return 0, &ferry.Error{Op: "content.write", Kind: ferry.KindTooLarge, Msg: "an object holds at most 5 TiB"}
	case len(p) == 0:
		return 0, nil
	}
	if err := f.room(ctx, int64(len(p))); err != nil {
		return 0, err
	}
	in := h.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := f.makeWritable(in, false); err != nil {
		return 0, err
	}
	return f.write(in, p, off)
}

// write puts p into the staging file and, on first touch of a file with a base,
// its extent into the journal. in.mu must be held and the inode be writable.
func (f *Files) write(in *inode, p []byte, off int64) (n int, err error) {
	n, err = in.file.WriteAt(p, off)
	if n == 0 {
		return 0, err
	}
	e := ferry.Extent{Offset: off, Length: int64(n)}
	if in.base != nil && !in.extents.Contains(e) {
		f.o.Crash("content.write.staged")
		jerr := f.o.Journal.Update(func(tx ferry.Tx) error {
			tx.AddExtent(in.gen, e)
			return nil
		})
		if jerr != nil {
			return 0, jerr
		}
		f.o.Crash("content.write.journaled")
		in.extents.Add(e)
	}
	old := in.size
	in.size = max(in.size, e.End())
	in.mtime = time.Now().UnixNano()
	in.publish()
	if off < old {
		f.o.Uploads.Rewritten(in.gen, e)
	}
	if in.base == nil && old/grownEvery != in.size/grownEvery {
		f.o.Uploads.Grown(in.id, in.gen, in.size)
	}
	return n, err
}

// errBusy says that the request that makes the object is under way, so that the
// generation cannot be unsealed.
var errBusy = errors.New("completing")

// makeWritable gives the inode a generation that can be written: a new one over
// the stored object, or the sealed one again. empty says that nothing of the old
// content is wanted, so that no base is needed. in.mu must be held.
func (f *Files) makeWritable(in *inode, empty bool) error {
	if in.writable {
		return nil
	}
	cloned := false
	for range 3 {
		var after rows
		err := f.o.Journal.Update(func(tx ferry.Tx) error {
			row, err := f.o.Tree.Ensure(tx, in.id)
			if err != nil {
				return err
			}
			if row.Content == "" {
				after, err = f.begin(tx, row, empty)
			} else {
				after, err = f.unseal(tx, row)
			}
			return err
		})
		f.o.Crash("content.writable")
		switch {
		case errors.Is(err, errBusy):
			if err := f.clone(in, empty); err != nil {
				return err
			}
			cloned = true
			continue // the clone is the content now, or the object is stored
		case err != nil:
			return err
		}
		if in.file != nil && in.gen == after.inode.Content {
			in.writable, in.fresh = true, false
			in.mtime = after.inode.Attr.Mtime
			in.journaledSize, in.journaledMtime = after.inode.Size, in.mtime
			in.base, in.limit, in.extents = after.upload.Base, after.upload.BaseLimit, after.extents
			in.publish()
			return nil
		}
		file, err := f.o.Staging.Open(after.inode.Content)
		if err != nil {
			return err
		}
		if err := f.useStaging(in, after, file); err != nil {
			return err
		}
		if !cloned { // a clone holds bytes that were closed
			in.deferSync()
		}
		return nil
	}
	return &ferry.Error{Op: "content.write", Kind: ferry.KindTransient, Msg: "the file keeps being stored"}
}

// begin makes a new generation over the stored object.
func (f *Files) begin(tx ferry.Tx, row *ferry.Inode, empty bool) (rows, error) {
	u := &ferry.Upload{
		Generation: f.o.Generations.Next(), Inode: row.ID, State: ferry.StateDirty, Path: row.Path,
		Truncating: -1, Since: time.Now().UnixNano(),
	}
	r := rows{inode: row, upload: u}
	row.Size = 0
	if v := row.Remote; v != nil && v.Size > 0 && !empty {
		base := *v
		u.Base, u.BaseLimit, r.extents = &base, v.Size, ferry.NewExtentSet()
		row.Size = v.Size
	}
	row.Content = u.Generation
	touch(row, u.Since) // the upload may be opened long before the last write
	tx.PutUpload(u)
	tx.PutInode(row)
	return r, nil
}

// unseal makes the sealed generation writable again.
func (f *Files) unseal(tx ferry.Tx, row *ferry.Inode) (r rows, err error) {
	u := tx.Upload(row.Content)
	if u == nil {
		return r, internal("content.unseal", "the content of an inode has no upload row")
	}
	if u.State == ferry.StateCompleting {
		return r, errBusy
	}
	if !u.State.Writable() {
		if u.State == ferry.StateParked {
			// What is written now deserves a try of its own.
			u.Reason = ""
			if k := tx.Key(row.Key()); k != nil && k.Parked != "" {
				k.Parked, k.Attempts = "", 0
				tx.PutKey(k)
			}
		}
		if u.State, err = u.State.Next(ferry.EventUnsealed); err != nil {
			return r, err
		}
		row.Size = u.Size
		touch(row, time.Now().UnixNano())
		tx.PutUpload(u)
		tx.PutInode(row)
	}
	r = rows{inode: row, upload: u}
	if u.Base != nil {
		r.extents = tx.Extents(u.Generation).Clone()
	}
	return r, nil
}

// clone gives the inode a new generation with the bytes of the sealed one, whose
// object is being made right now. If that has ended meanwhile nothing changes:
// the object is the base then. Nothing is copied if empty says that none of the
// old content is wanted. in.mu must be held.
func (f *Files) clone(in *inode, empty bool) error {
	r, err := f.rows(in.id)
	if err != nil || r.upload == nil {
		return err
	}
	from, to := r.upload.Generation, f.o.Generations.Next()
	if !empty {
		if err := f.o.Staging.Clone(from, to, r.extents); err != nil {
			return errors.Join(err, f.o.Staging.Remove(to))
		}
	}
	f.o.Crash("content.cloned")
	done := false
	err = f.o.Journal.Update(func(tx ferry.Tx) error {
		done = false
		row, err := f.o.Tree.Ensure(tx, in.id)
		if err != nil {
			return err
		}
		u := tx.Upload(from)
		if row.Content != from || u == nil || u.State != ferry.StateCompleting {
			return nil
		}
		c := &ferry.Upload{
			Generation: to, Inode: row.ID, State: ferry.StateDirty, Path: row.Path,
			Truncating: -1, Since: time.Now().UnixNano(),
		}
		row.Content, row.Size = to, 0
		if !empty {
			row.Size = u.Size
			c.Base, c.BaseLimit = u.Base, u.BaseLimit
		}
		touch(row, c.Since)
		tx.PutUpload(c)
		if c.Base != nil {
			tx.SetExtents(to, tx.Extents(from).Clone())
		}
		tx.PutInode(row)
		done = true
		return nil
	})
	if err != nil || !done {
		return errors.Join(err, f.o.Staging.Remove(to))
	}
	return nil
}

// SetMtime says that the inode's mtime was set by name (Unix nanoseconds), so
// that sealing does not put the time of the last write over it.
func (f *Files) SetMtime(id ferry.InodeID, mtime int64) {
	f.mu.Lock()
	in := f.inodes[id]
	f.mu.Unlock()
	if in == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.loaded {
		return
	}
	in.mtime, in.journaledMtime = mtime, mtime
	in.publish()
}
