package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/pflag"
)

func versionCommand() command {
	return command{
		name: "version", about: "print the version",
		setup: func(*pflag.FlagSet) func(context.Context, *terminal, []string) error {
			return func(_ context.Context, t *terminal, _ []string) error {
				fmt.Fprintf(t.out, "ferry %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
				return nil
			}
		},
	}
}
