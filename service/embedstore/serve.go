// Package embedstore is ferry's own S3 store for a first try and for tests on a
// second dialect: versitygw over a folder, in which every object is a plain file
// DIR/files/KEY. It runs in a child process of this binary, because versitygw
// changes the working directory and keeps its state in globals.
package embedstore

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"

	"ferry"
)

// Bucket is the store's one bucket: the folder of that name.
const Bucket = "files"

// Subcommand is the hidden command of the binary that calls [ServeMain].
const Subcommand = "s3serve"

// healthPath is where the store says that it is ready.
const healthPath = "/health"

// Config of one store.
type Config struct {
	Dir                  string // holds the folder files, and .ferry-store for what the store remembers
	Addr                 string // host:port to listen on
	AccessKey, SecretKey string
}

// Serve runs the store until ctx is done. It changes the working directory of
// the process and may be called once in it.
func Serve(ctx context.Context, c Config) error {
	fail := func(kind ferry.Kind, msg, hint string, err error) error {
		return &ferry.Error{Op: "embedstore.serve", Key: c.Dir, Kind: kind, Msg: msg, Hint: hint, Err: err}
	}
	if err := os.MkdirAll(filepath.Join(c.Dir, Bucket), 0o755); err != nil {
		return fail(ferry.KindDenied, "the store's folder cannot be made", "", err)
	}
	attributes := meta.XattrMeta{}
	if err := attributes.Test(filepath.Join(c.Dir, Bucket)); err != nil {
		return fail(ferry.KindUnsupported, "the store needs extended attributes", "choose a folder on ext4, xfs or btrfs", err)
	}
	be, err := posix.New(c.Dir, attributes, posix.PosixOpts{
		// 0 would refuse every copy.
		CopyObjectThreshold: ferry.MaxPartSize,
	})
	if err != nil {
		return fail(ferry.KindInvalid, "the store cannot use its folder", "", err)
	}
	err = embedgw.RunVersityGW(ctx, be, &embedgw.Config{
		RootUserAccess: c.AccessKey, RootUserSecret: c.SecretKey,
		Ports:          []string{c.Addr},
		MaxConnections: 1000, MaxRequests: 500, MultipartMaxParts: ferry.MaxParts,
		Quiet: true, KeepAlive: true, HealthPath: healthPath,
	})
	if err != nil && ctx.Err() == nil {
		return fail(ferry.KindTransient, "the store ended", "", err)
	}
	return nil
}

// ServeMain is the child's main function: it reads its Config as JSON from
// standard input and serves until standard input ends, which it does when the
// parent dies or closes it. Signals that a terminal or a service manager sends
// to the whole group are ignored: the daemon still needs the store then.
func ServeMain(ctx context.Context, _ []string) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	in := json.NewDecoder(os.Stdin)
	var c Config
	if err := in.Decode(&c); err != nil {
		return fmt.Errorf("%s is for ferry itself: ferry mount --embedded starts it: %w", Subcommand, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the process, at the latest
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return Serve(ctx, c)
}
