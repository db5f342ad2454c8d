package main

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// maxLog bounds the daemon's log file; one older file of the same size is kept.
const maxLog = 16 << 20

// newLog returns the daemon's log: lines of text on standard error.
func newLog(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// logTo sends standard output and error, and so Go's panics too, to ferry.log in
// the state directory, and returns a writer that begins a new file when it is full.
func logTo(dir string) (io.Writer, error) {
	w := &logWriter{path: filepath.Join(dir, logFile)}
	return w, w.open()
}

type logWriter struct {
	path string

	mu   sync.Mutex
	file *os.File
	size int64
}

func (w *logWriter) open() error {
	f, err := os.OpenFile(w.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	for _, fd := range []int{1, 2} {
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			f.Close()
			return err
		}
	}
	if w.file != nil {
		w.file.Close()
	}
	w.file, w.size = f, info.Size()
	return nil
}

// Write never fails for good: a log that cannot be turned over goes on growing
// rather than being lost.
func (w *logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.size > maxLog && os.Rename(w.path, w.path+".1") == nil {
		_ = w.open() // else the old file goes on under its new name
	}
	n, err := w.file.Write(p)
	w.size += int64(n)
	return n, err
}
