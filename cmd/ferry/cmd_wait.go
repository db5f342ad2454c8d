package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"ferry/service/control"
)

func waitCommand() command {
	return command{
		name: "wait", usage: "PATH... [--timeout D]", about: "wait until files, or all below folders, are stored in the bucket",
		setup: func(fs *pflag.FlagSet) func(context.Context, *terminal, []string) error {
			timeout := fs.Duration("timeout", 0, "give up after so long, with exit code 124; 0 waits for ever")
			name := nameFlag(fs)
			return func(ctx context.Context, t *terminal, args []string) error {
				if *timeout < 0 {
					return usage("--timeout: %v is below zero", *timeout)
				}
				if *timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, *timeout)
					defer cancel()
				}
				if len(args) == 0 {
					args = []string{""}
				}
				return waitFor(ctx, t, args, *name)
			}
		},
	}
}

// waitFor waits for the paths of each mount, one mount after the other.
func waitFor(ctx context.Context, t *terminal, args []string, name string) error {
	clients := map[string]*control.Client{}
	paths := map[string][]string{}
	var order []string
	for _, arg := range args {
		c, below, err := dial(arg, name)
		if err != nil {
			return err
		}
		if err := mustExist(ctx, c, arg, below); err != nil {
			return err
		}
		at := c.Mount.Mountpoint
		if clients[at] == nil {
			clients[at], order = c, append(order, at)
		}
		paths[at] = append(paths[at], below)
	}
	for _, at := range order {
		bar := newProgress(t.err)
		last := control.Progress{}
		err := clients[at].Wait(ctx, paths[at], func(p control.Progress) { last = p; bar.show(p) })
		bar.clear()
		if errors.Is(err, context.DeadlineExceeded) {
			return coded(exitNotYet, fmt.Errorf("not stored yet: %s", bar.text(last)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mustExist refuses a name that is neither there nor on its way: it is a typing
// mistake more often than a file that was deleted.
func mustExist(ctx context.Context, c *control.Client, arg, below string) error {
	if arg == "" || below == "" {
		return nil
	}
	if _, err := os.Lstat(arg); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s, err := c.Status(ctx, below)
	if err != nil {
		return err
	}
	if s.Pending.Operations > 0 || len(s.Parked) > 0 {
		return nil
	}
	return coded(exitNotFound, fmt.Errorf("%s: there is no such file, and no delete of it is pending", strings.TrimSpace(arg)))
}
