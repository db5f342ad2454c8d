package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The wiring's own files in the state directory; the journal has more.
const (
	identityFile   = "identity.json" // written by the journal
	checkpointFile = "journal.db"    // the same
	socketFile     = "control.sock"
	logFile        = "ferry.log"
	// stagingFloor is the least free space to mount with: the journal's ballast
	// and a few parts.
	stagingFloor = 256 << 20
)

// stateDir is what is known of the state directory before the journal opens it.
type stateDir struct {
	path string
	// used says that a journal was opened in it before.
	used bool
	// lost says that journal.db is not there.
	lost bool
	// unsafe is a warning if the file system's promises are not known.
	unsafe string
}

// prepareStateDir makes the directory and refuses what cannot keep the promises.
func prepareStateDir(c *mountConfig) (*stateDir, error) {
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return nil, refuse(exitFailed, "choose another with --state-dir", "the state directory %s cannot be made: %v", c.StateDir, errors.Unwrap(err))
	}
	// It holds the bytes of files and the shape of the tree.
	if err := os.Chmod(c.StateDir, 0o700); err != nil {
		return nil, refuse(exitFailed, "choose another with --state-dir", "the state directory %s is not yours: %v", c.StateDir, errors.Unwrap(err))
	}
	s := &stateDir{path: c.StateDir}
	var err error
	if s.unsafe, err = checkStateFS(c.StateDir, c.UnsafeFS); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(filepath.Join(s.path, identityFile)); err == nil {
		s.used = true
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, coded(exitFailed, fmt.Errorf("the state directory cannot be read: %w", err))
	}
	s.lost = checkpointLost(s.path)
	// A mount that is full of staged bytes must come up to send them.
	free, err := freeBytes(s.path)
	if err != nil {
		return nil, err
	}
	if !s.used && free < stagingFloor {
		return nil, refuse(exitNoSpace, "free some, or put the state elsewhere with --state-dir",
			"there are %s free for staging in %s, and %s are needed", formatSize(free), s.path, formatSize(stagingFloor))
	}
	return s, nil
}

// checkpointLost reports whether journal.db is gone although a journal was there:
// then the journal gives back what log and staging hold, and it is said.
func checkpointLost(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, checkpointFile))
	_, errID := os.Lstat(filepath.Join(dir, identityFile))
	return errors.Is(err, fs.ErrNotExist) && errID == nil
}

// stagingMax is the staging budget: as given, or half of what is free and in use
// by staging already.
func stagingMax(c *mountConfig, s *stateDir, used int64) (int64, error) {
	free, err := freeBytes(s.path)
	if err != nil {
		return 0, err
	}
	if c.StagingMax == 0 {
		return max((free+used)/2, stagingFloor/2), nil
	}
	if c.StagingMax > free+used {
		return 0, refuse(exitNoSpace, "lower --staging-max, or put the state elsewhere with --state-dir",
			"--staging-max asks for %s and %s are free in %s", formatSize(c.StagingMax), formatSize(free+used), s.path)
	}
	return c.StagingMax, nil
}

// The file systems whose promises ferry's recovery is tested on: statfs(2)'s
// magic numbers.
var knownFS = map[int64]string{
	unix.EXT4_SUPER_MAGIC:  "ext4",
	unix.XFS_SUPER_MAGIC:   "xfs",
	unix.BTRFS_SUPER_MAGIC: "btrfs",
}

// otherFS names some that are refused, for the sentence.
var otherFS = map[int64]string{
	unix.TMPFS_MAGIC: "tmpfs, which a restart empties", unix.NFS_SUPER_MAGIC: "NFS", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	unix.FUSE_SUPER_MAGIC: "FUSE", unix.SMB2_SUPER_MAGIC: "SMB", 0x2fc12fc1: "ZFS", unix.RAMFS_MAGIC: "ramfs",
}

// checkStateFS refuses a file system that is not known to keep the promises, or
// returns a warning where the person insists.
func checkStateFS(dir string, insist bool) (warning string, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", coded(exitFailed, fmt.Errorf("the state directory %s: %w", dir, err))
	}
	kind := int64(st.Type) //nolint:unconvert // int32 on some platforms
	if _, ok := knownFS[kind]; ok {
		return "", nil
	}
	name := otherFS[kind]
	if name == "" {
		name = fmt.Sprintf("of a kind that ferry does not know (0x%x)", kind)
	}
	if insist {
		return fmt.Sprintf("The state directory's file system is %s: what survives a power cut there is not known.", name), nil
	}
	return "", refuse(exitStateFS, "put it on ext4, xfs or btrfs with --state-dir, or accept the risk with --state-fs-unsafe",
		"the file system of the state directory %s is %s", dir, name)
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, coded(exitFailed, fmt.Errorf("the state directory %s: %w", dir, err))
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // int32 on some platforms
}
