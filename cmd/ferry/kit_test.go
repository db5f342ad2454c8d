package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ferry/service/control"
	"ferry/syncer/storetest"
)

// ferryBin is the real binary, built once for all tests of the package.
var ferryBin string

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	if testing.Short() {
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp("", "ferry-bin")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	ferryBin = filepath.Join(dir, "ferry")
	build := exec.Command("go", "build", "-o", ferryBin, ".")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// needMount skips in -short, and fails where mounts are impossible.
func needMount(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no mounts")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Fatal("this machine has no /dev/fuse: load the module, or give the container the device")
	}
}

// place is a folder of its own for one mount on a file system that can keep its
// state, with everything in it found by the environment.
type place struct {
	t      *testing.T
	dir    string
	env    []string
	daemon *mounted // the last one, nil if none
}

func newPlace(t *testing.T, s3 *storetest.Server) *place {
	t.Helper()
	needMount(t)
	p := &place{t: t}
	for _, parent := range []string{os.TempDir(), "/var/tmp", "."} {
		if _, err := checkStateFS(parent, false); err != nil {
			continue
		}
		dir, err := os.MkdirTemp(parent, "ferry-test")
		if err != nil {
			t.Fatal(err)
		}
		if p.dir, err = filepath.Abs(dir); err != nil {
			t.Fatal(err)
		}
		break
	}
	if p.dir == "" {
		p.dir = t.TempDir()
		p.env = append(p.env, "FERRY_STATE_FS_UNSAFE=true")
	}
	t.Cleanup(func() {
		_ = unix.Unmount(p.mnt(), unix.MNT_DETACH) // what a failed test left
		if err := os.RemoveAll(p.dir); err != nil {
			t.Errorf("the test's folder: %v", err)
		}
	})
	p.mkdir("mnt")
	p.env = append(p.env, "XDG_STATE_HOME="+filepath.Join(p.dir, "home"), "HOME="+p.dir,
		control.RegistryEnv+"="+filepath.Join(p.dir, "run"))
	if s3 != nil {
		p.env = append(p.env, "AWS_ENDPOINT_URL="+s3.Endpoint, "AWS_ACCESS_KEY_ID="+s3.AccessKey, "AWS_SECRET_ACCESS_KEY="+s3.SecretKey, "AWS_REGION=us-east-1")
	}
	return p
}

func (p *place) mnt() string   { return filepath.Join(p.dir, "mnt") }
func (p *place) state() string { return filepath.Join(p.dir, "state") }

func (p *place) mkdir(name string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// command is the binary with the place's environment and nothing else of ours.
func (p *place) command(args ...string) *exec.Cmd {
	cmd := exec.Command(ferryBin, args...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "AWS_") && !strings.HasPrefix(kv, "FERRY_") && !strings.HasPrefix(kv, "MINIO_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, p.env...)
	cmd.Dir = p.dir
	return cmd
}

// result is how a command ended.
type result struct {
	out, err string
	code     int
}

// run runs a command to its end, a minute at most.
func (p *place) run(args ...string) result {
	p.t.Helper()
	cmd := p.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !timer.Stop() {
		if p.daemon != nil {
			_ = p.daemon.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines go to its log
			<-p.daemon.ended
		}
		p.t.Fatalf("ferry %s hung:\n%s", strings.Join(args, " "), errs.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// must is run for what has to succeed.
func (p *place) must(args ...string) result {
	p.t.Helper()
	r := p.run(args...)
	if r.code != 0 {
		p.t.Fatalf("ferry %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r
}

func (p *place) status() control.Status {
	p.t.Helper()
	var s control.Status
	if err := json.Unmarshal([]byte(p.must("status", "--json", p.mnt()).out), &s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// mounted is a foreground mount.
type mounted struct {
	*place
	cmd   *exec.Cmd
	line  string // of standard output
	ended chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

// mount starts a foreground mount and returns when it is ready.
func (p *place) mount(args ...string) *mounted {
	p.t.Helper()
	m := &mounted{place: p, ended: make(chan struct{})}
	p.daemon = m
	m.cmd = p.command(append([]string{"mount", "--state-dir", p.state(), "--log-level", "debug"}, args...)...)
	m.cmd.Stderr = m
	// Its own group, so that everything it starts can be killed with it.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		r := bufio.NewReader(out)
		line, _ := r.ReadString('\n')
		ready <- strings.TrimSuffix(line, "\n")
		rest, _ := io.ReadAll(r)
		if len(rest) > 0 {
			p.t.Errorf("more than one line on standard output: %q", rest)
		}
		_ = m.cmd.Wait()
		close(m.ended)
	}()
	p.t.Cleanup(func() {
		m.kill()
		if p.t.Failed() {
			p.t.Logf("log of %s:\n%s", p.mnt(), m.tail())
		}
	})
	select {
	case m.line = <-ready:
	case <-time.After(time.Minute):
		_ = m.cmd.Process.Signal(syscall.SIGQUIT)
		p.t.Fatal("not mounted after a minute")
	}
	if m.line == "" {
		<-m.ended
		p.t.Fatalf("the mount ended: %s\n%s", m.cmd.ProcessState, m.tail())
	}
	return m
}

// Write gathers the log.
func (m *mounted) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.Write(p)
}

func (m *mounted) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.String()
}

func (m *mounted) tail() string {
	s := m.text()
	if i := strings.Index(s, "SIGQUIT: quit"); i >= 0 && len(s) > i+100_000 {
		s = s[:i+100_000] // it was asked for its goroutines
	} else if i < 0 && len(s) > 8000 {
		s = "…" + s[len(s)-8000:]
	}
	return s
}

// kill ends the daemon and all that it started with SIGKILL.
func (m *mounted) kill() {
	_ = syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL)
	<-m.ended
}

// end asks the daemon to end and returns its exit code.
func (m *mounted) end(sig syscall.Signal) int {
	m.t.Helper()
	_ = m.cmd.Process.Signal(sig)
	return m.code(30 * time.Second)
}

// code waits for the daemon's end.
func (m *mounted) code(within time.Duration) int {
	m.t.Helper()
	select {
	case <-m.ended:
	case <-time.After(within):
		_ = m.cmd.Process.Signal(syscall.SIGQUIT)
		<-m.ended
		m.t.Fatalf("the daemon still ran after %v:\n%s", within, m.tail())
	}
	return m.cmd.ProcessState.ExitCode()
}

// eventually polls until ok, and fails the test after the time given.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}
