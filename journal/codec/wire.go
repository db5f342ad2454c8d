// Package codec turns rows into bytes and back.
//
// A row is a sequence of fields. A field is a tag and a value: uvarint(tag<<1)
// followed by a uvarint, or uvarint(tag<<1|1) followed by a length and so many
// bytes. Fields that are zero are left out and tags that are not known are
// skipped, so that an older ferry reads what a newer one of the same schema
// version wrote. Tags are never used again for something else.
//
// Decoding never panics and never allocates more than its input is long.
package codec

import (
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"
)

var errRow = errors.New("the row is damaged")

// encoder appends fields to a buffer.
type encoder struct{ b []byte }

func (e *encoder) uint(tag int, v uint64) {
	if v == 0 {
		return
	}
	e.b = binary.AppendUvarint(e.b, uint64(tag)<<1)
	e.b = binary.AppendUvarint(e.b, v)
}

// int writes signed values zigzag.
func (e *encoder) int(tag int, v int64) { e.uint(tag, uint64(v)<<1^uint64(v>>63)) }

func (e *encoder) bool(tag int, v bool) {
	if v {
		e.uint(tag, 1)
	}
}

func (e *encoder) str(tag int, v string) {
	if v == "" {
		return
	}
	e.b = binary.AppendUvarint(e.b, uint64(tag)<<1|1)
	e.b = binary.AppendUvarint(e.b, uint64(len(v)))
	e.b = append(e.b, v...)
}

// bytes writes v even if it is empty.
func (e *encoder) bytes(tag int, v []byte) {
	e.b = binary.AppendUvarint(e.b, uint64(tag)<<1|1)
	e.b = binary.AppendUvarint(e.b, uint64(len(v)))
	e.b = append(e.b, v...)
}

// sub writes what fn writes as one field.
func (e *encoder) sub(tag int, fn func(*encoder)) {
	var inner encoder
	fn(&inner)
	e.bytes(tag, inner.b)
}

// pairs writes a map in the order of its keys.
func pairs[V ~string | ~[]byte](e *encoder, tag int, m map[string]V) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		e.sub(tag, func(e *encoder) {
			e.str(1, k)
			e.bytes(2, []byte(m[k]))
		})
	}
}

// field is one decoded field.
type field struct {
	tag   int
	num   uint64
	data  []byte // nil for a number
	bytes bool
}

func (f field) int() int64 { return int64(f.num>>1) ^ -int64(f.num&1) }

func (f field) copy() []byte { return append([]byte{}, f.data...) }

// decode calls fn for each field. A field whose kind is not what fn expects has
// num 0 or no data; fn needs not look.
func decode(b []byte, fn func(field) error) error {
	for len(b) > 0 {
		head, n := binary.Uvarint(b)
		if n <= 0 || head>>1 > math.MaxInt32 {
			return errRow
		}
		b = b[n:]
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return errRow
		}
		b = b[n:]
		f := field{tag: int(head >> 1), num: v}
		if head&1 == 1 {
			if v > uint64(len(b)) {
				return errRow
			}
			f = field{tag: f.tag, data: b[:v:v], bytes: true}
			b = b[v:]
		}
		if err := fn(f); err != nil {
			return err
		}
	}
	return nil
}

func decodePair(b []byte) (k string, v []byte, err error) {
	v = []byte{}
	err = decode(b, func(f field) error {
		switch f.tag {
		case 1:
			k = string(f.data)
		case 2:
			v = f.copy()
		}
		return nil
	})
	return k, v, err
}
