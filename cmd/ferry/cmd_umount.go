package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"ferry/service/control"
)

func umountCommand() command {
	return command{
		name: "umount", usage: "MOUNTPOINT [--now]", about: "wait until all is stored, unmount and end the daemon",
		setup: func(fs *pflag.FlagSet) func(context.Context, *terminal, []string) error {
			now := fs.Bool("now", false, "do not wait: what is not stored goes on at the next mount")
			name := nameFlag(fs)
			return func(ctx context.Context, t *terminal, args []string) error {
				path, err := onePath(args, "mount point")
				if err != nil {
					return err
				}
				if path == "" && *name == "" {
					return usage("give the mount point, or --name")
				}
				return umount(ctx, t, path, *name, *now)
			}
		},
	}
}

func umount(ctx context.Context, t *terminal, path, name string, now bool) error {
	c, below, err := dial(path, name)
	if err != nil {
		return detachDead(path, err)
	}
	if below != "" {
		return usage("%s lies in the mount at %s: give the mount point itself", path, c.Mount.Mountpoint)
	}
	// Taken before, so that the process that ends is the one we mean.
	daemon, err := unix.PidfdOpen(c.Mount.PID, 0)
	if err != nil {
		daemon = -1
	} else {
		defer unix.Close(daemon) //nolint:errcheck // it was only waited on
	}
	bar := newProgress(t.err)
	err = c.Umount(ctx, now, bar.show)
	bar.clear()
	if err != nil {
		return err
	}
	return waitForEnd(ctx, daemon, c.Mount)
}

// waitForEnd returns when the daemon has closed its journal and given the state
// directory back.
func waitForEnd(ctx context.Context, daemon int, m control.Mount) error {
	deadline := time.Now().Add(time.Minute)
	for daemon >= 0 {
		fds := []unix.PollFd{{Fd: int32(daemon), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 200)
		switch {
		case n > 0:
			return nil
		case err != nil && err != unix.EINTR:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(deadline):
			return fmt.Errorf("unmounted and stored, but the daemon (process %d) still runs after a minute", m.PID)
		}
	}
	return nil
}

// detachDead takes away a mount of ours whose daemon is gone.
func detachDead(path string, notFound error) error {
	if path == "" || exitCode(notFound) != exitNoDaemon {
		return notFound
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	var st unix.Statfs_t
	if !isDeadMount(unix.Statfs(abs, &st)) || !slices.Contains(control.MountedAt(abs), control.FSType) {
		return notFound
	}
	return detach(abs)
}
