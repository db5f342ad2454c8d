package content

import (
	"context"
	"strings"

	"ferry"
	"ferry/fusefs/tree"
)

// Settled says that our own work has put obj at key. If its generation is the
// content of an open file, handles read the object from now on and the staging
// file is let go. Best called after the change is in the journal; before, it does
// nothing, and the file is let go when it is opened or closed next.
func (f *Files) Settled(_ ferry.ObjectKey, obj ferry.Object) {
	f.mu.Lock()
	in := f.inodes[f.staged[obj.Generation]]
	f.mu.Unlock()
	if in == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.settled++
	v := &obj.Version
	if in.gen != obj.Generation {
		v = nil
	}
	if _, err := f.reload(in, v); err != nil {
		f.o.Log.Error("an open file could not follow its object", "inode", in.id, "error", err)
	}
}

// reload follows the rows: it reports whether bytes are now to be read elsewhere.
// v is where they are if there is no row any more, nil if that is not known.
// in.mu must be held.
func (f *Files) reload(in *inode, v *ferry.Version) (changed bool, err error) {
	r, err := f.rows(in.id)
	if err != nil {
		return false, err
	}
	switch {
	case r.inode != nil && r.inode.Content != "" && r.inode.Content == in.gen:
		if r.upload.Base != nil && in.base != nil && *r.upload.Base != *in.base {
			in.base = r.upload.Base
			changed = true
		}
		return changed, nil
	case r.inode != nil && r.inode.Content != "":
		return true, f.load(in, tree.Entry{ID: in.id})
	case r.inode != nil && r.inode.Remote != nil:
		v = r.inode.Remote
	}
	if v == nil || in.gen == "" && in.src.v == *v {
		return false, nil
	}
	f.useRemote(in, *v)
	return true, nil
}

// follow is called when a version that was to be read is not there: it reports
// whether the reason is our own work, so that reading again can succeed.
func (f *Files) follow(ctx context.Context, in *inode) (bool, error) {
	e, err := f.o.Tree.Stat(ctx, in.id)
	if err != nil {
		return false, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	v := e.Version
	if v != nil && in.gen == "" && v.Key == in.src.v.Key && !f.ours(v.Generation) {
		v = nil
	}
	return f.reload(in, v)
}

// ours reports whether this start of the daemon made the generation.
func (f *Files) ours(g ferry.Generation) bool { return strings.HasPrefix(string(g), f.start) }
