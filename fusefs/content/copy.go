package content

import (
	"context"

	"ferry"
)

const (
	copyChunk   = 1 << 20  // bytes read and written at a time
	copyAtMost  = 64 << 20 // bytes for one request, so that it ends soon
	seekData    = 3        // SEEK_DATA of lseek(2)
	seekForHole = 4        // SEEK_HOLE
)

// Copy is copy_file_range(2): it reads length bytes at srcOff of src and writes
// them at dstOff of dst. Fewer may be copied; 0 with no error is the end of src.
func (f *Files) Copy(ctx context.Context, src *Handle, srcOff int64, dst *Handle, dstOff, length int64) (int64, error) {
	if !dst.writer {
		return 0, &ferry.Error{Op: "content.copy", Kind: ferry.KindBadHandle}
	}
	// The end of src is where it is now: it may be the same file.
	length = min(length, copyAtMost, f.Size(src)-srcOff)
	if length <= 0 {
		return 0, nil
	}
	buf := make([]byte, min(copyChunk, length))
	var done int64
	for done < length {
		n, err := f.Read(ctx, src, buf[:min(int64(len(buf)), length-done)], srcOff+done)
		if err != nil || n == 0 {
			return orDone(done, err)
		}
		w, err := f.Write(ctx, dst, buf[:n], dstOff+done)
		done += int64(w)
		if err != nil {
			return orDone(done, err)
		}
	}
	return done, nil
}

// orDone reports an error only if nothing was done.
func orDone(done int64, err error) (int64, error) {
	if done > 0 {
		return done, nil
	}
	return 0, err
}

// Seek is lseek(2) with SEEK_DATA or SEEK_HOLE. Everything below the size counts
// as data: what is a hole in a staging file is not asked. KindNoData at or after
// the end.
func (f *Files) Seek(h *Handle, off int64, whence uint32) (int64, error) {
	size := f.Size(h)
	switch {
	case off < 0 || off >= size:
		return 0, ErrBeyondEnd
	case whence == seekData:
		return off, nil
	case whence == seekForHole:
		return size, nil
	default:
		return 0, &ferry.Error{Op: "content.seek", Kind: ferry.KindInvalid}
	}
}

// ErrBeyondEnd is the answer to a search for data at or after the end: ENXIO.
var ErrBeyondEnd = &ferry.Error{Op: "content.seek", Kind: ferry.KindInvalid, Msg: "there is nothing after the end of the file"}

// Size returns the file's size in bytes as the handle sees it.
func (f *Files) Size(h *Handle) int64 {
	in := h.in
	in.mu.RLock()
	defer in.mu.RUnlock()
	if in.gen == "" {
		return h.src.v.Size
	}
	return in.size
}
