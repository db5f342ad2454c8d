package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	smallCount = 2000
	smallSize  = 4 << 10 // bytes of each
)

// small copies a tree of small files in.
func (b *bench) small(ctx context.Context) error {
	const bucket = "small"
	if err := b.raw.makeBucket(ctx, bucket); err != nil {
		return err
	}
	tree := filepath.Join(b.work, "small")
	if err := smallFiles(tree, smallCount, smallSize); err != nil {
		return err
	}
	defer os.RemoveAll(tree) //nolint:errcheck // the work folder goes as a whole at the end
	var raw, null, returned, stored []time.Duration
	for range b.rounds {
		took, err := b.timed(func() error { return b.raw.putFiles(ctx, bucket, "raw/", tree, smallCount) })
		if err != nil {
			return fmt.Errorf("raw: %w", err)
		}
		raw = append(raw, took)

		first, all, err := b.smallOnce(ctx, bucket, tree)
		if err != nil {
			return err
		}
		returned, stored = append(returned, first), append(stored, all)

		if took, err = b.copyToNull(ctx, tree); err != nil {
			return fmt.Errorf("null: %w", err)
		}
		null = append(null, took)
		if err := b.raw.removeAll(ctx, bucket, ""); err != nil {
			return err
		}
	}
	name := fmt.Sprintf("cp -r %d × 4 KiB: ", smallCount)
	b.report.addRatio(name+"stored", stored, "raw", raw, 1.1)
	b.report.addRatio(name+"returned", returned, "null", null, 1.3)
	return nil
}

func (b *bench) smallOnce(ctx context.Context, bucket, tree string) (returned, stored time.Duration, err error) {
	m, err := b.mountFerry(ctx, bucket)
	if err != nil {
		return 0, 0, err
	}
	settle()
	start := time.Now()
	if returned, err = timeTool(ctx, "cp", "-r", tree, filepath.Join(m.dir, "ferry")); err != nil {
		return 0, 0, err
	}
	if err = m.wait(ctx, m.dir); err != nil {
		return 0, 0, err
	}
	stored = time.Since(start)
	n, err := b.raw.countFiles(ctx, bucket, "ferry/")
	if err == nil && n != smallCount {
		err = fmt.Errorf("the bucket holds %d of %d files", n, smallCount)
	}
	return returned, stored, errors.Join(err, m.close(ctx))
}
