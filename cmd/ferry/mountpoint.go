package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"

	"golang.org/x/sys/unix"

	"ferry/service/control"
)

// checkMountpoint refuses a folder that cannot be mounted on. A dead mount of
// ours that lies there is taken away first.
func checkMountpoint(given, abs string) error {
	info, err := os.Lstat(abs)
	if err == nil && slices.Contains(control.MountedAt(abs), control.FSType) {
		// The kernel answers stat from what it remembers for a second; statfs it
		// always asks the daemon for, so that a dead one shows.
		err = unix.Statfs(abs, &unix.Statfs_t{})
	}
	if isDeadMount(err) {
		if types := control.MountedAt(abs); !slices.Contains(types, control.FSType) {
			return refuse(exitBusy, "unmount it first", "the mount point %s holds a dead mount that is not ferry's", given)
		}
		if err := detach(abs); err != nil {
			return err
		}
	}
	if err == nil || isDeadMount(err) {
		info, err = os.Lstat(abs)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse(exitNoFolder, "make it with mkdir", "the mount point %s is not there", given)
	case err != nil:
		return coded(exitNoFolder, fmt.Errorf("the mount point %s cannot be looked at: %w", given, err))
	case !info.IsDir():
		return refuse(exitNoFolder, "give a folder", "the mount point %s is no folder", given)
	}
	if types := control.MountedAt(abs); len(types) > 0 {
		return refuse(exitBusy, "unmount it, or mount elsewhere", "something is mounted at %s already (%s)", given, types[len(types)-1])
	}
	dir, err := os.Open(abs)
	if err != nil {
		return coded(exitNoFolder, fmt.Errorf("the mount point %s cannot be read: %w", given, err))
	}
	defer dir.Close()
	if names, err := dir.Readdirnames(1); !errors.Is(err, io.EOF) {
		if err != nil {
			return coded(exitNoFolder, fmt.Errorf("the mount point %s cannot be read: %w", given, err))
		}
		return refuse(exitNotEmpty, "what is in it would be hidden: mount on an empty folder", "the mount point %s is not empty (it holds %q)", given, names[0])
	}
	if unix.Access(abs, unix.W_OK) != nil {
		return refuse(exitNoFolder, "give a folder of your own", "the mount point %s is not yours to mount on", given)
	}
	return nil
}

// isDeadMount reports whether err is what every call gets in a FUSE mount whose
// daemon is gone.
func isDeadMount(err error) bool {
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)
}

// detach takes a mount out of the tree; who still has files open there keeps
// getting errors. Root may, others ask fusermount3.
func detach(abs string) error {
	err := unix.Unmount(abs, unix.MNT_DETACH)
	if err == nil {
		return nil
	}
	if out, err2 := exec.Command("fusermount3", "-u", "-z", "--", abs).CombinedOutput(); err2 != nil {
		return coded(exitBusy, fmt.Errorf("the dead mount at %s cannot be taken away: %w: %s", abs, err, out))
	}
	return nil
}
