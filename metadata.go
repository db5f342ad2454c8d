package ferry

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/textproto"
	"net/url"
	"strings"
)

// The keys that ferry writes, without "x-amz-meta-". mode, uid, gid and mtime
// are those of rclone and s3fs, in the one spelling that both (and geesefs)
// read correctly: mode in octal with a leading zero and with the file type,
// mtime in seconds with exactly nine digits after the dot.
const (
	metaMode        = "mode"
	metaUID         = "uid"
	metaGID         = "gid"
	metaMtime       = "mtime"
	metaTarget      = "symlink-target"
	metaGeneration  = "ferry-generation"
	metaXattrPrefix = "ferry-xattr-" // and the attribute's name in hex: header names have no case
)

// foreignPrefix marks user metadata in Inode.Foreign.
const foreignPrefix = "X-Amz-Meta-"

// MaxMetadata is how many bytes of names and values the user metadata of an
// object may have. Source: Amazon S3 User Guide, "User-defined object metadata";
// MinIO counts the names with their "x-amz-meta-", and so does ferry.
const MaxMetadata = 2048

// The file types of a mode. Source: inode(7).
const (
	modeType    = 0o170000
	modeRegular = 0o100000
	modeDir     = 0o040000
	modeSymlink = 0o120000
	modePerm    = 0o7777
)

// markerType is the content type that s3fs and ferry give directory markers;
// plainType says nothing, so it is not kept as foreign.
const (
	markerType = "application/x-directory"
	plainType  = "application/octet-stream"
)

// objectHeaders are the standard headers that belong to an object.
var objectHeaders = map[string]bool{
	"Content-Type": true, "Cache-Control": true, "Content-Disposition": true,
	"Content-Encoding": true, "Content-Language": true, "Expires": true,
}

// IsObjectHeader reports whether name, in canonical form, is a standard header
// that S3 stores with an object; see [Object].
func IsObjectHeader(name string) bool { return objectHeaders[name] }

// Defaults are the attributes of objects that carry none.
type Defaults struct{ UID, GID, FileMode, DirMode uint32 }

// Decoded is what an object's key, metadata and headers say of its inode.
type Decoded struct {
	Kind   NodeKind
	Attr   Attr
	Xattrs map[string][]byte // nil if none
	// Target of a symlink; "" if the object's bytes are the target (s3fs, gcsfuse,
	// or too long for the metadata).
	Target     string
	Generation Generation
	// Foreign as in [Inode]; nil if there is none, or it is not known.
	Foreign map[string]string
	// HasMetadata says that the metadata was known. If not, all but Kind and the
	// times are defaults, and a HEAD would tell.
	HasMetadata bool
}

// EncodeMetadata returns the user metadata (lower-case names without
// "x-amz-meta-") and the standard headers for in's object, made by gen ("" for
// none). What is foreign goes along; where a name is ours, ours wins. A symlink's
// target that does not fit is left out: it is the object's bytes anyway. The
// error is KindTooLarge if the rest does not fit into [MaxMetadata].
func EncodeMetadata(in *Inode, gen Generation) (meta, headers map[string]string, err error) {
	meta, headers = map[string]string{}, map[string]string{}
	for name, v := range in.Foreign {
		if k, ok := cutFold(name, foreignPrefix); ok {
			meta[strings.ToLower(k)] = v
		} else if h := textproto.CanonicalMIMEHeaderKey(name); objectHeaders[h] {
			headers[h] = v
		}
	}
	typ := uint32(modeRegular)
	switch in.Kind {
	case File:
	case Dir:
		typ = modeDir
		if headers["Content-Type"] == "" {
			headers["Content-Type"] = markerType
		}
	case Symlink:
		typ = modeSymlink
	}
	meta[metaMode] = fmt.Sprintf("0%06o", typ|in.Attr.Mode&modePerm)
	meta[metaUID] = fmt.Sprint(in.Attr.UID)
	meta[metaGID] = fmt.Sprint(in.Attr.GID)
	meta[metaMtime] = formatSeconds(in.Attr.Mtime)
	if gen != "" {
		meta[metaGeneration] = string(gen)
	}
	for name, v := range in.Xattrs {
		meta[metaXattrPrefix+hex.EncodeToString([]byte(name))] = encodeXattr(v)
	}
	size := metadataSize(meta)
	if in.Kind == Symlink && in.Target != "" {
		v := url.PathEscape(in.Target)
		if n := len(foreignPrefix) + len(metaTarget) + len(v); size+n <= MaxMetadata {
			meta[metaTarget] = v
			size += n
		}
	}
	if size > MaxMetadata {
		return nil, nil, &Error{
			Op: "ferry.metadata", Key: string(in.Path), Kind: KindTooLarge,
			Msg:  fmt.Sprintf("its attributes take %d bytes, and S3 allows %d", size, MaxMetadata),
			Hint: "remove extended attributes, or make them shorter",
		}
	}
	return meta, headers, nil
}

// metadataSize counts as MinIO does: names with their prefix, and values.
func metadataSize(meta map[string]string) (n int) {
	for k, v := range meta {
		n += len(foreignPrefix) + len(k) + len(v)
	}
	return n
}

// emptyXattr stands for an empty value: some servers drop empty headers. It is
// not base64 of anything.
const emptyXattr = "="

func encodeXattr(v []byte) string {
	if len(v) == 0 {
		return emptyXattr
	}
	return base64.StdEncoding.EncodeToString(v)
}

func decodeXattr(s string) ([]byte, bool) {
	if s == emptyXattr {
		return []byte{}, true
	}
	v, err := base64.StdEncoding.DecodeString(s)
	return v, err == nil && len(v) > 0
}

// DecodeMetadata reads what ferry, rclone, s3fs, geesefs, gcsfuse, s3sync and
// Amazon FSx write. What it cannot read counts as absent; what is nobody's
// dialect is foreign. It never fails: an object of any tool has attributes.
func DecodeMetadata(o Object, d Defaults) Decoded {
	r := Decoded{Kind: File, HasMetadata: o.Metadata != nil}
	r.Attr = Attr{UID: d.UID, GID: d.GID, Mode: d.FileMode, Mtime: unixNano(o.Modified), Ctime: unixNano(o.Modified)}
	m := metaReader{meta: o.Metadata, used: map[string]bool{}}

	mode, hasMode := m.mode()
	target, hasTarget := m.target()
	switch {
	case o.Key.IsMarker():
		r.Kind, r.Attr.Mode = Dir, d.DirMode
	case hasTarget || m.isSymlink() || hasMode && mode&modeType == modeSymlink:
		r.Kind, r.Attr.Mode, r.Target = Symlink, 0o777, target
	}
	if hasMode {
		r.Attr.Mode = mode & modePerm
	}
	r.Attr.Mode &= modePerm
	m.id(&r.Attr.UID, metaUID, "owner", "file-owner", "goog-reserved-posix-uid")
	m.id(&r.Attr.GID, metaGID, "group", "file-group", "goog-reserved-posix-gid")
	m.mtime(&r.Attr.Mtime)
	r.Generation = Generation(m.take(metaGeneration))
	r.Xattrs = m.xattrs()
	m.drop()

	r.Foreign = m.foreign()
	for name, v := range o.Headers {
		if v == "" || !objectHeaders[name] {
			continue
		}
		if name == "Content-Type" && (v == plainType || r.Kind == Dir && v == markerType) {
			continue
		}
		if r.Foreign == nil {
			r.Foreign = map[string]string{}
		}
		r.Foreign[name] = v
	}
	return r
}
