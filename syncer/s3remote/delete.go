package s3remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"ferry"
)

// singleDeletes is how many single deletes go at once.
const singleDeletes = 8

// Delete implements syncer.Remote.
func (r *Remote) Delete(ctx context.Context, keys []ferry.ObjectKey) (map[ferry.ObjectKey]error, error) {
	const op = "s3remote.delete"
	if len(keys) > 1000 {
		return nil, &ferry.Error{Op: op, Kind: ferry.KindInvalid, Msg: fmt.Sprintf("%d keys are too many for one request", len(keys))}
	}
	results := map[ferry.ObjectKey]error{}
	var bulk []minio.ObjectInfo
	var single []ferry.ObjectKey
	noBulk := r.caps.Load() != nil && !r.Capabilities().BulkDelete
	for _, key := range keys {
		full, err := r.full(op, key)
		switch {
		case err != nil:
			results[key] = err
		case noBulk || !fitsXML(full):
			single = append(single, key)
		default:
			bulk = append(bulk, minio.ObjectInfo{Key: full})
		}
	}
	unanswered, err := r.bulkDelete(ctx, op, bulk, results)
	if err != nil {
		return nil, err
	}
	r.singleDeletes(ctx, op, append(single, unanswered...), results)
	if ctx.Err() != nil {
		return nil, classify(op, "", context.Cause(ctx))
	}
	for key, err := range results {
		if err == nil {
			delete(results, key)
		}
	}
	return results, nil
}

// bulkDelete deletes by one request and puts the answers into results. It
// returns the keys that the answer does not name: minio-go swallows some.
func (r *Remote) bulkDelete(ctx context.Context, op string, objects []minio.ObjectInfo, results map[ferry.ObjectKey]error) (unanswered []ferry.ObjectKey, err error) {
	if len(objects) == 0 {
		return nil, nil
	}
	ctx = withCall(ctx, &call{api: apiBulk, method: http.MethodPost})
	answers, err := r.core.RemoveObjectsWithIter(ctx, r.bucket, func(yield func(minio.ObjectInfo) bool) {
		for _, o := range objects {
			if !yield(o) {
				return
			}
		}
	}, minio.RemoveObjectsOptions{})
	if err != nil {
		return nil, classify(op, "", err)
	}
	for a := range answers {
		// An answer about one key has no status of its own; what has one, or is
		// no answer at all, is about the whole request.
		answer, ok := errors.AsType[minio.ErrorResponse](a.Err)
		if a.Err != nil && (!ok || answer.StatusCode != 0) {
			return nil, classify(op, "", a.Err)
		}
		key := r.rel(a.ObjectName)
		results[key] = classify(op, key, a.Err)
		if ferry.IsKind(results[key], ferry.KindNotFound) {
			results[key] = nil
		}
	}
	for _, o := range objects {
		if _, ok := results[r.rel(o.Key)]; !ok {
			unanswered = append(unanswered, r.rel(o.Key))
		}
	}
	return unanswered, nil
}

// singleDeletes deletes key by key, a few at once.
func (r *Remote) singleDeletes(ctx context.Context, op string, keys []ferry.ObjectKey, results map[ferry.ObjectKey]error) {
	errs := make([]error, len(keys))
	var g errgroup.Group
	g.SetLimit(singleDeletes)
	for i, key := range keys {
		g.Go(func() error {
			ctx := withCall(ctx, &call{api: apiDelete, method: http.MethodDelete})
			err := classify(op, key, r.core.RemoveObject(ctx, r.bucket, r.prefix+string(key), minio.RemoveObjectOptions{}))
			if !ferry.IsKind(err, ferry.KindNotFound) {
				errs[i] = err
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	for i, key := range keys {
		results[key] = errs[i]
	}
}

// fitsXML reports whether XML 1.0 can express key, so that it can be in the body
// of DeleteObjects.
func fitsXML(key string) bool {
	return !strings.ContainsFunc(key, func(c rune) bool {
		// \r and \n survive only escaped, which not every server undoes.
		return c < ' ' && c != '\t' || c == 0xFFFE || c == 0xFFFF || c >= 0xD800 && c < 0xE000
	})
}
