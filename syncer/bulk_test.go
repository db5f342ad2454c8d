package syncer

import (
	"fmt"
	"testing"
	"time"

	"ferry"
)

// forest puts 10,000 objects in 100 folders into the bucket.
func forest(w *world) (paths []ferry.Path) {
	for d := range 100 {
		for f := range 100 {
			p := ferry.Path(fmt.Sprintf("tree/%03d/%03d", d, f))
			w.foreign(p.Key(), "x")
			w.files[p] = &modelFile{kind: ferry.File, body: []byte("x")}
			paths = append(paths, p)
		}
	}
	return paths
}

// TestBulkDelete: rm -rf of 10,000 objects in 100 folders costs few requests,
// whether what was seen of them still counts or has to be compared.
//
// semantics: name-delete-batch
func TestBulkDelete(t *testing.T) {
	for name, c := range map[string]struct {
		ttl  time.Duration
		most int
	}{"seen lately": {time.Hour, 12}, "compared": {time.Nanosecond, 24}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.change = func(o *Options) { o.TTL = c.ttl; o.Gather = time.Second }
			paths := forest(w)
			w.start()
			w.update(func(tx ferry.Tx) error {
				for _, p := range paths {
					in := w.drop(tx, p)
					ferry.Unwant(tx, in.Key(), w.seen(in.Key()), now())
				}
				return nil
			})
			clear(w.files)
			w.settle()
			all := 0
			for _, n := range w.r.requests {
				all += n
			}
			if all > c.most {
				t.Errorf("%d requests, want at most %d: %v", all, c.most, w.r.requests)
			}
			w.jobsEnd(len(paths), 0)
		})
	}
}

// jobsEnd waits until all delete jobs have ended and compares their counts.
func (w *world) jobsEnd(deleted, failed int) {
	w.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		var requested, del, fail int64
		open := false
		_ = w.j.View(func(tx ferry.Tx) error {
			for j := range tx.Jobs() {
				requested, del, fail = requested+j.Requested, del+j.Deleted, fail+j.Failed
				open = open || j.Ended.IsZero()
			}
			return nil
		})
		if !open {
			if int(del) != deleted || int(fail) != failed || requested != del+fail {
				w.t.Errorf("the jobs count %d requested, %d deleted, %d failed; want %d and %d", requested, del, fail, deleted, failed)
			}
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatal("a job does not end")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestJobOutlivesProcess: a burst that is cut off goes on under its job.
func TestJobOutlivesProcess(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		w.foreign(ferry.ObjectKey(fmt.Sprintf("d/%02d", i)), "x")
		w.files[ferry.Path(fmt.Sprintf("d/%02d", i))] = &modelFile{kind: ferry.File, body: []byte("x")}
	}
	w.r.fault = func(api string, _ ferry.ObjectKey) (bool, error) {
		if api == "Delete" && !w.r.dead {
			w.r.fault = nil
			w.r.dead = true
			w.died <- struct{}{}
			return true, nil
		}
		return false, nil
	}
	w.start()
	for i := range 50 {
		w.unlink(ferry.Path(fmt.Sprintf("d/%02d", i)))
	}
	w.settle()
	w.jobsEnd(50, 0)
}

// TestTemporaryNames: a file written under a temporary name and renamed, and one
// that is deleted at once, cost nothing but the one object that remains.
func TestTemporaryNames(t *testing.T) {
	w := newWorld(t)
	w.change = func(o *Options) { o.Linger = 300 * time.Millisecond }
	w.start()
	w.write("tmp", []byte("content"))
	w.rename("tmp", "final")
	w.write("short-lived", []byte("y"))
	w.unlink("short-lived")
	w.settle()
	if w.r.requests["Put"] != 1 || len(w.r.log) != 1 {
		t.Errorf("requests: %v, want one Put", w.r.log)
	}
}

// TestOffline: while the server is away nothing storms; when it is back all goes
// on by itself.
func TestOffline(t *testing.T) {
	w := newWorld(t)
	away := true
	w.change = func(o *Options) { o.ProbeEvery = 20 * time.Millisecond }
	w.r.fault = func(_ string, key ferry.ObjectKey) (bool, error) {
		if away {
			return false, &ferry.Error{Op: "mem", Key: string(key), Kind: ferry.KindTransient, Err: ferry.ErrOffline}
		}
		return false, nil
	}
	w.start()
	for i := range 200 {
		w.write(ferry.Path(fmt.Sprint("f", i)), []byte("x"))
	}
	for w.s.State() != "offline" {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	w.r.mu.Lock()
	asked := len(w.r.log)
	away = false
	w.r.mu.Unlock()
	if asked > 64 {
		t.Errorf("%d requests were sent to a server that is away", asked)
	}
	w.settle()
	if s := w.s.State(); s != "ready" {
		t.Errorf("the state is %q", s)
	}
}

// TestUploadForgotten: the server drops an upload that was idle for a day; it
// starts again from staging.
func TestUploadForgotten(t *testing.T) {
	w := newWorld(t)
	forgot := false
	w.r.fault = func(api string, _ ferry.ObjectKey) (bool, error) {
		if api == "PutPart" && !forgot && len(w.r.uploads) > 0 && w.r.requests["PutPart"] == 2 {
			forgot = true
			clear(w.r.uploads)
		}
		return false, nil
	}
	w.start()
	w.write("a", pattern(20*mib, 1))
	w.settle()
	if !forgot {
		t.Error("nothing was forgotten")
	}
}
