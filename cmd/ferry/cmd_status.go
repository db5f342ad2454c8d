package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"ferry/service/control"
)

func statusCommand() command {
	return command{
		name: "status", usage: "[--json] [MOUNTPOINT|PATH]", about: "what is not in the bucket yet, oldest first, and counters",
		setup: func(fs *pflag.FlagSet) func(context.Context, *terminal, []string) error {
			asJSON := fs.Bool("json", false, "print JSON")
			name := nameFlag(fs)
			return func(ctx context.Context, t *terminal, args []string) error {
				path, err := onePath(args, "path")
				if err != nil {
					return err
				}
				c, below, err := dial(path, *name)
				if err != nil {
					return err
				}
				s, err := c.Status(ctx, below)
				if err != nil {
					return err
				}
				if *asJSON {
					return printJSON(t, s)
				}
				printStatus(t, s)
				return nil
			}
		},
	}
}

func printStatus(t *terminal, s control.Status) {
	source := s.Bucket
	if s.Prefix != "" {
		source += "/" + s.Prefix
	}
	fmt.Fprintf(t.out, "%s: %s of %s at %s: %s\n", s.Name, source, s.Endpoint, s.Mountpoint, s.State)
	if s.Reason != "" {
		fmt.Fprintf(t.out, "  %s\n", s.Reason)
	}
	for _, w := range s.Warnings {
		fmt.Fprintf(t.out, "warning: %s\n", w)
	}
	if s.Pending.Operations == 0 {
		fmt.Fprint(t.out, "everything is stored\n")
	} else {
		fmt.Fprintf(t.out, "not stored yet: %d operations, %s, the oldest %s old\n",
			s.Pending.Operations, formatSize(s.Pending.Bytes), formatAge(s.Pending.OldestSeconds))
	}
	if len(s.Uploads) > 0 {
		printUploads(t, s.Uploads)
	}
	for _, p := range s.Parked {
		fmt.Fprintf(t.out, "parked: %s (%s, %s): %s\n", p.Key, formatSize(p.Size), formatAge(p.AgeSeconds), p.Reason)
		fmt.Fprintf(t.out, "  ferry uploads retry %s\n", quoteArg(p.ID))
	}
	for _, j := range s.Jobs {
		if j.Ended == nil || j.Failed > 0 {
			fmt.Fprintf(t.out, "delete job %s: %s, %d of %d deleted, %d failed: %s\n", j.ID, j.Status, j.Deleted, j.Requested, j.Failed, j.Scope)
		}
	}
	fmt.Fprintf(t.out, "staging %s of %s", formatSize(s.Staging.Bytes), formatSize(s.Staging.Max))
	fmt.Fprintf(t.out, "; sent %s, fetched %s, copied at the server %s", formatSize(s.Counters.BytesSent), formatSize(s.Counters.BytesFetched), formatSize(s.Counters.BytesCopied))
	if s.Counters.Conflicts > 0 {
		fmt.Fprintf(t.out, "; %d conflicts", s.Counters.Conflicts)
	}
	fmt.Fprintln(t.out)
	printRequests(t, s.Counters.Requests)
}

func printRequests(t *terminal, requests map[string]int64) {
	sep := "requests: "
	for _, api := range slices.Sorted(maps.Keys(requests)) {
		if requests[api] > 0 {
			fmt.Fprintf(t.out, "%s%s %d", sep, api, requests[api])
			sep = ", "
		}
	}
	if sep == ", " {
		fmt.Fprintln(t.out)
	}
}

func printUploads(t *terminal, uploads []control.Upload) {
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "AGE\tSTATE\tSTORED\tSIZE\tPARTS\tID\tKEY")
	for _, u := range uploads {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d/%d\t%s\t%s\n",
			formatAge(u.AgeSeconds), u.State, formatSize(u.StoredBytes), formatSize(u.Size), u.PartsDone, u.Parts, u.ID, u.Key)
	}
	_ = w.Flush() // to a terminal: nobody to tell
}
