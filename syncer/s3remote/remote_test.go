package s3remote_test

import (
	"testing"

	"ferry/syncer"
	"ferry/syncer/s3remote"
	"ferry/syncer/storetest"
)

var _ syncer.Remote = (*s3remote.Remote)(nil)

func connect(t testing.TB, target storetest.Target) *s3remote.Remote {
	t.Helper()
	r, err := s3remote.New(s3remote.Options{
		Endpoint: target.Endpoint, Bucket: target.Bucket, Prefix: target.Prefix,
		Credentials:   s3remote.StaticCredentials(target.AccessKey, target.SecretKey, ""),
		AnswerTimeout: target.Patience, StallTimeout: target.Patience,
		DigestKey: [32]byte{1, 2, 3}, UserAgent: "ferry/test",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// TestContract runs the contract of syncer.Remote on MinIO.
func TestContract(t *testing.T) {
	storetest.TestRemote(t, storetest.Kit{
		Server: storetest.StartMinIO(t),
		Connect: func(t testing.TB, target storetest.Target) syncer.Remote {
			r := connect(t, target)
			// A target that cannot be probed (wrong keys, no bucket) is meant to fail.
			if _, err := r.Probe(t.Context()); err != nil {
				t.Log(err)
			}
			return r
		},
		ListsMetadata: true,
	})
}
