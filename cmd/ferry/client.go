package main

import (
	"encoding/json"
	"os"

	"github.com/spf13/pflag"

	"ferry/service/control"
)

// registry is where running mounts are listed.
func registry() control.Registry {
	return control.DefaultRegistry(stateRoot(os.Geteuid(), os.LookupEnv))
}

// nameFlag declares --name for commands that speak to a daemon.
func nameFlag(fs *pflag.FlagSet) *string {
	return fs.String("name", "", "the mount's name, where no path is given")
}

// dial finds the daemon by a path in its mount, by name, or takes the only one.
// It returns the path below the mount too.
func dial(path, name string) (*control.Client, string, error) {
	found, err := registry().Find(path, name)
	if err != nil {
		return nil, "", err
	}
	return control.NewClient(found.Mount), found.Path, nil
}

// onePath takes at most one argument.
func onePath(args []string, what string) (string, error) {
	switch len(args) {
	case 0:
		return "", nil
	case 1:
		return args[0], nil
	default:
		return "", usage("give one %s at most; there are %d", what, len(args))
	}
}

// printJSON writes v with indentation and a newline.
func printJSON(t *terminal, v any) error {
	enc := json.NewEncoder(t.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
