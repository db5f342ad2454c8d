package embedstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ferry"
)

// Child is a running store in a process of its own.
type Child struct {
	Endpoint             string // URL
	Bucket               string
	AccessKey, SecretKey string

	config   []byte // for the child's standard input
	lock     *os.File
	log      *slog.Logger
	stop     context.CancelFunc
	stopped  chan struct{} // closed when the supervisor is done
	restarts atomic.Int64
	pid      atomic.Int64
}

// Options of [StartWith].
type Options struct {
	Dir string
	Log *slog.Logger // nil logs nothing
}

// Limits of a store's start and end.
const (
	readyPatience = 10 * time.Second
	stopPatience  = 5 * time.Second
	longestPause  = 5 * time.Second // between restarts
)

// Start runs the store in dir; see [StartWith].
func Start(ctx context.Context, dir string) (*Child, error) {
	return StartWith(ctx, Options{Dir: dir})
}

// StartWith runs the store of a folder in a child process and returns when it is
// ready; ctx bounds that wait only. The folder, the keys and the bucket are made
// if they are not there. The child ends with this process, whatever ends it; if
// the child dies it is started again at the same address. KindBusy says that
// another process serves the folder.
func StartWith(ctx context.Context, o Options) (*Child, error) {
	c, err := prepare(ctx, o)
	if err != nil {
		if _, ok := errors.AsType[*ferry.Error](err); !ok {
			err = &ferry.Error{Op: "embedstore.start", Key: o.Dir, Kind: ferry.KindDenied, Msg: "the store's folder cannot be used", Err: err}
		}
		return nil, err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	first := make(chan error, 1)
	go func() {
		defer close(c.stopped)
		c.supervise(life, ctx, first)
	}()
	if err := <-first; err != nil {
		c.Stop()
		return nil, &ferry.Error{Op: "embedstore.start", Key: o.Dir, Kind: ferry.KindUnsupported, Msg: "the store does not start", Err: err}
	}
	return c, nil
}

func prepare(ctx context.Context, o Options) (*Child, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, home), 0o700); err != nil {
		return nil, err
	}
	held, err := lock(ctx, dir)
	if err != nil {
		return nil, err
	}
	c := &Child{Bucket: Bucket, lock: held, log: o.Log, stopped: make(chan struct{})}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.AccessKey, c.SecretKey, err = keys(dir); err == nil {
		var addr string
		if addr, err = address(dir); err == nil {
			c.Endpoint = "http://" + addr
			c.config, err = json.Marshal(Config{Dir: dir, Addr: addr, AccessKey: c.AccessKey, SecretKey: c.SecretKey})
		}
	}
	if err != nil {
		held.Close()
		return nil, err
	}
	return c, nil
}

// Stop ends the store and returns when its process is gone.
func (c *Child) Stop() {
	c.stop()
	<-c.stopped
	c.lock.Close()
}

// Restarts returns how often the store died and was started again.
func (c *Child) Restarts() int64 { return c.restarts.Load() }

// PID returns the child's process ID, 0 while it is down.
func (c *Child) PID() int { return int(c.pid.Load()) }

// supervise runs children one after the other until ctx is done. It tells first
// whether the first one came up before start was done.
func (c *Child) supervise(ctx, start context.Context, first chan<- error) {
	// Pdeathsig is bound to the thread that forks: it must live as long as the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pause := 50 * time.Millisecond
	for {
		begun := time.Now()
		ended, err := c.run(ctx, start, first != nil)
		if first != nil {
			first <- err
			first = nil
			if err != nil {
				<-ended
				return
			}
		}
		how := <-ended
		c.pid.Store(0)
		if ctx.Err() != nil {
			return
		}
		c.restarts.Add(1)
		c.log.Warn("the embedded store died and is started again", "how", how)
		if time.Since(begun) > time.Minute {
			pause = 50 * time.Millisecond
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, longestPause)
	}
}

// run starts one child and, if wait is set, waits until it is ready or start is
// done. ended gets how the child ended; there is one even with an error, and
// then it is ending.
func (c *Child) run(ctx, start context.Context, wait bool) (ended <-chan string, err error) {
	out := &tail{}
	cmd := exec.Command("/proc/self/exe", Subcommand) // the file may have been replaced
	cmd.Args[0] = "ferry"
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{c.lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	done := make(chan string, 1)
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		done <- err.Error()
		return done, err
	}
	c.pid.Store(int64(cmd.Process.Pid))
	_, err = in.Write(append(c.config, '\n')) // fits into the pipe
	gone := make(chan struct{})
	go func() { // ends with the child
		how := "ended"
		if err := cmd.Wait(); err != nil {
			how = err.Error()
		}
		close(gone)
		done <- how + out.text()
	}()
	go func() { // ends with the child
		select {
		case <-ctx.Done():
			end(in, cmd.Process, gone)
		case <-gone:
		}
	}()
	if err == nil && wait {
		err = c.waitReady(start, gone)
	}
	if err != nil {
		end(in, cmd.Process, gone)
		return done, fmt.Errorf("%w%s", err, out.text())
	}
	return done, nil
}

// end asks the child to go, and kills it if it does not.
func end(in io.Closer, p *os.Process, gone <-chan struct{}) {
	_ = in.Close() // it ends at the end of its input
	select {
	case <-gone:
	case <-time.After(stopPatience):
		_ = p.Kill() // it may be gone by now
		<-gone
	}
}

func (c *Child) waitReady(ctx context.Context, gone <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Endpoint+healthPath, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(resp.Status)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-gone:
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w", err)
		}
	}
}

// tail keeps the end of what a child says, for the error if it dies.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 2048

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = t.buf[over:]
	}
	return len(b), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.buf) == 0 {
		return ""
	}
	return ": " + string(bytes.TrimSpace(t.buf))
}
