package syncer

import (
	"context"
	"io"

	"ferry"
)

// Remote is what ferry uses of S3. syncer/s3remote implements it on minio-go;
// every implementation must pass storetest.TestRemote on MinIO and on the
// embedded store. Keys are below the mount's prefix. All methods may be called
// concurrently. Errors are *ferry.Error with one of KindNotFound, KindConflict
// (412), KindDenied, KindNoSpace, KindTransient, KindNoUpload, KindCorrupt,
// KindInvalid, KindUnsupported. An answer that was lost is KindTransient: the
// caller settles it. Retries are the caller's; the implementation makes one try.
type Remote interface {
	// Head returns one object with its metadata.
	Head(ctx context.Context, key ferry.ObjectKey) (ferry.Object, error)
	// Get reads e of exactly version v (If-Match); KindConflict if another version
	// is there. The reader fails if the connection ends early, so that a short
	// body is never taken for the end.
	Get(ctx context.Context, v ferry.Version, e ferry.Extent) (io.ReadCloser, error)
	// List returns one page of at most max (≤ 1000) names after the key `after`,
	// in key order. With delimiter, names below a "/" are folded into Prefixes.
	List(ctx context.Context, req ferry.ListRequest) (ferry.Page, error)

	// Put stores body (size bytes, re-readable) in one request.
	Put(ctx context.Context, key ferry.ObjectKey, body io.ReaderAt, size int64, o ferry.PutOptions) (ferry.Version, error)
	// NewUpload opens a multipart upload; o's metadata goes with it.
	NewUpload(ctx context.Context, key ferry.ObjectKey, o ferry.PutOptions) (ferry.UploadID, error)
	// PutPart sends one part; sending it again replaces it. It returns the part
	// with ETag and Digest set, both of the bytes that were sent: if the server's
	// ETag is an MD5 and differs, KindCorrupt.
	PutPart(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID, n ferry.PartNumber, body io.ReaderAt, e ferry.Extent) (ferry.Part, error)
	// CopyPart makes a part of the bytes src of version from, if it is still there.
	CopyPart(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID, n ferry.PartNumber, from ferry.Version, src ferry.Extent) (ferry.Part, error)
	// ListParts is the truth about what the server holds of an upload. Extents
	// have only their Length set.
	ListParts(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID) ([]ferry.Part, error)
	// Complete makes the object. parts are in order of their numbers.
	Complete(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID, parts []ferry.Part, cond ferry.Precondition) (ferry.Version, error)
	// Abort gives the parts back. An unknown upload is success.
	Abort(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID) error
	// Copy copies a whole object of at most 5 GiB server-side if from is still
	// there. With o.Metadata nil the source's metadata, headers and tags are kept,
	// else replaced by o's. The destination is overwritten without condition.
	Copy(ctx context.Context, from ferry.Version, to ferry.ObjectKey, o ferry.PutOptions) (ferry.Version, error)
	// Delete deletes up to 1000 keys in one request and returns an error for each
	// key that was not deleted; an absent key is success. A failure of the whole
	// request is err, and then no key's outcome is known.
	Delete(ctx context.Context, keys []ferry.ObjectKey) (failed map[ferry.ObjectKey]error, err error)
}
