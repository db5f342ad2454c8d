package syncer

import (
	"context"

	"ferry"
)

// stamp is what the rows said of a key when it was taken, and a change of the
// journal that is not older than they are. If they still say the same when the
// key's turn has come, they are behind a barrier as soon as that change is. Keys
// are taken many at a time, and so share one barrier.
type stamp struct {
	seq     uint64
	wanted  ferry.Wanted
	known   ferry.Known
	path    ferry.Path
	content ferry.Generation
	state   ferry.UploadState
	size    int64
	attrSeq uint64
}

// stampOf stamps a row that a view shows which began after change seq.
func stampOf(tx ferry.Tx, k *ferry.KeyState, seq uint64) stamp {
	at := stamp{seq: seq, wanted: k.Wanted, known: k.Known}
	if k.Wanted.Kind != ferry.WantInode {
		return at
	}
	if in := tx.Inode(k.Wanted.Inode); in != nil {
		at.path, at.content, at.size, at.attrSeq = in.Path, in.Content, in.Size, in.AttrSeq
		if u := tx.Upload(in.Content); u != nil {
			at.state = u.State
		}
	}
	return at
}

// unstamp takes the stamp of key. Not to be called inside Update: the scheduler
// reads rows while it holds the agenda.
func (s *Syncer) unstamp(key ferry.ObjectKey) stamp {
	a := &s.agenda
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.stamps[key]
	delete(a.stamps, key)
	return at
}

// since returns the change that has to be behind a barrier before a step acts on
// k: that of the stamp if nothing changed, else 0: the last one there is.
//
// It is for requests that carry the generation of a content. Their intent need
// not survive a power cut: the same request is made again then, and finds its own
// generation in the bucket.
func (at stamp) since(tx ferry.Tx, k *ferry.KeyState) uint64 {
	if stampOf(tx, k, at.seq) != at {
		return 0
	}
	return at.seq
}

// barrier returns when change seq survives a power cut, and all before it; 0 is
// the last there is.
func (s *Syncer) barrier(ctx context.Context, seq uint64) error {
	if seq == 0 {
		seq = s.j.LastSeq()
	}
	if s.j.Barrier() >= seq {
		return nil
	}
	return s.j.Sync(ctx)
}
