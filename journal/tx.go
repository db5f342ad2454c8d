package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"

	"ferry"
	"ferry/journal/codec"
)

// tx implements ferry.Tx. An iterator sees the rows as they were when it began:
// what is put while it runs does not change what it yields.
type tx struct {
	j        *Journal
	writable bool
	err      error

	over memtable // what this transaction changed
	size int      // bytes that over takes in a record
	base state    // what was committed when it began
	r    *reader  // the checkpoint as of base

	batch    uint64 // where chunks of a large change were staged, 0 if nowhere
	freed    []ferry.Generation
	reserved uint64 // new end of the reserved inode IDs, 0 if unchanged
	// holdsFolds says that no fold may run until this transaction ends.
	holdsFolds bool
	replies    ring
}

var _ ferry.Tx = (*tx)(nil)

// Fail implements ferry.Tx.
func (t *tx) Fail(err error) {
	if t.err == nil && err != nil {
		t.err = err
	}
}

func (t *tx) failf(kind ferry.Kind, key, format string, args ...any) {
	t.Fail(&ferry.Error{Op: "journal.tx", Key: key, Kind: kind, Msg: fmt.Sprintf(format, args...)})
}

// rows returns the stack of layers that the transaction sees now.
func (t *tx) rows() rows {
	r := make(rows, 0, 6)
	if !t.over.empty() {
		r = append(r, t.over)
	}
	if t.batch != 0 {
		r = append(r, batchLayer{t.r, t.batch})
	}
	if !t.base.mem.empty() {
		r = append(r, t.base.mem)
	}
	if t.base.batch != 0 {
		r = append(r, batchLayer{t.r, t.base.batch})
	}
	if !t.base.frozen.empty() {
		r = append(r, t.base.frozen)
	}
	return append(r, tableLayer{t.r})
}

func (t *tx) get(key string) ([]byte, bool) {
	if t.err != nil {
		return nil, false
	}
	// The common case without building the stack.
	if e := t.over.get(key); e != nil {
		return e.value, !e.deleted
	}
	v, ok := t.rows().get(key)
	return v, ok && t.err == nil
}

// each yields the rows from `from` to before `to` as they are now.
func (t *tx) each(from, to string, fn func(at rows, key string, value []byte) bool) {
	if t.err != nil {
		return
	}
	r := t.r
	r.refs++
	defer r.release()
	at := t.rows()
	at.each(from, to, func(key string, value []byte) bool {
		return t.err == nil && fn(at, key, value) && t.err == nil
	})
}

// prefix yields the rows whose key starts with p.
func (t *tx) prefix(p string, fn func(at rows, key string, value []byte) bool) {
	t.each(p, after(p), fn)
}

func (t *tx) put(key string, value []byte) {
	if old, ok := t.get(key); t.err == nil && ok && bytes.Equal(old, value) {
		return
	}
	t.change(entry{key: key, value: value})
}

func (t *tx) delete(key string) {
	if _, ok := t.get(key); ok {
		t.change(entry{key: key, deleted: true})
	}
}

func (t *tx) change(e entry) {
	if !t.writable {
		t.failf(ferry.KindInternal, "", "a view may not change rows")
	}
	if t.err != nil {
		return
	}
	t.over = t.over.put(e)
	t.size = t.over.bytes - t.over.rows*(entryOverhead-6)
	if t.size > t.j.o.chunkMax {
		t.spill()
	}
}

// spill moves what this transaction changed so far into its batch.
func (t *tx) spill() {
	if err := t.j.spill(t); err != nil {
		t.Fail(err)
	}
}

// payload encodes rows for the log: uvarint(length of key<<1 | deleted), key and,
// unless deleted, uvarint(length), value.
func payload(m memtable, b []byte) []byte {
	for c := m.cursor(""); c.valid(); c.next() {
		e := c.entry()
		head := uint64(len(e.key)) << 1
		if e.deleted {
			head |= 1
		}
		b = binary.AppendUvarint(b, head)
		b = append(b, e.key...)
		if !e.deleted {
			b = binary.AppendUvarint(b, uint64(len(e.value)))
			b = append(b, e.value...)
		}
	}
	return b
}

// decodePayload reads what payload wrote.
func decodePayload(b []byte, fn func(entry)) error {
	broken := func() error { return fmt.Errorf("%w: a record of the log cannot be read", errDamaged) }
	take := func(n uint64) ([]byte, bool) {
		if n > uint64(len(b)) {
			return nil, false
		}
		out := b[:n]
		b = b[n:]
		return out, true
	}
	for len(b) > 0 {
		head, n := binary.Uvarint(b)
		if n <= 0 {
			return broken()
		}
		b = b[n:]
		key, ok := take(head >> 1)
		if !ok || len(key) == 0 || table(key[0]).bucket() == "" {
			return broken()
		}
		e := entry{key: string(key), deleted: head&1 == 1}
		if !e.deleted {
			length, n := binary.Uvarint(b)
			if n <= 0 {
				return broken()
			}
			b = b[n:]
			value, ok := take(length)
			if !ok {
				return broken()
			}
			e.value = append([]byte{}, value...)
		}
		fn(e)
	}
	return nil
}

// decoded fails the transaction if a row could not be decoded.
func decoded[T any](t *tx, key string, v *T, err error) *T {
	if err != nil {
		t.Fail(&ferry.Error{Op: "journal.row", Key: key, Kind: ferry.KindCorrupt, Err: err})
		return nil
	}
	return v
}

// Setting implements ferry.Tx.
func (t *tx) Setting(name string) string {
	v, _ := t.get(keyStr(tableSettings, name))
	return string(v)
}

// PutSetting implements ferry.Tx.
func (t *tx) PutSetting(name, value string) {
	if value == "" {
		t.delete(keyStr(tableSettings, name))
		return
	}
	t.put(keyStr(tableSettings, name), []byte(value))
}

// NextInodeID implements ferry.Tx.
func (t *tx) NextInodeID() ferry.InodeID {
	id, end, low := t.j.ids.next()
	switch {
	case t.writable && low:
		t.reserved = end + idReserve
		t.put(metaNextInode, u64(t.reserved))
	case id >= end:
		t.failf(ferry.KindInternal, "", "no inode IDs are left in reserve")
		return 0
	}
	return ferry.InodeID(id)
}

// Job implements ferry.Tx.
func (t *tx) Job(id ferry.JobID) *ferry.DeleteJob {
	v, ok := t.get(keyStr(tableJobs, string(id)))
	if !ok {
		return nil
	}
	j, err := codec.DecodeJob(id, v)
	return decoded(t, string(id), j, err)
}

// PutJob implements ferry.Tx.
func (t *tx) PutJob(j *ferry.DeleteJob) { t.put(keyStr(tableJobs, string(j.ID)), codec.Job(j)) }

// Jobs implements ferry.Tx.
func (t *tx) Jobs() iter.Seq[*ferry.DeleteJob] {
	return func(yield func(*ferry.DeleteJob) bool) {
		t.prefix(string(byte(tableJobs)), func(_ rows, key string, v []byte) bool {
			j, err := codec.DecodeJob(ferry.JobID(key[1:]), v)
			j = decoded(t, key[1:], j, err)
			return j != nil && yield(j)
		})
	}
}

// Tombstone implements ferry.Tx.
func (t *tx) Tombstone(p ferry.Path) bool {
	_, ok := t.get(tombstoneKey(p))
	return ok
}

// PutTombstone implements ferry.Tx.
func (t *tx) PutTombstone(p ferry.Path) { t.put(tombstoneKey(p), nil) }

// DeleteTombstone implements ferry.Tx.
func (t *tx) DeleteTombstone(p ferry.Path) { t.delete(tombstoneKey(p)) }

// Tombstones implements ferry.Tx.
func (t *tx) Tombstones(p ferry.Path) iter.Seq[ferry.Path] {
	return func(yield func(ferry.Path) bool) {
		more := true
		each := func(_ rows, key string, _ []byte) bool {
			more = yield(ferry.Path(key[1:]))
			return more
		}
		if p == "" {
			t.prefix(string(byte(tableTombstones)), each)
			return
		}
		if t.Tombstone(p) {
			more = yield(p)
		}
		if more {
			t.prefix(tombstoneKey(p)+"/", each)
		}
	}
}
