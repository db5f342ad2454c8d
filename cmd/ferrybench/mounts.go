package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// mounted is a FUSE daemon in a process of its own and its mount point.
type mounted struct {
	b      *bench
	dir    string // mount point
	state  string // folder of the daemon's local files; removed with the mount
	ferry  bool   // ferry, not the null daemon
	cmd    *exec.Cmd
	done   chan struct{}
	log    string
	closed bool
}

// mountFerry mounts a bucket (or bucket/prefix) with an empty state directory,
// so that nothing of an earlier row is cached.
func (b *bench) mountFerry(ctx context.Context, target string, flags ...string) (*mounted, error) {
	m, err := b.newMount("ferry")
	if err != nil {
		return nil, err
	}
	m.ferry = true
	args := []string{"mount", "--endpoint", b.server.endpoint, "--region", "us-east-1", "--name", filepath.Base(m.dir), "--state-dir", m.state}
	if !durableFS(b.work) {
		args = append(args, "--state-fs-unsafe")
	}
	args = append(append(args, b.args...), flags...)
	m.cmd = exec.Command(b.ferry, append(args, target, m.dir)...)
	return m, m.start(ctx, "mounted at")
}

// mountNull mounts the null daemon over an empty folder.
func (b *bench) mountNull(ctx context.Context) (*mounted, error) {
	m, err := b.newMount("null")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	m.cmd = exec.Command(self, "null", m.state, m.dir)
	return m, m.start(ctx, "ready")
}

func (b *bench) newMount(kind string) (*mounted, error) {
	b.mounts++
	base := filepath.Join(b.work, fmt.Sprintf("%s-%d", kind, b.mounts))
	m := &mounted{b: b, dir: base + "-mnt", state: base + "-state", log: base + ".log", done: make(chan struct{})}
	return m, errors.Join(os.Mkdir(m.dir, 0o755), os.Mkdir(m.state, 0o700))
}

// start runs the daemon and returns when it has said that it is ready.
func (m *mounted) start(ctx context.Context, ready string) error {
	logFile, err := os.Create(m.log)
	if err != nil {
		return err
	}
	m.cmd.Stderr = logFile
	m.cmd.Env = m.b.environment()
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// Not StdoutPipe: Wait would close it under the reader.
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	m.cmd.Stdout = write
	if err := errors.Join(m.cmd.Start(), write.Close(), logFile.Close()); err != nil {
		return err
	}
	// Whatever happens, no mount outlives the run.
	m.b.later(m.kill)
	go func() {
		_ = m.cmd.Wait() // how it ended is in its log
		close(m.done)
	}()
	said := make(chan struct{})
	go func() {
		defer read.Close()
		lines := bufio.NewScanner(read)
		for lines.Scan() {
			if strings.Contains(lines.Text(), ready) {
				close(said)
				break
			}
		}
		_, _ = io.Copy(io.Discard, read) // so that the daemon never waits for us
	}()
	select {
	case <-said:
		return nil
	case <-m.done:
		return fmt.Errorf("the daemon ended before it had mounted: %s", m.lastWords())
	case <-time.After(30 * time.Second):
		return fmt.Errorf("the daemon did not mount within 30 s: %s", m.lastWords())
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *bench) environment() []string {
	return append(os.Environ(), "AWS_ACCESS_KEY_ID="+b.server.user, "AWS_SECRET_ACCESS_KEY="+b.server.secret, "AWS_ENDPOINT_URL="+b.server.endpoint)
}

func (m *mounted) lastWords() string {
	text, _ := os.ReadFile(m.log)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "; ")
}

// ferryTool runs a ferry command that speaks to this mount.
func (m *mounted) ferryTool(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, m.b.ferry, args...)
	cmd.Env = m.b.environment()
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("ferry %s: %w: %s", args[0], err, firstLines(errs.String(), 5))
	}
	return out, nil
}

// counters are the sums of `ferry status --json` that the bench compares.
type counters struct {
	BytesSent    int64            `json:"bytes_sent"`
	BytesFetched int64            `json:"bytes_fetched"`
	BytesCopied  int64            `json:"bytes_copied"`
	Requests     map[string]int64 `json:"requests"`
}

// requests returns the number of requests of all kinds.
func (c counters) requests() int64 {
	var sum int64
	for _, n := range c.Requests {
		sum += n
	}
	return sum
}

func (m *mounted) counters(ctx context.Context) (counters, error) {
	var status struct {
		Counters counters `json:"counters"`
	}
	out, err := m.ferryTool(ctx, "status", "--json", m.dir)
	if err != nil {
		return status.Counters, err
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return status.Counters, fmt.Errorf("ferry status --json of %s is not what it should be: %w", m.dir, err)
	}
	return status.Counters, nil
}

// wait returns when a path of the mount, or all of it, is stored.
func (m *mounted) wait(ctx context.Context, path string) error {
	_, err := m.ferryTool(ctx, "wait", "--timeout", "10m", path)
	return err
}

// close unmounts in order, after noting the memory used, and removes the local
// files.
func (m *mounted) close(ctx context.Context, flags ...string) error {
	if m.closed {
		return nil
	}
	if m.ferry {
		var sum int64
		for _, pid := range processTree(m.cmd.Process.Pid) {
			sum += peakMemory(pid)
		}
		m.b.peakRSS = max(m.b.peakRSS, sum)
		if _, err := m.ferryTool(ctx, append(append([]string{"umount"}, flags...), m.dir)...); err != nil {
			return err
		}
		select {
		case <-m.done:
		case <-time.After(30 * time.Second):
			return fmt.Errorf("the daemon of %s still runs 30 s after umount", m.dir)
		}
	}
	m.kill()
	return nil
}

// kill ends the daemon whatever its state, and takes the mount away. It is the
// end of a null mount and the net under a failed ferry mount.
func (m *mounted) kill() {
	if m.closed {
		return
	}
	m.closed = true
	endProcess(m.cmd, m.done, 5*time.Second)
	if err := syscall.Unmount(m.dir, syscall.MNT_DETACH); errors.Is(err, syscall.EPERM) {
		_ = exec.Command("fusermount3", "-uz", m.dir).Run() // fails when it is unmounted already
	}
	if m.b.keep {
		return
	}
	if err := os.RemoveAll(m.state); err != nil {
		m.b.note("cannot remove %s: %v", m.state, err)
	}
	_ = os.Remove(m.dir) // and never what a mount that stayed would show
}
