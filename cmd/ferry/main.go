// Command ferry mounts an S3 bucket as a folder that takes files in, keeps them
// through anything, and gives ranges back. This package is the command line and
// the only place where the folders of the repository are wired together.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
)

// version is set by the build.
var version = "development"

// command is one word of the command line. Its file is named after it.
type command struct {
	name  string
	usage string // what follows the name
	about string // one line
	// flags declares the flags; run is called with what is left.
	setup func(fs *pflag.FlagSet) func(ctx context.Context, t *terminal, args []string) error
	// hidden commands are how ferry starts itself.
	hidden bool
}

// terminal is where a command reads its surroundings from and writes to.
type terminal struct {
	out, err io.Writer
	env      func(string) (string, bool)
}

func commands() []command {
	return []command{
		mountCommand(), umountCommand(), waitCommand(), statusCommand(), uploadsCommand(), jobsCommand(),
		cacheCommand(), doctorCommand(), versionCommand(), storeCommand(),
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks, the second insists.
	context.AfterFunc(ctx, stop)
	t := &terminal{out: os.Stdout, err: os.Stderr, env: os.LookupEnv}
	os.Exit(runCommand(ctx, t, os.Args[1:]))
}

// runCommand runs one command line and returns the exit code.
func runCommand(ctx context.Context, t *terminal, args []string) int {
	if len(args) == 0 {
		help(t.err)
		return exitUsage
	}
	if args[0] == "help" && len(args) > 1 {
		args = []string{args[1], "--help"}
	}
	if args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		help(t.out)
		return exitOK
	}
	if args[0] == "--version" {
		args = []string{"version"}
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		fs := pflag.NewFlagSet("ferry "+c.name, pflag.ContinueOnError)
		fs.SetOutput(io.Discard)
		fs.SortFlags = false
		run := c.setup(fs)
		err := fs.Parse(args[1:])
		if errors.Is(err, pflag.ErrHelp) {
			commandHelp(t.out, c, fs)
			return exitOK
		}
		if err != nil {
			err = usage("%v", err)
		} else {
			err = run(ctx, t, fs.Args())
		}
		return tell(t, c.name, err)
	}
	fmt.Fprintf(t.err, "ferry: there is no command %q; `ferry help` lists them.\n", args[0])
	return exitUsage
}

// tell tells the error to the person and returns its exit code.
func tell(t *terminal, name string, err error) int {
	if err == nil {
		return exitOK
	}
	var coded *exitError
	if errors.As(err, &coded) && coded.told {
		return coded.code
	}
	fmt.Fprintf(t.err, "ferry %s: %s\n", name, sentence(err))
	code := exitCode(err)
	if code == exitUsage {
		fmt.Fprintf(t.err, "`ferry %s --help` shows how it is used.\n", name)
	}
	return code
}

func help(w io.Writer) {
	fmt.Fprint(w, "ferry mounts an S3 bucket as a folder and brings what is written there into the bucket.\n\n")
	for _, c := range commands() {
		if !c.hidden {
			fmt.Fprintf(w, "  ferry %-52s %s\n", c.name+" "+c.usage, c.about)
		}
	}
	fmt.Fprint(w, "\nCommands that speak to a mount find it by the path given, by --name, or take the only one.\n"+
		"`ferry help COMMAND` shows the flags of a command.\n\nExit codes:\n")
	for _, e := range exitCodes {
		fmt.Fprintf(w, "  %3d  %s\n", e.code, e.about)
	}
}

func commandHelp(w io.Writer, c command, fs *pflag.FlagSet) {
	fmt.Fprintf(w, "ferry %s %s\n%s.\n", c.name, c.usage, c.about)
	if text := strings.TrimRight(fs.FlagUsages(), "\n"); text != "" {
		fmt.Fprintf(w, "\n%s\n", text)
	}
}
