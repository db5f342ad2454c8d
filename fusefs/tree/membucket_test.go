package tree

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"ferry"
)

// memBucket is a bucket in memory, as strict as S3: conditions, copies that name
// their source's ETag, pages of at most max names.
type memBucket struct {
	mu       sync.Mutex
	objects  map[ferry.ObjectKey]memObject
	etags    int
	max      int  // names a page
	metadata bool // listings carry metadata
	offline  bool
	lists    int // requests
	heads    int
	// onList is called with the page in hand before List returns: what happens
	// while a listing is on its way.
	onList func()
}

type memObject struct {
	data string
	ferry.Object
}

func newMemBucket(page int, metadata bool) *memBucket {
	return &memBucket{objects: map[ferry.ObjectKey]memObject{}, max: page, metadata: metadata}
}

func away() error {
	return &ferry.Error{Op: "membucket", Kind: ferry.KindTransient, Err: ferry.ErrOffline}
}

func (b *memBucket) put(key ferry.ObjectKey, data string, meta, headers map[string]string) ferry.Object {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.putLocked(key, data, meta, headers)
}

func (b *memBucket) putLocked(key ferry.ObjectKey, data string, meta, headers map[string]string) ferry.Object {
	b.etags++
	if meta == nil {
		meta = map[string]string{}
	}
	o := memObject{data: data}
	o.Key, o.Size, o.ETag, o.Generation = key, int64(len(data)), ferry.ETag(fmt.Sprintf("e%d", b.etags)), ferry.Generation(meta["ferry-generation"])
	o.Modified, o.Metadata, o.Headers = time.Unix(1_700_000_000+int64(b.etags), 0), meta, headers
	b.objects[key] = o
	return o.Object
}

// putIf is put under a condition.
func (b *memBucket) putIf(key ferry.ObjectKey, data string, meta, headers map[string]string, c ferry.Precondition) (ferry.Object, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old, there := b.objects[key]
	if c.IfAbsent && there || c.IfMatch != "" && (!there || old.ETag != c.IfMatch) {
		return ferry.Object{}, &ferry.Error{
			Op: "membucket.put", Key: string(key), Kind: ferry.KindConflict,
			Msg: fmt.Sprintf("condition %+v, there %v %q", c, there, old.ETag),
		}
	}
	return b.putLocked(key, data, meta, headers), nil
}

// read returns the bytes of one version.
func (b *memBucket) read(v ferry.Version) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.objects[v.Key]
	if !ok || o.ETag != v.ETag {
		return "", &ferry.Error{
			Op: "membucket.get", Key: string(v.Key), Kind: ferry.KindConflict,
			Msg: fmt.Sprintf("wanted version %q, there %v %q", v.ETag, ok, o.ETag),
		}
	}
	return o.data, nil
}

func (b *memBucket) remove(key ferry.ObjectKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, key)
}

func (b *memBucket) get(key ferry.ObjectKey) (memObject, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.objects[key]
	return o, ok
}

func (b *memBucket) keys() []ferry.ObjectKey {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.objects))
}

// below reports whether an object other than key itself lies below prefix.
func (b *memBucket) below(prefix, key ferry.ObjectKey) bool {
	for _, k := range b.keys() {
		if k != key && strings.HasPrefix(string(k), string(prefix)) {
			return true
		}
	}
	return false
}

func (b *memBucket) Head(_ context.Context, key ferry.ObjectKey) (ferry.Object, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heads++
	if b.offline {
		return ferry.Object{}, away()
	}
	o, ok := b.objects[key]
	if !ok {
		return ferry.Object{}, &ferry.Error{Op: "membucket.head", Key: string(key), Kind: ferry.KindNotFound}
	}
	return o.Object, nil
}

func (b *memBucket) List(_ context.Context, req ferry.ListRequest) (ferry.Page, error) {
	page, err := b.list(req)
	if b.onList != nil {
		b.onList()
	}
	return page, err
}

func (b *memBucket) list(req ferry.ListRequest) (page ferry.Page, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lists++
	if b.offline {
		return page, away()
	}
	most := b.max
	if req.Max > 0 {
		most = min(most, req.Max)
	}
	n := 0
	for _, k := range slices.Sorted(maps.Keys(b.objects)) {
		rest, ok := strings.CutPrefix(string(k), string(req.Prefix))
		if !ok || k <= req.After {
			continue
		}
		name := k
		if i := strings.IndexByte(rest, '/'); req.Delimiter && i >= 0 {
			name = req.Prefix + ferry.ObjectKey(rest[:i+1])
			if name <= req.After || n > 0 && name == page.Last {
				continue
			}
		}
		if n == most {
			page.More = true
			return page, nil
		}
		n++
		page.Last = name
		if name != k {
			page.Prefixes = append(page.Prefixes, name)
			continue
		}
		if i := strings.IndexByte(rest, '/'); req.Delimiter && i >= 0 {
			page.Prefixes = append(page.Prefixes, name)
			continue
		}
		o := b.objects[k].Object
		if !b.metadata {
			o.Metadata, o.Headers, o.Generation = nil, nil, ""
		}
		page.Objects = append(page.Objects, o)
	}
	return page, nil
}
