package s3remote

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"ferry"
)

const (
	apiNewUpload = "CreateMultipartUpload"
	apiPart      = "UploadPart"
	apiCopyPart  = "UploadPartCopy"
	apiParts     = "ListParts"
	apiComplete  = "CompleteMultipartUpload"
	apiAbort     = "AbortMultipartUpload"
)

// NewUpload implements syncer.Remote.
func (r *Remote) NewUpload(ctx context.Context, key ferry.ObjectKey, o ferry.PutOptions) (ferry.UploadID, error) {
	const op = "s3remote.newupload"
	full, err := r.full(op, key)
	if err != nil {
		return "", err
	}
	opts, err := r.putOptions(op, key, o)
	if err != nil {
		return "", err
	}
	id, err := r.core.NewMultipartUpload(withCall(ctx, &call{api: apiNewUpload, method: http.MethodPost}), r.bucket, full, opts)
	if err == nil && id == "" {
		return "", transient(op, key, "the answer has no upload ID")
	}
	return ferry.UploadID(id), classify(op, key, err)
}

// PutPart implements syncer.Remote.
func (r *Remote) PutPart(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID, n ferry.PartNumber, body io.ReaderAt, e ferry.Extent) (ferry.Part, error) {
	const op = "s3remote.putpart"
	full, err := r.full(op, key)
	if err != nil {
		return ferry.Part{}, err
	}
	src := &source{src: body, extent: e, key: &r.digestKey, md5: r.hashers}
	defer src.stop()
	ctx = withCall(ctx, &call{api: apiPart, method: http.MethodPut, body: src})
	part, err := r.core.PutObjectPart(ctx, r.bucket, full, string(id), int(n), placeholder{}, e.Length, minio.PutObjectPartOptions{DisableContentSha256: true})
	if err := r.sent(op, key, src, err); err != nil {
		return ferry.Part{}, err
	}
	etag := ferry.TrimETag(part.ETag)
	digest, err := r.verify(op, key, src, etag)
	if err != nil {
		return ferry.Part{}, err
	}
	return ferry.Part{Number: n, Extent: e, ETag: etag, Digest: digest}, nil
}

// CopyPart implements syncer.Remote. The part's Extent is src.
func (r *Remote) CopyPart(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID, n ferry.PartNumber, from ferry.Version, src ferry.Extent) (ferry.Part, error) {
	const op = "s3remote.copypart"
	full, err := r.full(op, key)
	if err != nil {
		return ferry.Part{}, err
	}
	source, err := r.full(op, from.Key)
	if err != nil {
		return ferry.Part{}, err
	}
	if src.Length <= 0 || src.Offset < 0 || src.Length > ferry.MaxPartSize || from.ETag == "" {
		return ferry.Part{}, &ferry.Error{Op: op, Key: string(key), Kind: ferry.KindInvalid, Msg: fmt.Sprintf("cannot copy %v of version %q as a part", src, from.ETag)}
	}
	headers := map[string]string{"x-amz-copy-source-if-match": string(from.ETag)}
	if from.VersionID != "" {
		headers["x-amz-copy-source"] = s3utils.EncodePath(r.bucket+"/"+source) + "?versionId=" + from.VersionID
	}
	ctx = withCall(ctx, &call{api: apiCopyPart, method: http.MethodPut, extra: copyPatience(src.Length)})
	part, err := r.core.CopyObjectPart(ctx, r.bucket, source, r.bucket, full, string(id), int(n), src.Offset, src.Length, headers)
	if err != nil {
		err = classify(op, key, err)
		if ferry.IsKind(err, ferry.KindInvalid) && src.End() <= from.Size {
			// Some servers look at the range before the condition.
			if now, headErr := r.Head(ctx, from.Key); headErr == nil && now.ETag != from.ETag {
				return ferry.Part{}, otherVersion(op, from.Key, err)
			}
		}
		return ferry.Part{}, err
	}
	etag := ferry.TrimETag(part.ETag)
	if etag == "" { // an error in the body of a 200
		return ferry.Part{}, transient(op, key, "the server began to copy the part and failed")
	}
	r.transport.counters.copied.Add(src.Length)
	return ferry.Part{Number: n, Extent: src, ETag: etag, Copied: true}, nil
}

// ListParts implements syncer.Remote.
func (r *Remote) ListParts(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID) ([]ferry.Part, error) {
	const op = "s3remote.listparts"
	full, err := r.full(op, key)
	if err != nil {
		return nil, err
	}
	ctx = withCall(ctx, &call{api: apiParts, method: http.MethodGet, root: "ListPartsResult"})
	var parts []ferry.Part
	for marker := 0; ; {
		page, err := r.core.ListObjectParts(ctx, r.bucket, full, string(id), marker, 1000)
		if err != nil {
			return nil, classify(op, key, err)
		}
		for _, p := range page.ObjectParts {
			parts = append(parts, ferry.Part{Number: ferry.PartNumber(p.PartNumber), Extent: ferry.Extent{Length: p.Size}, ETag: ferry.TrimETag(p.ETag)})
		}
		if !page.IsTruncated {
			return parts, nil
		}
		if page.NextPartNumberMarker <= marker {
			return nil, transient(op, key, "the listing of parts does not go on")
		}
		marker = page.NextPartNumberMarker
	}
}

// completeRate is the slowest assembling of parts that ferry waits for, bytes
// per second; the embedded store copies them.
const completeRate = 16 << 20

// Complete implements syncer.Remote. The version's Size is the sum of the parts.
func (r *Remote) Complete(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID, parts []ferry.Part, cond ferry.Precondition) (ferry.Version, error) {
	const op = "s3remote.complete"
	full, err := r.full(op, key)
	if err != nil {
		return ferry.Version{}, err
	}
	var size int64
	list := make([]minio.CompletePart, len(parts))
	for i, p := range parts {
		list[i] = minio.CompletePart{PartNumber: int(p.Number), ETag: string(p.ETag)}
		size += p.Extent.Length
	}
	opts := minio.PutObjectOptions{}
	setCondition(&opts, cond)
	ctx = withCall(ctx, &call{api: apiComplete, method: http.MethodPost, extra: time.Duration(size/completeRate) * time.Second})
	info, err := r.core.CompleteMultipartUpload(ctx, r.bucket, full, string(id), list, opts)
	if err != nil {
		return ferry.Version{}, classify(op, key, err)
	}
	if info.ETag == "" {
		return ferry.Version{}, transient(op, key, "the answer has no ETag")
	}
	return ferry.Version{Key: key, ETag: ferry.TrimETag(info.ETag), Size: size, VersionID: info.VersionID}, nil
}

// Abort implements syncer.Remote.
func (r *Remote) Abort(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID) error {
	const op = "s3remote.abort"
	full, err := r.full(op, key)
	if err != nil {
		return err
	}
	err = classify(op, key, r.core.AbortMultipartUpload(withCall(ctx, &call{api: apiAbort, method: http.MethodDelete}), r.bucket, full, string(id)))
	if ferry.IsKind(err, ferry.KindNoUpload) || ferry.IsKind(err, ferry.KindNotFound) {
		return nil
	}
	return err
}
