package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"ferry"
	"ferry/service/control"
)

// daemon answers the control API from the parts of the mount. It implements
// control.Daemon.
type daemon struct {
	config  *mountConfig
	state   *stateDir
	rows    *rowReader
	health  *healthRemote
	log     *slog.Logger
	started time.Time
	starts  int // of daemons on this state directory, this one included

	endpoint string
	caps     func() ferry.Capabilities
	counters func() control.Counters
	staging  func() control.Usage
	cache    func() control.Usage
	uploads  uploads
	// dropCache forgets clean bytes, in the kernel too, and returns of how many
	// files.
	dropCache func(context.Context) (files int64, err error)
	// unmount takes the mount away; KindBusy if it is used and force is false.
	unmount func(force bool) error
	check   func() error // the journal's invariants
	dead    func() error // why the journal takes no more changes, nil if it does
	// end makes the daemon end once its answers are delivered.
	end context.CancelFunc

	mu       sync.Mutex
	draining int // calls of Umount under way
	warnings []string
}

var _ control.Daemon = (*daemon)(nil)

// uploads is what is asked of the syncer.
type uploads interface {
	Retry(id string) error
	Cancel(g ferry.Generation) error
	// Expedite makes everything go at once until done is called.
	Expedite() (done func())
}

// Status reports on what lies at or below path.
func (d *daemon) Status(ctx context.Context, path string) (control.Status, error) {
	d.health.ask(ctx, 5*time.Second)
	sum, err := d.rows.summarise([]ferry.Path{ferry.Path(path)}, true)
	if err != nil {
		return control.Status{}, err
	}
	jobs, err := d.rows.jobs()
	if err != nil {
		return control.Status{}, err
	}
	s := control.Status{
		Name: d.config.Name, Endpoint: d.endpoint, Bucket: d.config.Bucket, Prefix: d.config.Prefix,
		Mountpoint: d.config.Mountpoint, StateDir: d.state.path, ReadOnly: d.config.ReadOnly,
		Daemon:  control.DaemonInfo{PID: os.Getpid(), Started: d.started, Restarts: d.starts - 1, Version: version},
		Pending: sum.pending, Uploads: orEmpty(sum.uploads), Parked: orEmpty(sum.parked), Jobs: jobs,
		Staging: d.staging(), Cache: d.cache(), Counters: d.counters(),
	}
	d.mu.Lock()
	s.Warnings = append([]string{}, d.warnings...)
	d.mu.Unlock()
	s.Warnings = append(s.Warnings, d.caps().Shortfalls()...)
	if err := d.dead(); err != nil {
		s.Warnings = append(s.Warnings, "The mount takes no more writes and sends nothing: "+sentence(err))
	}
	s.State, s.Reason = d.stateNow()
	return s, nil
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (d *daemon) stateNow() (state, reason string) {
	if offline, since, why := d.health.state(); offline {
		return control.StateOffline, fmt.Sprintf("the server has not answered for %s: %s", formatAge(time.Since(since).Seconds()), sentence(why))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.draining > 0 {
		return control.StateDraining, "it will be unmounted once all is stored"
	}
	return control.StateReady, ""
}

func (d *daemon) Uploads(context.Context) ([]control.Upload, error) { return d.rows.uploads() }

func (d *daemon) Upload(_ context.Context, id string) (control.Upload, error) {
	return d.rows.oneUpload(id)
}

func (d *daemon) Jobs(context.Context) ([]control.Job, error) { return d.rows.jobs() }

func (d *daemon) Job(_ context.Context, id string) (control.Job, error) { return d.rows.job(id) }

// Bounds of how often a wait looks. It looks less often where looking is dear.
const (
	leastLook = 10 * time.Millisecond
	mostLook  = 5 * time.Second
	// reportEvery is how often a client hears of progress.
	reportEvery = 100 * time.Millisecond
)

// Wait blocks until everything at and below the paths is stored.
func (d *daemon) Wait(ctx context.Context, paths []string, report func(control.Progress)) error {
	below := make([]ferry.Path, 0, len(paths))
	for _, p := range paths {
		below = append(below, ferry.Path(strings.Trim(p, "/")))
	}
	return d.drain(ctx, below, report)
}

// drain returns when nothing is pending at or below the paths; with CodeParked if
// only parked things are left.
func (d *daemon) drain(ctx context.Context, paths []ferry.Path, report func(control.Progress)) error {
	defer d.uploads.Expedite()()
	var reported time.Time
	for {
		start := time.Now()
		sum, err := d.rows.summarise(paths, false)
		switch {
		case err != nil:
			return err
		case d.dead() != nil:
			return &ferry.Error{
				Op: "ferry.wait", Kind: ferry.KindReadOnly, Msg: "nothing is sent any more", Err: d.dead(),
				Hint: "see to the disk with the state directory and mount again",
			}
		case sum.pending.Operations == 0 && len(sum.parked) == 0:
			return nil
		case sum.pending.Operations == 0:
			return parkedFault(sum.parked)
		}
		if now := time.Now(); now.Sub(reported) >= reportEvery {
			reported = now
			state, _ := d.stateNow()
			report(control.Progress{State: state, Pending: sum.pending, Parked: sum.parked[:min(len(sum.parked), 10)]})
		}
		select {
		case <-time.After(min(max(20*time.Since(start), leastLook), mostLook)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func parkedFault(parked []control.Parked) error {
	var b strings.Builder
	for i, p := range parked {
		if i == 5 {
			fmt.Fprintf(&b, "; and %d more", len(parked)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %s", p.Key, strings.TrimSuffix(p.Reason, "."))
	}
	return &control.Fault{Code: control.CodeParked, Text: fmt.Sprintf("parked: %s (put right what is wrong, then `ferry uploads retry %s`).", b.String(), quoteArg(parked[0].ID))}
}

// Umount drains (unless now), unmounts, and makes the daemon end.
func (d *daemon) Umount(ctx context.Context, now bool, report func(control.Progress)) error {
	d.mu.Lock()
	d.draining++
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.draining--
		d.mu.Unlock()
	}()
	if !now {
		if err := d.drain(ctx, nil, report); err != nil {
			return stillMounted(err)
		}
	}
	if err := d.unmount(now); err != nil {
		return err
	}
	if !now {
		// What was written between the last look and the unmounting.
		if err := d.drain(ctx, nil, report); err != nil {
			d.end()
			return err
		}
	}
	d.end()
	return nil
}

func stillMounted(err error) error {
	f, ok := errors.AsType[*control.Fault](err)
	if !ok {
		return err
	}
	return &control.Fault{Code: f.Code, Text: f.Text + " It is still mounted; `ferry umount --now` leaves this to the next mount."}
}

// Retry lets a parked upload, or a parked key, go on.
func (d *daemon) Retry(_ context.Context, id string) error { return d.uploads.Retry(id) }

// Cancel gives up an upload with its bytes.
func (d *daemon) Cancel(_ context.Context, id string) error {
	return d.uploads.Cancel(ferry.Generation(id))
}

// Cache returns how full the read buffers are.
func (d *daemon) Cache(context.Context) (control.CacheReport, error) {
	u := d.cache()
	return control.CacheReport{Bytes: u.Bytes, Max: u.Max}, nil
}

// DropCache makes daemon and kernel forget what they hold of stored files.
func (d *daemon) DropCache(ctx context.Context) (control.CacheReport, error) {
	u := d.cache()
	files, err := d.dropCache(ctx)
	return control.CacheReport{Bytes: u.Bytes, Max: u.Max, Files: files}, err
}
