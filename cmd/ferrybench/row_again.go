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

// again stores the file once and then gives ferry work that needs few bytes:
// the same content under another name, 4 KiB overwritten, 1 MiB appended.
func (b *bench) again(ctx context.Context) error {
	const bucket = "again"
	if err := b.raw.makeBucket(ctx, bucket); err != nil {
		return err
	}
	m, err := b.mountFerry(ctx, bucket)
	if err != nil {
		return err
	}
	first := filepath.Join(m.dir, "first")
	if _, err := timeTool(ctx, "cp", b.source, first); err != nil {
		return err
	}
	if err := m.wait(ctx, first); err != nil {
		return err
	}
	var copied, raw []time.Duration
	var copySent, editSent, appendSent []float64
	for i := range b.rounds {
		took, err := b.timed(func() error { return b.raw.copyObject(ctx, bucket, "first", fmt.Sprint("raw", i)) })
		if err != nil {
			return fmt.Errorf("raw: %w", err)
		}
		raw = append(raw, took)

		start := time.Now()
		path := filepath.Join(m.dir, fmt.Sprint("copy", i))
		sent, err := m.sentBy(ctx, path, func() error {
			_, err := timeTool(ctx, "cp", b.source, path)
			return err
		})
		if err != nil {
			return err
		}
		copied, copySent = append(copied, time.Since(start)), append(copySent, sent)

		if sent, err = m.sentBy(ctx, path, func() error { return patchFile(path, b.size/2+12345, 4<<10, byte(10+i)) }); err != nil {
			return err
		}
		editSent = append(editSent, sent)
		if sent, err = m.sentBy(ctx, path, func() error { return patchFile(path, b.size, 1<<20, byte(20+i)) }); err != nil {
			return err
		}
		appendSent = append(appendSent, sent)
	}
	size := showBytes(float64(b.size))
	b.report.addRatio("the same "+size+" again, other name: stored", copied, "server-side copy", raw, 1.2)
	b.report.addValue("… bytes sent", "B", copySent, "< 1 MiB", 1<<20)
	b.report.addValue("4 KiB overwritten in "+size+": bytes sent", "B", editSent, "≤ 5.1 MiB", 5.1*(1<<20))
	b.report.addValue("1 MiB appended to "+size+": bytes sent", "B", appendSent, "≤ 1.1 MiB", 1.1*(1<<20))
	return errors.Join(m.close(ctx), b.raw.removeAll(ctx, bucket, ""))
}

// sentBy returns how many bytes ferry sent for a change until it was stored.
func (m *mounted) sentBy(ctx context.Context, path string, change func() error) (float64, error) {
	before, err := m.counters(ctx)
	if err != nil {
		return 0, err
	}
	if err := change(); err != nil {
		return 0, err
	}
	if err := m.wait(ctx, path); err != nil {
		return 0, err
	}
	after, err := m.counters(ctx)
	return float64(after.BytesSent - before.BytesSent), err
}

// patchFile writes length random bytes at offset of a file that exists.
func patchFile(path string, offset, length int64, seed byte) error {
	body := make([]byte, length)
	fillRandom(body, seed)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(body, offset)
	return errors.Join(err, f.Close())
}

// copyObject copies at the server in one request (objects up to 5 GiB).
func (c *rawClient) copyObject(ctx context.Context, bucket, from, to string) error {
	_, err := c.core.Client.CopyObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: to}, minio.CopySrcOptions{Bucket: bucket, Object: from})
	return err
}
