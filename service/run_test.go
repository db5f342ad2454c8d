package service

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// recorder makes units that note when they start and stop.
type recorder struct{ events []string }

func (r *recorder) unit(name string) Unit {
	return Unit{
		Name:  name,
		Start: func(context.Context) error { r.events = append(r.events, "start "+name); return nil },
		Run: func(ctx context.Context) error {
			<-ctx.Done()
			r.events = append(r.events, "stop "+name)
			return nil
		},
	}
}

func TestRunStartsInOrderAndStopsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var r recorder
		if err := Run(ctx, r.unit("journal"), r.unit("syncer"), r.unit("mount")); err != nil {
			t.Fatalf("Run = %v; want nil", err)
		}
		want := []string{"start journal", "start syncer", "start mount", "stop mount", "stop syncer", "stop journal"}
		if !slices.Equal(r.events, want) {
			t.Errorf("events %q; want %q", r.events, want)
		}
	})
}

func TestRunNamesTheUnitThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		release := make(chan struct{})
		defer close(release)
		var r recorder
		start := time.Now()
		err := Run(ctx, r.unit("journal"), Unit{
			Name: "syncer", Grace: 3 * time.Second,
			Run: func(context.Context) error { <-release; return nil },
		}, r.unit("mount"))
		if err == nil || !strings.Contains(err.Error(), "syncer: still running 3s after it was asked to stop") {
			t.Errorf("Run = %v; want the syncer named", err)
		}
		if took := time.Since(start); took != 4*time.Second {
			t.Errorf("Run took %v; want the second of ctx and the grace of 3s", took)
		}
		if !slices.Contains(r.events, "stop journal") {
			t.Errorf("events %q: the journal was not stopped after the syncer hung", r.events)
		}
	})
}

func TestRunStopsAllWhenOneEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("device gone")
		var r recorder
		err := Run(t.Context(), r.unit("journal"), Unit{
			Name: "mount",
			Run:  func(context.Context) error { return broken },
		})
		if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "mount: ") {
			t.Errorf("Run = %v; want %q with the unit's name", err, broken)
		}
		if !slices.Contains(r.events, "stop journal") {
			t.Errorf("events %q: the journal was not stopped", r.events)
		}
	})
}

func TestRunDoesNotStartBehindAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		denied := errors.New("no such device")
		var r recorder
		bad := r.unit("mount")
		bad.Start = func(context.Context) error { return denied }
		err := Run(t.Context(), r.unit("journal"), bad, r.unit("control"))
		if !errors.Is(err, denied) {
			t.Errorf("Run = %v; want %v", err, denied)
		}
		want := []string{"start journal", "stop journal"}
		if !slices.Equal(r.events, want) {
			t.Errorf("events %q; want %q", r.events, want)
		}
	})
}
