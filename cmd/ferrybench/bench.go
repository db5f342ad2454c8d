package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench is one run: a server, a raw client, a work folder and what was found.
type bench struct {
	options
	work    string // work folder, removed at the end
	server  *server
	raw     *rawClient
	source  string // local file of --size random bytes
	report  report
	mounts  int   // number of mounts made, for their folder names
	peakRSS int64 // bytes; highest sum of VmHWM of one mount's processes
	undo    []func()
}

// group is a set of rows that share their preparation.
type group struct {
	name string
	what string
	run  func(*bench, context.Context) error
}

func groups() []group {
	return []group{
		{"copyin", "one big file copied in", (*bench).copyIn},
		{"again", "the same bytes again, an edit, an append", (*bench).again},
		{"read", "a big object read cold", (*bench).read},
		{"small", "2,000 small files copied in", (*bench).small},
		{"tree", "10,000 objects listed and deleted", (*bench).tree},
	}
}

func groupNames() []string {
	var names []string
	for _, g := range groups() {
		names = append(names, g.name)
	}
	return names
}

// measure runs the groups asked for and prints the report. What was found
// before a failure is printed too.
func measure(ctx context.Context, args []string) error {
	o, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range o.only {
		if !slices.Contains(groupNames(), name) {
			return fmt.Errorf("--only %s: there is no such group, only %s", name, strings.Join(groupNames(), ", "))
		}
	}
	b := &bench{options: o}
	defer b.cleanUp()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	start := time.Now()
	var failed error
	for _, g := range groups() {
		if len(o.only) > 0 && !slices.Contains(o.only, g.name) {
			continue
		}
		b.note("%s: %s", g.name, g.what)
		if err := g.run(b, ctx); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", g.name, err))
		}
		if ctx.Err() != nil {
			return errors.New("interrupted; everything that was started is stopped and removed")
		}
	}
	if b.peakRSS > 0 {
		b.report.addValue("peak RSS of all ferry processes of a mount", "B", []float64{float64(b.peakRSS)}, "≤ 192 MiB", 192<<20)
	}
	b.report.Size, b.report.Rounds, b.report.Seconds = o.size, o.rounds, time.Since(start).Seconds()
	if err := b.report.print(os.Stdout, o.json); err != nil {
		return err
	}
	if failed != nil {
		b.keep = true
		return fmt.Errorf("%w (logs are kept in %s)", failed, b.work)
	}
	return nil
}

// prepare checks the binaries, makes the work folder and the source file, and
// starts the server.
func (b *bench) prepare(ctx context.Context) error {
	for _, bin := range []struct {
		path *string
		make string
	}{{&b.ferry, "make build"}, {&b.minio, "make minio"}} {
		abs, err := filepath.Abs(*bin.path)
		if err != nil {
			return err
		}
		if _, err := os.Stat(abs); err != nil {
			return fmt.Errorf("%s is not there: run '%s' first", *bin.path, bin.make)
		}
		*bin.path = abs
	}
	work, err := workFolder(b.dir)
	if err != nil {
		return err
	}
	b.work = work
	b.later(func() {
		if b.keep {
			return
		}
		if err := os.RemoveAll(work); err != nil {
			b.note("cannot remove the work folder: %v", err)
		}
	})
	b.note("work folder %s, file size %s, %d rounds", work, showBytes(float64(b.size)), b.rounds)
	b.source = filepath.Join(work, "source")
	if err := randomFile(b.source, b.size, 1); err != nil {
		return err
	}
	if b.server, err = startServer(ctx, b.minio, work); err != nil {
		return err
	}
	b.later(b.server.stop)
	b.raw, err = newRawClient(b.server.endpoint, b.server.user, b.server.secret)
	return err
}

// later runs f at the end of the run, last in, first out.
func (b *bench) later(f func()) { b.undo = append(b.undo, f) }

func (b *bench) cleanUp() {
	for _, f := range slices.Backward(b.undo) {
		f()
	}
}

// note tells the person who waits what is going on; the report has standard
// output for itself.
func (b *bench) note(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
