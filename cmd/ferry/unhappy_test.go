package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ferry/syncer/storetest"
)

// refuseWrites stands in front of a server and, while on, refuses to store keys
// that hold a word, as a policy would.
func refuseWrites(t *testing.T, s3 *storetest.Server, word string) (front *storetest.Server, on *atomic.Bool) {
	t.Helper()
	back, err := url.Parse(s3.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(back)
	// MinIO hangs up after some refusals, without saying so.
	pass.Transport = &http.Transport{DisableKeepAlives: true}
	on = &atomic.Bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if on.Load() && (r.Method == http.MethodPut || r.Method == http.MethodPost) && strings.Contains(r.URL.Path, word) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>not for you</Message></Error>`)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	copied := *s3
	copied.Endpoint = server.URL
	return &copied, on
}

// A permanent refusal parks: wait, status and umount say which and why, the bytes
// stay readable, retry goes on, cancel gives up.
//
// semantics: write-park
func TestParked(t *testing.T) {
	s3 := storetest.StartMinIO(t)
	front, refuse := refuseWrites(t, s3, "secret")
	p := newPlace(t, front)
	bucket := s3.MakeBucket(t)
	p.mount(bucket, p.mnt())
	refuse.Store(true)
	write := func(name string) string {
		path := filepath.Join(p.mnt(), name)
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one, two := write("secret-1.txt"), write("secret-2.txt")
	p.must("wait", "--timeout", "1m", write("open.txt"))

	r := p.run("wait", "--timeout", "1m", one)
	if r.code != exitParked || !strings.Contains(r.err, "secret-1.txt") || !strings.Contains(r.err, "uploads retry") {
		t.Errorf("wait: exit %d, want %d, the file and the next step: %s", r.code, exitParked, r.err)
	}
	s := p.status()
	if len(s.Parked) != 2 || s.Parked[0].Reason == "" || s.Pending.Operations != 0 {
		t.Fatalf("status: parked %+v, pending %+v; want two parked and none pending", s.Parked, s.Pending)
	}
	if r := p.run("umount", p.mnt()); r.code != exitParked || !strings.Contains(r.err, "still mounted") {
		t.Errorf("umount: exit %d, want %d: %s", r.code, exitParked, r.err)
	}
	if got, err := os.ReadFile(one); err != nil || string(got) != "secret-1.txt" {
		t.Errorf("a parked file: %q, %v", got, err)
	}
	id := map[string]string{s.Parked[0].Key: s.Parked[0].ID, s.Parked[1].Key: s.Parked[1].ID}
	if r := p.run("uploads", "cancel", id["secret-2.txt"], p.mnt()); r.code != exitUsage {
		t.Errorf("cancel without --yes: exit %d, want %d", r.code, exitUsage)
	}
	p.must("uploads", "cancel", "--yes", id["secret-2.txt"], p.mnt())
	eventually(t, 10*time.Second, "a cancelled new file is gone", func() bool {
		_, err := os.Stat(two)
		return errors.Is(err, os.ErrNotExist)
	})
	if r := p.run("uploads", "retry", "0123456789abcdef-9", p.mnt()); r.code != exitNotFound {
		t.Errorf("retry of nothing: exit %d, want %d: %s", r.code, exitNotFound, r.err)
	}
	refuse.Store(false)
	p.must("uploads", "retry", id["secret-1.txt"], p.mnt())
	p.must("wait", "--timeout", "1m", p.mnt())
	if got := object(t, s3, bucket, "secret-1.txt"); string(got) != "secret-1.txt" {
		t.Errorf("object after retry: %q", got)
	}
	p.must("umount", p.mnt())
}

// A mount in use is not taken away, except by --now and by signals; what was open
// then is sealed as it is at the next start.
//
// semantics: keep-open-files
func TestUmountOfABusyMount(t *testing.T) {
	s3 := storetest.StartMinIO(t)
	p := newPlace(t, s3)
	bucket := s3.MakeBucket(t)
	m := p.mount(bucket, p.mnt())
	f, err := os.Open(p.mnt())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if r := p.run("umount", p.mnt()); r.code != exitBusy || !strings.Contains(r.err, "uses the mount") {
		t.Errorf("umount of a busy mount: exit %d, want %d: %s", r.code, exitBusy, r.err)
	}
	if s := p.status(); s.State != "ready" {
		t.Errorf("state %q after a refused umount; want ready", s.State)
	}
	open, err := os.Create(filepath.Join(p.mnt(), "open.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, err := open.WriteString("half a sent"); err != nil {
		t.Fatal(err)
	}
	p.must("umount", "--now", p.mnt())
	if code := m.code(time.Second); code != 0 {
		t.Errorf("exit %d after umount --now of a busy mount; want 0\n%s", code, m.tail())
	}
	open.Close()
	f.Close()
	p.mount(bucket, p.mnt())
	if got, err := os.ReadFile(filepath.Join(p.mnt(), "open.txt")); err != nil || string(got) != "half a sent" {
		t.Errorf("what was open at umount --now: %q, %v", got, err)
	}
	p.must("wait", "--timeout", "1m", p.mnt())
	if got := object(t, s3, bucket, "open.txt"); string(got) != "half a sent" {
		t.Errorf("object: %q", got)
	}
}

// A lost journal gives back what staging holds.
//
// semantics: keep-rebuild
func TestDoctorRebuild(t *testing.T) {
	s3 := storetest.StartMinIO(t)
	front, refuse := refuseWrites(t, s3, "kept")
	refuse.Store(true)
	p := newPlace(t, front)
	bucket := s3.MakeBucket(t)
	m := p.mount(bucket, p.mnt())
	if err := os.MkdirAll(filepath.Join(p.mnt(), "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.mnt(), "dir", "kept.txt"), []byte("kept"), 0o640); err != nil {
		t.Fatal(err)
	}
	if r := p.run("doctor", "--rebuild", "--state-dir", p.state(), bucket, p.mnt()); r.code != exitLocked {
		t.Errorf("rebuild of a running mount: exit %d, want %d: %s", r.code, exitLocked, r.err)
	}
	m.end(syscall.SIGTERM)
	for _, name := range []string{"journal.db", "redo"} {
		if err := os.RemoveAll(filepath.Join(p.state(), name)); err != nil {
			t.Fatal(err)
		}
	}
	r := p.run("doctor", "--rebuild", "--state-dir", p.state(), bucket, p.mnt())
	if r.code != 0 || !strings.Contains(r.out, "dir/kept.txt") {
		t.Fatalf("rebuild: exit %d; want 0 and the file named: %s%s", r.code, r.out, r.err)
	}
	refuse.Store(false)
	p.mount(bucket, p.mnt())
	if got, err := os.ReadFile(filepath.Join(p.mnt(), "dir", "kept.txt")); err != nil || string(got) != "kept" {
		t.Errorf("after the rebuild: %q, %v", got, err)
	}
	p.must("wait", "--timeout", "1m", p.mnt())
	if got := object(t, s3, bucket, "dir/kept.txt"); string(got) != "kept" {
		t.Errorf("object: %q", got)
	}
}

func TestReadOnlyMount(t *testing.T) {
	s3 := storetest.StartMinIO(t)
	p := newPlace(t, s3)
	bucket := s3.MakeBucket(t)
	m := p.mount(bucket, p.mnt())
	path := filepath.Join(p.mnt(), "a.txt")
	if err := os.WriteFile(path, []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.must("umount", p.mnt())
	m.code(time.Second)
	m = p.mount("--read-only", bucket, p.mnt())
	if got, err := os.ReadFile(path); err != nil || string(got) != "a" {
		t.Errorf("read: %q, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("b"), 0o644); !errors.Is(err, syscall.EROFS) {
		t.Errorf("write: %v; want EROFS", err)
	}
	if err := os.Remove(path); !errors.Is(err, syscall.EROFS) {
		t.Errorf("remove: %v; want EROFS", err)
	}
	if code := m.end(syscall.SIGINT); code != 0 {
		t.Errorf("SIGINT: exit %d, want 0", code)
	}
}
