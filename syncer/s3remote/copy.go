package s3remote

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"ferry"
)

// copyRate is the slowest server-side copying that ferry waits for, bytes per
// second: the answer to a copy comes when it is done.
const copyRate = 8 << 20

func copyPatience(bytes int64) time.Duration {
	return time.Duration(bytes/copyRate) * time.Second
}

// Copy implements syncer.Remote.
func (r *Remote) Copy(ctx context.Context, from ferry.Version, to ferry.ObjectKey, o ferry.PutOptions) (ferry.Version, error) {
	const op = "s3remote.copy"
	source, err := r.full(op, from.Key)
	if err != nil {
		return ferry.Version{}, err
	}
	dest, err := r.full(op, to)
	if err != nil {
		return ferry.Version{}, err
	}
	if from.Size > ferry.MaxPutSize || from.ETag == "" {
		return ferry.Version{}, &ferry.Error{Op: op, Key: string(to), Kind: ferry.KindInvalid, Msg: fmt.Sprintf("cannot copy %d bytes of version %q in one request", from.Size, from.ETag)}
	}
	extra := &copyHeaders{sse: r.sse}
	if o.Metadata != nil {
		if extra.headers, err = objectHeaders(op, to, o); err != nil {
			return ferry.Version{}, err
		}
		if extra.headers["Content-Type"] == "" {
			extra.headers["Content-Type"] = "application/octet-stream"
		}
	}
	ctx = withCall(ctx, &call{api: apiCopy, method: http.MethodPut, extra: copyPatience(from.Size)})
	info, err := r.core.Client.CopyObject(ctx,
		minio.CopyDestOptions{Bucket: r.bucket, Object: dest, ReplaceMetadata: o.Metadata != nil, Encryption: extra},
		minio.CopySrcOptions{Bucket: r.bucket, Object: source, MatchETag: string(from.ETag), VersionID: from.VersionID})
	if err != nil {
		return ferry.Version{}, classify(op, to, err)
	}
	if info.ETag == "" {
		return ferry.Version{}, transient(op, to, "the answer has no ETag")
	}
	r.transport.counters.copied.Add(from.Size)
	v := ferry.Version{Key: to, ETag: ferry.TrimETag(info.ETag), Size: from.Size, VersionID: info.VersionID, Generation: from.Generation}
	if o.Metadata != nil {
		v.Generation = ferry.Generation(o.Metadata[generationKey])
	}
	return v, nil
}

// copyHeaders puts headers on a copy as they are: minio-go's own way takes a
// user's "expires" for the header of that name. It does so where minio-go asks
// for the headers of the encryption.
type copyHeaders struct {
	sse     encrypt.ServerSide
	headers map[string]string
}

// Type implements encrypt.ServerSide.
func (c *copyHeaders) Type() encrypt.Type {
	if c.sse == nil {
		return ""
	}
	return c.sse.Type()
}

// Marshal implements encrypt.ServerSide.
func (c *copyHeaders) Marshal(h http.Header) {
	if c.sse != nil {
		c.sse.Marshal(h)
	}
	for k, v := range c.headers {
		h.Set(k, v)
	}
}
