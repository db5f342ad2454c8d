package syncer

import (
	"context"
	"sync"

	"ferry"
)

// copyPieces cuts an object into parts to copy: enough for several at once,
// within the limits of S3.
func copyPieces(size int64) (pieces []ferry.Extent) {
	piece := min(max(size/8, 16<<20), ferry.MaxPartSize/2)
	n := max(1, size/piece)
	for i := range n {
		from, to := size*i/n, size*(i+1)/n
		pieces = append(pieces, ferry.Extent{Offset: from, Length: to - from})
	}
	return pieces
}

// copyParts makes all parts of the upload from version v, several at once. It
// returns KindConflict or KindNotFound if v is not there any more.
func (s *Syncer) copyParts(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID, v ferry.Version) ([]ferry.Part, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	pieces := copyPieces(v.Size)
	parts := make([]ferry.Part, len(pieces))
	fetch := !s.o.Capabilities().CopyPart
	var wg sync.WaitGroup
	for i, e := range pieces {
		cost := int64(0)
		if fetch {
			cost = e.Length
		}
		if err := s.lim.acquire(ctx, cost); err != nil {
			break
		}
		wg.Go(func() {
			defer s.lim.release(cost)
			n := ferry.PartNumber(i + 1)
			var err error
			if fetch {
				parts[i], err = s.fetchPart(ctx, key, id, n, v, e)
			} else if parts[i], err = s.r.CopyPart(ctx, key, id, n, v, e); err == nil {
				s.partsCopied.Add(1)
			}
			parts[i].Number, parts[i].Extent = n, e
			if err != nil {
				stop(err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return parts, nil
}

// fetchPart sends bytes of v as a part, for a server that cannot copy parts.
func (s *Syncer) fetchPart(ctx context.Context, key ferry.ObjectKey, id ferry.UploadID, n ferry.PartNumber, v ferry.Version, e ferry.Extent) (ferry.Part, error) {
	c := &content{size: v.Size, base: &v, limit: v.Size, ours: ferry.NewExtentSet(), ctx: ctx, r: s.r}
	defer c.close()
	part, err := s.r.PutPart(ctx, key, id, n, c, e)
	if err != nil && c.failure() != nil {
		err = c.failure()
	}
	if err == errBaseLost { //nolint:errorlint // content returns this very value
		err = &ferry.Error{Op: "syncer.copy", Key: string(v.Key), Kind: ferry.KindConflict, Msg: "the source is not there any more"}
	}
	return part, err
}

// copyObject copies v with its metadata to a key that only we use, whatever is
// there. It returns KindConflict or KindNotFound if v is not there any more.
func (s *Syncer) copyObject(ctx context.Context, v ferry.Version, to ferry.ObjectKey) (ferry.Version, error) {
	if v.Size <= ferry.MaxPutSize {
		return s.r.Copy(ctx, v, to, ferry.PutOptions{})
	}
	obj, err := s.r.Head(ctx, v.Key)
	if err != nil {
		return ferry.Version{}, err
	}
	id, err := s.r.NewUpload(ctx, to, putOptions(obj))
	if err != nil {
		return ferry.Version{}, err
	}
	parts, err := s.copyParts(ctx, to, id, v)
	var made ferry.Version
	if err == nil {
		made, err = s.r.Complete(ctx, to, id, parts, ferry.Precondition{})
	}
	if err != nil {
		if aerr := s.r.Abort(ctx, to, id); aerr != nil {
			s.o.Log.Info("an unused upload was not given back", "key", to, "error", aerr)
		}
		return ferry.Version{}, err
	}
	made.Key, made.Size, made.Generation = to, v.Size, v.Generation
	return made, nil
}
