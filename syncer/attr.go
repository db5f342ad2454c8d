package syncer

import (
	"context"

	"ferry"
)

// attr gives the object at v's key new metadata: the server copies it onto
// itself, if it is still the version that the inode has.
func (s *Syncer) attr(ctx context.Context, v view) (keys, error) {
	if !v.step.Inode.HasForeign {
		return s.sourceChanged(ctx, v.key, v.step.Inode)
	}
	m, in, _, err := s.beginCopy(ctx, v, ferry.IntentAttr)
	if err != nil {
		return s.refusedBefore(v, err)
	}
	src := *in.Remote
	if src.Size > ferry.MaxPutSize {
		m.opts.Cond = ferry.Precondition{IfMatch: src.ETag}
		return s.moveParts(ctx, v.key, src, m)
	}
	done, err := s.turn(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer done()
	version, err := s.r.Copy(ctx, src, v.key, m.opts)
	s.o.Crash("syncer.attr.sent")
	version.Key, version.Size = v.key, src.Size
	if err != nil {
		return s.sourceFailed(ctx, v.key, in, m.intent, err)
	}
	return s.answered(ctx, v.key, m, version, nil)
}
