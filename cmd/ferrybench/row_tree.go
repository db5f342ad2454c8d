package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const treeCount = 10_000 // objects, 100 to a folder

// tree lists and deletes many objects that the raw client has put.
func (b *bench) tree(ctx context.Context) error {
	const bucket, prefix = "tree", "t/"
	if err := b.raw.makeBucket(ctx, bucket); err != nil {
		return err
	}
	local := filepath.Join(b.work, "tree")
	if err := smallFiles(local, treeCount, 64); err != nil {
		return err
	}
	defer os.RemoveAll(local) //nolint:errcheck // the work folder goes as a whole at the end
	seed := func() error { return b.raw.putFiles(ctx, bucket, prefix, local, treeCount) }
	if err := seed(); err != nil {
		return err
	}
	for _, tool := range [][]string{{"find"}, {"ls", "-lR"}} {
		if err := b.listTree(ctx, bucket, prefix, tool); err != nil {
			return err
		}
	}
	return b.deleteTree(ctx, bucket, prefix, seed)
}

// listTree walks the tree through a mount that has never seen it.
func (b *bench) listTree(ctx context.Context, bucket, prefix string, tool []string) error {
	var raw, walk []time.Duration
	var requests []float64
	for range b.rounds {
		took, err := b.timed(func() error {
			n, err := b.raw.list(ctx, bucket, prefix)
			if err == nil && n != treeCount {
				err = fmt.Errorf("the listing has %d of %d objects", n, treeCount)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("raw: %w", err)
		}
		raw = append(raw, took)

		m, err := b.mountFerry(ctx, bucket)
		if err != nil {
			return err
		}
		took, asked, err := m.asked(ctx, func() (time.Duration, error) {
			out, took, err := runTool(ctx, tool[0], append(tool[1:], filepath.Join(m.dir, prefix))...)
			if n := strings.Count(out, "f0"); err == nil && n < treeCount {
				err = fmt.Errorf("%s showed %d of %d files", tool[0], n, treeCount)
			}
			return took, err
		})
		if err = errors.Join(err, m.close(ctx)); err != nil {
			return err
		}
		walk, requests = append(walk, took), append(requests, asked)
	}
	name := fmt.Sprintf("%s over %d objects in %d folders, cold", strings.Join(tool, " "), treeCount, treeCount/100)
	b.report.addRatio(name, walk, "raw", raw, 1.2)
	b.report.addValue("… requests", "requests", requests, "≤ 15", 15)
	return nil
}

// asked runs f and returns its time and the requests made to the bucket until
// all its work was done.
func (m *mounted) asked(ctx context.Context, f func() (time.Duration, error)) (time.Duration, float64, error) {
	before, err := m.counters(ctx)
	if err != nil {
		return 0, 0, err
	}
	settle()
	took, err := f()
	if err != nil {
		return 0, 0, err
	}
	after, err := m.counters(ctx)
	return took, float64(after.requests() - before.requests()), err
}

// deleteTree deletes the tree, which is there at the start, by rm -rf and by
// bulk deletes. Each round of each side needs 10,000 new objects, so two rounds
// are enough.
func (b *bench) deleteTree(ctx context.Context, bucket, prefix string, seed func() error) error {
	var raw, empty, returned []time.Duration
	var requests []float64
	for round := range min(b.rounds, 2) {
		if round > 0 {
			if err := seed(); err != nil {
				return err
			}
		}
		m, err := b.mountFerry(ctx, bucket)
		if err != nil {
			return err
		}
		var first time.Duration
		took, asked, err := m.asked(ctx, func() (time.Duration, error) {
			start := time.Now()
			var err error
			if first, err = timeTool(ctx, "rm", "-rf", filepath.Join(m.dir, prefix)); err != nil {
				return 0, err
			}
			err = m.wait(ctx, m.dir)
			return time.Since(start), err
		})
		if err != nil {
			return err
		}
		returned, empty, requests = append(returned, first), append(empty, took), append(requests, asked)
		if n, err := b.raw.list(ctx, bucket, ""); err != nil || n != 0 {
			return errors.Join(fmt.Errorf("%d objects are left after rm -rf", n), err)
		}
		if err := m.close(ctx); err != nil {
			return err
		}
		if err := seed(); err != nil {
			return err
		}
		if took, err = b.timed(func() error { return b.raw.removeAll(ctx, bucket, prefix) }); err != nil {
			return fmt.Errorf("raw: %w", err)
		}
		raw = append(raw, took)
	}
	name := fmt.Sprintf("rm -rf of %d objects: ", treeCount)
	b.report.addRatio(name+"bucket empty", empty, "raw", raw, 1.2)
	b.report.addValue(name+"returned", "s", seconds(returned), "", 0)
	b.report.addValue(name+"requests in all", "requests", requests, "≤ 25", 25)
	return nil
}
