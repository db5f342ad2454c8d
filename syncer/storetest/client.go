package storetest

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/minio/minio-go/v7"
)

// What follows is a plain S3 client, for tests of what other tools see and do.

// Put stores an object as another tool would, and returns its ETag. metadata is
// user metadata without "x-amz-meta-".
func (s *Server) Put(t testing.TB, bucket, key string, data []byte, contentType string, metadata map[string]string) string {
	t.Helper()
	info, err := s.Client(t).PutObject(t.Context(), bucket, key, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{
		ContentType: contentType, UserMetadata: metadata,
	})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return info.ETag
}

// Remove deletes an object as another tool would.
func (s *Server) Remove(t testing.TB, bucket, key string) {
	t.Helper()
	if err := s.Client(t).RemoveObject(t.Context(), bucket, key, minio.RemoveObjectOptions{}); err != nil {
		t.Fatalf("remove %s: %v", key, err)
	}
}

// Stat returns the headers of an object, nil if it is not there.
func (s *Server) Stat(t testing.TB, bucket, key string) http.Header {
	t.Helper()
	info, err := s.Client(t).StatObject(t.Context(), bucket, key, minio.StatObjectOptions{})
	if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
		return nil
	}
	if err != nil {
		t.Fatalf("stat %s: %v", key, err)
	}
	h := info.Metadata.Clone()
	h.Set("Content-Type", info.ContentType)
	return h
}

// Keys returns the keys below a prefix, in order.
func (s *Server) Keys(t testing.TB, bucket, prefix string) (keys []string) {
	t.Helper()
	for o := range s.Client(t).ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			t.Fatalf("list %s: %v", prefix, o.Err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}
