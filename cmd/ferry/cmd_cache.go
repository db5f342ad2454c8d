package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"
)

func cacheCommand() command {
	return command{
		name: "cache", usage: "drop|show [MOUNTPOINT]", about: "what is held of files that are stored; forget it",
		setup: func(fs *pflag.FlagSet) func(context.Context, *terminal, []string) error {
			asJSON := fs.Bool("json", false, "print JSON")
			name := nameFlag(fs)
			return func(ctx context.Context, t *terminal, args []string) error {
				if len(args) == 0 || (args[0] != "drop" && args[0] != "show") {
					return usage("say drop or show")
				}
				path, err := onePath(args[1:], "mount point")
				if err != nil {
					return err
				}
				c, _, err := dial(path, *name)
				if err != nil {
					return err
				}
				ask := c.Cache
				if args[0] == "drop" {
					ask = c.DropCache
				}
				r, err := ask(ctx)
				switch {
				case err != nil:
					return err
				case *asJSON:
					return printJSON(t, r)
				case args[0] == "drop":
					fmt.Fprintf(t.out, "dropped %s of read buffers and the kernel's pages of %d files\n", formatSize(r.Bytes), r.Files)
				default:
					fmt.Fprintf(t.out, "read buffers hold %s of %s\n", formatSize(r.Bytes), formatSize(r.Max))
				}
				return nil
			}
		},
	}
}
