package ferry

import "time"

// Object is what a HEAD or a listing tells of an object.
type Object struct {
	Version
	Modified time.Time
	// Metadata is the user metadata with lower-case keys, without "x-amz-meta-".
	// nil if it is not known (a listing without metadata).
	Metadata map[string]string
	// Headers are the standard headers that belong to the object (Content-Type,
	// Cache-Control, Content-Disposition, Content-Encoding, Content-Language,
	// Expires), by canonical name. nil if not known.
	Headers map[string]string
}

// ListRequest asks for one page of a listing.
type ListRequest struct {
	Prefix    ObjectKey // only keys that start with it
	After     ObjectKey // only keys that sort after it
	Delimiter bool      // fold what lies below the next "/" into Prefixes
	Max       int       // at most so many names; 0 means 1000
	Metadata  bool      // with metadata where the server's listings carry it
}

// Page is one page of a listing, objects and prefixes each in key order.
type Page struct {
	Objects  []Object
	Prefixes []ObjectKey // each ends in "/"
	// More says that names follow; Last is the greatest name of this page, to be
	// the next request's After.
	More bool
	Last ObjectKey
}

// PutOptions go with an object when it is made.
type PutOptions struct {
	// Metadata is the user metadata, lower-case keys without "x-amz-meta-".
	Metadata map[string]string
	// Headers as in [Object].
	Headers map[string]string
	// Cond must hold when the object is made. NewUpload and Copy do not use it.
	Cond Precondition
}

// Capabilities is what the probe found a server to do. Shown by `ferry doctor`.
type Capabilities struct {
	Server            string // "Server" header
	ConditionalPut    bool   // If-Match and If-None-Match on PutObject
	ConditionalFinish bool   // the same on CompleteMultipartUpload
	CopyPart          bool   // UploadPartCopy with copy-source-if-match
	ETagIsMD5         bool   // of single puts and of parts
	ListsMetadata     bool   // listings carry user metadata (MinIO)
	Notifications     bool   // ListenBucketNotification delivers promptly
	BulkDelete        bool   // DeleteObjects
}

// Shortfalls returns a sentence for each promise that has to be withdrawn.
func (c Capabilities) Shortfalls() (s []string) {
	if !c.ConditionalPut || !c.ConditionalFinish {
		s = append(s, "This server ignores If-Match on writes: another writer's change can be overwritten unseen.")
	}
	if !c.CopyPart {
		s = append(s, "This server cannot copy parts: edits and renames of large files send their bytes again.")
	}
	if !c.BulkDelete {
		s = append(s, "This server has no DeleteObjects: deletes go one by one.")
	}
	return s
}
