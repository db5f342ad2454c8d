package main

import (
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ferry/syncer/storetest"
)

// life is a mount on MinIO, and another client of the same bucket.
type life struct {
	*place
	s3     *storetest.Server
	bucket string
}

func newLife(t *testing.T, flags ...string) *life {
	t.Helper()
	needMount(t)
	l := &life{s3: storetest.StartMinIO(t)}
	l.place, l.bucket = newPlace(t, l.s3), l.s3.MakeBucket(t)
	l.mount(append(flags, l.bucket, l.mnt())...)
	return l
}

func (l *life) path(name string) string { return filepath.Join(l.mnt(), name) }

func (l *life) put(name, text string) {
	l.t.Helper()
	if err := os.WriteFile(l.path(name), []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

func (l *life) want(name, text string) {
	l.t.Helper()
	if got, err := os.ReadFile(l.path(name)); err != nil || string(got) != text {
		l.t.Errorf("%s is %q, %v; want %q", name, got, err, text)
	}
}

func (l *life) wait() { l.t.Helper(); l.must("wait", "--timeout", "1m", l.mnt()) }

func (l *life) stored(key, text string) {
	l.t.Helper()
	if got := object(l.t, l.s3, l.bucket, key); string(got) != text {
		l.t.Errorf("object %s is %q; want %q", key, got, text)
	}
}

// semantics: write-conflict write-conflict-no-resend
// Another client replaces an object while the file here is being edited: both
// versions are kept, and no part is sent twice.
func TestConflictKeepsBoth(t *testing.T) {
	l := newLife(t)
	l.put("report.txt", "first")
	l.wait()
	f, err := os.OpenFile(l.path("report.txt"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	big := make([]byte, 24<<20)
	_, _ = rand.Read(big)
	if _, err := f.Write(big); err != nil {
		t.Fatal(err)
	}
	l.s3.Put(t, l.bucket, "report.txt", []byte("theirs"), "text/plain", nil)
	before := l.status().Counters.BytesSent
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	l.wait()
	if got := object(t, l.s3, l.bucket, "report.txt"); string(got) != string(big) {
		t.Errorf("the name holds %d bytes that are not ours", len(got))
	}
	keys := l.s3.Keys(t, l.bucket, "report (conflict ")
	if len(keys) != 1 || !strings.HasSuffix(keys[0], ".txt") {
		t.Fatalf("conflict copies: %q; want one that ends in .txt", keys)
	}
	l.stored(keys[0], "theirs")
	s := l.status()
	if s.Counters.Conflicts != 1 {
		t.Errorf("%d conflicts counted; want 1", s.Counters.Conflicts)
	}
	if sent := s.Counters.BytesSent - before; sent > int64(len(big)) {
		t.Errorf("%d bytes sent for a file of %d: something went twice", sent, len(big))
	}
}

// semantics: read-one-version
func TestOpenHandleReadsOneVersion(t *testing.T) {
	l := newLife(t, "--ttl", "200ms")
	old := make([]byte, 8<<20)
	_, _ = rand.Read(old)
	l.s3.Put(t, l.bucket, "film", old, "video/mp4", nil)
	f, err := os.Open(l.path("film"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 4096)
	if _, err := f.ReadAt(buf, 0); err != nil || string(buf) != string(old[:4096]) {
		t.Fatalf("first read: %v", err)
	}
	l.s3.Put(t, l.bucket, "film", make([]byte, 8<<20), "video/mp4", nil)
	if _, err := f.ReadAt(buf, 6<<20); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("a read behind a replaced version: %v; want ESTALE", err)
	}
	eventually(t, 10*time.Second, "a new open reads the new version", func() bool {
		got, err := os.ReadFile(l.path("film"))
		return err == nil && got[6<<20] == 0 && len(got) == 8<<20
	})
}

// semantics: name-delete-changed
func TestDeleteLeavesChangedObjectsAlone(t *testing.T) {
	l := newLife(t, "--ttl", "10ms")
	l.put("kept", "ours")
	l.wait()
	l.want("kept", "ours")
	if err := os.Remove(l.path("kept")); err != nil {
		t.Fatal(err)
	}
	l.s3.Put(t, l.bucket, "kept", []byte("theirs, and newer"), "text/plain", nil)
	l.wait()
	l.stored("kept", "theirs, and newer")
	eventually(t, 5*time.Second, "it is shown again", func() bool {
		got, err := os.ReadFile(l.path("kept"))
		return err == nil && string(got) == "theirs, and newer"
	})
}

// semantics: name-create-delete name-temp-rename name-copy-remove
func TestNamesThatCostNothing(t *testing.T) {
	l := newLife(t)
	before := l.status().Counters
	for range 20 {
		l.put("gone", "short-lived")
		if err := os.Remove(l.path("gone")); err != nil {
			t.Fatal(err)
		}
	}
	l.put(".doc.tmp", "the document")
	if err := os.Rename(l.path(".doc.tmp"), l.path("doc")); err != nil {
		t.Fatal(err)
	}
	l.wait()
	after := l.status().Counters
	if sent := after.BytesSent - before.BytesSent; sent != int64(len("the document")) {
		t.Errorf("%d bytes were sent; want those of the document, once", sent)
	}
	if n := after.Requests["DeleteObjects"] - before.Requests["DeleteObjects"]; n != 0 {
		t.Errorf("%d DeleteObjects for names that never were in the bucket", n)
	}
	if keys := l.s3.Keys(t, l.bucket, ""); !slices.Equal(keys, []string{"doc"}) {
		t.Errorf("the bucket holds %q", keys)
	}
	if out, err := exec.Command("sh", "-c", `cp "$1/doc" "$1/copy"; rm "$1/doc"; mv "$1/copy" "$1/again"`, "sh", l.mnt()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l.wait()
	l.stored("again", "the document")
	if keys := l.s3.Keys(t, l.bucket, ""); !slices.Equal(keys, []string{"again"}) {
		t.Errorf("the bucket holds %q", keys)
	}
}

// semantics: name-rename-atomic name-rename-flags
func TestRenamesReachTheBucket(t *testing.T) {
	l := newLife(t)
	for _, dir := range []string{"a", "a/deep", "b"} {
		if err := os.Mkdir(l.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l.put("a/one", "1")
	l.put("a/deep/two", "2")
	l.put("b/three", "3")
	l.wait()
	exchange := func(x, y string) error {
		return unix.Renameat2(unix.AT_FDCWD, l.path(x), unix.AT_FDCWD, l.path(y), unix.RENAME_EXCHANGE)
	}
	if err := exchange("a", "b"); err != nil {
		t.Fatal(err)
	}
	l.want("b/one", "1")
	l.want("b/deep/two", "2")
	l.want("a/three", "3")
	if err := unix.Renameat2(unix.AT_FDCWD, l.path("a"), unix.AT_FDCWD, l.path("b"), unix.RENAME_NOREPLACE); !errors.Is(err, unix.EEXIST) {
		t.Errorf("RENAME_NOREPLACE onto a name: %v; want EEXIST", err)
	}
	if err := unix.Renameat2(unix.AT_FDCWD, l.path("a"), unix.AT_FDCWD, l.path("c"), unix.RENAME_WHITEOUT); !errors.Is(err, unix.EINVAL) {
		t.Errorf("RENAME_WHITEOUT: %v; want EINVAL", err)
	}
	if err := os.Rename(l.path("b"), l.path("moved")); err != nil {
		t.Fatal(err)
	}
	l.want("moved/deep/two", "2")
	l.wait()
	l.stored("moved/one", "1")
	l.stored("moved/deep/two", "2")
	l.stored("a/three", "3")
	if keys := l.s3.Keys(t, l.bucket, "b"); len(keys) != 0 {
		t.Errorf("the old name still holds %q", keys)
	}
	if keys := l.s3.Keys(t, l.bucket, ".ferry/"); len(keys) != 0 {
		t.Errorf("left under .ferry/: %q", keys)
	}
}

// semantics: meta-foreign meta-own
func TestForeignMetadataSurvives(t *testing.T) {
	l := newLife(t)
	l.s3.Put(t, l.bucket, "page.html", []byte("<p>"), "text/html", map[string]string{"Reviewed-By": "anna"})
	check := func(key, after string) {
		t.Helper()
		l.wait()
		h := l.s3.Stat(t, l.bucket, key)
		if h.Get("Content-Type") != "text/html" || h.Get("X-Amz-Meta-Reviewed-By") != "anna" {
			t.Errorf("after %s the object has type %q and X-Amz-Meta-Reviewed-By %q", after, h.Get("Content-Type"), h.Get("X-Amz-Meta-Reviewed-By"))
		}
	}
	if err := os.Chmod(l.path("page.html"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("page.html", "a chmod")
	f, err := os.OpenFile(l.path("page.html"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("more"); err != nil {
		t.Fatal(err)
	}
	if got := l.attr("page.html", "user.ferry.state"); got != "open" {
		t.Errorf("state of a file being written: %q; want open", got)
	}
	f.Close()
	check("page.html", "an edit")
	if err := os.Rename(l.path("page.html"), l.path("index.html")); err != nil {
		t.Fatal(err)
	}
	check("index.html", "a rename")
	l.stored("index.html", "<p>more")
	if got := l.attr("index.html", "user.ferry.state"); got != "stored" {
		t.Errorf("state of a stored file: %q", got)
	}
	if got := l.attr("index.html", "user.ferry.key"); got != "index.html" {
		t.Errorf("key: %q", got)
	}
	if got, want := l.attr("index.html", "user.ferry.etag"), l.s3.Stat(t, l.bucket, "index.html").Get("Etag"); want != "" && got != strings.Trim(want, `"`) {
		t.Errorf("etag: %q; the bucket says %q", got, want)
	}
}

func (l *life) attr(name, attr string) string {
	l.t.Helper()
	buf := make([]byte, 512)
	n, err := unix.Getxattr(l.path(name), attr, buf)
	if err != nil {
		l.t.Fatalf("%s of %s: %v", attr, name, err)
	}
	return string(buf[:n])
}

// semantics: name-utf8 diff-links name-odd-keys
func TestNamesThatCannotBe(t *testing.T) {
	l := newLife(t, "--ttl", "100ms")
	if err := os.WriteFile(l.path("bad\xff"), nil, 0o644); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a name that is not UTF-8: %v; want EINVAL", err)
	}
	l.put("file", "x")
	if err := os.Link(l.path("file"), l.path("hard")); !errors.Is(err, syscall.EPERM) {
		t.Errorf("a hard link: %v; want EPERM", err)
	}
	if err := unix.Mkfifo(l.path("fifo"), 0o600); !errors.Is(err, syscall.EPERM) {
		t.Errorf("a fifo: %v; want EPERM", err)
	}
	if err := os.Mkdir(l.path(".ferry"), 0o755); !errors.Is(err, syscall.EPERM) {
		t.Errorf("the reserved name: %v; want EPERM", err)
	}
	// A file beside a directory of its name: MinIO takes both, a path cannot be both.
	l.s3.Put(t, l.bucket, "odd/name", []byte("below"), "", nil)
	l.s3.Put(t, l.bucket, "odd/name/deeper", []byte("deeper"), "", nil)
	l.s3.Put(t, l.bucket, "odd/plain", []byte("plain"), "", nil)
	eventually(t, 5*time.Second, "another client's directory is shown", func() bool {
		_, err := os.Stat(l.path("odd"))
		return err == nil
	})
	l.want("odd/plain", "plain")
	if _, err := os.ReadDir(l.path("odd")); err != nil {
		t.Errorf("a directory with odd keys cannot be read: %v", err)
	}
}
