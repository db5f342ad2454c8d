package fusefs

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ferry"
)

const (
	// resent is the bit of Unique that marks a request which was sent again after
	// another daemon has taken over the connection.
	resent = 1 << 63
	// interruptGrace is how long an interrupted request goes on waiting before it
	// gives up with EINTR: signals that are not meant to end a program (a timer, a
	// child that ended, the Go runtime's own) interrupt too.
	interruptGrace = time.Second
	// slowRequest is when the watchdog reports.
	slowRequest = 30 * time.Second
)

// request is one FUSE request being answered. It is the context of all waiting
// for it: done when the request was interrupted some while ago.
type request struct {
	op     string
	node   uint64
	unique uint64
	start  time.Time
	fs     *rawFS
	cancel <-chan struct{}

	mu       sync.Mutex
	done     chan struct{} // made when somebody asks for it
	finished chan struct{} // closed by end, if done was made
	warned   bool
}

// begin notes that a request has come in; its end must be called.
func (fs *rawFS) begin(op string, cancel <-chan struct{}, h *fuse.InHeader) *request {
	r := &request{op: op, node: h.NodeId, unique: h.Unique, start: time.Now(), fs: fs, cancel: cancel}
	fs.inflight.mu.Lock()
	fs.inflight.all[r] = struct{}{}
	fs.inflight.mu.Unlock()
	return r
}

func (r *request) end() {
	r.fs.inflight.mu.Lock()
	delete(r.fs.inflight.all, r)
	r.fs.inflight.mu.Unlock()
	r.mu.Lock()
	if r.finished != nil {
		close(r.finished)
	}
	r.mu.Unlock()
}

// origin names the request in the journal.
func (r *request) origin() ferry.Origin {
	return ferry.Origin{Connection: r.fs.connection, Unique: r.unique &^ resent}
}

// answered returns the recorded answer if this request was carried out before a
// daemon died and is sent again, nil else.
func (r *request) answered() *ferry.Reply {
	if r.unique&resent == 0 {
		return nil
	}
	var reply *ferry.Reply
	err := r.fs.journal.View(func(tx ferry.Tx) error {
		reply = tx.Reply(r.origin())
		return nil
	})
	if err != nil {
		r.fs.log.Error("a recorded answer could not be read", "request", r.op, "error", err)
	}
	return reply
}

// Deadline is part of [context.Context]: there is none.
func (r *request) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value is part of [context.Context]: there is none.
func (r *request) Value(any) any { return nil }

// Done returns a channel that is closed a while after the interrupt.
func (r *request) Done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done == nil {
		r.done, r.finished = make(chan struct{}), make(chan struct{})
		r.fs.wg.Go(func() { r.watch(r.done, r.finished) })
	}
	return r.done
}

// watch closes done a while after the interrupt, unless the request ends before.
func (r *request) watch(done, finished chan struct{}) {
	select {
	case <-finished:
		return
	case <-r.cancel:
	}
	t := time.NewTimer(interruptGrace)
	defer t.Stop()
	select {
	case <-finished:
	case <-t.C:
		close(done)
	}
}

// Err says whether the request was interrupted.
func (r *request) Err() error {
	r.mu.Lock()
	done := r.done
	r.mu.Unlock()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return context.Canceled
	default:
		return nil
	}
}

// inflight are the requests being answered.
type inflight struct {
	mu  sync.Mutex
	all map[*request]struct{}
}

// watchdog reports requests that take too long, with all stacks, until ctx ends.
func (fs *rawFS) watchdog(ctx context.Context) {
	t := time.NewTicker(slowRequest / 6)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			fs.inflight.report(fs.log, now)
		}
	}
}

func (i *inflight) report(log *slog.Logger, now time.Time) {
	var slow []*request
	i.mu.Lock()
	for r := range i.all {
		if !r.warned && now.Sub(r.start) > slowRequest {
			r.warned = true
			slow = append(slow, r)
		}
	}
	i.mu.Unlock()
	if len(slow) == 0 {
		return
	}
	stacks := make([]byte, 256<<10)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, r := range slow {
		log.Warn("a request takes long", "request", r.op, "inode", r.node, "since", r.start, "stacks", string(stacks))
		stacks = nil // once is enough
	}
}
