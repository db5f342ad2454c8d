package ferry

import "strings"

// ETag is an object's entity tag as S3 gives it, without quotes. Opaque, but
// where the probe said so, an MD5 in hex for single-part objects and parts.
type ETag string

// TrimETag takes the quotes off an ETag header or XML value.
func TrimETag(s string) ETag { return ETag(strings.Trim(s, "\"")) }

// UploadID is the server's name for a multipart upload. It belongs to its key.
type UploadID string

// Version is one version of one object.
type Version struct {
	Key  ObjectKey
	ETag ETag
	Size int64 // bytes
	// VersionID is the bucket's version ID, "" if the bucket is not versioned.
	VersionID string
	// Generation is what the object's metadata carries, "" if it was not made by
	// ferry or the metadata is not known.
	Generation Generation
}

// Same reports whether v and o are the same version of the same key: key and
// ETag agree.
func (v Version) Same(o Version) bool { return v.Key == o.Key && v.ETag == o.ETag }

// Presence is one of the three answers to "is it there?".
type Presence uint8

// The three answers. Unknown never evicts, overwrites or reports "not found".
const (
	Unknown Presence = iota // it could not be asked
	Absent                  // the bucket said that it is not there
	Present                 // the bucket said that it is there
)

// String returns the presence in one word.
func (p Presence) String() string { return [...]string{"unknown", "absent", "present"}[p] }

// Known is what a key is known to hold.
type Known struct {
	Presence Presence
	Version  Version // if Present
}

// KnownAbsent and KnownVersion are the two kinds of knowledge.
var KnownAbsent = Known{Presence: Absent}

// KnownVersion says that v is there.
func KnownVersion(v Version) Known { return Known{Presence: Present, Version: v} }

// Precondition is what must be true of a key for a request to take effect.
type Precondition struct {
	// IfMatch is the ETag that must be there; "" means no such condition.
	IfMatch ETag
	// IfAbsent demands that nothing is there (If-None-Match: *).
	IfAbsent bool
}

// Precondition returns the condition that keeps a writer who knows k from
// replacing what it has not seen. Unknown gives IfAbsent: the 412 then tells.
func (k Known) Precondition() Precondition {
	if k.Presence == Present {
		return Precondition{IfMatch: k.Version.ETag}
	}
	return Precondition{IfAbsent: true}
}
