package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// pipeEnv tells a process that it is the daemon, and on which descriptor its
// parent waits to hear that it is ready.
const pipeEnv = "FERRY_INTERNAL_READY_FD"

// verdict is what the daemon tells its parent, once.
type verdict struct {
	Ready string `json:"ready,omitempty"` // the line for standard output
	Code  int    `json:"code,omitempty"`
	Text  string `json:"text,omitempty"`
}

// startDaemon runs this command line again in a session of its own and returns
// when it is ready or has failed, with its error and exit code.
func startDaemon(ctx context.Context, t *terminal) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	// No CommandContext: the daemon outlives this process.
	child := exec.Command(self, os.Args[1:]...) //nolint:noctx // as said
	child.Args[0] = os.Args[0]
	child.Env = append(os.Environ(), pipeEnv+"=3")
	child.ExtraFiles = []*os.File{w}
	child.Stderr = os.Stderr // until its log is open: a panic would be lost
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = child.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("the daemon cannot be started: %w", err)
	}
	said := make(chan error, 1)
	var v verdict
	go func() { said <- json.NewDecoder(r).Decode(&v) }()
	select {
	case err = <-said:
	case <-ctx.Done():
		_ = child.Process.Signal(syscall.SIGTERM)
		return ctx.Err()
	}
	switch {
	case err != nil:
		_ = child.Wait() // its pipe is closed: it has ended, or is about to
		return fmt.Errorf("the daemon ended before it was ready (%s): its log may say why", child.ProcessState)
	case v.Ready == "":
		return coded(v.Code, errors.New(v.Text))
	}
	fmt.Fprintln(t.out, v.Ready)
	return child.Process.Release()
}

// parentEnd is the daemon's end of the pipe.
type parentEnd struct{ pipe *os.File }

// parentPipe returns nil if this process is not the daemon of another.
func parentPipe() *parentEnd {
	fd, err := strconv.Atoi(os.Getenv(pipeEnv))
	if err != nil {
		return nil
	}
	_ = os.Unsetenv(pipeEnv) // fails for names that cannot be
	syscall.CloseOnExec(fd)
	return &parentEnd{pipe: os.NewFile(uintptr(fd), "parent")}
}

// serve is the daemon's life. configErr is what reading its command line gave.
func (p *parentEnd) serve(ctx context.Context, c *mountConfig, configErr error) error {
	err := configErr
	if err == nil {
		err = p.mount(ctx, c)
	}
	if err == nil {
		return nil
	}
	// After readiness nobody listens any more; the log has it.
	p.say(verdict{Code: exitCode(err), Text: sentence(err)})
	return &exitError{code: exitCode(err), err: err, told: true}
}

func (p *parentEnd) mount(ctx context.Context, c *mountConfig) error {
	if err := checkMountpoint(c.MountGiven, c.Mountpoint); err != nil {
		return err
	}
	// All paths are absolute. A daemon must not keep the folder it was started in
	// from being unmounted.
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return refuse(exitFailed, "choose another with --state-dir", "the state directory %s cannot be made: %v", c.StateDir, errors.Unwrap(err))
	}
	w, err := logTo(c.StateDir)
	if err != nil {
		return fmt.Errorf("the log cannot be opened: %w", err)
	}
	log := newLog(w, c.LogLevel)
	err = serveMount(ctx, c, log, func() { p.say(verdict{Ready: c.readyLine()}) })
	if err != nil {
		log.Error("the daemon ended", "err", sentence(err))
	}
	return err
}

// say tells the parent once.
func (p *parentEnd) say(v verdict) {
	if p.pipe != nil {
		_ = json.NewEncoder(p.pipe).Encode(v) // a parent that is gone needs no answer
		p.pipe.Close()
		p.pipe = nil
	}
}
