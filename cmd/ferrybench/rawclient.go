package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// rawClient is the floor on the side of the bucket: minio-go doing the same
// work with the same part size and as many requests in flight, and no journal,
// no staging and no kernel between.
type rawClient struct {
	core *minio.Core
}

const (
	rawPart    = 8 << 20 // bytes; ferry's own first part size
	rawStreams = 8       // parts or ranges in flight; ferry's default
	rawWorkers = 16      // small objects in flight
)

func newRawClient(endpoint, user, secret string) (*rawClient, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is not an endpoint such as http://127.0.0.1:9000", endpoint)
	}
	// Connections are kept between requests, as any good client does; Go's
	// default keeps two per host.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	transport.DisableCompression = true
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds:        credentials.NewStaticV4(user, secret, ""),
		Secure:       u.Scheme == "https",
		Region:       "us-east-1",
		BucketLookup: minio.BucketLookupPath,
		Transport:    transport,
		MaxRetries:   3,
	})
	if err != nil {
		return nil, err
	}
	return &rawClient{core: core}, nil
}

func (c *rawClient) makeBucket(ctx context.Context, bucket string) error {
	err := c.core.MakeBucket(ctx, bucket, minio.MakeBucketOptions{})
	if code := minio.ToErrorResponse(err).Code; code == "BucketAlreadyOwnedByYou" || code == "BucketAlreadyExists" {
		return nil
	}
	return err
}

// inParallel runs f for 0..n-1, at most workers at once, and stops at the first
// error.
func inParallel(ctx context.Context, n, workers int, f func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(n, workers) {
		group.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// putMultipart uploads a file in parts, several at once.
func (c *rawClient) putMultipart(ctx context.Context, bucket, key, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	id, err := c.core.NewMultipartUpload(ctx, bucket, key, minio.PutObjectOptions{})
	if err != nil {
		return err
	}
	count := int((st.Size() + rawPart - 1) / rawPart)
	parts := make([]minio.CompletePart, count)
	err = inParallel(ctx, count, rawStreams, func(ctx context.Context, i int) error {
		offset := int64(i) * rawPart
		length := min(rawPart, st.Size()-offset)
		// No SHA-256 of the body: the floor is the cheapest request there is.
		part, err := c.core.PutObjectPart(ctx, bucket, key, id, i+1, io.NewSectionReader(f, offset, length), length,
			minio.PutObjectPartOptions{DisableContentSha256: true})
		parts[i] = minio.CompletePart{PartNumber: i + 1, ETag: part.ETag}
		return err
	})
	if err != nil {
		return errors.Join(err, c.core.AbortMultipartUpload(context.WithoutCancel(ctx), bucket, key, id))
	}
	_, err = c.core.CompleteMultipartUpload(ctx, bucket, key, id, parts, minio.PutObjectOptions{})
	return err
}

// getRange reads bytes of one version and throws them away.
func (c *rawClient) getRange(ctx context.Context, bucket, key, etag string, offset, length int64) error {
	var options minio.GetObjectOptions
	if err := errors.Join(options.SetRange(offset, offset+length-1), options.SetMatchETag(etag)); err != nil {
		return err
	}
	body, _, _, err := c.core.GetObject(ctx, bucket, key, options)
	if err != nil {
		return err
	}
	defer body.Close()
	n, err := io.Copy(io.Discard, body)
	if err == nil && n != length {
		err = fmt.Errorf("%d bytes of %s came instead of %d", n, key, length)
	}
	return err
}

// getParallel reads a whole object by ranged GETs, several at once.
func (c *rawClient) getParallel(ctx context.Context, bucket, key string) error {
	info, err := c.core.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return err
	}
	count := int((info.Size + rawPart - 1) / rawPart)
	return inParallel(ctx, count, rawStreams, func(ctx context.Context, i int) error {
		offset := int64(i) * rawPart
		return c.getRange(ctx, bucket, key, info.ETag, offset, min(rawPart, info.Size-offset))
	})
}

// putFiles puts the first count small files of dir, one request each.
func (c *rawClient) putFiles(ctx context.Context, bucket, prefix, dir string, count int) error {
	return inParallel(ctx, count, rawWorkers, func(ctx context.Context, i int) error {
		f, err := os.Open(filepath.Join(dir, smallName(i)))
		if err != nil {
			return err
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			return err
		}
		_, err = c.core.PutObject(ctx, bucket, prefix+smallName(i), f, st.Size(), "", "", minio.PutObjectOptions{DisableContentSha256: true})
		return err
	})
}

// list counts the objects below a prefix by a flat listing, with metadata where
// the server offers it.
func (c *rawClient) list(ctx context.Context, bucket, prefix string) (int, error) {
	n := 0
	for object := range c.core.Client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true, WithMetadata: true}) {
		if object.Err != nil {
			return n, object.Err
		}
		n++
	}
	return n, nil
}

// countFiles counts the objects below a prefix without the markers of folders.
func (c *rawClient) countFiles(ctx context.Context, bucket, prefix string) (int, error) {
	n := 0
	for object := range c.core.Client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if object.Err != nil {
			return n, object.Err
		}
		if !strings.HasSuffix(object.Key, "/") {
			n++
		}
	}
	return n, nil
}

// removeAll lists a prefix and deletes what it finds by bulk deletes of 1000
// keys.
func (c *rawClient) removeAll(ctx context.Context, bucket, prefix string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := c.core.Client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true})
	for result := range c.core.RemoveObjects(ctx, bucket, found, minio.RemoveObjectsOptions{}) {
		if result.Err != nil {
			return fmt.Errorf("deleting %s: %w", result.ObjectName, result.Err)
		}
	}
	return ctx.Err()
}
