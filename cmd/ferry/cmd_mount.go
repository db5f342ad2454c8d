package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"
)

func mountCommand() command {
	return command{
		name: "mount", usage: "[flags] BUCKET[/PREFIX] MOUNTPOINT", about: "show a bucket as a folder; in the foreground, or with --daemon behind it",
		setup: func(fs *pflag.FlagSet) func(context.Context, *terminal, []string) error {
			declare(fs)
			return func(ctx context.Context, t *terminal, args []string) error {
				parent := parentPipe()
				c, err := readConfig(fs, t.env, args)
				switch {
				case parent != nil:
					return parent.serve(ctx, c, err)
				case err != nil:
					return err
				case c.Daemon:
					return startDaemon(ctx, t)
				default:
					log := newLog(os.Stderr, c.LogLevel)
					return serveMount(ctx, c, log, func() { fmt.Fprintln(t.out, c.readyLine()) })
				}
			}
		},
	}
}

// readyLine is what scripts wait for.
func (c *mountConfig) readyLine() string {
	return fmt.Sprintf("ferry: %s mounted at %s", c.Given, c.MountGiven)
}
