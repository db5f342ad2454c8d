package ferry

// PartNumber counts the parts of a multipart upload from 1.
type PartNumber int

// Limits of multipart uploads. Source: Amazon S3 User Guide, "Amazon S3
// multipart upload limits"; MinIO enforces MinPartSize at Complete and for
// copied parts too (docs/decisions/0001).
const (
	MaxParts      = 10_000
	MinPartSize   = 5 << 20 // all parts but the last
	MaxPartSize   = 5 << 30
	MaxObjectSize = 5 << 40
	MaxPutSize    = 5 << 30
)

// Upload is the journal's row for one generation of one inode's content: what it
// is made of, and how far it has come into the bucket. Its staging file carries
// the generation's name.
type Upload struct {
	Generation Generation
	Inode      InodeID
	State      UploadState
	// Path is the path of the inode when the row was last written, for people.
	Path Path

	// Key and UploadID are set together when a multipart upload is opened, and
	// Key alone when a single put is begun: the upload ID belongs to its key, so
	// the upload ends there even if the inode is renamed meanwhile. The KeyState
	// of Key names this generation in Upload until then.
	Key      ObjectKey
	UploadID UploadID

	// Size in bytes once sealed; before, see Inode.Size.
	Size int64
	// Base is the version that the staging file edits: bytes outside its extents
	// and below BaseLimit are the base's. nil: the staging file is the whole
	// content and a hole in it is zeros.
	Base *Version
	// BaseLimit is how many bytes of the base still count: a truncation lowers
	// it and nothing raises it. Bytes outside the extents at or above it are zeros.
	BaseLimit int64
	// Truncating is the intent of a truncation of the staging file to that size,
	// -1 if none. Only an intent without its done is repeated.
	Truncating int64

	// Since is when this generation was begun, Unix nanoseconds.
	Since int64
	// Reason says why it is parked.
	Reason string
}

// Part is one acknowledged part of an upload.
type Part struct {
	Number PartNumber
	Extent Extent
	ETag   ETag
	// Digest is the keyed digest of the bytes that were sent (32 bytes), nil for
	// a copied part. A streamed part counts at seal only if staging still has it.
	Digest []byte
	Copied bool
}
