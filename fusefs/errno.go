package fusefs

import (
	"context"
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ferry"
	"ferry/fusefs/content"
)

// errnos says which errno each kind of error is. The only such table.
var errnos = map[ferry.Kind]syscall.Errno{
	ferry.KindInternal:    syscall.EIO,
	ferry.KindNotFound:    syscall.ENOENT,
	ferry.KindExists:      syscall.EEXIST,
	ferry.KindConflict:    syscall.ESTALE,
	ferry.KindDenied:      syscall.EACCES,
	ferry.KindNoSpace:     syscall.ENOSPC,
	ferry.KindTransient:   syscall.EIO,
	ferry.KindUnknown:     syscall.EIO,
	ferry.KindCorrupt:     syscall.EIO,
	ferry.KindInvalid:     syscall.EINVAL,
	ferry.KindUnsupported: syscall.EOPNOTSUPP,
	ferry.KindReadOnly:    syscall.EROFS,
	ferry.KindNotDir:      syscall.ENOTDIR,
	ferry.KindIsDir:       syscall.EISDIR,
	ferry.KindNotEmpty:    syscall.ENOTEMPTY,
	ferry.KindTooLarge:    syscall.EFBIG,
	ferry.KindNameTooLong: syscall.ENAMETOOLONG,
	ferry.KindCrossDevice: syscall.EXDEV,
	ferry.KindPerm:        syscall.EPERM,
	ferry.KindNoAttr:      syscall.ENODATA,
	ferry.KindNoUpload:    syscall.EIO,
	ferry.KindBusy:        syscall.EBUSY,
	ferry.KindBadHandle:   syscall.EBADF,
}

// Errno returns the errno of err, 0 for nil.
func Errno(err error) syscall.Errno {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		return syscall.EINTR
	case errors.Is(err, content.ErrBeyondEnd):
		return syscall.ENXIO
	}
	if e, ok := errnos[ferry.KindOf(err)]; ok {
		return e
	}
	return syscall.EIO
}

// status turns err into the answer of request r. What a program cannot have
// expected is logged: the errno alone does not say why.
func (fs *rawFS) status(r *request, err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	errno := Errno(err)
	switch errno {
	case syscall.ENOENT:
	case syscall.EIO, syscall.ESTALE, syscall.ENOSPC, syscall.EROFS, syscall.EACCES, syscall.EXDEV, syscall.EFBIG:
		fs.log.Warn("a request failed", "request", r.op, "inode", r.node, "errno", errno.Error(), "error", err)
	default:
		fs.log.Debug("a request was refused", "request", r.op, "inode", r.node, "errno", errno.Error(), "error", err)
	}
	return fuse.Status(errno)
}
