package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// nullFS is the floor under every FUSE daemon that keeps what is written: it
// passes each call on to a local folder and does nothing else. No journal, no
// upload, no checksum, and of the calls only those that cp, rm and find make.
type nullFS struct {
	fuse.RawFileSystem

	mu    sync.Mutex
	next  uint64
	paths map[uint64]string // node ID to local path; never forgotten, a run is short
	nodes map[string]uint64
}

// nullTTL is how long the kernel may keep names and attributes: ferry's own
// default, so that both are asked equally often.
const nullTTL = 10 * time.Second

func newNullFS(backing string) *nullFS {
	return &nullFS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		next:          fuse.FUSE_ROOT_ID,
		paths:         map[uint64]string{fuse.FUSE_ROOT_ID: backing},
		nodes:         map[string]uint64{backing: fuse.FUSE_ROOT_ID},
	}
}

// nullDaemon is the subcommand null: it says "ready" and serves until ctx ends.
func nullDaemon(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("null needs a folder to write to and a mount point")
	}
	return serveNull(ctx, args[0], args[1], func() { fmt.Println("ready") })
}

func serveNull(ctx context.Context, backing, mnt string, ready func()) error {
	server, err := fuse.NewServer(newNullFS(backing), mnt, &fuse.MountOptions{
		FsName:      "null",
		Name:        "null",
		DirectMount: true, // root needs no fusermount3; others fall back to it
		MaxWrite:    1 << 20,
		// Only ReadDir is served.
		DisableReadDirPlus: true,
		// Without it the kernel asks for security.capability before each write.
		ExtraCapabilities: fuse.CAP_HANDLE_KILLPRIV_V2,
	})
	if err != nil {
		return fmt.Errorf("the null daemon cannot mount: %w", err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return fmt.Errorf("the null daemon cannot mount: %w", err)
	}
	ready()
	<-ctx.Done()
	return server.Unmount()
}

func (fs *nullFS) path(node uint64) string {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.paths[node]
}

func (fs *nullFS) child(node uint64, name string) string {
	return filepath.Join(fs.path(node), name)
}

// entry fills out for a path that exists.
func (fs *nullFS) entry(path string, out *fuse.EntryOut) fuse.Status {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return fuse.ToStatus(err)
	}
	fs.mu.Lock()
	node, ok := fs.nodes[path]
	if !ok {
		fs.next++
		node = fs.next
		fs.nodes[path], fs.paths[node] = node, path
	}
	fs.mu.Unlock()
	out.NodeId = node
	out.Attr.FromStat(&st)
	out.SetEntryTimeout(nullTTL)
	out.SetAttrTimeout(nullTTL)
	return fuse.OK
}

func (fs *nullFS) gone(path string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.nodes, path)
}

func (fs *nullFS) attr(node uint64, out *fuse.AttrOut) fuse.Status {
	var st syscall.Stat_t
	if err := syscall.Lstat(fs.path(node), &st); err != nil {
		return fuse.ToStatus(err)
	}
	out.Attr.FromStat(&st)
	out.SetTimeout(nullTTL)
	return fuse.OK
}
