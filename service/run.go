// Package service is the life of the daemon: units that start in order and stop
// in reverse. What the units do it does not know; cmd/ferry wires them. The
// control API is in service/control, the embedded store in service/embedstore.
package service

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// DefaultGrace is how long a unit may take to stop if it does not say.
const DefaultGrace = 10 * time.Second

// Unit is one part of the daemon that runs until it is told to stop.
type Unit struct {
	Name string
	// Start, if set, makes the unit ready. The next unit is started when it has
	// returned nil; an error stops those that run.
	Start func(ctx context.Context) error
	// Run works until ctx ends and returns nil then. If it returns before, with
	// or without an error, all units are stopped.
	Run func(ctx context.Context) error
	// Grace is how long Run may take to return after ctx has ended; 0 means
	// DefaultGrace. A unit that takes longer is named and left behind.
	Grace time.Duration
}

type running struct {
	Unit
	stop context.CancelFunc
	done chan error // gets Run's answer, once
}

// Run starts units in order and blocks. When ctx ends, or any unit returns, it
// stops the others last-first: the mount goes before the syncer that drains it,
// and the journal outlives both. It returns what went wrong, each error with the
// name of its unit; nil if all stopped in time without error.
func Run(ctx context.Context, units ...Unit) error {
	// One slot for each unit, so that nobody waits to say that it has ended.
	ended := make(chan *running, len(units))
	var up []*running
	var errs []error
	for _, u := range units {
		if ctx.Err() != nil || len(ended) > 0 {
			break
		}
		// The order of stopping is ours, so a unit does not see ctx end.
		own, stop := context.WithCancel(context.WithoutCancel(ctx))
		if u.Start != nil {
			if err := u.Start(ctx); err != nil {
				stop()
				errs = append(errs, fmt.Errorf("%s: %w", u.Name, err))
				break
			}
		}
		r := &running{Unit: u, stop: stop, done: make(chan error, 1)}
		up = append(up, r)
		go func() {
			r.done <- r.Unit.Run(own)
			ended <- r
		}()
	}
	if len(up) == len(units) {
		select {
		case <-ctx.Done():
		case <-ended:
		}
	}
	for i := len(up) - 1; i >= 0; i-- {
		errs = append(errs, up[i].finish())
	}
	return errors.Join(errs...)
}

// finish stops r and waits for it, but not for ever.
func (r *running) finish() error {
	r.stop()
	grace := r.Grace
	if grace == 0 {
		grace = DefaultGrace
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-r.done:
		if err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("%s: still running %v after it was asked to stop", r.Name, grace)
	}
}
