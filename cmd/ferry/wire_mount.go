package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"ferry"
	"ferry/fusefs"
	"ferry/service"

	"golang.org/x/sys/unix"
)

// detachPatience is how long a mount that was taken away under a program's feet
// may take to answer what is under way.
const detachPatience = 2 * time.Second

// kernel is the mount itself, which is made last and taken away first.
type kernel struct {
	m     *mount
	files *openedFiles

	mu     sync.Mutex
	server *fusefs.Server // nil until it is mounted
	served chan struct{}  // closed when nothing is asked any more

	unmounting sync.Mutex // one unmount at a time
	detached   bool       // guarded by unmounting
}

// makeMount prepares the unit that mounts and serves.
func (m *mount) makeMount(context.Context) error {
	m.kernel = &kernel{m: m, files: newOpenedFiles(m.files), served: make(chan struct{})}
	m.units = append(m.units, service.Unit{Name: "mount", Start: m.kernel.start, Run: m.kernel.run, Grace: 10 * time.Second})
	return nil
}

func (k *kernel) start(ctx context.Context) error {
	s, err := fusefs.Mount(context.WithoutCancel(ctx), fusefs.Options{
		Mountpoint: k.m.c.Mountpoint, Tree: k.m.tree, Content: k.files, Journal: k.m.journal,
		AllowOther: k.m.c.AllowOther, ReadOnly: k.m.c.ReadOnly, FsName: k.m.c.Name,
		Panic: k.panicked, Log: k.m.log.With("part", "fuse"),
	})
	if err != nil {
		return coded(mountCode(err), err)
	}
	k.mu.Lock()
	k.server = s
	k.mu.Unlock()
	go func() {
		s.Serve()
		close(k.served)
	}()
	if err := s.WaitMount(); err != nil {
		_ = s.Detach() // the first error says what is wrong
		return coded(exitNoFUSE, fmt.Errorf("the kernel did not take the mount: %w", err))
	}
	return nil
}

func mountCode(err error) int {
	switch ferry.KindOf(err) {
	case ferry.KindNotFound, ferry.KindInvalid:
		return exitNoFolder
	case ferry.KindBusy:
		return exitBusy
	default:
		return exitNoFUSE
	}
}

// panicked ends the process: a request that panicked may hold locks, and the next
// daemon finds everything that was acknowledged.
func (k *kernel) panicked(v any) {
	k.m.log.Error("a request panicked: the daemon ends, what was acknowledged is kept", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	os.Exit(exitFailed)
}

// run serves until somebody unmounts, or until ctx ends.
func (k *kernel) run(ctx context.Context) error {
	select {
	case <-k.served:
		return nil
	case <-ctx.Done():
		return k.unmount(true)
	}
}

// unmount takes the mount away. If a program still uses it: KindBusy, or, by
// force, it is taken away under the program's feet.
func (k *kernel) unmount(force bool) error {
	k.mu.Lock()
	s := k.server
	k.mu.Unlock()
	select {
	case <-k.served:
		return nil
	default:
	}
	k.unmounting.Lock()
	defer k.unmounting.Unlock()
	if k.detached {
		return nil
	}
	err := s.Unmount()
	if err == nil {
		<-k.served
		return nil
	}
	if !force {
		return err
	}
	k.m.log.Warn("the mount is taken away although a program uses it: that program gets errors, what it wrote is kept")
	// With the connection cut, handles are released and files sealed here; where
	// that is not allowed, at the next start.
	cutConnection(s.Mountpoint())
	if err := s.Detach(); err != nil {
		return err
	}
	k.detached = true
	select {
	case <-k.served:
	case <-time.After(detachPatience):
	}
	return nil
}

// cutConnection ends the kernel's side of a FUSE connection, as well as this user
// may. statfs and unmounting do not work through a connection that is cut, but
// detaching does.
func cutConnection(mountpoint string) {
	var st unix.Stat_t
	if unix.Stat(mountpoint, &st) == nil {
		// The user who mounted may write there, if the kernel shows it.
		abort := fmt.Sprintf("/sys/fs/fuse/connections/%d/abort", unix.Minor(st.Dev))
		if os.WriteFile(abort, []byte("1"), 0) == nil {
			return
		}
	}
	_ = unix.Unmount(mountpoint, unix.MNT_FORCE) // EBUSY, and the connection is cut all the same
}

// abandoned reports whether programs still have files open here.
func (k *kernel) abandoned() bool {
	k.unmounting.Lock()
	defer k.unmounting.Unlock()
	select {
	case <-k.served:
		return false
	default:
		return k.detached
	}
}

// invalidate tells the kernel that what it knows is stale. It may be called from
// within a request and must not block.
func (k *kernel) invalidate(parent ferry.InodeID, name string, id ferry.InodeID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.server == nil {
		return // nothing is mounted: the kernel knows nothing
	}
	select {
	case <-k.served:
		return
	default:
	}
	// The server stops taking these in the moment in which it ends.
	defer func() { _ = recover() }() // a send on its closed queue
	k.server.Invalidate(parent, name, id)
}

// dropCache makes the kernel forget the pages of files.
func (k *kernel) dropCache(context.Context) (files int64, err error) {
	for _, id := range k.files.list() {
		k.invalidate(0, "", id)
		files++
	}
	return files, nil
}
