package storetest

import (
	"bytes"
	"slices"
	"testing"

	"ferry"
)

const mib = 1 << 20

func testMultipart(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	a, b, c := content(5*mib, 1), content(6*mib, 2), content(100, 3)
	id := newUpload(t, r, "k")
	p3 := putPart(t, r, "k", id, 7, c) // gaps and any order are fine
	old := putPart(t, r, "k", id, 2, content(5*mib, 99))
	p1, p2 := putPart(t, r, "k", id, 1, a), putPart(t, r, "k", id, 2, b) // sending it again replaces it
	for _, x := range []struct {
		p ferry.Part
		b []byte
	}{{p1, a}, {p2, b}, {p3, c}} {
		if x.p.ETag != sum(x.b) || x.p.Extent.Length != int64(len(x.b)) || len(x.p.Digest) != 32 || x.p.Copied {
			t.Errorf("part %+v, want ETag %s", x.p, sum(x.b))
		}
	}
	// The digest is of the bytes: the same for the same, wherever they lie.
	again, err := r.PutPart(ctx, "k", id, 9, bytes.NewReader(append([]byte("xyz"), c...)), ferry.Extent{Offset: 3, Length: 100})
	if err != nil || !bytes.Equal(again.Digest, p3.Digest) || bytes.Equal(p1.Digest, p2.Digest) {
		t.Errorf("digests: %x and %x of the same bytes, %v", again.Digest, p3.Digest, err)
	}
	list, err := r.ListParts(ctx, "k", id)
	if err != nil {
		t.Fatal(err)
	}
	want := []ferry.Part{p1, p2, p3, again}
	if len(list) != len(want) {
		t.Fatalf("ListParts: %+v", list)
	}
	for i, p := range list {
		if p.Number != want[i].Number || p.ETag != want[i].ETag || p.Extent.Length != want[i].Extent.Length {
			t.Errorf("ListParts: %+v, want %+v", p, want[i])
		}
	}
	_, err = r.Head(ctx, "k")
	wants(t, "Head before Complete", err, ferry.KindNotFound)
	_, err = r.Complete(ctx, "k", id, []ferry.Part{p1, old, p3}, ferry.Precondition{})
	wants(t, "Complete with a part that was replaced", err, ferry.KindInvalid)

	// A refused condition leaves the upload alive.
	other := put(t, r, "k", []byte("somebody else's"))
	parts := []ferry.Part{p1, p2, p3}
	_, err = r.Complete(ctx, "k", id, parts, ferry.Precondition{IfAbsent: true})
	wants(t, "Complete IfAbsent on something", err, ferry.KindConflict)
	_, err = r.Complete(ctx, "k", id, parts, ferry.Precondition{IfMatch: sum([]byte("x"))})
	wants(t, "Complete IfMatch on another version", err, ferry.KindConflict)
	holds(t, r, "k", []byte("somebody else's"))
	v, err := r.Complete(ctx, "k", id, parts, ferry.Precondition{IfMatch: other.ETag})
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(a, b, c)
	if o := holds(t, r, "k", all); !o.Same(v) || o.Size != v.Size || v.Size != int64(len(all)) {
		t.Errorf("Complete returned %+v, Head says %+v", v, o.Version)
	}
	// A part that is too small and not the last.
	id = newUpload(t, r, "small")
	_, err = r.Complete(ctx, "small", id, []ferry.Part{putPart(t, r, "small", id, 1, c), putPart(t, r, "small", id, 2, c)}, ferry.Precondition{})
	wants(t, "Complete with a small part before the last", err, ferry.KindInvalid)
	if err := r.Abort(ctx, "small", id); err != nil {
		t.Error(err)
	}
}

func testUploadLost(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	id := newUpload(t, r, "k")
	part := putPart(t, r, "k", id, 1, []byte("x"))
	from := put(t, r, "from", []byte("y"))
	for range 2 { // an unknown upload is success
		if err := r.Abort(ctx, "k", id); err != nil {
			t.Errorf("Abort: %v", err)
		}
	}
	_, err := r.PutPart(ctx, "k", id, 1, bytes.NewReader([]byte("x")), ferry.Extent{Length: 1})
	wants(t, "PutPart", err, ferry.KindNoUpload)
	big := content(8*mib, 1)
	_, err = r.PutPart(ctx, "k", id, 1, bytes.NewReader(big), ferry.Extent{Length: int64(len(big))})
	wants(t, "PutPart of 8 MiB", err, ferry.KindNoUpload)
	_, err = r.CopyPart(ctx, "k", id, 1, from, ferry.Extent{Length: 1})
	wants(t, "CopyPart", err, ferry.KindNoUpload)
	_, err = r.ListParts(ctx, "k", id)
	wants(t, "ListParts", err, ferry.KindNoUpload)
	_, err = r.Complete(ctx, "k", id, []ferry.Part{part}, ferry.Precondition{})
	wants(t, "Complete", err, ferry.KindNoUpload)
	// An upload ID belongs to its key.
	id = newUpload(t, r, "k")
	part = putPart(t, r, "k", id, 1, []byte("x"))
	_, err = r.Complete(ctx, "other", id, []ferry.Part{part}, ferry.Precondition{})
	wants(t, "Complete under another key", err, ferry.KindNoUpload)
	if err := r.Abort(ctx, "k", id); err != nil {
		t.Error(err)
	}
}

// testManyParts: a listing of parts is complete beyond one page of 1000.
func testManyParts(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	id := newUpload(t, r, "k")
	defer func() {
		if err := r.Abort(ctx, "k", id); err != nil {
			t.Error(err)
		}
	}()
	const n = 1003
	for from := 1; from <= n; from += 50 {
		done := make(chan error, 50)
		last := min(from+49, n)
		for i := from; i <= last; i++ {
			go func() {
				_, err := r.PutPart(ctx, "k", id, ferry.PartNumber(i), bytes.NewReader([]byte{byte(i)}), ferry.Extent{Length: 1})
				done <- err
			}()
		}
		for range last - from + 1 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
	parts, err := r.ListParts(ctx, "k", id)
	if err != nil || len(parts) != n {
		t.Fatalf("ListParts: %d parts, %v; want %d", len(parts), err, n)
	}
	for i, p := range parts {
		if p.Number != ferry.PartNumber(i+1) || p.ETag != sum([]byte{byte(i + 1)}) {
			t.Fatalf("part %d: %+v", i+1, p)
		}
	}
}

func testCopyPart(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	b := content(12*mib, 5)
	from := put(t, r, "from", b)
	id := newUpload(t, r, "to")
	e := ferry.Extent{Offset: 12345, Length: 6 * mib}
	p1, err := r.CopyPart(ctx, "to", id, 1, from, e)
	if err != nil {
		t.Fatal(err)
	}
	if p1.ETag != sum(b[e.Offset:e.End()]) || !p1.Copied || p1.Extent.Length != e.Length || p1.Number != 1 {
		t.Errorf("CopyPart returned %+v, want ETag %s", p1, sum(b[e.Offset:e.End()]))
	}
	p2 := putPart(t, r, "to", id, 2, []byte("tail"))
	put(t, r, "from", []byte("newer"))
	_, err = r.CopyPart(ctx, "to", id, 3, from, e)
	wants(t, "CopyPart of a replaced version", err, ferry.KindConflict)
	gone := from
	gone.Key = "absent"
	_, err = r.CopyPart(ctx, "to", id, 3, gone, e)
	wants(t, "CopyPart of nothing", err, ferry.KindNotFound)
	now, err := r.Head(ctx, "from")
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.CopyPart(ctx, "to", id, 3, now.Version, ferry.Extent{Offset: 1000, Length: 10})
	wants(t, "CopyPart beyond the end", err, ferry.KindInvalid)
	if _, err := r.Complete(ctx, "to", id, []ferry.Part{p1, p2}, ferry.Precondition{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	holds(t, r, "to", slices.Concat(b[e.Offset:e.End()], []byte("tail")))
}

// testEditInPlace: an object is edited by copying its own parts, guarded by its
// own ETag.
func testEditInPlace(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	b := content(15*mib, 6)
	base := put(t, r, "k", b)
	id := newUpload(t, r, "k")
	p1, err := r.CopyPart(ctx, "k", id, 1, base, ferry.Extent{Length: 5 * mib})
	if err != nil {
		t.Fatal(err)
	}
	edit := content(5*mib, 7)
	p2 := putPart(t, r, "k", id, 2, edit)
	p3, err := r.CopyPart(ctx, "k", id, 3, base, ferry.Extent{Offset: 10 * mib, Length: 5 * mib})
	if err != nil {
		t.Fatal(err)
	}
	v, err := r.Complete(ctx, "k", id, []ferry.Part{p1, p2, p3}, ferry.Precondition{IfMatch: base.ETag})
	if err != nil {
		t.Fatal(err)
	}
	if v.ETag == base.ETag {
		t.Error("the edited object has the ETag of the old one")
	}
	copy(b[5*mib:], edit)
	holds(t, r, "k", b)
}
