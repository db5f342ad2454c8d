package content

import (
	"ferry"
	"ferry/fusefs/tree"
)

// rows is what the journal has of one inode.
type rows struct {
	inode   *ferry.Inode // nil: no row
	upload  *ferry.Upload
	extents *ferry.ExtentSet
}

func (f *Files) rows(id ferry.InodeID) (r rows, err error) {
	err = f.o.Journal.View(func(tx ferry.Tx) error {
		r = rows{inode: tx.Inode(id)}
		if r.inode == nil || r.inode.Content == "" {
			return nil
		}
		r.upload = tx.Upload(r.inode.Content)
		if r.upload == nil {
			return internal("content.rows", "the content of an inode has no upload row")
		}
		if r.upload.Base != nil {
			r.extents = tx.Extents(r.upload.Generation).Clone()
		}
		return nil
	})
	return r, err
}

// load fills in from the rows, or from e if there is none. in.mu must be held.
func (f *Files) load(in *inode, e tree.Entry) error {
	for range 10 {
		r, err := f.rows(in.id)
		if err != nil {
			return err
		}
		if r.inode == nil || r.inode.Content == "" {
			v := e.Version
			if r.inode != nil {
				v = r.inode.Remote
			}
			if v == nil {
				return &ferry.Error{Op: "content.open", Kind: ferry.KindConflict, Msg: "the file is not there any more"}
			}
			f.useRemote(in, *v)
			in.mtime = e.Attr.Mtime
			in.loaded = true
			return nil
		}
		file, err := f.o.Staging.Open(r.upload.Generation)
		if err != nil {
			return err
		}
		// A generation may be stored and its file freed between the look at the rows
		// and the opening, which then made a new empty one: look again.
		again, err := f.rows(in.id)
		if err != nil || again.inode == nil || again.inode.Content != r.upload.Generation {
			file.Close() //nolint:errcheck // nothing was written
			if err != nil {
				return err
			}
			if err := f.o.Staging.Remove(r.upload.Generation); err != nil {
				return err
			}
			continue
		}
		if err := f.useStaging(in, again, file); err != nil {
			return err
		}
		if in.size == 0 {
			in.deferSync()
		}
		return nil
	}
	return &ferry.Error{Op: "content.open", Kind: ferry.KindTransient, Msg: "the file keeps changing"}
}

// useRemote says that the bytes are in v. in.mu must be held.
func (f *Files) useRemote(in *inode, v ferry.Version) {
	f.index(in, "")
	in.closeFile()
	if in.src == nil {
		in.src = &source{}
	}
	in.src.v = v
	in.gen, in.writable, in.base, in.limit, in.extents = "", false, nil, 0, nil
	in.size = v.Size
	in.publish()
}

// useStaging says that the bytes are those of r's generation. in.mu must be held.
func (f *Files) useStaging(in *inode, r rows, file StagingFile) error {
	size, err := stagedSize(r, file)
	if err != nil {
		file.Close() //nolint:errcheck // nothing was written
		return err
	}
	f.index(in, r.upload.Generation)
	in.closeFile()
	if in.src == nil {
		in.src = &source{}
	}
	in.gen, in.file = r.upload.Generation, file
	in.base, in.limit, in.extents = r.upload.Base, r.upload.BaseLimit, r.extents
	in.writable = r.upload.State.Writable()
	in.fresh = in.writable
	in.size, in.mtime = size, r.inode.Attr.Mtime
	in.journaledSize, in.journaledMtime = r.inode.Size, in.mtime
	in.loaded = true
	in.publish()
	return nil
}

// index keeps Files.staged in step when the generation of in becomes g. in.mu must
// be held.
func (f *Files) index(in *inode, g ferry.Generation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if in.gen != "" {
		delete(f.staged, in.gen)
	}
	if g != "" {
		f.staged[g] = in.id
	}
}

// stagedSize returns how long a staged content is. While it is being written, the
// staging file itself says so; with a base, the row and the extents do.
func stagedSize(r rows, file StagingFile) (int64, error) {
	switch {
	case !r.upload.State.Writable():
		return r.upload.Size, nil
	case r.upload.Base == nil:
		return file.Size()
	default:
		size := r.inode.Size
		if all := r.extents.All(); len(all) > 0 {
			size = max(size, all[len(all)-1].End())
		}
		return size, nil
	}
}
