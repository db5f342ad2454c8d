package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

func uploadsCommand() command {
	return command{
		name: "uploads", usage: "list|show|retry|cancel [ID] [MOUNTPOINT]", about: "the uploads under way or parked; let one go on, or give one up",
		setup: func(fs *pflag.FlagSet) func(context.Context, *terminal, []string) error {
			asJSON := fs.Bool("json", false, "print JSON")
			name := nameFlag(fs)
			yes := fs.Bool("yes", false, "cancel: yes, give up bytes that are nowhere else")
			return func(ctx context.Context, t *terminal, args []string) error {
				if len(args) == 0 {
					args = []string{"list"}
				}
				verb, rest := args[0], args[1:]
				if verb == "list" {
					return listUploads(ctx, t, rest, *name, *asJSON)
				}
				if verb != "show" && verb != "retry" && verb != "cancel" {
					return usage("%q is none of list, show, retry, cancel", verb)
				}
				if len(rest) == 0 {
					return usage("uploads %s: give an ID, as `ferry uploads list` shows it", verb)
				}
				path, err := onePath(rest[1:], "mount point")
				if err != nil {
					return err
				}
				return oneUpload(ctx, t, verb, rest[0], path, *name, *asJSON, *yes)
			}
		},
	}
}

func listUploads(ctx context.Context, t *terminal, args []string, name string, asJSON bool) error {
	path, err := onePath(args, "mount point")
	if err != nil {
		return err
	}
	c, _, err := dial(path, name)
	if err != nil {
		return err
	}
	uploads, err := c.Uploads(ctx)
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(t, uploads)
	case len(uploads) == 0:
		fmt.Fprintln(t.out, "no uploads: all is stored")
	default:
		printUploads(t, uploads)
	}
	return nil
}

func oneUpload(ctx context.Context, t *terminal, verb, id, path, name string, asJSON, yes bool) error {
	c, _, err := dial(path, name)
	if err != nil {
		return err
	}
	switch verb {
	case "retry":
		return c.Retry(ctx, id)
	case "cancel":
		if !yes {
			return usage("uploads cancel gives up what was written and is not in the bucket: add --yes if that is meant")
		}
		return c.Cancel(ctx, id)
	}
	u, err := c.Upload(ctx, id)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(t, u)
	}
	fmt.Fprintf(t.out, "id      %s\nkey     %s\nstate   %s\nsize    %s\nstored  %s in %d of %d parts\nage     %s\n",
		u.ID, u.Key, u.State, formatSize(u.Size), formatSize(u.StoredBytes), u.PartsDone, u.Parts, formatAge(u.AgeSeconds))
	if u.Reason != "" {
		fmt.Fprintf(t.out, "reason  %s\n", u.Reason)
	}
	return nil
}

// quoteArg quotes an argument for a shell where it needs it.
func quoteArg(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./") == "" && s != "" {
		return s
	}
	if strings.ContainsAny(s, "'\n") {
		return strconv.Quote(s)
	}
	return "'" + s + "'"
}
