package ferry

import (
	"strings"
	"unicode/utf8"
)

// ObjectKey names an object in the bucket, below the mount's own prefix: the
// mount's prefix is added and taken away in syncer/s3remote and nowhere else.
// A file's key is its path; a directory's marker is its path plus "/".
type ObjectKey string

// Path names something in the tree: components joined by "/", no slash at
// either end, "" is the root.
type Path string

// Limits of keys. Source: Amazon S3 User Guide, "Naming Amazon S3 objects"
// (1024 bytes of UTF-8); NAME_MAX of Linux (255 bytes a component), which MinIO
// shares.
const (
	MaxKeyLength       = 1024
	MaxComponentLength = 255
)

// ReservedPrefix holds what is unfinished: scratch keys, swaps, spill objects.
// The tree hides it.
const ReservedPrefix = ".ferry/"

// Reserved reports whether k lies under [ReservedPrefix].
func (k ObjectKey) Reserved() bool { return strings.HasPrefix(string(k), ReservedPrefix) }

// IsMarker reports whether k is a directory marker ("dir/").
func (k ObjectKey) IsMarker() bool { return strings.HasSuffix(string(k), "/") }

// Path returns the path that k stands for. Only keys for which [ObjectKey.Check]
// returns nil have one.
func (k ObjectKey) Path() Path { return Path(strings.TrimSuffix(string(k), "/")) }

// Check returns nil if k can be a path, else a KindInvalid or KindNameTooLong
// error that says why not. A key that fails is never touched by ferry: the tree
// shows it nowhere and `ferry doctor` lists it.
func (k ObjectKey) Check() error {
	s := strings.TrimSuffix(string(k), "/")
	bad := func(kind Kind, msg string) error {
		return &Error{Op: "ferry.key", Key: string(k), Kind: kind, Msg: msg}
	}
	if s == "" {
		return bad(KindInvalid, "an empty key is no path")
	}
	if len(k) > MaxKeyLength {
		return bad(KindNameTooLong, "the key is longer than 1024 bytes, the limit of S3")
	}
	if !utf8.ValidString(s) {
		return bad(KindInvalid, "S3 keys must be UTF-8")
	}
	for c := range strings.SplitSeq(s, "/") {
		if err := CheckName(c); err != nil {
			return bad(KindOf(err), err.(*Error).Msg) //nolint:errorlint,forcetypeassert // CheckName returns *Error only
		}
	}
	return nil
}

// CheckName returns nil if name can be one component of a path and of a key on
// the servers ferry knows; else a KindInvalid or KindNameTooLong *Error.
func CheckName(name string) error {
	bad := func(kind Kind, msg string) error {
		return &Error{Op: "ferry.name", Key: name, Kind: kind, Msg: msg}
	}
	switch {
	case name == "" || name == "." || name == "..":
		return bad(KindInvalid, "the key has an empty, \".\" or \"..\" component")
	case len(name) > MaxComponentLength:
		return bad(KindNameTooLong, "a component is longer than 255 bytes")
	case strings.ContainsAny(name, "/\x00"):
		return bad(KindInvalid, "a component holds a slash or a NUL byte")
	case !utf8.ValidString(name):
		return bad(KindInvalid, "S3 keys must be UTF-8")
	}
	return nil
}

// Join returns the path of name in directory p.
func (p Path) Join(name string) Path {
	if p == "" {
		return Path(name)
	}
	return p + "/" + Path(name)
}

// Split returns the directory that p is in and p's name there. The root's is ("", "").
func (p Path) Split() (dir Path, name string) {
	i := strings.LastIndexByte(string(p), '/')
	if i < 0 {
		return "", string(p)
	}
	return p[:i], string(p[i+1:])
}

// Key returns the key of the file at p.
func (p Path) Key() ObjectKey { return ObjectKey(p) }

// Marker returns the key of the directory marker of p, and "" for the root.
func (p Path) Marker() ObjectKey {
	if p == "" {
		return ""
	}
	return ObjectKey(p) + "/"
}

// Below reports whether p lies below dir (at any depth; not dir itself).
func (p Path) Below(dir Path) bool {
	if dir == "" {
		return p != ""
	}
	return len(p) > len(dir) && p[len(dir)] == '/' && p[:len(dir)] == dir
}

// Rebase returns p with its leading directory from replaced by to. p must be
// from itself or lie below it.
func (p Path) Rebase(from, to Path) Path {
	rest := strings.TrimPrefix(string(p[len(from):]), "/")
	if rest == "" {
		return to
	}
	return to.Join(rest)
}
