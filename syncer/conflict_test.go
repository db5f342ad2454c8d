package syncer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"ferry"
)

// TestKeepBoth: what another client put at the name meanwhile is kept beside it,
// for small files and for those in parts, over an object and over nothing.
func TestKeepBoth(t *testing.T) {
	for name, body := range map[string][]byte{"small": []byte("ours"), "parts": pattern(9*mib, 7)} {
		for _, before := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				w.start()
				if before {
					w.write("d/a.txt", []byte("first"))
					w.settle()
				}
				w.overtake("d/a.txt", "theirs")
				w.kept["d/a (conflict 1970-01-01T00.00.0"+map[bool]ferry.ObjectKey{false: "1", true: "2"}[before]+"Z HOST).txt"] = []byte("theirs")
				w.write("d/a.txt", body)
				w.settle()
				if n := w.s.Counters().Conflicts; n != 1 {
					t.Errorf("%d conflicts were counted", n)
				}
				if sent := w.r.sent; sent > int64(len(body))+10 {
					t.Errorf("%d bytes were sent for %d: a 412 must not send them again", sent, len(body))
				}
			})
		}
	}
}

// TestKeepBothManyTimes: the other client never stops.
func TestKeepBothManyTimes(t *testing.T) {
	w := newWorld(t)
	w.start()
	left := 5
	w.r.fault = func(api string, key ferry.ObjectKey) (bool, error) {
		if api == "Put" && key == "a" && left > 0 {
			left--
			body := strings.Repeat("x", left+1)
			w.r.store("a", []byte(body), etagOf([]byte(body)), ferry.PutOptions{})
		}
		return false, nil
	}
	w.write("a", []byte("ours"))
	for i := range 5 {
		key := conflictName("a", time.Unix(int64(2*i+1), 0), "HOST", 1)
		w.kept[key] = []byte(strings.Repeat("x", 5-i))
	}
	w.settle()
}

func TestOtherPolicies(t *testing.T) {
	for policy, want := range map[ConflictPolicy]string{KeepOurs: "ours", KeepTheir: "theirs"} {
		for _, size := range []int{0, 9 * mib} {
			w := newWorld(t)
			w.change = func(o *Options) { o.Conflict = policy }
			w.start()
			w.write("a", []byte("first"))
			w.settle()
			w.overtake("a", "theirs")
			ours := append([]byte("ours"), pattern(size, 3)...)
			w.write("a", ours)
			if policy == KeepTheir {
				w.files["a"] = &modelFile{kind: ferry.File, body: []byte("theirs")}
				w.kept["a"] = []byte("theirs")
				delete(w.files, "a")
			}
			w.settle()
			if got, _ := w.body("a"); !strings.HasPrefix(got, want) {
				t.Errorf("policy %d: the bucket has %.10q, want %q", policy, got, want)
			}
		}
	}
}

// TestDeletedThere: ours is put as new where another client deleted.
func TestDeletedThere(t *testing.T) {
	for _, size := range []int{10, 9 * mib} {
		w := newWorld(t)
		w.start()
		w.write("a", []byte("first"))
		w.settle()
		w.remove("a")
		w.write("a", pattern(size, 1))
		w.settle()
	}
}

// parked waits until something is parked and returns why.
func (w *world) parked(path ferry.Path) string {
	w.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	err := w.s.Wait(ctx, path)
	p, ok := errors.AsType[*ParkedError](err)
	if !ok {
		w.t.Fatalf("Wait: %v, want it parked; left:\n%s", err, w.busy())
	}
	return p.Reason
}

// TestBaseLost: an edit whose base is gone is parked with its bytes, and never
// laid over another version; the person can give it up.
//
// semantics: write-base-lost
func TestBaseLost(t *testing.T) {
	for _, size := range []int{100, 20 * mib} {
		for _, gone := range []bool{false, true} {
			w := newWorld(t)
			w.start()
			w.write("a", pattern(size, 1))
			w.settle()
			w.s.agenda.mu.Lock() // nothing is tried before the other client was there
			w.edit("a", 50, []byte("edit"))
			if gone {
				w.remove("a")
			} else {
				w.overtake("a", "theirs")
			}
			w.s.agenda.mu.Unlock()
			w.s.Wake()
			if why := w.parked("a"); !strings.Contains(why, "base lost") {
				t.Errorf("parked because %q", why)
			}
			if got, ok := w.body("a"); ok == gone || !gone && got != "theirs" {
				t.Errorf("the bucket has %.10q, %v", got, ok)
			}
			var g ferry.Generation
			_ = w.j.View(func(tx ferry.Tx) error {
				for u := range tx.Uploads() {
					if u.State == ferry.StateParked {
						g = u.Generation
					}
				}
				return nil
			})
			if err := w.s.Retry(string(g)); err != nil {
				t.Errorf("Retry: %v", err)
			}
			if why := w.parked("a"); !strings.Contains(why, "base lost") {
				t.Errorf("after a retry parked because %q", why)
			}
			if err := w.s.Cancel(g); err != nil {
				t.Errorf("Cancel: %v", err)
			}
			if err := w.s.Wait(t.Context(), ""); err != nil {
				t.Errorf("after it was given up: %v", err)
			}
		}
	}
}

// TestParkedAndRetried: what the server refuses for good stops, with the bytes,
// and goes on when a person says so. What is beside it goes on.
func TestParkedAndRetried(t *testing.T) {
	for name, size := range map[string]int{"small": 10, "parts": 9 * mib} {
		for _, api := range []string{"Put", "NewUpload", "PutPart", "Complete"} {
			w := newWorld(t)
			w.r.fault = func(a string, key ferry.ObjectKey) (bool, error) {
				if a == api && key == "a" {
					return false, remoteErr(ferry.KindDenied, key, "forbidden")
				}
				return false, nil
			}
			w.start()
			w.write("b", []byte("fine"))
			w.write("a", pattern(size, 1))
			if (api == "Put") != (name == "small") {
				w.settle()
				continue
			}
			if why := w.parked("a"); !strings.Contains(why, "forbidden") {
				t.Errorf("%s %s: parked because %q", name, api, why)
			}
			if err := w.s.Wait(t.Context(), "b"); err != nil {
				t.Errorf("b: %v", err)
			}
			w.r.mu.Lock()
			w.r.fault = nil
			w.r.mu.Unlock()
			if err := w.s.Retry("a"); err != nil {
				t.Errorf("Retry: %v", err)
			}
			w.settle()
			if api == "Complete" && w.r.sent > int64(size)+4 {
				t.Errorf("%d bytes were sent for %d: parts at the server still count after a retry", w.r.sent, size)
			}
		}
	}
}

// TestWrittenAgainWhileParked: closing the file anew is an answer too.
func TestWrittenAgainWhileParked(t *testing.T) {
	w := newWorld(t)
	deny := true
	w.r.fault = func(a string, key ferry.ObjectKey) (bool, error) {
		if deny && a == "Put" {
			return false, remoteErr(ferry.KindDenied, key, "forbidden")
		}
		return false, nil
	}
	w.start()
	w.write("a", []byte("one"))
	w.parked("a")
	w.r.mu.Lock()
	deny = false
	w.r.mu.Unlock()
	w.edit("a", 0, []byte("two"))
	w.settle()
}

// TestSourceGone: another client deleted the object before it could be moved:
// the name goes, and nothing else does.
func TestSourceGone(t *testing.T) {
	for _, size := range []int{10, 2 * mib} {
		w := newWorld(t)
		w.start()
		w.write("a", pattern(size, 1))
		w.settle()
		w.s.agenda.mu.Lock()
		w.rename("a", "b")
		w.remove("a")
		w.s.agenda.mu.Unlock()
		w.s.Wake()
		delete(w.files, "b")
		w.settle()
	}
}

// TestSourceChanged: another client replaced the object before it could be
// moved: its version is what moves.
func TestSourceChanged(t *testing.T) {
	for _, size := range []int{10, 2 * mib} {
		w := newWorld(t)
		w.start()
		w.write("a", pattern(size, 1))
		w.settle()
		w.s.agenda.mu.Lock()
		w.rename("a", "b")
		w.overtake("a", "theirs")
		w.s.agenda.mu.Unlock()
		w.s.Wake()
		delete(w.files, "b")
		w.kept["b"] = []byte("theirs")
		w.settle()
	}
}

// TestDeleteSpares: what another client changed since it was seen is not deleted.
func TestDeleteSpares(t *testing.T) {
	w := newWorld(t)
	w.change = func(o *Options) { o.TTL = time.Nanosecond }
	w.start()
	for _, p := range []ferry.Path{"d/a", "d/b", "d/c", "d/d", "e"} {
		w.write(p, []byte("x"))
	}
	w.settle()
	w.overtake("d/b", "theirs")
	w.overtake("e", "theirs")
	for _, p := range []ferry.Path{"d/a", "d/b", "d/c", "d/d", "e"} {
		w.unlink(p)
	}
	w.kept["d/b"], w.kept["e"] = []byte("theirs"), []byte("theirs")
	w.settle()
}
