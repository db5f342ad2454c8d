package ferry

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what can be done about an error. Foreign errors (minio-go, bbolt,
// the operating system) get their Kind once, where they enter; fusefs turns
// Kinds into errnos and cmd/ferry into exit codes.
type Kind uint8

// The kinds of error. A new one needs a row in fusefs/errno.go.
const (
	KindInternal    Kind = iota // a bug: a broken invariant
	KindNotFound                // the bucket or the tree said that it is not there
	KindExists                  // the name is taken
	KindConflict                // another version is there than the one expected (412)
	KindDenied                  // credentials or policy refuse it; retrying cannot help
	KindNoSpace                 // no room: staging budget, disk, or quota of the bucket
	KindTransient               // network, 5xx, SlowDown: trying again may help
	KindUnknown                 // could not be asked: the server is away, and nothing here knows
	KindCorrupt                 // bytes are not what they should be
	KindInvalid                 // the request makes no sense
	KindUnsupported             // ferry or the server cannot do this
	KindReadOnly                // the mount takes no writes
	KindNotDir                  // a component of the path is a file
	KindIsDir                   // the name is a directory
	KindNotEmpty                // the directory is not empty
	KindTooLarge                // beyond a limit of S3 or a setting: EFBIG
	KindNameTooLong             // a component over 255 bytes or a key over 1024
	KindCrossDevice             // too much for one rename: EXDEV
	KindPerm                    // never allowed here: hard links, device nodes
	KindNoAttr                  // no such extended attribute
	KindNoUpload                // the server no longer knows the upload ID
	KindBusy                    // somebody else holds it
	KindBadHandle               // the handle is not open for this
)

var kindNames = [...]string{
	"internal error", "not found", "exists", "conflict", "denied", "no space", "temporary failure",
	"unknown", "corrupt", "invalid", "unsupported", "read-only", "not a directory", "is a directory",
	"not empty", "too large", "name too long", "too much for one rename", "not permitted",
	"no such attribute", "no such upload", "busy", "bad handle",
}

// String returns the kind in words.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Error is an error with what was being done, to what, and what can be done
// about it. Its text is a sentence for people; it never holds a secret.
type Error struct {
	Op   string // "package.action", for logs
	Key  string // object key or path; empty if it concerns none
	Kind Kind
	Msg  string // what happened, in words; optional if Err is set
	Hint string // what the person can do; optional
	Err  error  // the cause; optional
}

// Error returns "OP KEY: MSG: CAUSE (HINT)".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Key != "" {
		fmt.Fprintf(&b, " %q", e.Key)
	}
	switch {
	case e.Msg != "" && e.Err != nil:
		fmt.Fprintf(&b, ": %s: %v", e.Msg, e.Err)
	case e.Msg != "":
		b.WriteString(": " + e.Msg)
	case e.Err != nil:
		fmt.Fprintf(&b, ": %v", e.Err)
	default:
		b.WriteString(": " + e.Kind.String())
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, " (%s)", e.Hint)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrOffline is in the chain of a KindTransient error if the server could not be
// reached at all: no connection, no name, no route. An answer, even a 5xx, or a
// connection that broke later does not have it.
var ErrOffline = errors.New("the server cannot be reached")

// KindOf returns the Kind of the first [Error] in err's chain. An error that
// nobody classified is KindInternal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindInternal
}

// IsKind reports whether err is non-nil and of kind k.
func IsKind(err error, k Kind) bool { return err != nil && KindOf(err) == k }
