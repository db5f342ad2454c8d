package storetest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"ferry"
)

func testPutHeadGet(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	for _, size := range []int{0, 1, 4096, 3 << 20} {
		key, b := ferry.ObjectKey(fmt.Sprintf("size-%d", size)), content(size, 1)
		before := time.Now()
		v := put(t, r, key, b)
		if v.Key != key || v.Size != int64(size) || v.ETag != sum(b) {
			t.Errorf("Put of %d bytes returned %+v, want ETag %s", size, v, sum(b))
		}
		o := holds(t, r, key, b)
		if !o.Same(v) || o.Size != v.Size {
			t.Errorf("Head says %+v, Put said %+v", o.Version, v)
		}
		if d := o.Modified.Sub(before); d < -2*time.Second || d > time.Minute {
			t.Errorf("modified %v after it was put", d)
		}
		if o.Metadata == nil || o.Headers == nil {
			t.Error("Head does not know the metadata")
		}
		for _, e := range []ferry.Extent{{Offset: 0, Length: 1}, {Offset: 1, Length: 1000}, {Offset: int64(size) - 1, Length: 1}, {Offset: int64(size) / 2}} {
			if e.Offset < 0 || e.End() > int64(size) {
				continue
			}
			got, err := get(ctx, r, v, e)
			if err != nil || !bytes.Equal(got, b[e.Offset:e.End()]) {
				t.Errorf("Get %v of %d bytes: %d bytes, %v", e, size, len(got), err)
			}
		}
		_, err := get(ctx, r, v, ferry.Extent{Offset: int64(size) + 10, Length: 5})
		wants(t, "Get beyond the end", err, ferry.KindInvalid)
	}
	_, err := r.Head(ctx, "absent")
	wants(t, "Head of nothing", err, ferry.KindNotFound)
	_, err = r.Head(ctx, "")
	wants(t, "Head of no key", err, ferry.KindInvalid)
}

// testPrefix: the mount's prefix is on every key in the bucket and on no key here.
func testPrefix(t *testing.T, s *suite) {
	target := s.target(t, s.Server.Endpoint)
	r, plain := s.Connect(t, target), s.Server.Client(t)
	put(t, r, "dir/name", []byte("x"))
	if _, err := plain.StatObject(t.Context(), s.bucket, target.Prefix+"dir/name", minio.StatObjectOptions{}); err != nil {
		t.Errorf("a plain client does not find the object: %v", err)
	}
	if _, err := plain.PutObject(t.Context(), s.bucket, target.Prefix, bytes.NewReader(nil), 0, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	page, err := r.List(t.Context(), ferry.ListRequest{})
	if err != nil || len(page.Objects) != 1 || page.Objects[0].Key != "dir/name" {
		t.Errorf("List: %+v, %v; want dir/name only, not the prefix's own marker", page, err)
	}
}

func testMetadata(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	in := &ferry.Inode{
		Kind: ferry.File, Attr: ferry.Attr{Mode: 0o640, UID: 7, GID: 8, Mtime: 1_700_000_000_123_456_789},
		Xattrs: map[string][]byte{"user.Empty": {}, "user.näme with Case": {0, 1, 0xff}},
		Foreign: map[string]string{
			"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-cache", "Content-Disposition": `attachment; filename="a b"`,
			"Content-Encoding": "identity", "Content-Language": "de", "Expires": "Thu, 01 Dec 2033 16:00:00 GMT",
			"X-Amz-Meta-colour": "red", "X-Amz-Meta-expires": "a word of the user's",
		},
	}
	gen := ferry.NewGenerations().Next()
	meta, headers, err := ferry.EncodeMetadata(in, gen)
	if err != nil {
		t.Fatal(err)
	}
	o := ferry.PutOptions{Metadata: meta, Headers: headers}
	check := func(what string, key ferry.ObjectKey) {
		t.Helper()
		headers := maps.Clone(headers)
		got, err := r.Head(ctx, key)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !maps.Equal(got.Metadata, meta) {
			t.Errorf("%s: metadata %q, want %q", what, got.Metadata, meta)
		}
		if what == "Copy that keeps" { // MinIO forgets it then
			delete(got.Headers, "Expires")
			delete(headers, "Expires")
		}
		if !maps.Equal(got.Headers, headers) {
			t.Errorf("%s: headers %q, want %q", what, got.Headers, headers)
		}
		if got.Generation != gen {
			t.Errorf("%s: generation %q, want %q", what, got.Generation, gen)
		}
		if d := ferry.DecodeMetadata(got, ferry.Defaults{}); d.Attr.Mtime != in.Attr.Mtime || len(d.Xattrs) != 2 {
			t.Errorf("%s: decoded as %+v", what, d)
		}
	}
	v, err := r.Put(ctx, "put", bytes.NewReader([]byte("x")), 1, o)
	if err != nil {
		t.Fatal(err)
	}
	if v.Generation != gen {
		t.Errorf("Put returned generation %q, want %q", v.Generation, gen)
	}
	check("Put", "put")

	id, err := r.NewUpload(ctx, "upload", o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Complete(ctx, "upload", id, []ferry.Part{putPart(t, r, "upload", id, 1, []byte("x"))}, ferry.Precondition{}); err != nil {
		t.Fatal(err)
	}
	check("NewUpload", "upload")

	if v, err = r.Copy(ctx, v, "kept", ferry.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	check("Copy that keeps", "kept")
	plain := put(t, r, "plain", []byte("x"))
	if v, err = r.Copy(ctx, plain, "replaced", o); err != nil || v.Generation != gen {
		t.Fatalf("Copy returned %+v, %v", v, err)
	}
	check("Copy that replaces", "replaced")
	if _, err = r.Copy(ctx, v, "replaced", ferry.PutOptions{Metadata: map[string]string{"only": "this"}}); err != nil {
		t.Fatal(err)
	}
	got, err := r.Head(ctx, "replaced")
	if err != nil || !maps.Equal(got.Metadata, map[string]string{"only": "this"}) || got.Headers["Cache-Control"] != "" && !s.KeepsHeaders {
		t.Errorf("a copy onto itself that replaces all left %q, %q, %v", got.Metadata, got.Headers, err)
	}

	_, err = r.Put(ctx, "bad", bytes.NewReader(nil), 0, ferry.PutOptions{Metadata: map[string]string{"k": "a\nb"}})
	wants(t, "metadata with a line feed", err, ferry.KindInvalid)
}

func testConditions(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	try := func(key ferry.ObjectKey, c ferry.Precondition, text string) error {
		_, err := r.Put(ctx, key, bytes.NewReader([]byte(text)), int64(len(text)), ferry.PutOptions{Cond: c})
		return err
	}
	if err := try("k", ferry.Precondition{IfAbsent: true}, "one"); err != nil {
		t.Fatalf("IfAbsent on nothing: %v", err)
	}
	wants(t, "IfAbsent on something", try("k", ferry.Precondition{IfAbsent: true}, "two"), ferry.KindConflict)
	wants(t, "IfMatch on another version", try("k", ferry.Precondition{IfMatch: sum([]byte("zero"))}, "two"), ferry.KindConflict)
	wants(t, "IfMatch on nothing", try("absent", ferry.Precondition{IfMatch: sum([]byte("zero"))}, "two"), ferry.KindNotFound)
	holds(t, r, "k", []byte("one"))
	if err := try("k", ferry.Precondition{IfMatch: sum([]byte("one"))}, "two"); err != nil {
		t.Fatalf("IfMatch on that version: %v", err)
	}
	holds(t, r, "k", []byte("two"))
	// A body that is larger than what fits into the line's buffers is refused just
	// as clearly.
	big := content(8<<20, 3)
	_, err := r.Put(ctx, "k", bytes.NewReader(big), int64(len(big)), ferry.PutOptions{Cond: ferry.Precondition{IfAbsent: true}})
	wants(t, "IfAbsent on something, 8 MiB", err, ferry.KindConflict)
}

const (
	rounds  = 8
	writers = 4
)

// race runs writers at once and fails unless exactly one wins and the others
// are told of a conflict.
func race(t *testing.T, what string, write func(i int) error) {
	t.Helper()
	var (
		wg    sync.WaitGroup
		won   atomic.Int32
		start = make(chan struct{})
	)
	for i := range writers {
		wg.Go(func() {
			<-start
			switch err := write(i); {
			case err == nil:
				won.Add(1)
			case !ferry.IsKind(err, ferry.KindConflict):
				t.Errorf("%s: a loser got %v, want a conflict", what, err)
			}
		})
	}
	close(start)
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%s: %d of %d writers won, want one", what, won.Load(), writers)
	}
}

func testRacesPut(t *testing.T, s *suite) {
	r := s.remote(t)
	for i := range rounds {
		key := ferry.ObjectKey(fmt.Sprintf("race-%d", i))
		put1 := func(c ferry.Precondition) func(int) error {
			return func(i int) error {
				_, err := r.Put(t.Context(), key, bytes.NewReader(content(1000, byte(i))), 1000, ferry.PutOptions{Cond: c})
				return err
			}
		}
		race(t, "Put IfAbsent", put1(ferry.Precondition{IfAbsent: true}))
		o, err := r.Head(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		race(t, "Put IfMatch", func(i int) error { return put1(ferry.Precondition{IfMatch: o.ETag})(i + 10) })
	}
}

func testRacesComplete(t *testing.T, s *suite) {
	r := s.remote(t)
	for i := range rounds / 2 {
		key := ferry.ObjectKey(fmt.Sprintf("race-%d", i))
		complete := func(c ferry.Precondition, seed byte) func(int) error {
			ids, parts := [writers]ferry.UploadID{}, [writers]ferry.Part{}
			for i := range writers {
				ids[i] = newUpload(t, r, key)
				parts[i] = putPart(t, r, key, ids[i], 1, content(1000, seed+byte(i)))
			}
			return func(i int) error {
				_, err := r.Complete(t.Context(), key, ids[i], []ferry.Part{parts[i]}, c)
				return err
			}
		}
		race(t, "Complete IfAbsent", complete(ferry.Precondition{IfAbsent: true}, 1))
		o, err := r.Head(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		race(t, "Complete IfMatch", complete(ferry.Precondition{IfMatch: o.ETag}, 11))
	}
}

func testGetOneVersion(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	old := put(t, r, "k", content(1000, 1))
	now := put(t, r, "k", content(1000, 2))
	_, err := get(ctx, r, old, ferry.Extent{Length: 10})
	wants(t, "Get of a replaced version", err, ferry.KindConflict)
	if _, err := get(ctx, r, now, ferry.Extent{Length: 10}); err != nil {
		t.Errorf("Get of what is there: %v", err)
	}
	now = put(t, r, "k", content(5, 3))
	_, err = get(ctx, r, old, ferry.Extent{Offset: 500, Length: 10})
	wants(t, "Get of a version that was replaced by a shorter one", err, ferry.KindConflict)
	if failed, err := r.Delete(ctx, []ferry.ObjectKey{"k"}); err != nil || len(failed) > 0 {
		t.Fatal(failed, err)
	}
	_, err = get(ctx, r, now, ferry.Extent{Length: 10})
	wants(t, "Get of a deleted object", err, ferry.KindNotFound)
}

func testCopy(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	b := content(6<<20, 9)
	from := put(t, r, "from", b)
	v, err := r.Copy(ctx, from, "to", ferry.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if o := holds(t, r, "to", b); !o.Same(v) || o.Size != v.Size {
		t.Errorf("Copy returned %+v, Head says %+v", v, o.Version)
	}
	put(t, r, "to", []byte("something else"))
	if _, err := r.Copy(ctx, from, "to", ferry.PutOptions{}); err != nil {
		t.Errorf("the destination is overwritten without condition: %v", err)
	}
	put(t, r, "from", []byte("newer"))
	_, err = r.Copy(ctx, from, "to2", ferry.PutOptions{})
	wants(t, "Copy of a replaced version", err, ferry.KindConflict)
	from.Key = "absent"
	_, err = r.Copy(ctx, from, "to2", ferry.PutOptions{})
	wants(t, "Copy of nothing", err, ferry.KindNotFound)
	_, err = r.Head(ctx, "to2")
	wants(t, "Head of what was not copied", err, ferry.KindNotFound)
}

func testDelete(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	var keys []ferry.ObjectKey
	for i := range 1000 {
		keys = append(keys, ferry.ObjectKey(fmt.Sprintf("d%d/k%d", i%10, i)))
	}
	for _, k := range keys[:20] { // the others are absent: deleting them is success
		put(t, r, k, []byte("x"))
	}
	put(t, r, "stays", []byte("x"))
	failed, err := r.Delete(ctx, keys)
	if err != nil || len(failed) > 0 {
		t.Fatalf("Delete of 1000 keys: %v, %v", failed, err)
	}
	page, err := r.List(ctx, ferry.ListRequest{})
	if err != nil || len(page.Objects) != 1 || page.Objects[0].Key != "stays" {
		t.Errorf("left: %+v, %v", page.Objects, err)
	}
	_, err = r.Delete(ctx, append(keys, "one more"))
	wants(t, "Delete of 1001 keys", err, ferry.KindInvalid)
	if failed, err := r.Delete(ctx, nil); err != nil || len(failed) > 0 {
		t.Errorf("Delete of nothing: %v, %v", failed, err)
	}
	put(t, r, "last", []byte("x"))
	failed, err = r.Delete(ctx, []ferry.ObjectKey{"last", ""})
	if err != nil || !ferry.IsKind(failed[""], ferry.KindInvalid) || len(failed) != 1 {
		t.Errorf("Delete of a good key and an impossible one: %v, %v", failed, err)
	}
	_, err = r.Head(ctx, "last")
	wants(t, "Head of what was deleted", err, ferry.KindNotFound)
}

// weirdKeys are names that POSIX allows and that are easily mangled on the way.
var weirdKeys = []ferry.ObjectKey{
	"sp ace", "pl+us", "per%cent", "per%20cent", "am&p;<tag>\"q'", "que?ry", "ha#sh", "back\\slash", "ünï/cödé/文字",
	"trailing ", " leading", "new\nline", "tab\there", "ctl\x01", "c:olon", "se;mi", "eq=ual", "at@", "dol$lar", "com,ma",
	"bang!", "st*ar", "par(en)", "ti~lde", "-dash", ".hidden", "..dots", "dots..", "br[ack]et", "br{ace}", "pi|pe", "ca^ret", "back`tick",
	"e\u0301", "\u00e9", "emoji-\U0001F6F3", "bom\ufeff", "cr\rlf", "del\x7f",
}

func testWeirdKeys(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	stored := map[ferry.ObjectKey]bool{}
	var keys []ferry.ObjectKey
	for i, key := range weirdKeys {
		b := content(100+i, byte(i))
		v, err := r.Put(ctx, key, bytes.NewReader(b), int64(len(b)), ferry.PutOptions{})
		if err != nil {
			wants(t, fmt.Sprintf("Put of %q", key), err, ferry.KindInvalid)
			t.Logf("this server does not take %q: %v", key, err)
			continue
		}
		stored[key], keys = true, append(keys, key)
		holds(t, r, key, b)
		c, err := r.Copy(ctx, v, "copy/"+key, ferry.PutOptions{})
		if err != nil {
			t.Errorf("Copy of %q: %v", key, err)
			continue
		}
		keys = append(keys, c.Key)
		holds(t, r, c.Key, b)
		id := newUpload(t, r, "part/"+key)
		p, err := r.CopyPart(ctx, "part/"+key, id, 1, v, ferry.Extent{Length: v.Size})
		if err != nil {
			t.Errorf("CopyPart of %q: %v", key, err)
			continue
		}
		if _, err := r.Complete(ctx, "part/"+key, id, []ferry.Part{p}, ferry.Precondition{IfAbsent: true}); err != nil {
			t.Errorf("Complete of %q: %v", key, err)
		}
		keys = append(keys, "part/"+key)
	}
	page, err := r.List(ctx, ferry.ListRequest{Delimiter: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range page.Objects {
		delete(stored, o.Key)
	}
	if s.ManglesControls {
		delete(stored, "ctl\x01")
	}
	for _, p := range page.Prefixes {
		delete(stored, p+"cödé/文字")
	}
	if len(stored) > 0 {
		t.Errorf("not listed: %q", slices.Collect(maps.Keys(stored)))
	}
	if failed, err := r.Delete(ctx, keys); err != nil || len(failed) > 0 {
		t.Errorf("Delete: %v, %v", failed, err)
	}
	if page, err := r.List(ctx, ferry.ListRequest{}); err != nil || len(page.Objects) > 0 {
		t.Errorf("left after Delete: %+v, %v", page.Objects, err)
	}
	for _, key := range []ferry.ObjectKey{"not\xffutf8", ferry.ObjectKey(content(1, 0)) + "\xc3("} {
		_, err := r.Put(ctx, key, bytes.NewReader(nil), 0, ferry.PutOptions{})
		wants(t, fmt.Sprintf("Put of %q", key), err, ferry.KindInvalid)
	}
}
