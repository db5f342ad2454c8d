package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/minio/minio-go/v7"
)

const s3Usage = `usage, with AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY set:
  s3 ready                  wait until the server answers, 30 s at most
  s3 mb BUCKET              make a bucket
  s3 ls BUCKET [PREFIX]     size and key of every object
  s3 stat BUCKET KEY        size, ETag and metadata
  s3 cat BUCKET KEY         the object's bytes
  s3 put BUCKET KEY FILE    store a file
  s3 rm BUCKET PREFIX       delete every object below a prefix`

// s3Tool is a plain S3 client: what it shows is what any other tool sees.
func s3Tool(ctx context.Context, args []string) error {
	endpoint := os.Getenv("AWS_ENDPOINT_URL")
	if len(args) == 0 || endpoint == "" {
		return errors.New(s3Usage)
	}
	if args[0] == "ready" {
		return waitForServer(ctx, endpoint, 30*time.Second)
	}
	client, err := newRawClient(endpoint, os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"))
	if err != nil {
		return err
	}
	switch command, rest := args[0], args[1:]; {
	case command == "mb" && len(rest) == 1:
		return client.makeBucket(ctx, rest[0])
	case command == "ls" && (len(rest) == 1 || len(rest) == 2):
		return client.printList(ctx, os.Stdout, rest[0], append(rest, "")[1])
	case command == "stat" && len(rest) == 2:
		return client.printStat(ctx, os.Stdout, rest[0], rest[1])
	case command == "cat" && len(rest) == 2:
		return client.cat(ctx, os.Stdout, rest[0], rest[1])
	case command == "put" && len(rest) == 3:
		return client.putMultipart(ctx, rest[0], rest[1], rest[2])
	case command == "rm" && len(rest) == 2:
		return client.removeAll(ctx, rest[0], rest[1])
	}
	return errors.New(s3Usage)
}

func waitForServer(ctx context.Context, endpoint string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !serverReady(ctx, endpoint) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing answers at %s", endpoint)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

func (c *rawClient) printList(ctx context.Context, w io.Writer, bucket, prefix string) error {
	for object := range c.core.Client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if object.Err != nil {
			return object.Err
		}
		if _, err := fmt.Fprintf(w, "%d\t%s\n", object.Size, object.Key); err != nil {
			return err
		}
	}
	return nil
}

func (c *rawClient) printStat(ctx context.Context, w io.Writer, bucket, key string) error {
	info, err := c.core.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "size\t%d\netag\t%s\n", info.Size, info.ETag)
	for name, value := range info.UserMetadata {
		_, failed := fmt.Fprintf(w, "%s\t%s\n", name, value)
		err = errors.Join(err, failed)
	}
	return err
}

func (c *rawClient) cat(ctx context.Context, w io.Writer, bucket, key string) error {
	body, info, _, err := c.core.GetObject(ctx, bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	defer body.Close()
	n, err := io.Copy(w, body)
	if err == nil && n != info.Size {
		err = fmt.Errorf("%d bytes of %s came instead of %d", n, key, info.Size)
	}
	return err
}
