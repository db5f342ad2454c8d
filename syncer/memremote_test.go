package syncer

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"ferry"
)

// memRemote is a bucket in memory, as strict as S3 about conditions, part sizes
// and order. Bodies of parts are as large as the test makes them: the least part
// size is not scaled, so large content is made of few distinct bytes.
type memRemote struct {
	mu      sync.Mutex
	objects map[ferry.ObjectKey]memObject
	uploads map[ferry.UploadID]*memUpload
	n       int
	clock   int64

	// fault is asked before each request: lose says that the request takes effect
	// and its answer is lost; an error is returned without effect.
	fault    func(api string, key ferry.ObjectKey) (lose bool, err error)
	dead     bool // no request is answered
	requests map[string]int
	log      []string
	sent     int64
}

type memObject struct {
	body []byte
	ferry.Object
}

type memUpload struct {
	key   ferry.ObjectKey
	opts  ferry.PutOptions
	parts map[ferry.PartNumber][]byte
}

func newMemRemote() *memRemote {
	return &memRemote{objects: map[ferry.ObjectKey]memObject{}, uploads: map[ferry.UploadID]*memUpload{}, requests: map[string]int{}}
}

func remoteErr(kind ferry.Kind, key ferry.ObjectKey, msg string) error {
	return &ferry.Error{Op: "mem", Key: string(key), Kind: kind, Msg: msg}
}

// call runs one request: fn under the lock, then its answer, if it arrives.
func (m *memRemote) call(ctx context.Context, api string, key ferry.ObjectKey, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return remoteErr(ferry.KindTransient, key, err.Error())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return remoteErr(ferry.KindTransient, key, "dead")
	}
	m.requests[api]++
	m.log = append(m.log, api+" "+string(key))
	lose := false
	if m.fault != nil {
		var err error
		if lose, err = m.fault(api, key); err != nil {
			return err
		}
	}
	err := fn()
	if lose {
		return remoteErr(ferry.KindTransient, key, "the answer to "+api+" was lost")
	}
	return err
}

func etagOf(b []byte) ferry.ETag {
	sum := md5.Sum(b)
	return ferry.ETag(hex.EncodeToString(sum[:]))
}

func (m *memRemote) meets(key ferry.ObjectKey, c ferry.Precondition) error {
	o, there := m.objects[key]
	switch {
	case c.IfAbsent && there:
		return remoteErr(ferry.KindConflict, key, "it is there")
	case c.IfMatch != "" && !there:
		return remoteErr(ferry.KindNotFound, key, "it is not there")
	case c.IfMatch != "" && o.ETag != c.IfMatch:
		return remoteErr(ferry.KindConflict, key, "it is another version")
	}
	return nil
}

func (m *memRemote) store(key ferry.ObjectKey, body []byte, etag ferry.ETag, o ferry.PutOptions) ferry.Version {
	m.clock++
	v := ferry.Version{Key: key, ETag: etag, Size: int64(len(body)), Generation: ferry.Generation(o.Metadata["ferry-generation"])}
	m.objects[key] = memObject{body, ferry.Object{Version: v, Modified: time.Unix(m.clock, 0), Metadata: maps.Clone(o.Metadata), Headers: maps.Clone(o.Headers)}}
	return v
}

func (m *memRemote) Head(ctx context.Context, key ferry.ObjectKey) (o ferry.Object, err error) {
	err = m.call(ctx, "Head", key, func() error {
		x, ok := m.objects[key]
		if !ok {
			return remoteErr(ferry.KindNotFound, key, "it is not there")
		}
		o = x.Object
		return nil
	})
	return o, err
}

func (m *memRemote) source(v ferry.Version, e ferry.Extent) ([]byte, error) {
	x, ok := m.objects[v.Key]
	switch {
	case !ok:
		return nil, remoteErr(ferry.KindNotFound, v.Key, "the source is not there")
	case x.ETag != v.ETag:
		return nil, remoteErr(ferry.KindConflict, v.Key, "the source is another version")
	case e.End() > int64(len(x.body)):
		return nil, remoteErr(ferry.KindInvalid, v.Key, fmt.Sprintf("%v is beyond the end", e))
	}
	return x.body[e.Offset:e.End()], nil
}

func (m *memRemote) Get(ctx context.Context, v ferry.Version, e ferry.Extent) (r io.ReadCloser, err error) {
	err = m.call(ctx, "Get", v.Key, func() error {
		b, err := m.source(v, e)
		r = io.NopCloser(bytes.NewReader(b))
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (m *memRemote) List(ctx context.Context, req ferry.ListRequest) (p ferry.Page, err error) {
	err = m.call(ctx, "List", req.Prefix, func() error {
		most := req.Max
		if most == 0 {
			most = 1000
		}
		for _, key := range slices.Sorted(maps.Keys(m.objects)) {
			if key <= req.After || !strings.HasPrefix(string(key), string(req.Prefix)) {
				continue
			}
			if len(p.Objects) == most {
				p.More = true
				break
			}
			p.Objects = append(p.Objects, m.objects[key].Object)
			p.Last = key
		}
		return nil
	})
	return p, err
}

func (m *memRemote) Put(ctx context.Context, key ferry.ObjectKey, body io.ReaderAt, size int64, o ferry.PutOptions) (v ferry.Version, err error) {
	b := make([]byte, size)
	if n, err := body.ReadAt(b, 0); int64(n) < size {
		return v, remoteErr(ferry.KindTransient, key, fmt.Sprint("body: ", err))
	}
	err = m.call(ctx, "Put", key, func() error {
		if err := m.meets(key, o.Cond); err != nil {
			return err
		}
		m.sent += size
		v = m.store(key, b, etagOf(b), o)
		return nil
	})
	return v, err
}

func (m *memRemote) NewUpload(ctx context.Context, key ferry.ObjectKey, o ferry.PutOptions) (id ferry.UploadID, err error) {
	err = m.call(ctx, "NewUpload", key, func() error {
		m.n++
		id = ferry.UploadID(fmt.Sprint("u", m.n))
		m.uploads[id] = &memUpload{key, o, map[ferry.PartNumber][]byte{}}
		return nil
	})
	return id, err
}

func (m *memRemote) upload(key ferry.ObjectKey, id ferry.UploadID) (*memUpload, error) {
	u := m.uploads[id]
	if u == nil || u.key != key {
		return nil, remoteErr(ferry.KindNoUpload, key, "no such upload")
	}
	return u, nil
}

func (m *memRemote) PutPart(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID, n ferry.PartNumber, body io.ReaderAt, e ferry.Extent) (p ferry.Part, err error) {
	b := make([]byte, e.Length)
	if k, err := body.ReadAt(b, e.Offset); int64(k) < e.Length {
		return p, remoteErr(ferry.KindTransient, key, fmt.Sprint("body: ", err))
	}
	err = m.call(ctx, "PutPart", key, func() error {
		u, err := m.upload(key, id)
		if err != nil {
			return err
		}
		u.parts[n] = b
		m.sent += e.Length
		p = ferry.Part{Number: n, Extent: e, ETag: etagOf(b), Digest: digestOf(b)}
		return nil
	})
	return p, err
}

func digestOf(b []byte) []byte {
	sum := md5.Sum(append([]byte("key"), b...))
	return sum[:]
}

func (m *memRemote) CopyPart(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID, n ferry.PartNumber, from ferry.Version, src ferry.Extent) (p ferry.Part, err error) {
	err = m.call(ctx, "CopyPart", key, func() error {
		u, err := m.upload(key, id)
		if err != nil {
			return err
		}
		b, err := m.source(from, src)
		if err != nil {
			return err
		}
		u.parts[n] = bytes.Clone(b)
		p = ferry.Part{Number: n, Extent: src, ETag: etagOf(b)}
		return nil
	})
	return p, err
}

func (m *memRemote) ListParts(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID) (parts []ferry.Part, err error) {
	err = m.call(ctx, "ListParts", key, func() error {
		u, err := m.upload(key, id)
		if err != nil {
			return err
		}
		for _, n := range slices.Sorted(maps.Keys(u.parts)) {
			parts = append(parts, ferry.Part{Number: n, Extent: ferry.Extent{Length: int64(len(u.parts[n]))}, ETag: etagOf(u.parts[n])})
		}
		return nil
	})
	return parts, err
}

func (m *memRemote) Complete(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID, parts []ferry.Part, cond ferry.Precondition) (v ferry.Version, err error) {
	err = m.call(ctx, "Complete", key, func() error {
		u, err := m.upload(key, id)
		if err != nil {
			return err
		}
		if err := m.meets(key, cond); err != nil {
			return err
		}
		var body []byte
		sums := md5.New()
		last := ferry.PartNumber(0)
		for i, p := range parts {
			b, ok := u.parts[p.Number]
			switch {
			case !ok || etagOf(b) != p.ETag:
				return remoteErr(ferry.KindInvalid, key, fmt.Sprintf("part %d is another", p.Number))
			case p.Number <= last:
				return remoteErr(ferry.KindInvalid, key, "parts out of order")
			case i < len(parts)-1 && len(b) < ferry.MinPartSize:
				return remoteErr(ferry.KindInvalid, key, fmt.Sprintf("part %d is too small", p.Number))
			}
			last = p.Number
			body = append(body, b...)
			sums.Write([]byte(p.ETag))
		}
		delete(m.uploads, id)
		v = m.store(key, body, ferry.ETag(fmt.Sprintf("%x-%d", sums.Sum(nil), len(parts))), u.opts)
		v.Size = 0 // as some servers answer
		return nil
	})
	return v, err
}

func (m *memRemote) Abort(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID) error {
	return m.call(ctx, "Abort", key, func() error { delete(m.uploads, id); return nil })
}

func (m *memRemote) Copy(ctx context.Context, from ferry.Version, to ferry.ObjectKey, o ferry.PutOptions) (v ferry.Version, err error) {
	err = m.call(ctx, "Copy", to, func() error {
		if _, err := m.source(from, ferry.Extent{}); err != nil {
			return err
		}
		x := m.objects[from.Key]
		if o.Metadata == nil {
			o.Metadata, o.Headers = x.Metadata, x.Headers
		}
		v = m.store(to, x.body, x.ETag, o)
		return nil
	})
	return v, err
}

func (m *memRemote) Delete(ctx context.Context, keys []ferry.ObjectKey) (failed map[ferry.ObjectKey]error, err error) {
	err = m.call(ctx, "Delete", keys[0], func() error {
		if len(keys) > 1000 {
			return remoteErr(ferry.KindInvalid, "", "more than 1000 keys")
		}
		for _, k := range keys {
			delete(m.objects, k)
		}
		return nil
	})
	return failed, err
}
