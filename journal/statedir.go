package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"ferry"
	"ferry/journal/crashpoint"

	"golang.org/x/sys/unix"
)

// Names in a state directory.
const (
	nameLock       = "lock"
	nameIdentity   = "identity.json"
	nameBallast    = "ballast"
	nameCheckpoint = "journal.db"
	nameRedo       = "redo"
	nameStaging    = "staging"
)

// Identity is what a state directory belongs to.
type Identity struct {
	Endpoint string `json:"endpoint"`
	Bucket   string `json:"bucket"`
	Prefix   string `json:"prefix"`
}

// String returns the identity as people write it.
func (i Identity) String() string {
	s := i.Bucket
	if i.Prefix != "" {
		s += "/" + strings.Trim(i.Prefix, "/")
	}
	return s + " at " + i.Endpoint
}

// checkIdentity compares want with what the directory records, or records it.
func checkIdentity(dir string, want Identity) error {
	name := filepath.Join(dir, nameIdentity)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return writeIdentity(name, want)
	}
	if err != nil {
		return osError("journal.identity", name, err)
	}
	var have Identity
	if err := json.Unmarshal(b, &have); err != nil {
		return &ferry.Error{
			Op: "journal.identity", Key: name, Kind: ferry.KindCorrupt, Err: err,
			Msg: "it cannot be read", Hint: "if this state directory is that of " + want.String() + ", remove this file",
		}
	}
	if have != want {
		return &ferry.Error{
			Op: "journal.identity", Key: dir, Kind: ferry.KindInvalid,
			Msg:  fmt.Sprintf("this state directory belongs to %s, not to %s", have, want),
			Hint: "choose another with --name or --state-dir",
		}
	}
	return nil
}

// writeIdentity writes the file so that it is whole or not there.
func writeIdentity(name string, id Identity) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return osError("journal.identity", name, err)
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	return osError("journal.identity", name, err)
}

// lock is the flock that makes a state directory one daemon's.
type lock struct{ f *os.File }

func takeLock(dir string) (*lock, error) {
	name := filepath.Join(dir, nameLock)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, osError("journal.lock", name, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		who := "another process"
		if b, readErr := os.ReadFile(name); readErr == nil && len(b) > 0 {
			who = "process " + strings.TrimSpace(string(b))
		}
		f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, osError("journal.lock", name, err)
		}
		return nil, &ferry.Error{
			Op: "journal.lock", Key: dir, Kind: ferry.KindBusy,
			Msg:  who + " already uses this state directory",
			Hint: "unmount that mount first, or choose another state directory with --name or --state-dir",
		}
	}
	// The number is for people only: the flock is the lock.
	err = errors.Join(f.Truncate(0), writePID(f))
	if err != nil {
		f.Close()
		return nil, osError("journal.lock", name, err)
	}
	return &lock{f}, nil
}

func writePID(f *os.File) error {
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func (l *lock) release() error { return l.f.Close() }

// File systems whose rename, fsync and sparse files do what ferry relies on.
const (
	magicExt4  = 0xEF53
	magicXFS   = 0x58465342
	magicBtrfs = 0x9123683E
)

func otherFS() map[int64]string {
	return map[int64]string{
		0x01021994: "tmpfs, which a reboot empties", 0x6969: "NFS", 0x794c7630: "overlay",
		0x2FC12FC1: "ZFS", 0xFF534D42: "CIFS", 0xFE534D42: "SMB", 0x65735546: "FUSE", 0x4d44: "FAT",
	}
}

// checkFS refuses a file system that is not known to keep what fsync promised.
func checkFS(dir string, unsafe bool, log *slog.Logger) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return osError("journal.open", dir, err)
	}
	magic := int64(st.Type)
	switch magic {
	case magicExt4, magicXFS, magicBtrfs:
		return nil
	}
	name := otherFS()[magic]
	if name == "" {
		name = fmt.Sprintf("a file system of type %#x", magic)
	}
	if unsafe {
		log.Warn("the state directory is on "+name+": what fsync promises is not kept on a power cut", "dir", dir)
		return nil
	}
	return &ferry.Error{
		Op: "journal.open", Key: dir, Kind: ferry.KindUnsupported,
		Msg:  "the state directory is on " + name + "; ferry keeps its promises on ext4, xfs and btrfs",
		Hint: "choose a directory on one of these with --state-dir, or accept the risk with --state-fs-unsafe",
	}
}

// ballast is disk space that is given up when the disk is full, so that the log
// can still record what is being done about it.
type ballast struct {
	name  string
	size  int64
	log   *slog.Logger
	crash func(string)

	mu   sync.Mutex
	held bool
}

// take reserves the space if it is not reserved and the disk has room. That it
// cannot is no error: the disk is full already, and everything else will say so.
func (b *ballast) take() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held || b.size <= 0 {
		return
	}
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(b.name), &st); err == nil && int64(st.Bavail)*st.Bsize < 4*b.size {
		return // whoever writes next needs it more
	}
	f, err := os.OpenFile(b.name, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, b.size), f.Close())
	}
	b.held = err == nil
	if err != nil {
		_ = os.Remove(b.name) // half a ballast helps nobody
		b.log.Warn("no space can be kept in reserve on the disk with the state directory", "error", err)
	}
}

// drop gives the space back and reports whether there was any.
func (b *ballast) drop() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.held {
		return false
	}
	b.crash(crashpoint.BallastBefore)
	if err := os.Remove(b.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	b.held = false
	b.crash(crashpoint.BallastAfter)
	b.log.Error("the disk with the state directory is full: the reserve was given up, free some space now", "bytes", b.size)
	return true
}

// osError gives an error of the operating system its Kind.
func osError(op, key string, err error) error {
	if err == nil {
		return nil
	}
	e := &ferry.Error{Op: op, Key: key, Kind: ferry.KindInternal, Err: err}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Kind, e.Hint = ferry.KindNoSpace, "free some space on the disk with the state directory"
	case errors.Is(err, fs.ErrPermission):
		e.Kind, e.Hint = ferry.KindDenied, "the state directory must belong to the user who mounts"
	case errors.Is(err, syscall.EROFS):
		e.Kind = ferry.KindReadOnly
	case errors.Is(err, syscall.EIO):
		e.Kind, e.Hint = ferry.KindCorrupt, "the disk with the state directory fails: look at the kernel's log"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		e.Kind = ferry.KindInvalid
	}
	return e
}
