package fusefs

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ferry"
)

func newTestFS(j Journal) *rawFS {
	return &rawFS{journal: j, connection: 7, inflight: inflight{all: map[*request]struct{}{}}}
}

// A wait ends a while after the interrupt, not with it: a timer's signal does not
// break a read that is about to be answered.
func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newTestFS(nil)
		cancel := make(chan struct{})
		r := fs.begin("READ", cancel, &fuse.InHeader{})
		ctx, stop := context.WithTimeout(r, time.Hour)
		defer stop()
		begin := time.Now()
		time.AfterFunc(time.Second, func() { close(cancel) })
		<-ctx.Done()
		if d := time.Since(begin); d != time.Second+interruptGrace {
			t.Errorf("the wait ended after %s", d)
		}
		if got := Errno(r.Err()); got != syscall.EINTR {
			t.Errorf("errno %v", got)
		}
		r.end()
		fs.wg.Wait()

		// One that ends before leaves nothing behind.
		r = fs.begin("READ", make(chan struct{}), &fuse.InHeader{})
		done := r.Done()
		r.end()
		fs.wg.Wait()
		select {
		case <-done:
			t.Error("a request that was answered looks interrupted")
		default:
		}
		if r.Err() != nil || len(fs.inflight.all) != 0 {
			t.Error("the request is still under way")
		}
	})
}

// replies is a journal with recorded answers.
type replies struct {
	ferry.Tx
	all map[ferry.Origin]ferry.Reply
}

func (j replies) View(fn func(ferry.Tx) error) error { return fn(j) }
func (j replies) Sync(context.Context) error         { return errors.New("not asked for") }
func (j replies) Reply(o ferry.Origin) *ferry.Reply {
	if r, ok := j.all[o]; ok {
		return &r
	}
	return nil
}

// A request that is sent again after another daemon has taken over is answered
// from the record of what it did; a new one that happens to have the same number
// is not.
func TestResentRequestIsAnsweredFromTheRecord(t *testing.T) {
	done := ferry.Origin{Connection: 7, Unique: 42}
	fs := newTestFS(replies{all: map[ferry.Origin]ferry.Reply{done: {Errno: int32(syscall.ENOTEMPTY)}}})
	for _, c := range []struct {
		unique uint64
		want   bool
	}{{42 | 1<<63, true}, {42, false}, {43 | 1<<63, false}} {
		r := fs.begin("RMDIR", nil, &fuse.InHeader{Unique: c.unique})
		if got := r.answered(); (got != nil) != c.want {
			t.Errorf("unique %#x: answered %v", c.unique, got)
		}
		r.end()
	}
	s := fs.Rmdir(nil, &fuse.InHeader{Unique: 42 | 1<<63}, "d")
	if s != fuse.Status(syscall.ENOTEMPTY) {
		t.Errorf("got %v", s)
	}
}

// The kernel looks a path up again once after an ESTALE; the second one in a row is
// ENOENT for the program.
func TestSecondStaleOpenIsNoEntry(t *testing.T) {
	var o staleOpens
	stale := fuse.Status(syscall.ESTALE)
	for i, want := range []fuse.Status{stale, fuse.ENOENT} {
		if got := o.answer(5, stale); got != want {
			t.Errorf("answer %d: %v", i, got)
		}
	}
	if got := o.answer(6, stale); got != stale {
		t.Errorf("another thread got %v", got)
	}
	if got := o.answer(6, fuse.OK); got != fuse.OK {
		t.Errorf("success became %v", got)
	}
}

// Times before 1970 keep their parts.
func TestSplit(t *testing.T) {
	for _, c := range []struct {
		ns   int64
		sec  int64
		nsec uint32
	}{{0, 0, 0}, {1_500_000_001, 1, 500_000_001}, {-1, -1, 999_999_999}} {
		if sec, nsec := split(c.ns); int64(sec) != c.sec || nsec != c.nsec {
			t.Errorf("%d: %d %d", c.ns, int64(sec), nsec)
		}
	}
}
