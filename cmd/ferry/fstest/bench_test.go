package fstest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ferry"
)

// BenchmarkSmallFiles makes, writes and closes files of 4 KiB, as `cp -r` does.
func BenchmarkSmallFiles(b *testing.B) {
	m := mount(b, nil)
	data := make([]byte, 4096)
	for i := 0; b.Loop(); i++ {
		if err := os.WriteFile(filepath.Join(m.dir, fmt.Sprintf("file-%d", i)), data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWrite writes 1 MiB at a time into one file.
func BenchmarkWrite(b *testing.B) {
	m := mount(b, nil)
	f, err := os.Create(filepath.Join(m.dir, "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, 1<<20)
	b.SetBytes(int64(len(data)))
	for i := int64(0); b.Loop(); i++ {
		if _, err := f.WriteAt(data, i%512<<20); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkColdRead reads stored objects from their beginning, 1 MiB at a time.
func BenchmarkColdRead(b *testing.B) {
	bucket := &bucket{objects: map[ferry.ObjectKey]object{}}
	data := random(64 << 20)
	const files = 64
	for i := range files {
		bucket.put(ferry.ObjectKey(fmt.Sprintf("cold-%d", i)), data)
	}
	m := mount(b, bucket)
	buf := make([]byte, 1<<20)
	b.SetBytes(int64(len(data)))
	for i := 0; b.Loop(); i++ {
		f, err := os.Open(filepath.Join(m.dir, fmt.Sprintf("cold-%d", i%files)))
		if err != nil {
			b.Fatal(err)
		}
		for off := int64(0); off < int64(len(data)); off += int64(len(buf)) {
			if _, err := f.ReadAt(buf, off); err != nil {
				b.Fatal(err)
			}
		}
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
