package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"ferry/service/control"
)

func doctorCommand() command {
	return command{
		name: "doctor", usage: "[MOUNTPOINT | [--rebuild] flags of mount]", about: "look for what is wrong with a mount, its server, its state directory",
		setup: func(fs *pflag.FlagSet) func(context.Context, *terminal, []string) error {
			asJSON := fs.Bool("json", false, "print JSON")
			rebuild := fs.Bool("rebuild", false, "bring back what staging holds after the journal was lost; nothing may be mounted")
			declare(fs)
			return func(ctx context.Context, t *terminal, args []string) error {
				var r control.Report
				var err error
				if len(args) < 2 && !*rebuild && !fs.Changed("embedded") {
					r, err = askDoctor(ctx, args, fs.Lookup("name").Value.String())
				} else {
					r, err = examine(ctx, t, fs, args, *rebuild)
				}
				if err != nil {
					return err
				}
				if *asJSON {
					err = printJSON(t, r)
				} else {
					printReport(t, r)
				}
				return errors.Join(err, verdictOf(r))
			}
		},
	}
}

func askDoctor(ctx context.Context, args []string, name string) (control.Report, error) {
	path, err := onePath(args, "mount point")
	if err != nil {
		return control.Report{}, err
	}
	c, _, err := dial(path, name)
	if err != nil {
		return control.Report{}, err
	}
	return c.Doctor(ctx)
}

// examine looks at what is not mounted: the arguments are those of mount.
func examine(ctx context.Context, t *terminal, fs *pflag.FlagSet, args []string, rebuild bool) (control.Report, error) {
	c, err := readConfig(fs, t.env, args)
	if err != nil {
		return control.Report{}, err
	}
	log := newLog(os.Stderr, max(c.LogLevel, slog.LevelWarn))
	return examineUnmounted(ctx, c, log, rebuild)
}

func printReport(t *terminal, r control.Report) {
	for _, f := range r.Findings {
		fmt.Fprintf(t.out, "%-8s %s: %s\n", f.Level, f.Topic, f.Text)
	}
}

func verdictOf(r control.Report) error {
	for _, f := range r.Findings {
		if f.Level == control.LevelError {
			return &exitError{code: exitFailed, err: errors.New(f.Text), told: true}
		}
	}
	return nil
}
