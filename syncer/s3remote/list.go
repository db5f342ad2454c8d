package s3remote

import (
	"context"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/minio/minio-go/v7"

	"ferry"
)

const apiList = "ListObjectsV2"

// List implements syncer.Remote. It is one request.
func (r *Remote) List(ctx context.Context, req ferry.ListRequest) (ferry.Page, error) {
	const op = "s3remote.list"
	if req.Max <= 0 || req.Max > 1000 {
		req.Max = 1000
	}
	o := minio.ListObjectsOptions{
		Prefix: r.prefix + string(req.Prefix), MaxKeys: req.Max, Recursive: !req.Delimiter,
		WithMetadata: req.Metadata, FetchOwner: new(bool),
	}
	if req.After != "" {
		o.StartAfter = r.prefix + string(req.After)
	}
	cut := &page{}
	ctx = withCall(ctx, &call{api: apiList, method: http.MethodGet, page: cut, root: "ListBucketResult"})
	var p ferry.Page
	for info := range r.core.ListObjectsIter(ctx, r.bucket, o) {
		if info.Err != nil {
			return ferry.Page{}, classify(op, req.Prefix, info.Err)
		}
		key := r.rel(info.Key)
		if key == "" {
			continue // the marker of the mount's own prefix
		}
		if p.Last < key {
			p.Last = key
		}
		if req.Delimiter && info.ETag == "" && key.IsMarker() && key != req.Prefix {
			if key > req.After { // some servers fold the key itself once more
				p.Prefixes = append(p.Prefixes, key)
			}
			continue
		}
		p.Objects = append(p.Objects, listed(key, info, req.Metadata))
	}
	// minio-go ends a listing whose context is done without a word.
	if ctx.Err() != nil {
		return ferry.Page{}, classify(op, req.Prefix, context.Cause(ctx))
	}
	p.More = cut.more
	return p, nil
}

// listed translates one entry. Metadata is nil if the server's listings have none.
func listed(key ferry.ObjectKey, info minio.ObjectInfo, wanted bool) ferry.Object {
	o := ferry.Object{
		Version:  ferry.Version{Key: key, ETag: ferry.TrimETag(info.ETag), Size: info.Size},
		Modified: info.LastModified,
	}
	if !wanted || info.UserMetadata == nil {
		return o
	}
	o.Metadata, o.Headers = map[string]string{}, map[string]string{}
	for k, v := range info.UserMetadata {
		name := strings.ToLower(k)
		if m, ok := strings.CutPrefix(name, "x-amz-meta-"); ok {
			o.Metadata[m] = v
		} else if h := textproto.CanonicalMIMEHeaderKey(name); ferry.IsObjectHeader(h) {
			o.Headers[h] = v
		}
	}
	o.Generation = ferry.Generation(o.Metadata[generationKey])
	return o
}
