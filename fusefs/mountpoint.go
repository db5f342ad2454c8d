package fusefs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

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

// detach takes the mount off the tree of names; who uses it keeps what is open.
func detach(mountpoint string) error {
	err := unix.Unmount(mountpoint, unix.MNT_DETACH)
	if err == nil {
		return nil
	}
	if ferr := fusermountDetach(mountpoint); ferr != nil {
		return &ferry.Error{Op: "fusefs.detach", Key: mountpoint, Kind: ferry.KindBusy, Err: errors.Join(err, ferr)}
	}
	return nil
}

// mountedAt returns the type of the topmost file system mounted exactly at path,
// "" if none is.
func mountedAt(path string) string {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	found := ""
	for line := range strings.Lines(string(table)) {
		// 36 35 98:0 /root /mount/point options - type source options
		left, right, ok := strings.Cut(line, " - ")
		f := strings.Fields(left)
		kind, _, _ := strings.Cut(right, " ")
		if ok && len(f) > 4 && unescape(f[4]) == path {
			found = kind
		}
	}
	return found
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		var c byte
		if s[i] == '\\' && i+3 < len(s) {
			if _, err := fmt.Sscanf(s[i+1:i+4], "%03o", &c); err == nil {
				b.WriteByte(c)
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
