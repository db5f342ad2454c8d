package fstest

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ferry/fusefs"
)

// opcodes counts the requests of the kernel by name, from go-fuse's debug log.
type opcodes struct {
	slog.Handler
	mu    sync.Mutex
	count map[string]int
}

func (o *opcodes) Enabled(context.Context, slog.Level) bool { return true }

func (o *opcodes) Handle(_ context.Context, r slog.Record) error {
	// "rx 12: WRITE n3 {…} p77"
	if _, op, ok := strings.Cut(r.Message, ": "); ok && strings.HasPrefix(r.Message, "rx ") {
		op, _, _ = strings.Cut(op, " ")
		o.mu.Lock()
		o.count[op]++
		o.mu.Unlock()
	}
	return nil
}

// cp needs no more requests than its bytes: 1 MiB each, and no GETXATTR before
// every WRITE.
func TestRequestsOfCopy(t *testing.T) {
	ops := &opcodes{Handler: slog.DiscardHandler, count: map[string]int{}}
	m := mount(t, nil, func(o *fusefs.Options) { o.Debug, o.Log = true, slog.New(ops) })
	src := filepath.Join(t.TempDir(), "src")
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	if err := os.WriteFile(src, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", src, filepath.Join(m.dir, "dst")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, err := os.ReadFile(filepath.Join(m.dir, "dst")); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes read back, %v", len(got), err)
	}
	ops.mu.Lock()
	defer ops.mu.Unlock()
	t.Log(ops.count)
	if n := ops.count["WRITE"]; n != len(data)>>20 {
		t.Errorf("%d WRITE, want one for each MiB", n)
	}
	if n := ops.count["GETXATTR"]; n > 2 {
		t.Errorf("%d GETXATTR", n)
	}
	if n := ops.count["READ"]; n > 0 {
		t.Errorf("%d READ of what was just written: the kernel still has it", n)
	}
}
