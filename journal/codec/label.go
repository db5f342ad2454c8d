package codec

import "ferry"

// Label is what a staging file carries in an extended attribute, so that it can
// be understood without the journal. journal/staging says what it means.
type Label struct {
	Generation ferry.Generation
	Inode      ferry.InodeID
	Path       ferry.Path
	Attr       ferry.Attr
	// Size of the content in bytes, -1 if the file's own size is the truth.
	Size int64
	// Sealed says that the last writer closed.
	Sealed bool
	// Base and BaseLimit as in ferry.Upload.
	Base      *ferry.Version
	BaseLimit int64
	// Extents of a file with a base. Complete is false if there are more than a
	// label can hold.
	Extents  []ferry.Extent
	Complete bool
}

// EncodeLabel returns l as bytes. Extents that would make it longer than max
// bytes are left out, and Complete is false then.
func EncodeLabel(l *Label, maxBytes int) []byte {
	var e encoder
	e.str(1, string(l.Generation))
	e.uint(2, uint64(l.Inode))
	e.str(3, string(l.Path))
	e.sub(4, attr(&l.Attr))
	e.int(5, l.Size)
	e.bool(6, l.Sealed)
	if l.Base != nil {
		e.sub(7, version(l.Base))
	}
	e.int(8, l.BaseLimit)
	full := encoder{b: append([]byte(nil), e.b...)}
	for _, x := range l.Extents {
		full.sub(9, func(e *encoder) {
			e.int(1, x.Offset)
			e.int(2, x.Length)
		})
	}
	full.bool(10, l.Complete)
	if len(full.b) > maxBytes {
		return e.b
	}
	return full.b
}

// DecodeLabel reads what [EncodeLabel] wrote.
func DecodeLabel(b []byte) (*Label, error) {
	l := &Label{}
	err := decode(b, func(f field) (err error) {
		switch f.tag {
		case 1:
			l.Generation = ferry.Generation(f.data)
		case 2:
			l.Inode = ferry.InodeID(f.num)
		case 3:
			l.Path = ferry.Path(f.data)
		case 4:
			l.Attr, err = decodeAttr(f.data)
		case 5:
			l.Size = f.int()
		case 6:
			l.Sealed = f.num != 0
		case 7:
			v, err := decodeVersion(f.data)
			if err != nil {
				return err
			}
			l.Base = &v
		case 8:
			l.BaseLimit = f.int()
		case 9:
			var x ferry.Extent
			err = decode(f.data, func(f field) error {
				switch f.tag {
				case 1:
					x.Offset = f.int()
				case 2:
					x.Length = f.int()
				}
				return nil
			})
			l.Extents = append(l.Extents, x)
		case 10:
			l.Complete = f.num != 0
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}
