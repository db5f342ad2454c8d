package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/pflag"
)

func jobsCommand() command {
	return command{
		name: "jobs", usage: "list|show [ID] [MOUNTPOINT]", about: "delete jobs: how many of how many objects are deleted",
		setup: func(fs *pflag.FlagSet) func(context.Context, *terminal, []string) error {
			asJSON := fs.Bool("json", false, "print JSON")
			name := nameFlag(fs)
			return func(ctx context.Context, t *terminal, args []string) error {
				if len(args) == 0 {
					args = []string{"list"}
				}
				switch {
				case args[0] == "list":
					return listJobs(ctx, t, args[1:], *name, *asJSON)
				case args[0] == "show" && len(args) >= 2:
					path, err := onePath(args[2:], "mount point")
					if err != nil {
						return err
					}
					return showJob(ctx, t, args[1], path, *name, *asJSON)
				case args[0] == "show":
					return usage("jobs show: give an ID, as `ferry jobs list` shows it")
				default:
					return usage("%q is neither list nor show", args[0])
				}
			}
		},
	}
}

func listJobs(ctx context.Context, t *terminal, args []string, name string, asJSON bool) error {
	path, err := onePath(args, "mount point")
	if err != nil {
		return err
	}
	c, _, err := dial(path, name)
	if err != nil {
		return err
	}
	jobs, err := c.Jobs(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(t, jobs)
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MADE\tSTATUS\tREQUESTED\tDELETED\tREMAINING\tFAILED\tID\tSCOPE")
	for _, j := range jobs {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n", j.Made.Local().Format("2006-01-02 15:04:05"), j.Status, j.Requested, j.Deleted, j.Remaining, j.Failed, j.ID, j.Scope)
	}
	return w.Flush()
}

func showJob(ctx context.Context, t *terminal, id, path, name string, asJSON bool) error {
	c, _, err := dial(path, name)
	if err != nil {
		return err
	}
	j, err := c.Job(ctx, id)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(t, j)
	}
	fmt.Fprintf(t.out, "id         %s\nscope      %s\nstatus     %s\nrequested  %d\ndeleted    %d\nremaining  %d\nfailed     %d\n",
		j.ID, j.Scope, j.Status, j.Requested, j.Deleted, j.Remaining, j.Failed)
	for _, r := range j.Reasons {
		fmt.Fprintf(t.out, "  %s\n", r)
	}
	return nil
}
