package syncer

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ferry"
)

// class is the sort of work a step is, for the share it may take.
type class uint8

const (
	classNone   class = iota
	classSmall        // a few short requests
	classLarge        // many parts
	classDelete       // gathered into batches
	classes
)

// largeSlots is how many keys may be in work by parts at once; the parts
// themselves share the limiter, so this only bounds goroutines and open files.
// streamSlots is the same for files still being written.
const (
	largeSlots  = 8
	streamSlots = 16
	deleteSlots = 4000
	laterMost   = 8192
)

// position is a place in the order of the work: by age, then by key.
type position struct {
	since int64
	key   ferry.ObjectKey
}

func (p position) before(o position) bool {
	return p.since < o.since || p.since == o.since && p.key < o.key
}

// agenda is what the scheduler keeps in memory: which keys are in work, which
// are to be looked at again and when, and how far the rows were read. All else
// is in the rows, so that it is bounded whatever their number.
type agenda struct {
	wake  chan struct{}
	pokes atomic.Uint64 // how often rows were said to have changed
	in    inbox

	mu sync.Mutex

	busy     map[ferry.ObjectKey]class
	again    map[ferry.ObjectKey]struct{}
	later    map[ferry.ObjectKey]time.Time
	attempts map[ferry.ObjectKey]int
	waiters  map[ferry.ObjectKey][]ferry.ObjectKey // by the key that they wait for
	waiting  int                                   // how many those are
	stamps   map[ferry.ObjectKey]stamp             // of what was taken, until its first step
	queue    [classes][]ferry.ObjectKey            // taken, waiting for a goroutine
	refill   [classes]bool                         // whether this round takes any of the class
	running  [classes]int
	streamed int // files being streamed

	seq      uint64 // the journal's last change before this round's view
	cursor   position
	ends     uint64 // how many keys were let go
	full     bool   // the last scan found rows that there was no room for
	fullAt   uint64 // ends then
	sweptAt  time.Time
	sweptFor time.Duration // how long the last sweep took
	sweptTo  uint64        // pokes when it began
	sweeping bool
}

func (a *agenda) init() {
	a.wake = make(chan struct{}, 1)
	a.busy = map[ferry.ObjectKey]class{}
	a.stamps = map[ferry.ObjectKey]stamp{}
	a.waiters = map[ferry.ObjectKey][]ferry.ObjectKey{}
	a.again = map[ferry.ObjectKey]struct{}{}
	a.later = map[ferry.ObjectKey]time.Time{}
	a.attempts = map[ferry.ObjectKey]int{}
	a.in.again = map[ferry.ObjectKey]struct{}{}
	a.in.later = map[ferry.ObjectKey]time.Time{}
	a.in.streams = map[ferry.Generation]struct{}{}
}

// inbox takes what others want looked at. Its lock is never held for longer than
// it takes to note that, not even while rows are read, so that anybody may call.
type inbox struct {
	mu      sync.Mutex
	again   map[ferry.ObjectKey]struct{}
	later   map[ferry.ObjectKey]time.Time
	streams map[ferry.Generation]struct{}
}

// poke wakes the scheduler: rows changed.
func (a *agenda) poke() {
	a.pokes.Add(1)
	a.nudge()
}

func (a *agenda) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// lookAt has keys looked at in the next round.
func (a *agenda) lookAt(keys ...ferry.ObjectKey) {
	if len(keys) == 0 {
		return
	}
	a.in.mu.Lock()
	for _, k := range keys {
		if k != "" {
			a.in.again[k] = struct{}{}
		}
	}
	a.in.mu.Unlock()
	a.nudge()
}

// lookLater has key looked at then and not before.
func (a *agenda) lookLater(key ferry.ObjectKey, at time.Time) {
	a.in.mu.Lock()
	if len(a.in.later) < laterMost { // else a sweep finds it
		a.in.later[key] = at
	}
	a.in.mu.Unlock()
	a.nudge()
}

// stream has a generation that grows considered for streaming.
func (a *agenda) stream(g ferry.Generation) {
	a.in.mu.Lock()
	if len(a.in.streams) < laterMost {
		a.in.streams[g] = struct{}{}
	}
	a.in.mu.Unlock()
	a.nudge()
}

// collect empties the inbox. The caller holds mu.
func (a *agenda) collect() (streams map[ferry.Generation]struct{}) {
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	for k, at := range a.in.later {
		if len(a.later) < laterMost {
			a.later[k] = at
		}
	}
	for k := range a.in.again {
		delete(a.later, k)
		a.again[k] = struct{}{}
		a.touched(k)
	}
	clear(a.in.again)
	clear(a.in.later)
	streams = a.in.streams
	a.in.streams = map[ferry.Generation]struct{}{}
	return streams
}

// await has key looked at again when something was done at the key it waits for.
// The caller holds mu.
func (a *agenda) await(key, waits ferry.ObjectKey) {
	if waits == "" || a.waiting >= laterMost || slices.Contains(a.waiters[waits], key) {
		return // a sweep finds it
	}
	a.waiters[waits] = append(a.waiters[waits], key)
	a.waiting++
}

// touched has those looked at that wait for key. The caller holds mu.
func (a *agenda) touched(key ferry.ObjectKey) {
	ws := a.waiters[key]
	if len(ws) == 0 {
		return
	}
	for _, k := range ws {
		a.again[k] = struct{}{}
	}
	a.waiting -= len(ws)
	delete(a.waiters, key)
}

// rewind makes the cursor go back to p.
func (a *agenda) rewind(p position) {
	if p.before(a.cursor) {
		a.cursor = p
	}
}

// due takes the keys to be looked at now. The caller holds mu.
func (a *agenda) due(now time.Time) (keys []ferry.ObjectKey) {
	for k := range a.again {
		keys = append(keys, k)
	}
	clear(a.again)
	for k, at := range a.later {
		if !at.After(now) {
			delete(a.later, k)
			keys = append(keys, k)
		}
	}
	return keys
}

// capacity is how many keys of each class may be taken at once.
func (s *Syncer) capacity(c class) int {
	switch c {
	case classSmall:
		return 8 * s.o.SmallInFlight
	case classLarge:
		return 2 * largeSlots
	case classDelete:
		return deleteSlots
	default:
		return 0
	}
}

// beginFill decides which classes are filled up in this round: those that are
// half empty, so that many keys are taken at once and share one barrier. The
// caller holds mu.
func (s *Syncer) beginFill() (any bool) {
	a := &s.agenda
	for _, c := range []class{classSmall, classLarge, classDelete} {
		a.refill[c] = a.running[c]+len(a.queue[c]) <= s.capacity(c)/2
		any = any || a.refill[c]
	}
	return any
}

// room reports whether another key of the class may be taken. The caller holds mu.
func (s *Syncer) room(c class) bool {
	a := &s.agenda
	return a.refill[c] && a.running[c]+len(a.queue[c]) < s.capacity(c)
}

// take marks key as in work and queues it. The caller holds mu.
func (s *Syncer) take(key ferry.ObjectKey, c class, at stamp) {
	a := &s.agenda
	a.busy[key] = c
	delete(a.later, key)
	if c == classDelete {
		a.running[c]++
		s.del.add(key)
		return
	}
	a.stamps[key] = at
	a.queue[c] = append(a.queue[c], key)
}

// start starts goroutines for what is queued, as many as allowed.
func (s *Syncer) start(ctx context.Context, wg *sync.WaitGroup, stop context.CancelCauseFunc) {
	a := &s.agenda
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.line.isOffline() {
		return
	}
	for _, c := range []class{classSmall, classLarge} {
		slots := largeSlots
		if c == classSmall {
			slots = 4 * s.o.SmallInFlight // most of them wait for a barrier; turn bounds the rest
		}
		for a.running[c] < slots && len(a.queue[c]) > 0 {
			key := a.queue[c][0]
			a.queue[c] = a.queue[c][1:]
			a.running[c]++
			wg.Go(func() {
				s.work(ctx, key, c, stop)
				a.mu.Lock()
				a.running[c]--
				a.mu.Unlock()
				s.start(ctx, wg, stop)
				a.nudge()
			})
		}
	}
}

// release ends the work on key: err nil looks no further (seen is the count of
// pokes before the key was looked at last: if it changed, the key is looked at
// again), a failure is tried again after a pause.
func (s *Syncer) release(key ferry.ObjectKey, err error, seen uint64) {
	a := &s.agenda
	a.mu.Lock()
	delete(a.busy, key)
	delete(a.stamps, key)
	a.touched(key)
	a.ends++
	switch {
	case err == nil:
		delete(a.attempts, key)
		if a.pokes.Load() != seen {
			a.again[key] = struct{}{}
		}
	case s.line.isOffline(): // looked at again when the line is back
		a.again[key] = struct{}{}
	default:
		n := a.attempts[key]
		a.attempts[key] = n + 1
		if len(a.later) < laterMost {
			a.later[key] = s.o.Now().Add(s.backoff(n))
		}
	}
	a.mu.Unlock()
	s.moved.signal()
}

// backoff returns the pause after the n-th failure in a row: doubling, with
// jitter, so that many that failed together do not come back together.
func (s *Syncer) backoff(n int) time.Duration {
	d := s.o.BackoffMax
	if n < 20 {
		d = min(d, s.o.BackoffMin<<n)
	}
	return d/2 + time.Duration(rand.Int64N(int64(d/2)+1))
}
