package s3remote_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"ferry"
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

// TestOnMinIO holds what is s3remote's own, beyond the contract.
func TestOnMinIO(t *testing.T) {
	server := storetest.StartMinIO(t)
	target := storetest.Target{Endpoint: server.Endpoint, AccessKey: server.AccessKey, SecretKey: server.SecretKey, Bucket: server.MakeBucket(t)}
	t.Run("Probe", func(t *testing.T) { testProbe(t, server, target) })
	t.Run("ProbeRefused", func(t *testing.T) { testProbeRefused(t, target) })
	t.Run("Bucket", func(t *testing.T) { testBucket(t, target) })
	t.Run("Counters", func(t *testing.T) { testCounters(t, target) })
	t.Run("UploadRate", func(t *testing.T) { testUploadRate(t, target) })
	t.Run("Versioned", func(t *testing.T) { testVersioned(t, server, target) })
	t.Run("SilentHangUp", func(t *testing.T) { testSilentHangUp(t, target) })
}

func testProbe(t *testing.T, server *storetest.Server, target storetest.Target) {
	proxy := storetest.NewProxy(t, target.Endpoint)
	target.Endpoint, target.Prefix = proxy.URL, "some/prefix"
	begin := time.Now()
	got, err := connect(t, target).Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	want := ferry.Capabilities{
		Server: "MinIO", ConditionalPut: true, ConditionalFinish: true, CopyPart: true,
		ETagIsMD5: true, ListsMetadata: true, BulkDelete: true,
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if n := len(proxy.Requests()); n > 15 {
		t.Errorf("%d requests", n)
	}
	for o := range server.Client(t).ListObjectsIter(t.Context(), target.Bucket, minio.ListObjectsOptions{Recursive: true}) {
		t.Errorf("the probe left %s", o.Key)
	}
}

func testProbeRefused(t *testing.T, target storetest.Target) {
	wrong := target
	wrong.SecretKey = "wrong"
	_, err := connect(t, wrong).Probe(t.Context())
	if e, ok := errors.AsType[*ferry.Error](err); !ok || e.Kind != ferry.KindDenied || e.Hint == "" {
		t.Errorf("a wrong secret: %v", err)
	}
	wrong = target
	wrong.Bucket = "no-such-bucket"
	_, err = connect(t, wrong).Probe(t.Context())
	if !ferry.IsKind(err, ferry.KindNotFound) || !strings.Contains(err.Error(), "no-such-bucket") {
		t.Errorf("no bucket: %v", err)
	}
	wrong = target
	wrong.Endpoint = "http://127.0.0.1:1"
	_, err = connect(t, wrong).Probe(t.Context())
	if !ferry.IsKind(err, ferry.KindTransient) || !errors.Is(err, ferry.ErrOffline) {
		t.Errorf("no server: %v", err)
	}
}

func testBucket(t *testing.T, target storetest.Target) {
	target.Bucket += "-new"
	r := connect(t, target)
	for _, want := range []bool{false, true, true} {
		if got, err := r.BucketExists(t.Context()); err != nil || got != want {
			t.Errorf("BucketExists: %v, %v; want %v", got, err, want)
		}
		if err := r.MakeBucket(t.Context()); err != nil {
			t.Errorf("MakeBucket: %v", err)
		}
	}
}

func testCounters(t *testing.T, target storetest.Target) {
	proxy := storetest.NewProxy(t, target.Endpoint)
	target.Endpoint = proxy.URL
	r, ctx := connect(t, target), t.Context()
	b := make([]byte, 100_000)
	if _, err := r.Put(ctx, "k", bytes.NewReader(b), 100_000, ferry.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	proxy.Add(storetest.Fault{Method: http.MethodPut, Nth: 1, DropAnswer: true})
	if _, err := r.Put(ctx, "k", bytes.NewReader(b), 1000, ferry.PutOptions{}); err == nil {
		t.Error("the lost answer was not lost")
	}
	v, err := r.Put(ctx, "k", bytes.NewReader(b), 100_000, ferry.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	body, err := r.Get(ctx, v, ferry.Extent{Offset: 10, Length: 5000})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		t.Fatal(err)
	}
	body.Close()
	id, err := r.NewUpload(ctx, "up", ferry.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.PutPart(ctx, "up", id, 1, bytes.NewReader(b), ferry.Extent{Length: 70_000}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.CopyPart(ctx, "up", id, 2, v, ferry.Extent{Length: 60_000}); err != nil {
		t.Fatal(err)
	}
	if err := r.Abort(ctx, "up", id); err != nil {
		t.Fatal(err)
	}
	if _, err := r.List(ctx, ferry.ListRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Delete(ctx, []ferry.ObjectKey{"k"}); err != nil {
		t.Fatal(err)
	}
	got := r.Counters()
	delete(got.Requests, "Other") // minio-go's question for the region
	want := s3remote.Counters{
		Requests: map[string]int64{
			"PutObject": 3, "GetObject": 1, "CreateMultipartUpload": 1, "UploadPart": 1, "UploadPartCopy": 1,
			"AbortMultipartUpload": 1, "ListObjectsV2": 1, "DeleteObjects": 1,
		},
		BytesSent: 100_000 + 1000 + 100_000 + 70_000, BytesFetched: 5000, BytesCopied: 60_000,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// testUploadRate: a limit holds the body back and is no stall, and lifting it
// frees what is under way.
func testUploadRate(t *testing.T, target storetest.Target) {
	target.Patience = 300 * time.Millisecond
	r, ctx := connect(t, target), t.Context()
	const size = 400_000
	put := func() time.Duration {
		t.Helper()
		begin := time.Now()
		if _, err := r.Put(ctx, "k", bytes.NewReader(make([]byte, size)), size, ferry.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		return time.Since(begin)
	}
	r.SetUploadRate(size / 2)
	if took := put(); took < 1200*time.Millisecond {
		t.Errorf("2 s worth of bytes took %v", took)
	}
	r.SetUploadRate(100)
	time.AfterFunc(700*time.Millisecond, func() { r.SetUploadRate(0) })
	if took := put(); took < 600*time.Millisecond || took > 3*time.Second {
		t.Errorf("a put whose limit was lifted after 0.7 s took %v", took)
	}
}

// testVersioned: in a versioned bucket a version that was replaced can still be
// read and copied from.
func testVersioned(t *testing.T, server *storetest.Server, target storetest.Target) {
	target.Bucket = server.MakeBucket(t)
	if err := server.Client(t).EnableVersioning(t.Context(), target.Bucket); err != nil {
		t.Fatal(err)
	}
	r, ctx := connect(t, target), t.Context()
	old, err := r.Put(ctx, "k", bytes.NewReader([]byte("old")), 3, ferry.PutOptions{})
	if err != nil || old.VersionID == "" {
		t.Fatalf("%+v, %v", old, err)
	}
	if _, err := r.Put(ctx, "k", bytes.NewReader([]byte("new")), 3, ferry.PutOptions{Cond: ferry.Precondition{IfMatch: old.ETag}}); err != nil {
		t.Fatal(err)
	}
	body, err := r.Get(ctx, old, ferry.Extent{Length: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || string(got) != "old" {
		t.Errorf("Get: %q, %v", got, err)
	}
	id, err := r.NewUpload(ctx, "k2", ferry.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part, err := r.CopyPart(ctx, "k2", id, 1, old, ferry.Extent{Length: 3})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := r.Complete(ctx, "k2", id, []ferry.Part{part}, ferry.Precondition{}); err != nil || v.VersionID == "" {
		t.Errorf("Complete: %+v, %v", v, err)
	}
	if _, err := r.Copy(ctx, old, "k3", ferry.PutOptions{}); err != nil {
		t.Errorf("Copy: %v", err)
	}
}

// testSilentHangUp: MinIO hangs up after a refused put without saying so. The
// requests that follow do not suffer.
func testSilentHangUp(t *testing.T, target storetest.Target) {
	r, ctx := connect(t, target), t.Context()
	for i := range 200 {
		o := ferry.PutOptions{}
		if i%2 == 1 {
			o.Cond.IfAbsent = true
		}
		_, err := r.Put(ctx, "k", bytes.NewReader([]byte("hello")), 5, o)
		if i%2 == 1 && !ferry.IsKind(err, ferry.KindConflict) || i%2 == 0 && err != nil {
			t.Fatalf("put %d: %v", i, err)
		}
	}
}
