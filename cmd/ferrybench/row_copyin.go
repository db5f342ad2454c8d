package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/minio/minio-go/v7"
)

// copyIn copies one big file in. "Returned" is when cp ends, "stored" when
// `ferry wait` says that the object is in the bucket. With uploads held back by
// --upload-rate, cp alone is compared with the null daemon and the local disk.
func (b *bench) copyIn(ctx context.Context) error {
	const bucket = "copyin"
	if err := b.raw.makeBucket(ctx, bucket); err != nil {
		return err
	}
	if err := warm(b.source); err != nil {
		return err
	}
	var raw, null, local, returned, stored, paused []time.Duration
	for range b.rounds {
		took, err := b.timed(func() error { return b.raw.putMultipart(ctx, bucket, "raw", b.source) })
		if err != nil {
			return fmt.Errorf("raw: %w", err)
		}
		raw = append(raw, took)

		first, all, err := b.copyInOnce(ctx, bucket)
		if err != nil {
			return err
		}
		returned, stored = append(returned, first), append(stored, all)

		if took, err = b.copyToNull(ctx, b.source); err != nil {
			return fmt.Errorf("null: %w", err)
		}
		null = append(null, took)

		if took, err = b.copyToDisk(ctx, b.source); err != nil {
			return err
		}
		local = append(local, took)

		if took, err = b.copyInPaused(ctx, bucket); err != nil {
			return err
		}
		paused = append(paused, took)
		if err := b.raw.removeAll(ctx, bucket, ""); err != nil {
			return err
		}
	}
	name := "cp " + showBytes(float64(b.size)) + " in: "
	b.report.addRatio(name+"stored", stored, "raw", raw, 1.15)
	b.report.addRatio(name+"returned, while uploading", returned, "null", null, 0)
	b.report.addRatio(name+"returned, uploads held back", paused, "null", null, 1.2)
	// A goal only where the fast path is used; without it the null daemon is.
	b.report.addRatio(name+"returned, uploads held back", paused, "disk", local, 0)
	b.report.Rows[len(b.report.Rows)-1].Goal = "≤ 1.30 × disk by the fast path"
	return nil
}

// timed measures f from a quiet state of the machine.
func (b *bench) timed(f func() error) (time.Duration, error) {
	settle()
	start := time.Now()
	err := f()
	return time.Since(start), err
}

// copyInOnce returns when cp ended and when the object was stored, both from
// the start of cp.
func (b *bench) copyInOnce(ctx context.Context, bucket string) (returned, stored time.Duration, err error) {
	m, err := b.mountFerry(ctx, bucket)
	if err != nil {
		return 0, 0, err
	}
	path := filepath.Join(m.dir, "ferry")
	settle()
	start := time.Now()
	if returned, err = timeTool(ctx, "cp", b.source, path); err != nil {
		return 0, 0, err
	}
	if err = m.wait(ctx, path); err != nil {
		return 0, 0, err
	}
	stored = time.Since(start)
	info, err := b.raw.core.StatObject(ctx, bucket, "ferry", minio.StatObjectOptions{})
	if err != nil {
		err = fmt.Errorf("ferry wait says that the file is stored, the bucket does not: %w", err)
	} else if info.Size != b.size {
		err = fmt.Errorf("the object has %d bytes, not %d", info.Size, b.size)
	}
	return returned, stored, errors.Join(err, m.close(ctx))
}

// copyInPaused times cp while next to nothing is uploaded.
func (b *bench) copyInPaused(ctx context.Context, bucket string) (time.Duration, error) {
	m, err := b.mountFerry(ctx, bucket, "--upload-rate", "64KiB")
	if err != nil {
		return 0, err
	}
	settle()
	took, err := timeTool(ctx, "cp", b.source, filepath.Join(m.dir, "paused"))
	return took, errors.Join(err, m.close(ctx, "--now"))
}

func (b *bench) copyToNull(ctx context.Context, source string) (time.Duration, error) {
	m, err := b.mountNull(ctx)
	if err != nil {
		return 0, err
	}
	settle()
	took, err := timeTool(ctx, "cp", "-r", source, filepath.Join(m.dir, "copy"))
	return took, errors.Join(err, m.close(ctx))
}

func (b *bench) copyToDisk(ctx context.Context, source string) (time.Duration, error) {
	path := filepath.Join(b.work, "copy")
	settle()
	// A file system that shares blocks would copy nothing.
	took, err := timeTool(ctx, "cp", "-r", "--reflink=never", source, path)
	return took, errors.Join(err, os.RemoveAll(path))
}
