package s3remote

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"

	"ferry"
)

// Probe finds out what the server can do, on scratch keys under
// ferry.ReservedPrefix that it removes again, and remembers it. About a dozen
// small requests. A bucket that is not there is KindNotFound, credentials that
// may not write are KindDenied.
func (r *Remote) Probe(ctx context.Context) (ferry.Capabilities, error) {
	before := r.caps.Load()
	p := prober{r: r, key: ferry.ObjectKey(ferry.ReservedPrefix + "probe-" + rand.Text())}
	c, err := p.run(ctx)
	p.clean(ctx)
	if err != nil {
		r.caps.Store(before)
		e, ok := errors.AsType[*ferry.Error](err)
		switch {
		case ok && errors.Is(err, errNoBucket):
			e.Kind, e.Msg = ferry.KindNotFound, "there is no bucket "+r.bucket
		case ok && e.Kind == ferry.KindDenied && p.stored == nil:
			e.Msg = "these credentials may not write into the bucket"
			e.Hint = "mount with --read-only, or: " + e.Hint
		}
		return ferry.Capabilities{}, err
	}
	r.SetCapabilities(c)
	return c, nil
}

type prober struct {
	r      *Remote
	key    ferry.ObjectKey
	stored *ferry.Version // the scratch object
	upload ferry.UploadID
}

var probeText = []byte("ferry tries what this server can do")

// wrongETag is the MD5 of nothing that a probe stores.
const wrongETag = "0123456789abcdef0123456789abcdef"

func (p *prober) run(ctx context.Context) (c ferry.Capabilities, err error) {
	// Sums are compared by the probe itself: a server with other ETags is no
	// corrupt one.
	p.r.SetCapabilities(ferry.Capabilities{BulkDelete: true})
	if c.ConditionalPut, c.ETagIsMD5, err = p.puts(ctx); err != nil {
		return c, err
	}
	if err := p.parts(ctx, &c); err != nil {
		return c, err
	}
	page, err := p.r.List(ctx, ferry.ListRequest{Prefix: p.key, Metadata: true})
	if err != nil {
		return c, err
	}
	for _, o := range page.Objects {
		c.ListsMetadata = c.ListsMetadata || o.Key == p.key && o.Metadata["ferry-probe"] == "1"
	}
	failed, err := p.r.Delete(ctx, []ferry.ObjectKey{p.key})
	switch {
	case err == nil && len(failed) == 0:
		c.BulkDelete, p.stored = true, nil
	case err != nil && refused(err) == nil:
		return c, err
	case len(failed) > 0:
		return c, failed[p.key]
	}
	if s := p.r.transport.server.Load(); s != nil {
		c.Server = *s
	}
	return c, nil
}

// puts tries PutObject with conditions.
func (p *prober) puts(ctx context.Context) (conditional, md5ETag bool, err error) {
	o := ferry.PutOptions{Metadata: map[string]string{"ferry-probe": "1"}, Cond: ferry.Precondition{IfAbsent: true}}
	conditional = true
	v, err := p.put(ctx, o)
	if refused(err) != nil { // it does not even take the header
		conditional, o.Cond = false, ferry.Precondition{}
		v, err = p.put(ctx, o)
	}
	if err != nil {
		return false, false, err
	}
	p.stored = &v
	sum := md5.Sum(probeText)
	md5ETag = string(v.ETag) == hex.EncodeToString(sum[:])
	for _, wrong := range []ferry.Precondition{{IfAbsent: true}, {IfMatch: wrongETag}} {
		o.Cond = wrong
		held, err := conflicts(p.put(ctx, o))
		if err != nil {
			return false, false, err
		}
		conditional = conditional && held
	}
	o.Cond = ferry.Precondition{IfMatch: v.ETag}
	if conditional {
		if _, err := p.put(ctx, o); err != nil && refused(err) == nil {
			return false, false, err
		} else if err != nil {
			conditional = false
		}
	}
	return conditional, md5ETag, nil
}

func (p *prober) put(ctx context.Context, o ferry.PutOptions) (ferry.Version, error) {
	return p.r.Put(ctx, p.key, bytes.NewReader(probeText), int64(len(probeText)), o)
}

// parts tries a multipart upload: the ETag of a part, UploadPartCopy with its
// condition, and the conditions of Complete. Its upload is aborted.
func (p *prober) parts(ctx context.Context, c *ferry.Capabilities) error {
	id, err := p.r.NewUpload(ctx, p.key, ferry.PutOptions{})
	if err != nil {
		return err
	}
	p.upload = id
	all := ferry.Extent{Length: int64(len(probeText))}
	part, err := p.r.PutPart(ctx, p.key, id, 1, bytes.NewReader(probeText), all)
	if err != nil {
		return err
	}
	sum := md5.Sum(probeText)
	c.ETagIsMD5 = c.ETagIsMD5 && string(part.ETag) == hex.EncodeToString(sum[:])

	wrong := *p.stored
	wrong.ETag = wrongETag
	held, err := conflicts(p.r.CopyPart(ctx, p.key, id, 1, wrong, all))
	if err != nil {
		return err
	}
	copied, err := p.r.CopyPart(ctx, p.key, id, 1, *p.stored, all)
	switch {
	case err == nil:
		part, c.CopyPart = copied, held
	case refused(err) == nil:
		return err
	}
	c.ConditionalFinish = true
	for _, cond := range []ferry.Precondition{{IfAbsent: true}, {IfMatch: wrongETag}} {
		held, err := conflicts(p.r.Complete(ctx, p.key, id, []ferry.Part{part}, cond))
		if err != nil {
			return err
		}
		if !held { // completed: the upload is used up
			c.ConditionalFinish = false
			return nil
		}
	}
	return nil
}

// conflicts reports whether a request with a wrong condition was refused for
// that. Other refusals say that the server does not know conditions.
func conflicts[T any](_ T, err error) (bool, error) {
	switch {
	case err == nil || refused(err) != nil:
		return ferry.IsKind(err, ferry.KindConflict), nil
	default:
		return false, err
	}
}

// refused returns err if it is the server's refusal to do such a thing, as
// opposed to a failure to do it now.
func refused(err error) error {
	for _, k := range [...]ferry.Kind{ferry.KindConflict, ferry.KindUnsupported, ferry.KindInvalid, ferry.KindNoUpload, ferry.KindNotFound} {
		if ferry.IsKind(err, k) {
			return err
		}
	}
	return nil
}

// clean removes what the probe made, even if its context is done.
func (p *prober) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if p.upload != "" {
		_ = p.r.Abort(ctx, p.key, p.upload) // the server drops it after a day
	}
	if p.stored != nil {
		p.r.singleDeletes(ctx, "s3remote.probe", []ferry.ObjectKey{p.key}, map[ferry.ObjectKey]error{})
	}
}
