package staging

import (
	"bytes"
	"errors"
	"io"

	"ferry"
)

// copyBlock is the unit of a copy: blocks that are all zeros stay holes.
const copyBlock = 64 << 10

// Clone makes generation to's file a copy of from's. extents are the bytes of
// from that count; nil means that from has no base and every byte of it counts,
// holes being zeros. Blocks are shared where the file system can (reflink).
// from must not change meanwhile. to must have no row yet: if we die before it
// gets one, the next start frees the copy. As durable as a write.
func (s *Store) Clone(from, to ferry.Generation, extents *ferry.ExtentSet) (err error) {
	if ok, err := s.Exists(from); err != nil || !ok {
		return errors.Join(err, s.touch(to)) // a generation without a file is empty
	}
	src, err := s.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	dst, err := s.Open(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if err := dst.Truncate(0); err != nil {
		return err
	}
	if dst.sh.f.CloneFrom(src.sh.f) == nil {
		s.Dirty(to)
		dst.sh.account()
		s.crash("staging.cloned")
		return nil
	}
	size, err := src.Size()
	if err != nil {
		return err
	}
	if extents == nil {
		extents = ferry.NewExtentSet(ferry.Extent{Length: size})
	}
	for _, e := range extents.All() {
		if err := copyRange(dst, src, e.Intersect(ferry.Extent{Length: size})); err != nil {
			return err
		}
	}
	if err := dst.Truncate(size); err != nil {
		return err
	}
	s.crash("staging.cloned")
	return nil
}

func (s *Store) touch(g ferry.Generation) error {
	f, err := s.Open(g)
	if err != nil {
		return err
	}
	return f.Close()
}

// copyRange copies the bytes of e. dst is new there, so that zeros need no write.
func copyRange(dst, src *File, e ferry.Extent) error {
	buf, zeros := make([]byte, copyBlock), make([]byte, copyBlock)
	for off := e.Offset; off < e.End(); {
		b := buf[:min(copyBlock-off%copyBlock, e.End()-off)]
		if _, err := io.ReadFull(io.NewSectionReader(src, off, int64(len(b))), b); err != nil {
			return classify("staging.clone", string(src.Generation()), err)
		}
		if !bytes.Equal(b, zeros[:len(b)]) {
			if _, err := dst.WriteAt(b, off); err != nil {
				return err
			}
		}
		off += int64(len(b))
	}
	return nil
}
