package content

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"ferry"
)

// cold returns a started world with one stored file of size bytes, opened.
func cold(t *testing.T, size int, change func(*Options)) (*world, *Files, *Handle, []byte) {
	t.Helper()
	w := newWorld(t.TempDir())
	data := make([]byte, size)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i+8 <= size; i += 8 {
		v := r.Uint64()
		for j := range 8 {
			data[i+j] = byte(v >> (8 * j))
		}
	}
	w.bucket.put(key(7), data, "")
	o := w.options()
	if change != nil {
		change(&o)
	}
	f := New(context.Background(), o)
	t.Cleanup(func() {
		f.Close()
		if n := f.ReadMemory(); n != 0 {
			t.Errorf("%d bytes of read buffers are left", n)
		}
	})
	return w, f, openFor(t, w, f, syscall.O_RDONLY), data
}

func openFor(t *testing.T, w *world, f *Files, flags uint32) *Handle {
	t.Helper()
	e, err := w.names.Stat(context.Background(), 7)
	if err != nil {
		t.Fatal(err)
	}
	h, err := f.OpenFile(context.Background(), e, flags)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func readAt(t *testing.T, f *Files, h *Handle, data []byte, off, n int) {
	t.Helper()
	p := make([]byte, n)
	got, err := f.Read(context.Background(), h, p, int64(off))
	if err != nil {
		t.Fatal(err)
	}
	if want := data[min(off, len(data)):min(off+n, len(data))]; !bytes.Equal(p[:got], want) {
		t.Fatalf("the %d bytes at %d are not those of the object", got, off)
	}
}

// What is fetched for what is read.
func TestFetched(t *testing.T) {
	const size = 64 << 20
	random := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		name string
		read func(read func(off, n int))
		most int64
	}{
		{"head", func(read func(int, int)) { read(0, 16384) }, 128 << 10},
		{"tail", func(read func(int, int)) { read(size-4096, 4096); read(size-100, 100) }, 128 << 10},
		{"one block twice", func(read func(int, int)) { read(5<<20, 4096); read(5<<20+8192, 4096) }, 128 << 10},
		{"128 random reads", func(read func(int, int)) {
			for range 128 {
				read(random.IntN(size/4096)*4096, 4096)
			}
		}, 16 << 20},
		{"a zip's directory, then two members", func(read func(int, int)) {
			read(size-65536, 65536)
			read(0, 30)
			read(30<<20, 4096)
		}, 512 << 10},
		{"all of it, in the kernel's pieces", func(read func(int, int)) {
			for off := 0; off < size; off += 128 << 10 {
				read(off, 128<<10)
			}
		}, size},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, f, h, data := cold(t, size, nil)
			c.read(func(off, n int) { readAt(t, f, h, data, off, n) })
			f.Release(h)
			f.Close()
			if n := w.bucket.fetched.Load(); n > c.most {
				t.Errorf("%d bytes fetched, %d allowed", n, c.most)
			}
		})
	}
}

// Several sequential readers share the memory that there is, and each gets its
// bytes; the kernel's requests of one file come out of order.
func TestReadersShareMemory(t *testing.T) {
	const size = 24 << 20
	w, f, h, data := cold(t, size, func(o *Options) { o.ReadMemory = 8 << 20 })
	f.Release(h)
	var wg sync.WaitGroup
	for range 6 {
		h := openFor(t, w, f, syscall.O_RDONLY)
		wg.Go(func() {
			defer f.Release(h)
			var inner sync.WaitGroup
			for off := 0; off < size; off += 512 << 10 {
				for part := range 4 {
					inner.Go(func() { readAt(t, f, h, data, off+part<<17, 128<<10) })
				}
				inner.Wait()
				if n := f.ReadMemory(); n > 8<<20 {
					t.Errorf("%d bytes of read buffers", n)
				}
			}
		})
	}
	wg.Wait()
}

// Buffers of a handle that nobody reads go back although it is open.
func TestIdleReaderGivesBack(t *testing.T) {
	_, f, h, data := cold(t, 16<<20, nil)
	defer f.Release(h)
	for off := 0; off < 4<<20; off += 128 << 10 {
		readAt(t, f, h, data, off, 128<<10)
	}
	if f.ReadMemory() == 0 {
		t.Fatal("nothing is read ahead")
	}
	for until := time.Now().Add(idleAfter + 10*time.Second); f.ReadMemory() > 0; {
		if time.Now().After(until) {
			t.Fatalf("%d bytes are still held", f.ReadMemory())
		}
		time.Sleep(50 * time.Millisecond)
	}
	readAt(t, f, h, data, 4<<20, 128<<10)
}

// A failure that may pass is tried again; one that lasts is an error in time.
func TestReadRetries(t *testing.T) {
	w, f, h, data := cold(t, 1<<20, func(o *Options) { o.RetryFor = 2 * time.Second })
	defer f.Release(h)
	n := 0
	fails := func(kind ferry.Kind, times int) {
		w.bucket.mu.Lock()
		defer w.bucket.mu.Unlock()
		n = 0
		w.bucket.fail = func(e ferry.Extent) error {
			if kind == ferry.KindDenied && e.Offset < 768<<10 {
				return nil // a block of before that is being tried again
			}
			if n++; n <= times {
				return &ferry.Error{Op: "get", Kind: kind}
			}
			return nil
		}
	}
	fails(ferry.KindTransient, 3)
	readAt(t, f, h, data, 0, 4096)
	fails(ferry.KindTransient, 1<<30)
	begin := time.Now()
	if _, err := f.Read(context.Background(), h, make([]byte, 10), 512<<10); !ferry.IsKind(err, ferry.KindTransient) {
		t.Fatalf("got %v", err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("it took %s", d)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.Read(ctx, h, make([]byte, 10), 512<<10); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("an interrupted read gave %v", err)
	}
	fails(ferry.KindDenied, 1<<30)
	if _, err := f.Read(context.Background(), h, make([]byte, 10), 768<<10); !ferry.IsKind(err, ferry.KindDenied) {
		t.Fatalf("got %v", err)
	}
	fails(ferry.KindDenied, 0)
	readAt(t, f, h, data, 768<<10, 4096)
}

// A handle reads one version: when another client has replaced the object it gets
// KindConflict, and who opens the file again reads the new one.
func TestReplacedByOthers(t *testing.T) {
	w, f, h, data := cold(t, 1<<20, nil)
	defer f.Release(h)
	readAt(t, f, h, data, 0, 4096)
	theirs := bytes.Repeat([]byte("theirs"), 100_000)
	w.bucket.put(key(7), theirs, "")
	if _, err := f.Read(context.Background(), h, make([]byte, 10), 512<<10); !ferry.IsKind(err, ferry.KindConflict) {
		t.Fatalf("got %v", err)
	}
	h2 := openFor(t, w, f, syscall.O_RDONLY)
	defer f.Release(h2)
	readAt(t, f, h2, theirs, 512<<10, 4096)
	if _, err := f.Read(context.Background(), h, make([]byte, 10), 512<<10); !ferry.IsKind(err, ferry.KindConflict) {
		t.Fatalf("the first handle got %v", err)
	}
}

// When our own work has replaced the object (new metadata, another name), handles
// that are open go on reading, with or without the event.
func TestReplacedByUs(t *testing.T) {
	w, f, h, data := cold(t, 1<<20, nil)
	defer f.Release(h)
	readAt(t, f, h, data, 0, 4096)
	w.bucket.put(key(7), data, w.gens.Next())
	readAt(t, f, h, data, 512<<10, 4096)
}

// A writer that finds the staging budget used up waits for progress, then gets
// "no space"; one that sees progress goes on.
func TestStagingBudget(t *testing.T) {
	w := newWorld(t.TempDir())
	o := w.options()
	o.StagingMax, o.Patience = 1<<20, 300*time.Millisecond
	f := New(context.Background(), o)
	defer f.Close()
	e, err := w.names.create(7, w.gens.Next())
	if err != nil {
		t.Fatal(err)
	}
	h, err := f.OpenFile(context.Background(), e, syscall.O_WRONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release(h)
	p := make([]byte, 900<<10)
	if _, err := f.Write(context.Background(), h, p, 0); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := f.Write(context.Background(), h, p, 900<<10); !ferry.IsKind(err, ferry.KindNoSpace) {
		t.Fatalf("got %v", err)
	}
	if d := time.Since(begin); d < o.Patience {
		t.Errorf("it gave up after %s", d)
	}
	done := make(chan error)
	go func() {
		_, err := f.Write(context.Background(), h, p, 900<<10)
		done <- err
	}()
	if err := f.SetSize(context.Background(), e, 0); err != nil { // as if it were stored
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
