package control

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"ferry"
)

// FSType is what the mount table calls a mount of ours ("fuse." plus the
// subtype).
const FSType = "fuse.ferry"

// ErrNoDaemon is the cause of errors that say that no daemon was found.
var ErrNoDaemon = errors.New("no daemon of ferry")

// Found is a running mount and where in it the path lies.
type Found struct {
	Mount
	Path string // below the mount, "" is its root
}

// Find returns the mount that path lies in; if path is "", the mount called
// name; if that is "" too, the only one there is.
func (r Registry) Find(path, name string) (Found, error) {
	if path == "" {
		return r.findByName(name)
	}
	abs, err := absolute(path)
	if err != nil {
		return Found{}, &ferry.Error{Op: "control.find", Key: path, Kind: ferry.KindNotFound, Msg: "this path cannot be followed", Err: err}
	}
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return Found{}, err
	}
	defer table.Close()
	mountpoint, below, ok := innermost(bufio.NewScanner(table), abs)
	if !ok {
		return Found{}, noDaemon(path, "it does not lie in a mount of ferry", "see the mounts there are with `ferry status`")
	}
	for _, m := range r.Mounts() {
		if m.Mountpoint == mountpoint && (name == "" || m.Name == name) {
			return Found{Mount: m, Path: below}, nil
		}
	}
	return Found{}, noDaemon(path, "the daemon of the mount at "+mountpoint+" is gone, or is another user's",
		"mount it again with the same command: everything written is kept")
}

func (r Registry) findByName(name string) (Found, error) {
	mounts := r.Mounts()
	var names []string
	for _, m := range mounts {
		if m.Name == name || (name == "" && len(mounts) == 1) {
			return Found{Mount: m}, nil
		}
		names = append(names, fmt.Sprintf("%s at %s", m.Name, m.Mountpoint))
	}
	sort.Strings(names)
	switch {
	case len(names) == 0:
		return Found{}, noDaemon(name, "nothing is mounted by this user", "mount with `ferry mount BUCKET MOUNTPOINT`")
	case name == "":
		return Found{}, &ferry.Error{Op: "control.find", Kind: ferry.KindInvalid, Msg: "there are several mounts: " + strings.Join(names, ", "), Hint: "give a path in one, or --name"}
	default:
		return Found{}, noDaemon(name, "no mount has this name", "there is "+strings.Join(names, ", "))
	}
}

func noDaemon(key, msg, hint string) error {
	return &ferry.Error{Op: "control.find", Key: key, Kind: ferry.KindNotFound, Msg: msg, Hint: hint, Err: ErrNoDaemon}
}

// absolute returns path without symlinks in its folder. Its last component may
// be a link, or be gone (a deleted name can be waited for).
func absolute(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil || abs == "/" {
		return abs, err
	}
	if full, err := filepath.EvalSymlinks(abs); err == nil && isDir(abs) {
		return full, nil
	}
	dir, rest := abs, ""
	for {
		rest = filepath.Join(filepath.Base(dir), rest)
		dir = filepath.Dir(dir)
		full, err := filepath.EvalSymlinks(dir)
		switch {
		case err == nil:
			return filepath.Join(full, rest), nil
		case errors.Is(err, fs.ErrNotExist) && dir != "/":
		default:
			// A mount whose daemon is gone cannot be looked into; its name still says
			// where it is.
			return abs, nil //nolint:nilerr // the mount table decides
		}
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// innermost finds the mount of ours that abs lies in: the longest mount point
// that is a prefix, the last of equals (it covers the others).
func innermost(table *bufio.Scanner, abs string) (mountpoint, below string, ok bool) {
	best := -1
	for table.Scan() {
		at, fsType, valid := parseMountinfo(table.Text())
		if !valid || len(at) < best {
			continue
		}
		rest, in := strings.CutPrefix(abs, strings.TrimSuffix(at, "/"))
		if !in || (rest != "" && rest[0] != '/') {
			continue
		}
		best, ok = len(at), fsType == FSType
		mountpoint, below = at, strings.TrimPrefix(rest, "/")
	}
	return mountpoint, below, ok
}

// MountedAt returns the file system types mounted at exactly the given folder,
// undermost first.
func MountedAt(abs string) (types []string) {
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer table.Close()
	for lines := bufio.NewScanner(table); lines.Scan(); {
		if at, fsType, ok := parseMountinfo(lines.Text()); ok && at == abs {
			types = append(types, fsType)
		}
	}
	return types
}

// parseMountinfo reads one line: see proc_pid_mountinfo(5).
func parseMountinfo(line string) (mountpoint, fsType string, ok bool) {
	left, right, ok := strings.Cut(line, " - ")
	fields, types := strings.Fields(left), strings.Fields(right)
	if !ok || len(fields) < 5 || len(types) < 1 {
		return "", "", false
	}
	return unescape(fields[4]), types[0], true
}

// unescape undoes the octal escapes of space, tab, newline and backslash.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
