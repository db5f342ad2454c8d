package journal

import (
	"iter"
	"math"

	"ferry"
	"ferry/journal/codec"
)

// Upload implements ferry.Tx.
func (t *tx) Upload(g ferry.Generation) *ferry.Upload {
	if g == "" {
		return nil
	}
	v, ok := t.get(uploadKey(g))
	if !ok {
		return nil
	}
	u, err := codec.DecodeUpload(g, v)
	return decoded(t, string(g), u, err)
}

// PutUpload implements ferry.Tx.
func (t *tx) PutUpload(u *ferry.Upload) {
	if !u.Generation.Valid() {
		t.failf(ferry.KindInternal, string(u.Path), "%q is no generation", u.Generation)
		return
	}
	old := t.Upload(u.Generation)
	if t.err != nil {
		return
	}
	if !legal(old, u) {
		was := "new"
		if old != nil {
			was = old.State.String()
		}
		t.failf(ferry.KindInternal, string(u.Path), "upload %s goes from %s to %s, which no event does", u.Generation, was, u.State)
		return
	}
	if !u.State.NeedsBytes() && (old == nil || old.State.NeedsBytes()) {
		t.freed = append(t.freed, u.Generation)
	}
	if !u.State.Final() {
		t.put(uploadKey(u.Generation), codec.Upload(u))
		return
	}
	t.DeleteParts(u.Generation)
	t.SetExtents(u.Generation, nil)
	t.delete(uploadKey(u.Generation))
}

// legal reports whether one event leads from old's state to u's.
func legal(old, u *ferry.Upload) bool {
	if old == nil {
		return u.State == ferry.StateDirty || u.State == ferry.StateSealed || u.State == ferry.StateAborting
	}
	if old.State == u.State {
		return true
	}
	for e := ferry.EventOpened; e <= ferry.EventRetry; e++ {
		if next, err := old.State.Next(e); err == nil && next == u.State {
			return true
		}
	}
	return false
}

// Uploads implements ferry.Tx.
func (t *tx) Uploads() iter.Seq[*ferry.Upload] {
	return func(yield func(*ferry.Upload) bool) {
		t.prefix(string(byte(tableUploads)), func(_ rows, key string, v []byte) bool {
			u, err := codec.DecodeUpload(ferry.Generation(key[1:]), v)
			u = decoded(t, key[1:], u, err)
			return u != nil && yield(u)
		})
	}
}

// Parts implements ferry.Tx.
func (t *tx) Parts(g ferry.Generation) (parts []ferry.Part) {
	t.prefix(partPrefix(g), func(_ rows, key string, v []byte) bool {
		p, err := codec.DecodePart(ferry.PartNumber(tail64(key)), v)
		if decoded(t, string(g), &p, err) == nil {
			return false
		}
		parts = append(parts, p)
		return true
	})
	if t.err != nil {
		return nil
	}
	return parts
}

// PutPart implements ferry.Tx.
func (t *tx) PutPart(g ferry.Generation, p ferry.Part) {
	if p.Number < 1 || p.Number > ferry.MaxParts {
		t.failf(ferry.KindInternal, string(g), "part number %d", p.Number)
		return
	}
	t.put(partKey(g, p.Number), codec.Part(p))
}

// DeleteParts implements ferry.Tx.
func (t *tx) DeleteParts(g ferry.Generation) { t.deletePrefix(partPrefix(g)) }

func (t *tx) deletePrefix(prefix string) {
	t.prefix(prefix, func(_ rows, key string, _ []byte) bool {
		t.delete(key)
		return true
	})
}

// Extents implements ferry.Tx. It is never nil.
func (t *tx) Extents(g ferry.Generation) *ferry.ExtentSet {
	set := &ferry.ExtentSet{}
	t.prefix(extentPrefix(g), func(_ rows, key string, v []byte) bool {
		set.Add(extentRow(key, v))
		return true
	})
	return set
}

func extentRow(key string, v []byte) ferry.Extent {
	off, end := int64(fromU64(v)), int64(tail64(key))
	return ferry.Extent{Offset: off, Length: end - off}
}

func (t *tx) putExtent(g ferry.Generation, e ferry.Extent) {
	t.put(extentKey(g, e.End()), u64(uint64(e.Offset)))
}

// AddExtent implements ferry.Tx. It touches only the neighbours of e.
func (t *tx) AddExtent(g ferry.Generation, e ferry.Extent) {
	if e.Length <= 0 {
		return
	}
	if e.Offset < 0 || e.Offset > math.MaxInt64-e.Length {
		t.failf(ferry.KindInternal, string(g), "extent %d+%d", e.Offset, e.Length)
		return
	}
	var swallowed []string
	t.each(extentKey(g, e.Offset), after(extentPrefix(g)), func(_ rows, key string, v []byte) bool {
		x := extentRow(key, v)
		if x.Offset > e.End() {
			return false
		}
		swallowed = append(swallowed, key)
		from, to := min(e.Offset, x.Offset), max(e.End(), x.End())
		e = ferry.Extent{Offset: from, Length: to - from}
		return true
	})
	for _, key := range swallowed {
		if key != extentKey(g, e.End()) {
			t.delete(key)
		}
	}
	t.putExtent(g, e)
}

// SetExtents implements ferry.Tx. nil is the empty set.
func (t *tx) SetExtents(g ferry.Generation, set *ferry.ExtentSet) {
	keep := map[string]ferry.Extent{}
	if set != nil {
		for _, e := range set.All() {
			keep[extentKey(g, e.End())] = e
		}
	}
	t.prefix(extentPrefix(g), func(_ rows, key string, _ []byte) bool {
		if _, ok := keep[key]; !ok {
			t.delete(key)
		}
		return true
	})
	for _, e := range keep {
		t.putExtent(g, e)
	}
}
