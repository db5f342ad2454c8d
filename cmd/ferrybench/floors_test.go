package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A floor that does less than the work makes every ratio wrong, so the floors
// are tested for what they do, never for their speed.

func TestRawClientDoesTheWork(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a MinIO process")
	}
	bin := os.Getenv("FERRY_TEST_MINIO")
	if bin == "" {
		t.Fatal("FERRY_TEST_MINIO names no MinIO binary: run make test, which builds one and sets it")
	}
	ctx, dir := t.Context(), t.TempDir()
	server, err := startServer(ctx, bin, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.stop)
	raw, err := newRawClient(server.endpoint, server.user, server.secret)
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(dir, "source")
	if err := errors.Join(
		raw.makeBucket(ctx, "bench"), raw.makeBucket(ctx, "bench"), // making it twice is no error
		randomFile(source, 20<<20+7, 1), raw.putMultipart(ctx, "bench", "big", source), raw.copyObject(ctx, "bench", "big", "copy"),
	); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"big", "copy"} {
		var got bytes.Buffer
		if err := raw.cat(ctx, &got, "bench", key); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("object %s differs from the file", key)
		}
	}
	if err := raw.getParallel(ctx, "bench", "big"); err != nil {
		t.Error(err)
	}
	if err := raw.getRange(ctx, "bench", "big", "another-version", 0, 100); err == nil {
		t.Error("a range of another version was read")
	}
	small := filepath.Join(dir, "small")
	if err := errors.Join(smallFiles(small, 250, 64), raw.putFiles(ctx, "bench", "t/", small, 250)); err != nil {
		t.Fatal(err)
	}
	if n, err := raw.list(ctx, "bench", "t/"); n != 250 || err != nil {
		t.Errorf("the listing has %d objects (%v), want 250", n, err)
	}
	if err := raw.removeAll(ctx, "bench", "t/"); err != nil {
		t.Error(err)
	}
	if n, err := raw.list(ctx, "bench", ""); n != 2 || err != nil {
		t.Errorf("%d objects are left (%v), want 2", n, err)
	}
}

func TestNullDaemonKeepsWhatIsWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("mounts")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil && os.Getenv("FERRY_REQUIRE_MOUNT") == "" {
		t.Skip("no /dev/fuse")
	}
	dir := t.TempDir()
	backing, mnt, source := filepath.Join(dir, "backing"), filepath.Join(dir, "mnt"), filepath.Join(dir, "source")
	if err := errors.Join(os.Mkdir(backing, 0o755), os.Mkdir(mnt, 0o755), smallFiles(source, 150, 5000)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	ready := make(chan struct{})
	go func() { ended <- serveNull(ctx, backing, mnt, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	// Child processes use the mount: a test that uses a mount it serves itself
	// can stand still in the kernel.
	for _, command := range [][]string{
		{"cp", "-r", source, filepath.Join(mnt, "copy")},
		{"diff", "-r", source, filepath.Join(mnt, "copy")},
		{"diff", "-r", source, filepath.Join(backing, "copy")},
		{"rm", "-rf", filepath.Join(mnt, "copy")},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v: %s", command, err, firstLines(string(out), 3))
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(backing); len(left) != 0 || err != nil {
		t.Errorf("%d names are left (%v), want none", len(left), err)
	}
}
