package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/minio/minio-go/v7"
)

const (
	randomReads = 128
	randomSize  = 4 << 10 // bytes of each
)

// read puts an object by the raw client and reads it through mounts that have
// never seen it, one mount per reading.
func (b *bench) read(ctx context.Context) error {
	const bucket, key = "read", "object"
	if err := b.raw.makeBucket(ctx, bucket); err != nil {
		return err
	}
	if err := b.raw.putMultipart(ctx, bucket, key, b.source); err != nil {
		return err
	}
	if err := b.readWhole(ctx, bucket, key); err != nil {
		return err
	}
	for _, tool := range []string{"head", "tail"} {
		if err := b.readEnd(ctx, bucket, key, tool); err != nil {
			return err
		}
	}
	if err := b.readRandom(ctx, bucket, key); err != nil {
		return err
	}
	return b.raw.removeAll(ctx, bucket, "")
}

// coldRead mounts anew, runs f on the object's path and returns the time f took
// and the bytes fetched for it.
func (b *bench) coldRead(ctx context.Context, bucket, key string, f func(path string) error) (time.Duration, float64, error) {
	m, err := b.mountFerry(ctx, bucket)
	if err != nil {
		return 0, 0, err
	}
	before, err := m.counters(ctx)
	if err != nil {
		return 0, 0, err
	}
	dropCaches()
	start := time.Now()
	err = f(filepath.Join(m.dir, key))
	took := time.Since(start)
	if err != nil {
		return 0, 0, err
	}
	after, err := m.counters(ctx)
	return took, float64(after.BytesFetched - before.BytesFetched), errors.Join(err, m.close(ctx))
}

func (b *bench) readWhole(ctx context.Context, bucket, key string) error {
	var raw, cat []time.Duration
	var fetched []float64
	for range b.rounds {
		dropCaches()
		start := time.Now()
		if err := b.raw.getParallel(ctx, bucket, key); err != nil {
			return fmt.Errorf("raw: %w", err)
		}
		raw = append(raw, time.Since(start))
		took, bytes, err := b.coldRead(ctx, bucket, key, func(path string) error {
			_, err := timeTool(ctx, "cat", path)
			return err
		})
		if err != nil {
			return err
		}
		cat, fetched = append(cat, took), append(fetched, bytes)
	}
	size := showBytes(float64(b.size))
	b.report.addRatio("cat "+size+", cold", cat, "raw", raw, 1.1)
	b.report.addValue("… bytes fetched", "B", fetched, "", 0)
	return nil
}

// readEnd reads the first or last 100 bytes.
func (b *bench) readEnd(ctx context.Context, bucket, key, tool string) error {
	var times []time.Duration
	var fetched []float64
	for range b.rounds {
		took, bytes, err := b.coldRead(ctx, bucket, key, func(path string) error {
			out, _, err := runTool(ctx, tool, "-c", "100", path)
			if err == nil && len(out) != 100 {
				err = fmt.Errorf("%s -c 100 gave %s bytes", tool, strconv.Itoa(len(out)))
			}
			return err
		})
		if err != nil {
			return err
		}
		times, fetched = append(times, took), append(fetched, bytes)
	}
	name := fmt.Sprintf("%s -c 100 of %s, cold: ", tool, showBytes(float64(b.size)))
	b.report.addValue(name+"bytes fetched", "B", fetched, "≤ 128 KiB", 128<<10)
	b.report.addValue(name+"time", "s", seconds(times), "", 0)
	return nil
}

// readRandom reads the same random places by the raw client and by the mount,
// one after the other on both sides.
func (b *bench) readRandom(ctx context.Context, bucket, key string) error {
	info, err := b.raw.core.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return err
	}
	source := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same places in every run, on purpose
	offsets := make([]int64, randomReads)
	for i := range offsets {
		offsets[i] = source.Int64N(b.size/randomSize) * randomSize
	}
	var raw, ferry []time.Duration
	var fetched []float64
	for range b.rounds {
		dropCaches()
		start := time.Now()
		for _, offset := range offsets {
			if err := b.raw.getRange(ctx, bucket, key, info.ETag, offset, min(randomSize, b.size-offset)); err != nil {
				return fmt.Errorf("raw: %w", err)
			}
		}
		raw = append(raw, time.Since(start))
		took, bytes, err := b.coldRead(ctx, bucket, key, func(path string) error { return preadAll(path, offsets) })
		if err != nil {
			return err
		}
		ferry, fetched = append(ferry, took), append(fetched, bytes)
	}
	name := fmt.Sprintf("%d random 4 KiB reads, cold", randomReads)
	b.report.addRatio(name, ferry, "raw", raw, 1.3)
	b.report.addValue("… bytes fetched", "B", fetched, "≤ 20 MiB", 20<<20)
	return nil
}

func preadAll(path string, offsets []int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, randomSize)
	for _, offset := range offsets {
		if _, err := f.ReadAt(buf, offset); err != nil {
			return err
		}
	}
	return nil
}
