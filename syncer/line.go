package syncer

import (
	"context"
	"errors"
	"sync"
	"time"

	"ferry"
)

// probeKey is asked for to learn whether the server is there; nothing is ever
// stored under it.
const probeKey = ferry.ReservedPrefix + "probe"

// line knows whether the server can be reached. While it cannot, no step is
// tried; one small request every ProbeEvery finds out when it is back.
type line struct {
	s       *Syncer
	mu      sync.Mutex
	offline bool
	wake    chan struct{}
}

func newLine(s *Syncer) *line { return &line{s: s, wake: make(chan struct{}, 1)} }

func (l *line) isOffline() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offline
}

func (l *line) set(offline bool) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed, l.offline = l.offline != offline, offline
	return changed
}

// note learns from the outcome of a request.
func (l *line) note(err error) {
	switch {
	case err == nil:
		l.s.lim.fine()
		l.s.few.fine()
	case errors.Is(err, ferry.ErrOffline):
		if l.set(true) {
			l.s.o.Log.Warn("the server cannot be reached; writes queue here until it can", "error", err)
			select {
			case l.wake <- struct{}{}:
			default:
			}
			l.s.moved.signal()
		}
	case ferry.IsKind(err, ferry.KindTransient):
		l.s.lim.slow()
		l.s.few.slow()
	}
}

// run probes while offline.
func (l *line) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		for l.isOffline() {
			if !pause(ctx, l.s.o.ProbeEvery) {
				return
			}
			if _, err := l.s.r.Head(ctx, probeKey); ctx.Err() == nil && !errors.Is(err, ferry.ErrOffline) {
				l.set(false)
				l.s.o.Log.Info("the server can be reached again")
				l.s.moved.signal()
				l.s.agenda.poke()
			}
		}
	}
}

// pause waits for d and reports whether ctx still goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
