// Command ferrybench measures a real ferry mount against two floors on the same
// machine in the same run: raw, a bare minio-go client doing the same work, and
// null, a bare go-fuse daemon that writes to local files and does nothing else.
// It starts MinIO itself, mounts bin/ferry for real and cleans up after itself.
//
// The subcommands s3, get and port are the plain tools that the demo script
// needs and that a new machine may lack; null is the null daemon, which the
// bench runs as a process of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

const usage = `usage:
  ferrybench [flags]              measure; prints a table
  ferrybench s3 COMMAND ...       a plain S3 client (ready, mb, ls, stat, cat, put, rm)
  ferrybench get PATH             one value of the JSON on standard input, as in .counters.bytes_sent
  ferrybench port                 a free TCP port on loopback
  ferrybench null BACKING MNT     the null daemon: a FUSE mount over a local folder

flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ferrybench:", err)
		stop()
		os.Exit(1)
	}
}

// run picks the subcommand; without one it measures.
func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "s3":
			return s3Tool(ctx, args[1:])
		case "get":
			return jsonGet(os.Stdin, os.Stdout, args[1:])
		case "port":
			port, err := freePort()
			if err != nil {
				return err
			}
			fmt.Println(port)
			return nil
		case "null":
			return nullDaemon(ctx, args[1:])
		}
	}
	return measure(ctx, args)
}

// options are the settings of one run of the bench.
type options struct {
	size   int64    // bytes of the big file
	rounds int      // rounds of each short row; each floor is measured once per round
	only   []string // groups to run; empty for all
	dir    string   // parent of the work folder
	ferry  string   // binaries
	minio  string
	json   bool
	keep   bool // leave the work folder for a look at the logs
	args   []string
}

func parseOptions(args []string) (options, error) {
	var o options
	var size, only, mountFlags string
	flags := flag.NewFlagSet("ferrybench", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&size, "size", "1GiB", "size of the big file (KiB, MiB, GiB)")
	flags.IntVar(&o.rounds, "rounds", 3, "rounds of each row; the median is reported")
	flags.StringVar(&only, "only", "", "groups to run, separated by commas: "+strings.Join(groupNames(), ", "))
	flags.StringVar(&o.dir, "dir", "", "where the work folder is made; needs five times --size of space (default: a folder on ext4, xfs or btrfs)")
	flags.StringVar(&o.ferry, "ferry", envOr("FERRY_TEST_BIN", "bin/ferry"), "ferry binary")
	flags.StringVar(&o.minio, "minio", envOr("FERRY_TEST_MINIO", "bin/minio"), "MinIO binary")
	flags.BoolVar(&o.json, "json", false, "print JSON instead of a table")
	flags.BoolVar(&o.keep, "keep", false, "keep the work folder with the logs")
	flags.StringVar(&mountFlags, "mount-flags", "", "further flags for every ferry mount, separated by spaces")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is not a subcommand: run ferrybench --help", flags.Arg(0))
	}
	var err error
	if o.size, err = parseSize(size); err != nil {
		return o, err
	}
	if o.size < 16<<20 {
		return o, errors.New("--size must be 16MiB or more: a smaller file has too few parts to compare")
	}
	if o.rounds < 1 {
		return o, errors.New("--rounds must be 1 or more")
	}
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	o.args = strings.Fields(mountFlags)
	return o, nil
}

func envOr(name, other string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return other
}
