package s3remote

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"

	"ferry"
)

// The names that requests are counted by, as in Amazon's API Reference.
const (
	apiHead   = "HeadObject"
	apiGet    = "GetObject"
	apiPut    = "PutObject"
	apiCopy   = "CopyObject"
	apiDelete = "DeleteObject"
	apiBulk   = "DeleteObjects"
)

// Head implements syncer.Remote.
func (r *Remote) Head(ctx context.Context, key ferry.ObjectKey) (ferry.Object, error) {
	const op = "s3remote.head"
	full, err := r.full(op, key)
	if err != nil {
		return ferry.Object{}, err
	}
	info, err := r.core.StatObject(withCall(ctx, &call{api: apiHead, method: http.MethodHead}), r.bucket, full, minio.StatObjectOptions{})
	if err != nil {
		return ferry.Object{}, r.absent(ctx, key, err, classify(op, key, err))
	}
	if info.ETag == "" || info.Size < 0 {
		return ferry.Object{}, transient(op, key, "the answer has no ETag or no size")
	}
	o := ferry.Object{
		Version:  ferry.Version{Key: key, ETag: ferry.TrimETag(info.ETag), Size: info.Size, VersionID: info.VersionID},
		Modified: info.LastModified,
		Metadata: make(map[string]string, len(info.UserMetadata)),
		Headers:  map[string]string{},
	}
	for k, v := range info.UserMetadata {
		o.Metadata[strings.ToLower(k)] = v
	}
	for k := range info.Headers {
		if ferry.IsObjectHeader(k) {
			o.Headers[k] = info.Headers.Get(k)
		}
	}
	o.Generation = ferry.Generation(o.Metadata[generationKey])
	return o, nil
}

// absent settles a 404 to a HEAD that does not look like S3's: servers that give
// their requests no ID exist. A listing, which has a body, tells.
func (r *Remote) absent(ctx context.Context, key ferry.ObjectKey, answer, err error) error {
	if a := minio.ToErrorResponse(answer); a.Code != "NoSuchKey" || fromS3(a) {
		return err
	}
	page, listErr := r.List(ctx, ferry.ListRequest{Prefix: key, Max: 1})
	if listErr != nil || len(page.Objects) > 0 && page.Objects[0].Key == key {
		return err
	}
	return &ferry.Error{Op: "s3remote.head", Key: string(key), Kind: ferry.KindNotFound, Msg: codes["NoSuchKey"].msg}
}

// generationKey is where ferry.EncodeMetadata puts the generation.
const generationKey = "ferry-generation"

// Get implements syncer.Remote. A version that has a version ID is read by it,
// and can be read even if another one is there now.
func (r *Remote) Get(ctx context.Context, v ferry.Version, e ferry.Extent) (io.ReadCloser, error) {
	const op = "s3remote.get"
	full, err := r.full(op, v.Key)
	if err != nil {
		return nil, err
	}
	if e.Offset < 0 || e.Length < 0 || v.ETag == "" {
		return nil, &ferry.Error{Op: op, Key: string(v.Key), Kind: ferry.KindInvalid, Msg: fmt.Sprintf("cannot get %v of version %q", e, v.ETag)}
	}
	if e.Length == 0 {
		return http.NoBody, nil
	}
	o := minio.GetObjectOptions{VersionID: v.VersionID}
	o.Set("Range", fmt.Sprintf("bytes=%d-%d", e.Offset, e.End()-1))
	o.Set("If-Match", `"`+string(v.ETag)+`"`)
	body, info, header, err := r.core.GetObject(withCall(ctx, &call{api: apiGet, method: http.MethodGet}), r.bucket, full, o)
	if err != nil {
		err = classify(op, v.Key, err)
		if ferry.IsKind(err, ferry.KindInvalid) && e.End() <= v.Size {
			return nil, otherVersion(op, v.Key, err) // v has this range: what is there is shorter
		}
		return nil, err
	}
	g := &getReader{body: body, key: v.Key, left: e.Length}
	whole := header.Get("Content-Range") == "" && e.Offset == 0
	switch {
	case ferry.TrimETag(info.ETag) != v.ETag:
		err = otherVersion(op, v.Key, nil)
	case !whole && !strings.HasPrefix(header.Get("Content-Range"), fmt.Sprintf("bytes %d-", e.Offset)):
		err = &ferry.Error{Op: op, Key: string(v.Key), Kind: ferry.KindUnsupported, Msg: "the server does not answer with the range that was asked for"}
	case info.Size != e.Length:
		err = &ferry.Error{Op: op, Key: string(v.Key), Kind: ferry.KindInvalid, Msg: fmt.Sprintf("asked for %v, the object has %d bytes there", e, info.Size)}
	}
	if err != nil {
		body.Close()
		return nil, err
	}
	return g, nil
}

// getReader reads exactly what was promised: less is an error, not the end.
type getReader struct {
	body io.ReadCloser
	key  ferry.ObjectKey
	left int64
}

// Read implements io.Reader.
func (g *getReader) Read(p []byte) (int, error) {
	if g.left == 0 {
		return 0, io.EOF
	}
	n, err := g.body.Read(p[:min(int64(len(p)), g.left)])
	g.left -= int64(n)
	switch {
	case g.left == 0:
		return n, nil
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		err = &lineError{io.ErrUnexpectedEOF}
	}
	return n, classify("s3remote.get", g.key, err)
}

// Close implements io.Closer. What was not read is not fetched: the connection
// is given up if there is much left.
func (g *getReader) Close() error { return g.body.Close() }

// Put implements syncer.Remote. The MD5 goes ahead of the body: versitygw makes
// an object of a body that was cut off, and would put it in the place of a whole
// one; no server accepts other bytes than were meant.
func (r *Remote) Put(ctx context.Context, key ferry.ObjectKey, body io.ReaderAt, size int64, o ferry.PutOptions) (ferry.Version, error) {
	const op = "s3remote.put"
	full, err := r.full(op, key)
	if err != nil {
		return ferry.Version{}, err
	}
	opts, err := r.putOptions(op, key, o)
	if err != nil {
		return ferry.Version{}, err
	}
	if size < 0 || size > ferry.MaxPutSize {
		return ferry.Version{}, &ferry.Error{Op: op, Key: string(key), Kind: ferry.KindInvalid, Msg: fmt.Sprintf("%d bytes do not go into one PutObject", size)}
	}
	setCondition(&opts, o.Cond)
	src := &source{src: body, extent: ferry.Extent{Length: size}, md5: r.hashers}
	defer src.stop()
	sum, err := src.sumFirst()
	if err != nil {
		return ferry.Version{}, err
	}
	ctx = withCall(ctx, &call{api: apiPut, method: http.MethodPut, body: src})
	info, err := r.core.PutObject(ctx, r.bucket, full, placeholder{}, size, base64.StdEncoding.EncodeToString(sum), "", opts)
	if err := r.sent(op, key, src, err); err != nil {
		return ferry.Version{}, err
	}
	v := ferry.Version{
		Key: key, ETag: ferry.TrimETag(info.ETag), Size: size, VersionID: info.VersionID,
		Generation: ferry.Generation(o.Metadata[generationKey]),
	}
	if _, err := r.verify(op, key, src, v.ETag); err != nil {
		return ferry.Version{}, err
	}
	return v, nil
}

// sent returns why a body could not be sent: a source that cannot be read is its
// own error, not the line's.
func (r *Remote) sent(op string, key ferry.ObjectKey, src *source, err error) error {
	if err == nil {
		return nil
	}
	if cause := src.err(); cause != nil {
		return cause
	}
	return classify(op, key, err)
}

// verify compares what was sent with what the server says that it has. It
// returns the digest.
func (r *Remote) verify(op string, key ferry.ObjectKey, src *source, got ferry.ETag) ([]byte, error) {
	sum, digest, whole := src.sums()
	switch {
	case got == "":
		return nil, transient(op, key, "the answer has no ETag")
	case !whole:
		return nil, transient(op, key, "the server answered before it had all bytes")
	case r.Capabilities().ETagIsMD5 && got != sum:
		return nil, corrupt(op, key, fmt.Sprintf("the server has other bytes than were sent: MD5 %s, not %s", got, sum))
	}
	return digest, nil
}

// putOptions translates what goes with an object. Metadata is passed under full
// header names: minio-go takes a user's "expires" for the header otherwise.
func (r *Remote) putOptions(op string, key ferry.ObjectKey, o ferry.PutOptions) (minio.PutObjectOptions, error) {
	headers, err := objectHeaders(op, key, o)
	return minio.PutObjectOptions{UserMetadata: headers, ServerSideEncryption: r.sse, DisableContentSha256: true}, err
}

func objectHeaders(op string, key ferry.ObjectKey, o ferry.PutOptions) (map[string]string, error) {
	out := make(map[string]string, len(o.Metadata)+len(o.Headers))
	add := func(name, v string) error {
		if strings.ContainsFunc(name+v, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return &ferry.Error{Op: op, Key: string(key), Kind: ferry.KindInvalid, Msg: fmt.Sprintf("the metadata %q holds control characters", name)}
		}
		out[name] = v
		return nil
	}
	for k, v := range o.Metadata {
		if err := add("X-Amz-Meta-"+k, v); err != nil {
			return nil, err
		}
	}
	for k, v := range o.Headers {
		if !ferry.IsObjectHeader(k) {
			return nil, &ferry.Error{Op: op, Key: string(key), Kind: ferry.KindInvalid, Msg: fmt.Sprintf("%q is no header of an object", k)}
		}
		if err := add(k, v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func setCondition(o *minio.PutObjectOptions, c ferry.Precondition) {
	if c.IfMatch != "" {
		o.SetMatchETag(string(c.IfMatch))
	}
	if c.IfAbsent {
		o.SetMatchETagExcept("*")
	}
}
