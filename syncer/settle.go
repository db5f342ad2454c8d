package syncer

import (
	"context"

	"ferry"
)

// settle learns what became of the request journaled for v's key.
func (s *Syncer) settle(ctx context.Context, v view) (keys, error) { return s.settleKey(ctx, v.key) }

// settleKey asks the bucket what became of the request journaled for key: the
// object's metadata names the request that made it. If it is not ours, the
// request made no object (or another client has replaced it since, which the
// next try's precondition finds); it is made impossible before it is tried again
// where it still could take effect.
func (s *Syncer) settleKey(ctx context.Context, key ferry.ObjectKey) (keys, error) {
	var intent *ferry.Intent
	var u *ferry.Upload
	if err := s.j.View(func(tx ferry.Tx) error {
		if k := tx.Key(key); k != nil && k.Intent != nil {
			intent, u = k.Intent, tx.Upload(k.Intent.Generation)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if intent == nil {
		return keys{key}, nil
	}
	if intent.Kind == ferry.IntentAside {
		return s.settleAside(ctx, key, *intent)
	}
	obj, there, err := s.head(ctx, key)
	if err != nil {
		return nil, err
	}
	if ours(obj, there, *intent) {
		return s.stored(key, *intent, obj.Version, putOptions(obj))
	}
	gone := false // at the server: it cannot take effect any more
	switch {
	case intent.Kind == ferry.IntentComplete && u != nil:
		if _, err := s.r.ListParts(ctx, key, u.UploadID); ferry.IsKind(err, ferry.KindNoUpload) {
			gone = true
		} else if err != nil {
			return nil, err
		}
	case intent.UploadID != "":
		if err := s.r.Abort(ctx, key, intent.UploadID); err != nil && !ferry.IsKind(err, ferry.KindNoUpload) {
			return nil, err
		}
		gone = true
	}
	if gone { // it may have been completed between the two questions
		if obj, there, err = s.head(ctx, key); err != nil {
			return nil, err
		}
		if ours(obj, there, *intent) {
			return s.stored(key, *intent, obj.Version, putOptions(obj))
		}
	}
	err = s.j.Update(func(tx ferry.Tx) error {
		k := tx.Key(key)
		if k == nil || k.Intent == nil || k.Intent.Generation != intent.Generation {
			return errStale
		}
		var known *ferry.Known
		if !there {
			known = &ferry.KnownAbsent
		}
		if u := tx.Upload(intent.Generation); gone && u != nil && u.State == ferry.StateCompleting {
			k.Intent = nil
			if known != nil {
				k.Known = *known
			}
			tx.PutKey(k)
			return lose(tx, u)
		}
		refuse(tx, k, known)
		return nil
	})
	if gone {
		s.forget(intent.Generation)
	}
	return keys{key}, err
}

// head asks for key; an object that is not there is no error.
func (s *Syncer) head(ctx context.Context, key ferry.ObjectKey) (obj ferry.Object, there bool, err error) {
	obj, err = s.r.Head(ctx, key)
	switch {
	case err == nil:
		obj.Key = key
		if obj.Generation == "" {
			obj.Generation = ferry.DecodeMetadata(obj, ferry.Defaults{}).Generation
		}
		return obj, true, nil
	case ferry.IsKind(err, ferry.KindNotFound):
		return obj, false, nil
	default:
		return obj, false, err
	}
}

func ours(obj ferry.Object, there bool, intent ferry.Intent) bool {
	return there && obj.Generation == intent.Generation
}

func putOptions(o ferry.Object) ferry.PutOptions {
	return ferry.PutOptions{Metadata: o.Metadata, Headers: o.Headers}
}
