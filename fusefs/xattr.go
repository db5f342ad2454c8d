package fusefs

import (
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ferry"
)

// kept reports whether attributes of that name are kept: "user.*" are.
func kept(attr string) bool { return strings.HasPrefix(attr, "user.") }

// GetXAttr returns one attribute.
func (fs *rawFS) GetXAttr(cancel <-chan struct{}, h *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	r := fs.begin("GETXATTR", cancel, h)
	defer r.end()
	if !kept(attr) {
		return 0, fuse.ENOTSUP
	}
	v, err := fs.tree.GetXattr(r, ferry.InodeID(h.NodeId), attr)
	if err != nil {
		return 0, fs.status(r, err)
	}
	return fit(dest, v)
}

// ListXAttr returns the names, each ended by a NUL.
func (fs *rawFS) ListXAttr(cancel <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	r := fs.begin("LISTXATTR", cancel, h)
	defer r.end()
	names, err := fs.tree.ListXattr(r, ferry.InodeID(h.NodeId))
	if err != nil {
		return 0, fs.status(r, err)
	}
	var list []byte
	for _, n := range names {
		list = append(append(list, n...), 0)
	}
	return fit(dest, list)
}

// fit copies v into dest; the length that is needed goes with ERANGE.
func fit(dest, v []byte) (uint32, fuse.Status) {
	if len(dest) < len(v) {
		return uint32(len(v)), fuse.ERANGE
	}
	return uint32(copy(dest, v)), fuse.OK
}

// SetXAttr sets one attribute.
func (fs *rawFS) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	r := fs.begin("SETXATTR", cancel, &in.InHeader)
	defer r.end()
	if !kept(attr) {
		return fuse.ENOTSUP
	}
	if reply := r.answered(); reply != nil {
		return fuse.Status(reply.Errno)
	}
	value := append([]byte{}, data...) // the request's memory is used again
	return fs.status(r, fs.tree.SetXattr(r, r.origin(), ferry.InodeID(in.NodeId), attr, value, in.Flags))
}

// RemoveXAttr removes one attribute.
func (fs *rawFS) RemoveXAttr(cancel <-chan struct{}, h *fuse.InHeader, attr string) fuse.Status {
	r := fs.begin("REMOVEXATTR", cancel, h)
	defer r.end()
	if !kept(attr) {
		return fuse.ENOTSUP
	}
	if reply := r.answered(); reply != nil {
		return fuse.Status(reply.Errno)
	}
	return fs.status(r, fs.tree.RemoveXattr(r, r.origin(), ferry.InodeID(h.NodeId), attr))
}
