package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
)

func testDenied(t *testing.T, s *suite) {
	target := s.target(t, s.Server.Endpoint)
	good := s.Connect(t, target)
	v := put(t, good, "k", []byte("x"))
	target.SecretKey = "wrong-secret-key"
	r, ctx := s.Connect(t, target), t.Context()
	_, err := r.Head(ctx, "k")
	wants(t, "Head", err, ferry.KindDenied)
	_, err = get(ctx, r, v, ferry.Extent{Length: 1})
	wants(t, "Get", err, ferry.KindDenied)
	_, err = r.List(ctx, ferry.ListRequest{})
	wants(t, "List", err, ferry.KindDenied)
	_, err = r.Put(ctx, "k", bytes.NewReader([]byte("y")), 1, ferry.PutOptions{})
	wants(t, "Put", err, ferry.KindDenied)
	_, err = r.NewUpload(ctx, "k", ferry.PutOptions{})
	wants(t, "NewUpload", err, ferry.KindDenied)
	_, err = r.Delete(ctx, []ferry.ObjectKey{"k"})
	wants(t, "Delete", err, ferry.KindDenied)
	if e, ok := errors.AsType[*ferry.Error](err); !ok || e.Hint == "" {
		t.Errorf("no hint what to do: %v", err)
	}
	holds(t, good, "k", []byte("x"))
}

// testNoBucket: a bucket that is not there says nothing about its keys.
func testNoBucket(t *testing.T, s *suite) {
	target := s.target(t, s.Server.Endpoint)
	target.Bucket = "no-such-bucket-here"
	r, ctx := s.Connect(t, target), t.Context()
	_, err := r.List(ctx, ferry.ListRequest{})
	if err == nil || ferry.IsKind(err, ferry.KindNotFound) {
		t.Errorf("List: %v", err)
	}
	_, err = r.Put(ctx, "k", bytes.NewReader(nil), 0, ferry.PutOptions{})
	if err == nil || ferry.IsKind(err, ferry.KindNotFound) {
		t.Errorf("Put: %v", err)
	}
}

// testLostAnswers: a request whose answer is lost is KindTransient, and its
// effect is there; asking again finds it or repeats it.
func testLostAnswers(t *testing.T, s *suite) {
	r, proxy := s.behind(t)
	ctx := t.Context()
	lose := func(method, match string, call func() error) {
		t.Helper()
		f := proxy.Add(Fault{Method: method, Match: PathHas(match), Nth: 1, DropAnswer: true})
		err := call()
		// A request that changes nothing may have been sent once more.
		if err != nil || method != http.MethodGet && method != http.MethodHead {
			wants(t, method+" "+match, err, ferry.KindTransient)
		}
		if errors.Is(err, ferry.ErrOffline) {
			t.Errorf("%s %s: a lost answer is taken for a server that cannot be reached: %v", method, match, err)
		}
		if proxy.Hits(f) != 1 {
			t.Errorf("%s %s: no answer was lost", method, match)
		}
		proxy.Clear()
	}
	lose(http.MethodPut, "/put", func() error {
		_, err := r.Put(ctx, "put", bytes.NewReader([]byte("x")), 1, ferry.PutOptions{Cond: ferry.Precondition{IfAbsent: true}})
		return err
	})
	holds(t, r, "put", []byte("x"))

	id := newUpload(t, r, "up")
	lose(http.MethodPut, "partNumber=1", func() error {
		_, err := r.PutPart(ctx, "up", id, 1, bytes.NewReader([]byte("abc")), ferry.Extent{Length: 3})
		return err
	})
	parts, err := r.ListParts(ctx, "up", id)
	if err != nil || len(parts) != 1 || parts[0].ETag != sum([]byte("abc")) {
		t.Fatalf("ListParts: %+v, %v", parts, err)
	}
	lose(http.MethodPost, "uploadId=", func() error {
		_, err := r.Complete(ctx, "up", id, parts, ferry.Precondition{IfAbsent: true})
		return err
	})
	holds(t, r, "up", []byte("abc"))
	if _, err := r.Complete(ctx, "up", id, parts, ferry.Precondition{}); err != nil {
		wants(t, "Complete again", err, ferry.KindNoUpload)
	}
	lose(http.MethodPost, "delete", func() error {
		_, err := r.Delete(ctx, []ferry.ObjectKey{"put"})
		return err
	})
	_, err = r.Head(ctx, "put")
	wants(t, "Head of what was deleted", err, ferry.KindNotFound)
	lose(http.MethodGet, "list-type", func() error { _, err := r.List(ctx, ferry.ListRequest{}); return err })
	lose(http.MethodHead, "/up", func() error { _, err := r.Head(ctx, "up"); return err })
}

// testShortBody: a body that ends early is an error after the bytes that came,
// and never the end.
func testShortBody(t *testing.T, s *suite) {
	r, proxy := s.behind(t)
	b := content(mib, 1)
	v := put(t, r, "k", b)
	for _, at := range []int64{0, 1, 1000, mib - 1} {
		proxy.Clear()
		proxy.Add(Fault{Method: http.MethodGet, Match: PathHas("/k"), Cut: true, CutAt: at})
		for _, e := range []ferry.Extent{{Length: mib}, {Offset: 0, Length: at + 1}} {
			got, err := get(t.Context(), r, v, e)
			wants(t, fmt.Sprintf("Get %v cut at %d", e, at), err, ferry.KindTransient)
			if !bytes.HasPrefix(b, got) {
				t.Errorf("cut at %d: wrong bytes came", at)
			}
		}
	}
	// What an XML answer lost is not taken for an empty listing.
	proxy.Clear()
	proxy.Add(Fault{Method: http.MethodGet, Match: PathHas("list-type"), Cut: true, CutAt: 60})
	page, err := r.List(t.Context(), ferry.ListRequest{})
	wants(t, "List cut short", err, ferry.KindTransient)
	if len(page.Objects) > 0 || page.More {
		t.Errorf("List cut short returned %+v", page)
	}
}

// testStalls: what makes no progress ends.
func testStalls(t *testing.T, s *suite) {
	r, proxy := s.behind(t)
	ctx := t.Context()
	b := content(mib, 1)
	v := put(t, r, "k", b)
	ends := func(what string, f Fault, call func() error) {
		t.Helper()
		proxy.Clear()
		proxy.Add(f)
		begin := time.Now()
		err := call()
		wants(t, what, err, ferry.KindTransient)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%s took %v", what, took)
		}
	}
	ends("a body that pauses", Fault{Method: http.MethodGet, Stall: true, StallAt: 1000}, func() error {
		_, err := get(ctx, r, v, ferry.Extent{Length: mib})
		return err
	})
	ends("an answer that does not come", Fault{Method: http.MethodHead, Hang: true}, func() error {
		_, err := r.Head(ctx, "k")
		return err
	})
	ends("a put that is not answered", Fault{Method: http.MethodPut, Hang: true}, func() error {
		_, err := r.Put(ctx, "k2", bytes.NewReader(b), mib, ferry.PutOptions{})
		return err
	})
	ends("a server that does not read", Fault{Method: http.MethodPut, Delay: 3 * time.Second}, func() error {
		_, err := r.Put(ctx, "k3", bytes.NewReader(b), mib, ferry.PutOptions{})
		return err
	})
	// A slow reader is nobody's fault.
	proxy.Clear()
	body, err := r.Get(ctx, v, ferry.Extent{Length: mib})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	first := make([]byte, 10)
	if _, err := io.ReadFull(body, first); err != nil {
		t.Fatal(err)
	}
	time.Sleep(800 * time.Millisecond) // longer than the patience
	rest, err := io.ReadAll(body)
	if err != nil || len(rest) != mib-10 {
		t.Errorf("after a pause of the reader: %d bytes, %v", len(rest), err)
	}
}

// testRefusals: 5xx is KindTransient, and a server that answers is not offline.
func testRefusals(t *testing.T, s *suite) {
	r, proxy := s.behind(t)
	ctx := t.Context()
	v := put(t, r, "k", []byte("x"))
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusInternalServerError, http.StatusBadGateway} {
		proxy.Clear()
		proxy.Add(Fault{Status: status})
		proxy.Requests()
		_, put := r.Put(ctx, "k", bytes.NewReader([]byte("y")), 1, ferry.PutOptions{})
		_, get := get(ctx, r, v, ferry.Extent{Length: 1})
		_, head := r.Head(ctx, "k")
		_, list := r.List(ctx, ferry.ListRequest{})
		_, del := r.Delete(ctx, []ferry.ObjectKey{"k"})
		for what, err := range map[string]error{"Put": put, "Get": get, "Head": head, "List": list, "Delete": del} {
			wants(t, fmt.Sprintf("%s answered %d", what, status), err, ferry.KindTransient)
			if errors.Is(err, ferry.ErrOffline) {
				t.Errorf("%s answered %d is said to be offline", what, status)
			}
		}
		if n := len(proxy.Requests()); n != 5 {
			t.Errorf("%d requests for 5 calls: one try each was promised", n)
		}
	}
}

// testOutage: a server that cannot be reached is said to be, and all is well
// when it is back.
func testOutage(t *testing.T, s *suite) {
	r, proxy := s.behind(t)
	put(t, r, "k", []byte("x"))
	proxy.Outage(true)
	// Connections that were open may break first.
	var err error
	for range 3 {
		_, err = r.Head(t.Context(), "k")
		wants(t, "Head", err, ferry.KindTransient)
	}
	if !errors.Is(err, ferry.ErrOffline) {
		t.Errorf("a server that refuses connections is not said to be offline: %v", err)
	}
	proxy.Outage(false)
	holds(t, r, "k", []byte("x"))
}

func testCancel(t *testing.T, s *suite) {
	r, proxy := s.behind(t)
	v := put(t, r, "k", content(mib, 1))
	proxy.Add(Fault{Method: http.MethodHead, Hang: true})
	proxy.Add(Fault{Method: http.MethodGet, Match: PathHas("/k"), Stall: true, StallAt: 10})
	proxy.Add(Fault{Method: http.MethodPut, Hang: true})
	proxy.Add(Fault{Match: PathHas("list-type"), Hang: true})
	for what, call := range map[string]func(context.Context) error{
		"Head": func(ctx context.Context) error { _, err := r.Head(ctx, "k"); return err },
		"Get":  func(ctx context.Context) error { _, err := get(ctx, r, v, ferry.Extent{Length: mib}); return err },
		"List": func(ctx context.Context) error { _, err := r.List(ctx, ferry.ListRequest{}); return err },
		"Put": func(ctx context.Context) error {
			_, err := r.Put(ctx, "k2", bytes.NewReader(nil), 0, ferry.PutOptions{})
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if err := call(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want that it was cancelled", what, err)
		}
		if err := call(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a context that is done: %v", what, err)
		}
		cancel()
	}
}

// testCorruptBody: bytes that change on the way to the server are noticed.
func testCorruptBody(t *testing.T, s *suite) {
	r, proxy := s.behind(t)
	ctx := t.Context()
	id := newUpload(t, r, "up")
	put(t, r, "k", []byte("old"))
	proxy.Add(Fault{Method: http.MethodPut, FlipSent: true})
	_, err := r.Put(ctx, "k", bytes.NewReader([]byte("abc")), 3, ferry.PutOptions{})
	wants(t, "Put", err, ferry.KindCorrupt)
	holds(t, r, "k", []byte("old"))
	_, err = r.PutPart(ctx, "up", id, 1, bytes.NewReader([]byte("abc")), ferry.Extent{Length: 3})
	wants(t, "PutPart", err, ferry.KindCorrupt)
	if err := r.Abort(ctx, "up", id); err != nil {
		t.Error(err)
	}
}

type brokenSource struct {
	good int64
	err  error
}

func (b brokenSource) ReadAt(p []byte, off int64) (int, error) {
	if left := b.good - off; int64(len(p)) > left {
		return int(max(left, 0)), b.err
	}
	return len(p), nil
}

// testCutPut: a put that breaks off replaces nothing.
func testCutPut(t *testing.T, s *suite) {
	r, proxy := s.behind(t)
	old := content(1000, 1)
	put(t, r, "k", old)
	for _, size := range []int{40_000, 3 * mib} {
		for _, at := range []int64{0, 20_000, int64(size) - 1} {
			proxy.Clear()
			proxy.Add(Fault{Method: http.MethodPut, CutSent: true, CutAt: at})
			b := content(size, 2)
			_, err := r.Put(t.Context(), "k", bytes.NewReader(b), int64(size), ferry.PutOptions{})
			wants(t, fmt.Sprintf("Put of %d bytes cut off at %d", size, at), err, ferry.KindTransient)
			proxy.Clear()
			holds(t, r, "k", old)
		}
	}
}

// testBadSource: a body that cannot be read is told as what it is, and makes no
// object.
func testBadSource(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	for _, c := range []struct {
		err  error
		want ferry.Kind
	}{
		{io.EOF, ferry.KindInvalid},
		{errors.New("input/output error"), ferry.KindCorrupt},
		{&ferry.Error{Op: "test", Kind: ferry.KindReadOnly}, ferry.KindReadOnly},
	} {
		for _, good := range []int64{0, 100, 2 * mib} {
			src := brokenSource{good, c.err}
			_, err := r.Put(ctx, "k", src, good+1000, ferry.PutOptions{})
			wants(t, fmt.Sprintf("Put of a source that fails at %d", good), err, c.want)
			_, err = r.Head(ctx, "k")
			wants(t, "Head", err, ferry.KindNotFound)
		}
	}
}

// guardedSource knows whether it may still be read.
type guardedSource struct {
	reads  atomic.Int32
	closed atomic.Bool
	late   atomic.Bool
}

func (g *guardedSource) ReadAt(p []byte, _ int64) (int, error) {
	if g.reads.Add(1) > 16 { // slowly, once it is under way
		time.Sleep(2 * time.Millisecond)
	}
	if g.closed.Load() {
		g.late.Store(true)
	}
	return len(p), nil
}

// testSourceAfterReturn: the caller may reuse the bytes when the call is over,
// however it ended.
func testSourceAfterReturn(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	id := newUpload(t, r, "k")
	for i := range 20 {
		g := &guardedSource{}
		cancelled, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Duration(10+i)*time.Millisecond, cancel)
		_, err := r.PutPart(cancelled, "k", id, 1, g, ferry.Extent{Length: 64 * mib})
		g.closed.Store(true)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("PutPart: %v, want that it was cancelled", err)
		}
		time.Sleep(5 * time.Millisecond) // a reading that was under way would end now
		if g.late.Load() {
			t.Fatal("the body was read after PutPart had returned")
		}
	}
	if err := r.Abort(ctx, "k", id); err != nil {
		t.Error(err)
	}
}

func testConcurrent(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			key, b := ferry.ObjectKey(fmt.Sprintf("k%d", i)), content(10_000, byte(i))
			v, err := r.Put(ctx, key, bytes.NewReader(b), int64(len(b)), ferry.PutOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			got, err := get(ctx, r, v, ferry.Extent{Offset: 1, Length: 9999})
			if err != nil || !bytes.Equal(got, b[1:]) {
				t.Errorf("Get: %v", err)
			}
		})
	}
	wg.Wait()
	page, err := r.List(ctx, ferry.ListRequest{})
	if err != nil || len(page.Objects) != 32 {
		t.Errorf("%d objects, %v", len(page.Objects), err)
	}
}

// testServerKilled: parts that were acknowledged outlive kill -9 of the server,
// and the upload goes on from them.
func testServerKilled(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	a, b := content(5*mib, 1), content(1000, 2)
	id := newUpload(t, r, "k")
	p1 := putPart(t, r, "k", id, 1, a)
	s.Server.Kill()
	_, err := r.PutPart(ctx, "k", id, 2, bytes.NewReader(b), ferry.Extent{Length: int64(len(b))})
	wants(t, "PutPart to a dead server", err, ferry.KindTransient)
	s.Server.Start()
	parts, err := r.ListParts(ctx, "k", id)
	for i := 0; i < 50 && ferry.IsKind(err, ferry.KindTransient); i++ { // it may still be waking up
		time.Sleep(100 * time.Millisecond)
		parts, err = r.ListParts(ctx, "k", id)
	}
	if err != nil || len(parts) != 1 || parts[0].ETag != p1.ETag {
		t.Fatalf("ListParts: %+v, %v", parts, err)
	}
	p2 := putPart(t, r, "k", id, 2, b)
	if _, err := r.Complete(ctx, "k", id, []ferry.Part{p1, p2}, ferry.Precondition{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	holds(t, r, "k", append(a, b...))
}
