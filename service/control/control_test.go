package control

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry"
)

// daemon answers from fields; Wait sends two lines first.
type daemon struct {
	Daemon
	status  Status
	retried string
	waited  []string
	fault   error
}

func (d *daemon) Status(_ context.Context, path string) (Status, error) {
	s := d.status
	s.Prefix = path
	return s, d.fault
}
func (d *daemon) Retry(_ context.Context, id string) error { d.retried = id; return d.fault }
func (d *daemon) Wait(ctx context.Context, paths []string, report func(Progress)) error {
	d.waited = paths
	report(Progress{Pending: Pending{Bytes: 2}})
	report(Progress{Pending: Pending{Bytes: 1}})
	if d.fault == nil {
		return nil
	}
	if errors.Is(d.fault, context.DeadlineExceeded) {
		<-ctx.Done()
	}
	return d.fault
}

func start(t *testing.T, d Daemon, deep int) *Client {
	t.Helper()
	dir := t.TempDir()
	for range deep {
		dir = filepath.Join(dir, strings.Repeat("d", 50))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "control.sock")
	s, err := NewServer(socket, d, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("socket: %v, %v; want mode 0600", info.Mode(), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return NewClient(Mount{Name: "m", PID: os.Getpid(), Socket: socket, Mountpoint: "/m"})
}

func TestStatusRoundTripInADeepFolder(t *testing.T) {
	d := &daemon{status: Status{Name: "photos", Counters: Counters{Requests: map[string]int64{"PutObject": 3}}}}
	c := start(t, d, 4)
	s, err := c.Status(t.Context(), "a b/ö?")
	if err != nil || s.Name != "photos" || s.Prefix != "a b/ö?" || s.Counters.Requests["PutObject"] != 3 {
		t.Errorf("Status = %+v, %v", s, err)
	}
}

func TestKeyWithSlashesIsAnID(t *testing.T) {
	d := &daemon{}
	c := start(t, d, 0)
	for _, id := range []string{"0123456789abcdef-1", "dir/sub dir/100%/x", "dir/"} {
		if err := c.Retry(t.Context(), id); err != nil || d.retried != id {
			t.Errorf("Retry(%q) = %v, daemon saw %q", id, err, d.retried)
		}
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	d := &daemon{fault: &ferry.Error{Op: "x", Kind: ferry.KindNotFound, Msg: "no such upload"}}
	c := start(t, d, 0)
	err := c.Retry(t.Context(), "1")
	fault, ok := errors.AsType[*Fault](err)
	if !ok || fault.Kind() != ferry.KindNotFound || !strings.Contains(fault.Text, "no such upload") {
		t.Errorf("Retry = %#v; want the daemon's error", err)
	}
}

func TestWaitStreamsAndEnds(t *testing.T) {
	tests := []struct {
		name string
		err  error
		code string
	}{
		{"stored", nil, ""},
		{"parked", &Fault{Code: CodeParked, Text: "a is parked: quota"}, CodeParked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &daemon{fault: tt.err}
			c := start(t, d, 0)
			var seen []int64
			err := c.Wait(t.Context(), []string{"a"}, func(p Progress) { seen = append(seen, p.Pending.Bytes) })
			code := ""
			if f, ok := errors.AsType[*Fault](err); ok {
				code = f.Code
			}
			if code != tt.code || len(seen) != 2 || d.waited[0] != "a" {
				t.Errorf("Wait = %v (code %q), lines %v, paths %v", err, code, seen, d.waited)
			}
		})
	}
}

// A client that goes away ends its wait in the daemon: else goroutines pile up.
// Run in the Cleanup of start would hang if it did not.
func TestClientThatGivesUpEndsTheWait(t *testing.T) {
	c := start(t, &daemon{fault: context.DeadlineExceeded}, 0)
	ctx, cancel := context.WithCancel(t.Context())
	lines := 0
	err := c.Wait(ctx, nil, func(Progress) {
		if lines++; lines == 2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v; want canceled", err)
	}
}

func TestInnermostMountWins(t *testing.T) {
	table := `22 1 254:0 / / rw - ext4 /dev/vda rw
40 22 0:50 / /mnt/bucket rw - fuse.ferry ferry rw
41 40 0:51 / /mnt/bucket/inner rw - tmpfs tmpfs rw
42 22 0:52 / /mnt/with\040space rw - fuse.ferry ferry rw
`
	tests := []struct{ path, mountpoint, below string }{
		{"/mnt/bucket", "/mnt/bucket", ""},
		{"/mnt/bucket/a/b", "/mnt/bucket", "a/b"},
		{"/mnt/with space/x", "/mnt/with space", "x"},
		{"/mnt/bucket/inner/x", "", ""}, // another file system lies over it
		{"/mnt/bucketeer", "", ""},
		{"/", "", ""},
	}
	for _, tt := range tests {
		at, below, ok := innermost(bufio.NewScanner(strings.NewReader(table)), tt.path)
		if want := tt.mountpoint != ""; ok != want || (ok && (at != tt.mountpoint || below != tt.below)) {
			t.Errorf("innermost(%q) = %q, %q, %v; want %q, %q", tt.path, at, below, ok, tt.mountpoint, tt.below)
		}
	}
}

func TestRegistry(t *testing.T) {
	dir := t.TempDir()
	r := Registry{filepath.Join(dir, "run"), filepath.Join(dir, "other")}
	socket := filepath.Join(dir, "s")
	listener, err := listenUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if _, err := r.Find("", ""); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("Find in an empty registry = %v; want ErrNoDaemon", err)
	}
	remove, err := r.Register(Mount{Name: "a", PID: os.Getpid(), Socket: socket, Mountpoint: "/mnt/a"})
	if err != nil {
		t.Fatal(err)
	}
	// PID 1 lives; no process has the highest number that Linux can give plus one.
	if _, err := r.Register(Mount{Name: "dead", PID: 1<<22 + 1, Socket: socket, Mountpoint: "/mnt/d"}); err != nil {
		t.Fatal(err)
	}
	if m, err := r.Find("", ""); err != nil || m.Name != "a" {
		t.Errorf("Find of the only live one = %+v, %v", m, err)
	}
	// PID 1 lives, but nobody listens there: an ID that was taken again.
	if _, err := r.Register(Mount{Name: "reused", PID: 1, Socket: filepath.Join(dir, "gone")}); err != nil {
		t.Fatal(err)
	}
	if m, err := r.Find("", ""); err != nil || m.Name != "a" {
		t.Errorf("Find beside a dead mount whose process ID was taken again = %+v, %v", m, err)
	}
	if _, err := r.Register(Mount{Name: "a", PID: 1, Socket: socket}); !ferry.IsKind(err, ferry.KindBusy) {
		t.Errorf("Register of a name in use = %v; want KindBusy", err)
	}
	if _, err := r.Register(Mount{Name: "b", PID: 1, Socket: socket, Mountpoint: "/mnt/b"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Find("", ""); !ferry.IsKind(err, ferry.KindInvalid) || !strings.Contains(err.Error(), "/mnt/b") {
		t.Errorf("Find of one of two = %v; want both named", err)
	}
	if m, err := r.Find("", "b"); err != nil || m.Mountpoint != "/mnt/b" {
		t.Errorf("Find by name = %+v, %v", m, err)
	}
	remove()
	if _, err := r.Find("", "a"); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("Find after removal = %v; want ErrNoDaemon", err)
	}
}
