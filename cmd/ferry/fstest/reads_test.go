package fstest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func random(n int) []byte {
	p := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range p {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		p[i] = byte(x)
	}
	return p
}

// head and tail of a cold file fetch one block; all of it is fetched once, however
// often it is read while the object stands.
//
// semantics: read-tail
func TestColdReads(t *testing.T) {
	b := &bucket{}
	m := mount(t, b)
	data := random(32 << 20)
	b.put("cold", data)
	path := filepath.Join(m.dir, "cold")
	fetched := func(most int64, args ...string) []byte {
		t.Helper()
		before := b.fetched.Load()
		out, err := exec.Command(args[0], args[1:]...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if n := b.fetched.Load() - before; n > most {
			t.Errorf("%v fetched %d bytes, %d allowed", args, n, most)
		}
		return out
	}
	if got := fetched(128<<10, "tail", "-c", "100", path); !bytes.Equal(got, data[len(data)-100:]) {
		t.Error("tail is wrong")
	}
	if got := fetched(128<<10, "head", "-c", "100", path); !bytes.Equal(got, data[:100]) {
		t.Error("head is wrong")
	}
	if got := fetched(256<<10, "dd", "if="+path, "bs=4096", "skip=5000", "count=1", "status=none"); !bytes.Equal(got, data[5000*4096:5001*4096]) {
		t.Error("dd is wrong")
	}
	if got := fetched(int64(len(data)), "cat", path); !bytes.Equal(got, data) {
		t.Error("cat is wrong")
	}
	// The kernel may have dropped a few of its pages.
	if got := fetched(int64(len(data))/16, "cat", path); !bytes.Equal(got, data) {
		t.Error("the second cat is wrong")
	}
}

// A handle gets ESTALE for what another client has replaced before it was read;
// who opens the file again gets the new one soon.
func TestReplacedUnderAHandle(t *testing.T) {
	b := &bucket{}
	m := mount(t, b)
	b.put("f", random(8<<20))
	f, err := os.Open(filepath.Join(m.dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(make([]byte, 10), 0); err != nil {
		t.Fatal(err)
	}
	theirs := bytes.Repeat([]byte("new"), 1000)
	b.put("f", theirs)
	if _, err := f.ReadAt(make([]byte, 10), 6<<20); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("got %v", err)
	}
	for until := time.Now().Add(3 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		if got, err := os.ReadFile(filepath.Join(m.dir, "f")); err == nil && bytes.Equal(got, theirs) {
			return
		}
		if time.Now().After(until) {
			t.Fatal("the change is not seen")
		}
	}
}
