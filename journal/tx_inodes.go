package journal

import (
	"iter"
	"strings"

	"ferry"
	"ferry/journal/codec"
)

// Inode implements ferry.Tx.
func (t *tx) Inode(id ferry.InodeID) *ferry.Inode {
	v, ok := t.get(inodeKey(id))
	if !ok {
		return nil
	}
	in, err := codec.DecodeInode(id, v)
	return decoded(t, "inode", in, err)
}

// PutInode implements ferry.Tx.
func (t *tx) PutInode(in *ferry.Inode) {
	if in.ID == 0 {
		t.failf(ferry.KindInternal, string(in.Path), "inode 0 is none")
		return
	}
	old := t.Inode(in.ID)
	if !in.Unlinked {
		if other := t.InodeAt(in.Path); other != 0 && other != in.ID {
			t.failf(ferry.KindInternal, string(in.Path), "inode %d is put where inode %d is", in.ID, other)
			return
		}
	}
	if old != nil && !old.Unlinked && (in.Unlinked || in.Path != old.Path) {
		t.delete(pathKey(old.Path))
	}
	if old != nil && old.Remote != nil && (in.Remote == nil || in.Remote.Key != old.Remote.Key) {
		t.delete(refKey(old.Remote.Key, in.ID))
	}
	if !in.Unlinked {
		t.put(pathKey(in.Path), u64(uint64(in.ID)))
	}
	if in.Remote != nil {
		if strings.Contains(string(in.Remote.Key), "\x00") {
			t.failf(ferry.KindInvalid, string(in.Remote.Key), "a key with a NUL byte is no path")
			return
		}
		t.put(refKey(in.Remote.Key, in.ID), nil)
	}
	t.put(inodeKey(in.ID), codec.Inode(in))
}

// DeleteInode implements ferry.Tx.
func (t *tx) DeleteInode(id ferry.InodeID) {
	old := t.Inode(id)
	if old == nil {
		return
	}
	if !old.Unlinked {
		t.delete(pathKey(old.Path))
	}
	if old.Remote != nil {
		t.delete(refKey(old.Remote.Key, id))
	}
	t.delete(inodeKey(id))
}

// InodeAt implements ferry.Tx.
func (t *tx) InodeAt(p ferry.Path) ferry.InodeID {
	v, _ := t.get(pathKey(p))
	return ferry.InodeID(fromU64(v))
}

// Paths implements ferry.Tx.
func (t *tx) Paths(from ferry.Path) iter.Seq2[ferry.Path, ferry.InodeID] {
	return func(yield func(ferry.Path, ferry.InodeID) bool) {
		t.each(pathKey(from), after(string(byte(tablePaths))), func(_ rows, key string, v []byte) bool {
			return yield(ferry.Path(key[1:]), ferry.InodeID(fromU64(v)))
		})
	}
}

// Inodes implements ferry.Tx.
func (t *tx) Inodes() iter.Seq[*ferry.Inode] {
	return func(yield func(*ferry.Inode) bool) {
		t.prefix(string(byte(tableInodes)), func(_ rows, key string, v []byte) bool {
			in, err := codec.DecodeInode(ferry.InodeID(tail64(key)), v)
			in = decoded(t, "inode", in, err)
			return in != nil && yield(in)
		})
	}
}

// Refs implements ferry.Tx.
func (t *tx) Refs(k ferry.ObjectKey) iter.Seq[ferry.InodeID] {
	return func(yield func(ferry.InodeID) bool) {
		prefix := refPrefix(k)
		t.prefix(prefix, func(_ rows, key string, _ []byte) bool {
			return len(key) != len(prefix)+8 || yield(ferry.InodeID(tail64(key)))
		})
	}
}

// Key implements ferry.Tx.
func (t *tx) Key(k ferry.ObjectKey) *ferry.KeyState {
	v, ok := t.get(objectKey(k))
	if !ok {
		return nil
	}
	ks, err := codec.DecodeKeyState(k, v)
	return decoded(t, string(k), ks, err)
}

// PutKey implements ferry.Tx.
func (t *tx) PutKey(k *ferry.KeyState) {
	old := t.Key(k.Key)
	if old != nil && (k.Idle() || old.Since != k.Since) {
		t.delete(workKey(old.Since, k.Key))
	}
	if k.Idle() {
		t.delete(objectKey(k.Key))
		return
	}
	t.put(workKey(k.Since, k.Key), nil)
	t.put(objectKey(k.Key), codec.KeyState(k))
}

// Keys implements ferry.Tx.
func (t *tx) Keys(prefix ferry.ObjectKey) iter.Seq[*ferry.KeyState] {
	return func(yield func(*ferry.KeyState) bool) {
		t.prefix(objectKey(prefix), func(_ rows, key string, v []byte) bool {
			k, err := codec.DecodeKeyState(ferry.ObjectKey(key[1:]), v)
			k = decoded(t, key[1:], k, err)
			return k != nil && yield(k)
		})
	}
}

// Work implements ferry.Tx.
func (t *tx) Work(since int64, afterKey ferry.ObjectKey) iter.Seq[*ferry.KeyState] {
	from := workKey(since, afterKey) + "\x00"
	if since == 0 && afterKey == "" {
		from = string(byte(tableWork))
	}
	return func(yield func(*ferry.KeyState) bool) {
		t.each(from, after(string(byte(tableWork))), func(at rows, key string, _ []byte) bool {
			_, k, ok := parseWorkKey(key)
			v, found := at.get(objectKey(k))
			if !ok || !found {
				t.failf(ferry.KindCorrupt, string(k), "the index of work names a key that has no row")
				return false
			}
			ks, err := codec.DecodeKeyState(k, v)
			ks = decoded(t, string(k), ks, err)
			return ks != nil && yield(ks)
		})
	}
}
