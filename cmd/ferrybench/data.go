package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// randomFile writes size bytes that no part repeats, the same ones for the same
// seed, so that nothing can be gained by compressing or deduplicating.
func randomFile(path string, size int64, seed byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	_, err = io.CopyN(w, rand.NewChaCha8([32]byte{seed}), size)
	return errors.Join(err, w.Flush(), f.Close())
}

// fillRandom fills a buffer with bytes that depend on the seed alone.
func fillRandom(body []byte, seed ...byte) {
	var key [32]byte
	copy(key[:], seed)
	_, _ = rand.NewChaCha8(key).Read(body) // never fails
}

// smallFiles makes count files of size bytes in folders of 100 below dir.
func smallFiles(dir string, count int, size int64) error {
	body := make([]byte, size)
	for i := range count {
		path := filepath.Join(dir, smallName(i))
		if i%100 == 0 {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
		}
		fillRandom(body, byte(i), byte(i>>8))
		if err := os.WriteFile(path, body, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// smallName is the path of the i-th file of a tree with 100 files a folder.
func smallName(i int) string { return fmt.Sprintf("d%03d/f%05d", i/100, i) }

// warm reads a file once, so that a copy of it measures the copy and not the
// disk it lies on.
func warm(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}

// settle brings the machine to the same state before each measurement: nothing
// waits to be written that belongs to the one before.
func settle() { syscall.Sync() }

// dropCaches empties the kernel's caches, the server's included, where the
// rights allow. It is done before raw and ferry alike.
func dropCaches() {
	settle()
	_ = os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0) // needs root; both sides are equally warm without
}

// Magic numbers of file systems on which ferry keeps its state.
// Source: statfs(2).
const (
	magicExt4  = 0xEF53
	magicXFS   = 0x58465342
	magicBtrfs = 0x9123683E
)

// durableFS reports whether a folder lies on a file system that ferry accepts
// for its state without being told to.
func durableFS(dir string) bool {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return false
	}
	switch uint32(st.Type) {
	case magicExt4, magicXFS, magicBtrfs:
		return true
	}
	return false
}

// workFolder makes a new folder below parent, or, if that is empty, below the
// first usual place whose file system is good for state.
func workFolder(parent string) (string, error) {
	if parent == "" {
		parent = os.TempDir()
		for _, dir := range []string{os.TempDir(), "/var/tmp", "."} {
			if durableFS(dir) {
				parent = dir
				break
			}
		}
	}
	parent, err := filepath.Abs(parent)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(parent, "ferrybench-")
	if err != nil {
		return "", fmt.Errorf("no work folder: %w; name another place with --dir", err)
	}
	return dir, nil
}

// parseSize reads a byte count with an optional KiB, MiB or GiB.
func parseSize(s string) (int64, error) {
	number, shift := s, 0
	for suffix, n := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			number, shift = rest, n
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("%q is not a size: write a number with KiB, MiB or GiB", s)
	}
	return n << shift, nil
}
