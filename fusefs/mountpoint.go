package fusefs

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"ferry"
)

// ourType is the type that our mounts have in the kernel's table.
const ourType = "fuse.ferry"

// CheckMountpoint returns the absolute path of a mount point that can be used: an
// empty directory, on which nothing is mounted. A mount of ferry whose daemon is
// dead is detached. Else the error is a sentence of KindNotFound, KindInvalid,
// KindBusy or KindDenied.
func CheckMountpoint(path string, log *slog.Logger) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", &ferry.Error{Op: "fusefs.mountpoint", Key: path, Kind: ferry.KindInvalid, Err: err}
	}
	bad := func(kind ferry.Kind, msg, hint string, err error) (string, error) {
		return "", &ferry.Error{Op: "fusefs.mountpoint", Key: abs, Kind: kind, Msg: msg, Hint: hint, Err: err}
	}
	info, err := os.Stat(abs)
	if err == nil && mountedAt(abs) == ourType {
		// The kernel answers stat from what it remembers for a second; statfs it
		// always asks the daemon for, so that a dead one shows.
		err = syscall.Statfs(abs, &syscall.Statfs_t{})
	}
	if errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.ECONNABORTED) {
		if mountedAt(abs) != ourType {
			return bad(ferry.KindBusy, "the mount point holds a dead mount of another file system", "detach it: fusermount3 -uz "+abs, nil)
		}
		log.Warn("a mount whose daemon is dead is detached", "mountpoint", abs)
		if err := detach(abs); err != nil {
			return bad(ferry.KindBusy, "the mount point holds a dead mount that cannot be detached", "try: umount -l "+abs, err)
		}
		info, err = os.Stat(abs)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return bad(ferry.KindNotFound, "the mount point does not exist", "make it: mkdir -p "+abs, nil)
	case errors.Is(err, fs.ErrPermission):
		return bad(ferry.KindDenied, "the mount point cannot be reached", "", err)
	case err != nil:
		return bad(ferry.KindInvalid, "the mount point cannot be used", "", err)
	case !info.IsDir():
		return bad(ferry.KindInvalid, "the mount point is not a directory", "", nil)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real // the kernel's table has the real path
	}
	if kind := mountedAt(abs); kind == ourType {
		return bad(ferry.KindBusy, "ferry is already mounted there", "unmount it first: ferry umount "+abs, nil)
	}
	d, err := os.Open(abs)
	if err != nil {
		return bad(ferry.KindDenied, "the mount point cannot be read", "", err)
	}
	defer d.Close()
	if names, err := d.Readdirnames(1); err != nil && !errors.Is(err, io.EOF) {
		return bad(ferry.KindInvalid, "the mount point cannot be read", "", err)
	} else if len(names) > 0 {
		return bad(ferry.KindInvalid, "the mount point is not empty", "mount on an empty directory: what is in this one would be hidden", nil)
	}
	return abs, nil
}

// fusermountDetach asks the set-uid helper, for who is not root.
func fusermountDetach(path string) error {
	bin, err := exec.LookPath("fusermount3")
	if err != nil {
		bin = "/bin/fusermount3"
	}
	return exec.Command(bin, "-uz", path).Run()
}
