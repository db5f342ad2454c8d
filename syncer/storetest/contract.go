package storetest

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"io"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/syncer"
)

// Target is what a remote is made for.
type Target struct {
	Endpoint, AccessKey, SecretKey string
	Bucket, Prefix                 string
	// Patience is the limit for pauses and answers; 0 is the implementation's own.
	Patience time.Duration
}

// Kit is one implementation of syncer.Remote on one server.
type Kit struct {
	Server *Server
	// Connect returns a remote that knows what its server can do.
	Connect func(t testing.TB, target Target) syncer.Remote
	// ListsMetadata says that the server's listings carry metadata.
	ListsMetadata bool
	// KeepsHeaders says that a copy of an object onto itself cannot take a
	// standard header away.
	KeepsHeaders bool
	// ManglesControls says that listings do not show the control characters of
	// keys as they are.
	ManglesControls bool
}

// TestRemote checks the contract of syncer.Remote: each sentence of its
// documentation, and what its callers rely on when the network fails.
func TestRemote(t *testing.T, kit Kit) {
	s := &suite{Kit: kit, bucket: kit.Server.MakeBucket(t)}
	for _, c := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"PutHeadGet", testPutHeadGet},
		{"Prefix", testPrefix},
		{"Metadata", testMetadata},
		{"Conditions", testConditions},
		{"RacesPut", testRacesPut},
		{"RacesComplete", testRacesComplete},
		{"GetOneVersion", testGetOneVersion},
		{"Multipart", testMultipart},
		{"UploadLost", testUploadLost},
		{"ManyParts", testManyParts},
		{"CopyPart", testCopyPart},
		{"EditInPlace", testEditInPlace},
		{"Copy", testCopy},
		{"Delete", testDelete},
		{"WeirdKeys", testWeirdKeys},
		{"List", testList},
		{"ListPages", testListPages},
		{"Denied", testDenied},
		{"NoBucket", testNoBucket},
		{"LostAnswers", testLostAnswers},
		{"ShortBody", testShortBody},
		{"Stalls", testStalls},
		{"Refusals", testRefusals},
		{"Outage", testOutage},
		{"Cancel", testCancel},
		{"CorruptBody", testCorruptBody},
		{"CutPut", testCutPut},
		{"BadSource", testBadSource},
		{"SourceAfterReturn", testSourceAfterReturn},
		{"Concurrent", testConcurrent},
		{"ServerKilled", testServerKilled}, // last: it restarts the server
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, s) })
	}
}

type suite struct {
	Kit
	bucket string
}

// remote returns a remote on a prefix of its own.
func (s *suite) remote(t testing.TB) syncer.Remote {
	t.Helper()
	return s.Connect(t, s.target(t, s.Server.Endpoint))
}

// behind returns a remote on a prefix of its own behind a proxy.
func (s *suite) behind(t testing.TB) (syncer.Remote, *Proxy) {
	t.Helper()
	p := NewProxy(t, s.Server.Endpoint)
	target := s.target(t, p.URL)
	target.Patience = 500 * time.Millisecond
	return s.Connect(t, target), p
}

func (s *suite) target(t testing.TB, endpoint string) Target {
	return Target{
		Endpoint: endpoint, AccessKey: s.Server.AccessKey, SecretKey: s.Server.SecretKey,
		Bucket: s.bucket, Prefix: strings.ReplaceAll(t.Name(), "/", "-") + "-" + rand.Text()[:6] + "/",
	}
}

// content returns n bytes that are the same for the same seed and compress badly.
func content(n int, seed byte) []byte {
	b := make([]byte, n)
	x := uint64(seed)*0x9E3779B97F4A7C15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

func sum(b []byte) ferry.ETag {
	m := md5.Sum(b)
	return ferry.ETag(hex.EncodeToString(m[:]))
}

func put(t testing.TB, r syncer.Remote, key ferry.ObjectKey, b []byte) ferry.Version {
	t.Helper()
	v, err := r.Put(t.Context(), key, bytes.NewReader(b), int64(len(b)), ferry.PutOptions{})
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	return v
}

func newUpload(t testing.TB, r syncer.Remote, key ferry.ObjectKey) ferry.UploadID {
	t.Helper()
	id, err := r.NewUpload(t.Context(), key, ferry.PutOptions{})
	if err != nil {
		t.Fatalf("NewUpload: %v", err)
	}
	return id
}

func putPart(t testing.TB, r syncer.Remote, key ferry.ObjectKey, id ferry.UploadID, n ferry.PartNumber, b []byte) ferry.Part {
	t.Helper()
	p, err := r.PutPart(t.Context(), key, id, n, bytes.NewReader(b), ferry.Extent{Length: int64(len(b))})
	if err != nil {
		t.Fatalf("PutPart %d: %v", n, err)
	}
	return p
}

func get(ctx context.Context, r syncer.Remote, v ferry.Version, e ferry.Extent) ([]byte, error) {
	body, err := r.Get(ctx, v, e)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// holds fails the test unless key holds want.
func holds(t testing.TB, r syncer.Remote, key ferry.ObjectKey, want []byte) ferry.Object {
	t.Helper()
	o, err := r.Head(t.Context(), key)
	if err != nil {
		t.Fatalf("Head: %v", err)
	}
	got, err := get(t.Context(), r, o.Version, ferry.Extent{Length: o.Size})
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%q holds %d bytes that are not the %d expected", key, len(got), len(want))
	}
	return o
}

// wants fails the test unless err is of kind k.
func wants(t testing.TB, what string, err error, k ferry.Kind) {
	t.Helper()
	if !ferry.IsKind(err, k) {
		t.Errorf("%s: got %v, want kind %q", what, err, k)
	}
}
