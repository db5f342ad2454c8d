package tree

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"ferry"
)

// subtree is what the bucket holds below one directory, as a flat listing showed
// it; what changed since is in the listings' record until finish.
type subtree struct {
	path    ferry.Path
	seq     uint64
	objects map[ferry.ObjectKey]*facts
}

// headsAtOnce bounds the HEADs for metadata that a server's listings do not carry.
const headsAtOnce = 16

// subtree lists all that is below the directory at s, nil if s is no directory.
// Call finish with the result. ns must be held: no name changes meanwhile.
func (t *Tree) subtree(ctx context.Context, s slot) (*subtree, error) {
	sub := &subtree{objects: map[ferry.ObjectKey]*facts{}}
	isDir := false
	err := t.withName(ctx, s.dir, s.name, func(_ ferry.Tx, d *node, f *found) error {
		sub.path, isDir = d.path().Join(s.name), f != nil && f.facts.kind == ferry.Dir
		return nil
	})
	if err != nil || !isDir {
		return nil, err
	}
	t.mu.Lock()
	sub.seq = t.listings.begin()
	t.mu.Unlock()
	if err := t.flat(ctx, sub); err != nil {
		t.finish(sub)
		return nil, unknownIfTransient(err, sub.path)
	}
	return sub, nil
}

// finish lets the record of changes go.
func (t *Tree) finish(sub *subtree) {
	if sub == nil {
		return
	}
	t.mu.Lock()
	t.listings.end()
	t.mu.Unlock()
}

// flat lists sub without a delimiter.
func (t *Tree) flat(ctx context.Context, sub *subtree) error {
	at := time.Now()
	prefix := sub.path.Marker()
	for after := ferry.ObjectKey(""); ; {
		page, err := t.o.Remote.List(ctx, ferry.ListRequest{Prefix: prefix, After: after, Max: pageSize, Metadata: true})
		if err != nil {
			return err
		}
		for _, o := range page.Objects {
			if o.Key.Check() == nil {
				sub.objects[o.Key] = t.decode(o, at)
			}
		}
		if len(sub.objects) > t.o.RenameMax {
			return tooMany(sub.path, t.o.RenameMax)
		}
		if !page.More {
			break
		}
		after = page.Last
	}
	return t.fill(ctx, sub, at)
}

// fill asks for the metadata that the listing did not carry.
func (t *Tree) fill(ctx context.Context, sub *subtree, at time.Time) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(headsAtOnce)
	for k, f := range sub.objects {
		if f.hasMeta {
			continue
		}
		g.Go(func() error {
			o, err := t.o.Remote.Head(ctx, k)
			if err != nil {
				if ferry.IsKind(err, ferry.KindNotFound) {
					return nil
				}
				return err
			}
			n := t.decode(o, at)
			n.hasMeta = true
			*f = *n // each goroutine has its own facts
			return nil
		})
	}
	return g.Wait()
}
