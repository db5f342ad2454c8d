package codec

import (
	"time"

	"ferry"
)

// Version appends v to b.
func version(v *ferry.Version) func(*encoder) {
	return func(e *encoder) {
		e.str(1, string(v.Key))
		e.str(2, string(v.ETag))
		e.int(3, v.Size)
		e.str(4, v.VersionID)
		e.str(5, string(v.Generation))
	}
}

func decodeVersion(b []byte) (v ferry.Version, err error) {
	err = decode(b, func(f field) error {
		switch f.tag {
		case 1:
			v.Key = ferry.ObjectKey(f.data)
		case 2:
			v.ETag = ferry.ETag(f.data)
		case 3:
			v.Size = f.int()
		case 4:
			v.VersionID = string(f.data)
		case 5:
			v.Generation = ferry.Generation(f.data)
		}
		return nil
	})
	return v, err
}

func attr(a *ferry.Attr) func(*encoder) {
	return func(e *encoder) {
		e.uint(1, uint64(a.Mode))
		e.uint(2, uint64(a.UID))
		e.uint(3, uint64(a.GID))
		e.int(4, a.Mtime)
		e.int(5, a.Ctime)
	}
}

func decodeAttr(b []byte) (a ferry.Attr, err error) {
	err = decode(b, func(f field) error {
		switch f.tag {
		case 1:
			a.Mode = uint32(f.num)
		case 2:
			a.UID = uint32(f.num)
		case 3:
			a.GID = uint32(f.num)
		case 4:
			a.Mtime = f.int()
		case 5:
			a.Ctime = f.int()
		}
		return nil
	})
	return a, err
}

// Inode returns the row of in. Its ID is in the row's key.
func Inode(in *ferry.Inode) []byte {
	var e encoder
	e.uint(1, uint64(in.Kind))
	e.str(2, string(in.Path))
	e.bool(3, in.Unlinked)
	e.sub(4, attr(&in.Attr))
	pairs(&e, 5, in.Xattrs)
	e.str(6, in.Target)
	pairs(&e, 7, in.Foreign)
	e.bool(8, in.HasForeign)
	e.int(9, in.Size)
	if in.Remote != nil {
		e.sub(10, version(in.Remote))
	}
	e.str(11, string(in.Content))
	e.uint(12, in.AttrSeq)
	e.uint(13, in.StoredAttrSeq)
	return e.b
}

// DecodeInode reads what [Inode] wrote.
func DecodeInode(id ferry.InodeID, b []byte) (*ferry.Inode, error) {
	in := &ferry.Inode{ID: id}
	err := decode(b, func(f field) (err error) {
		switch f.tag {
		case 1:
			in.Kind = ferry.NodeKind(f.num)
		case 2:
			in.Path = ferry.Path(f.data)
		case 3:
			in.Unlinked = f.num != 0
		case 4:
			in.Attr, err = decodeAttr(f.data)
		case 5:
			k, v, err := decodePair(f.data)
			if err != nil {
				return err
			}
			if in.Xattrs == nil {
				in.Xattrs = map[string][]byte{}
			}
			in.Xattrs[k] = v
		case 6:
			in.Target = string(f.data)
		case 7:
			k, v, err := decodePair(f.data)
			if err != nil {
				return err
			}
			if in.Foreign == nil {
				in.Foreign = map[string]string{}
			}
			in.Foreign[k] = string(v)
		case 8:
			in.HasForeign = f.num != 0
		case 9:
			in.Size = f.int()
		case 10:
			v, err := decodeVersion(f.data)
			if err != nil {
				return err
			}
			in.Remote = &v
		case 11:
			in.Content = ferry.Generation(f.data)
		case 12:
			in.AttrSeq = f.num
		case 13:
			in.StoredAttrSeq = f.num
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return in, nil
}

// KeyState returns the row of k. Its key is in the row's key.
func KeyState(k *ferry.KeyState) []byte {
	var e encoder
	e.uint(1, uint64(k.Known.Presence))
	if k.Known.Version != (ferry.Version{}) {
		e.sub(2, version(&k.Known.Version))
	}
	e.uint(3, uint64(k.Wanted.Kind))
	e.uint(4, uint64(k.Wanted.Inode))
	e.str(5, string(k.Upload))
	if in := k.Intent; in != nil {
		e.sub(6, func(e *encoder) {
			e.uint(1, uint64(in.Kind))
			e.str(2, string(in.Generation))
			e.uint(3, uint64(in.Inode))
			e.uint(4, in.AttrSeq)
			e.str(5, string(in.Dest))
			e.str(6, string(in.UploadID))
		})
	}
	e.int(7, k.Since)
	e.str(8, k.Parked)
	e.uint(9, uint64(k.Attempts))
	e.str(10, string(k.Job))
	for _, r := range k.After {
		e.sub(11, func(e *encoder) {
			e.str(1, string(r.Key))
			e.uint(2, uint64(r.Inode))
		})
	}
	return e.b
}

// DecodeKeyState reads what [KeyState] wrote.
func DecodeKeyState(key ferry.ObjectKey, b []byte) (*ferry.KeyState, error) {
	k := &ferry.KeyState{Key: key}
	err := decode(b, func(f field) (err error) {
		switch f.tag {
		case 1:
			k.Known.Presence = ferry.Presence(min(f.num, uint64(ferry.Present)))
		case 2:
			k.Known.Version, err = decodeVersion(f.data)
		case 3:
			k.Wanted.Kind = ferry.WantKind(f.num)
		case 4:
			k.Wanted.Inode = ferry.InodeID(f.num)
		case 5:
			k.Upload = ferry.Generation(f.data)
		case 6:
			k.Intent, err = decodeIntent(f.data)
		case 7:
			k.Since = f.int()
		case 8:
			k.Parked = string(f.data)
		case 9:
			k.Attempts = uint32(f.num)
		case 10:
			k.Job = ferry.JobID(f.data)
		case 11:
			r, err := decodeRequest(f.data)
			if err != nil {
				return err
			}
			k.After = append(k.After, r)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return k, nil
}

func decodeRequest(b []byte) (r ferry.Request, err error) {
	err = decode(b, func(f field) error {
		switch f.tag {
		case 1:
			r.Key = ferry.ObjectKey(f.data)
		case 2:
			r.Inode = ferry.InodeID(f.num)
		}
		return nil
	})
	return r, err
}

func decodeIntent(b []byte) (*ferry.Intent, error) {
	in := &ferry.Intent{}
	err := decode(b, func(f field) error {
		switch f.tag {
		case 1:
			in.Kind = ferry.IntentKind(f.num)
		case 2:
			in.Generation = ferry.Generation(f.data)
		case 3:
			in.Inode = ferry.InodeID(f.num)
		case 4:
			in.AttrSeq = f.num
		case 5:
			in.Dest = ferry.ObjectKey(f.data)
		case 6:
			in.UploadID = ferry.UploadID(f.data)
		}
		return nil
	})
	return in, err
}

// Upload returns the row of u. Its generation is in the row's key.
func Upload(u *ferry.Upload) []byte {
	var e encoder
	e.uint(1, uint64(u.Inode))
	e.uint(2, uint64(u.State))
	e.str(3, string(u.Path))
	e.str(4, string(u.Key))
	e.str(5, string(u.UploadID))
	e.int(6, u.Size)
	if u.Base != nil {
		e.sub(7, version(u.Base))
	}
	e.int(8, u.BaseLimit)
	e.int(9, u.Truncating)
	e.int(10, u.Since)
	e.str(11, u.Reason)
	return e.b
}

// DecodeUpload reads what [Upload] wrote.
func DecodeUpload(g ferry.Generation, b []byte) (*ferry.Upload, error) {
	u := &ferry.Upload{Generation: g}
	err := decode(b, func(f field) error {
		switch f.tag {
		case 1:
			u.Inode = ferry.InodeID(f.num)
		case 2:
			u.State = ferry.UploadState(f.num)
		case 3:
			u.Path = ferry.Path(f.data)
		case 4:
			u.Key = ferry.ObjectKey(f.data)
		case 5:
			u.UploadID = ferry.UploadID(f.data)
		case 6:
			u.Size = f.int()
		case 7:
			v, err := decodeVersion(f.data)
			if err != nil {
				return err
			}
			u.Base = &v
		case 8:
			u.BaseLimit = f.int()
		case 9:
			u.Truncating = f.int()
		case 10:
			u.Since = f.int()
		case 11:
			u.Reason = string(f.data)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return u, nil
}

// Part returns the row of p. Its number is in the row's key.
func Part(p ferry.Part) []byte {
	var e encoder
	e.int(1, p.Extent.Offset)
	e.int(2, p.Extent.Length)
	e.str(3, string(p.ETag))
	if p.Digest != nil {
		e.bytes(4, p.Digest)
	}
	e.bool(5, p.Copied)
	return e.b
}

// DecodePart reads what [Part] wrote.
func DecodePart(n ferry.PartNumber, b []byte) (ferry.Part, error) {
	p := ferry.Part{Number: n}
	err := decode(b, func(f field) error {
		switch f.tag {
		case 1:
			p.Extent.Offset = f.int()
		case 2:
			p.Extent.Length = f.int()
		case 3:
			p.ETag = ferry.ETag(f.data)
		case 4:
			p.Digest = f.copy()
		case 5:
			p.Copied = f.num != 0
		}
		return nil
	})
	return p, err
}

// Job returns the row of j. Its ID is in the row's key.
func Job(j *ferry.DeleteJob) []byte {
	var e encoder
	e.str(1, j.Scope)
	if !j.Made.IsZero() {
		e.sub(2, moment(j.Made))
	}
	if !j.Ended.IsZero() {
		e.sub(3, moment(j.Ended))
	}
	e.int(4, j.Requested)
	e.int(5, j.Deleted)
	e.int(6, j.Failed)
	for _, r := range j.Reasons {
		e.bytes(7, []byte(r))
	}
	return e.b
}

func moment(t time.Time) func(*encoder) {
	return func(e *encoder) {
		e.int(1, t.Unix())
		e.uint(2, uint64(t.Nanosecond()))
	}
}

func decodeMoment(b []byte) (time.Time, error) {
	var sec, nsec int64
	err := decode(b, func(f field) error {
		switch f.tag {
		case 1:
			sec = f.int()
		case 2:
			nsec = int64(f.num)
		}
		return nil
	})
	return time.Unix(sec, nsec).UTC(), err
}

// DecodeJob reads what [Job] wrote. Times are in UTC.
func DecodeJob(id ferry.JobID, b []byte) (*ferry.DeleteJob, error) {
	j := &ferry.DeleteJob{ID: id}
	err := decode(b, func(f field) (err error) {
		switch f.tag {
		case 1:
			j.Scope = string(f.data)
		case 2:
			j.Made, err = decodeMoment(f.data)
		case 3:
			j.Ended, err = decodeMoment(f.data)
		case 4:
			j.Requested = f.int()
		case 5:
			j.Deleted = f.int()
		case 6:
			j.Failed = f.int()
		case 7:
			j.Reasons = append(j.Reasons, string(f.data))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return j, nil
}

// Reply returns the row of r; slot is its place in the ring of its connection.
func Reply(r ferry.Reply, slot uint64) []byte {
	var e encoder
	e.int(1, int64(r.Errno))
	e.uint(2, uint64(r.Inode))
	e.uint(3, uint64(r.Size))
	e.uint(4, slot)
	return e.b
}

// DecodeReply reads what [Reply] wrote.
func DecodeReply(b []byte) (r ferry.Reply, slot uint64, err error) {
	err = decode(b, func(f field) error {
		switch f.tag {
		case 1:
			r.Errno = int32(f.int())
		case 2:
			r.Inode = ferry.InodeID(f.num)
		case 3:
			r.Size = uint32(f.num)
		case 4:
			slot = f.num
		}
		return nil
	})
	return r, slot, err
}
