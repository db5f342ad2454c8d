package syncer

import (
	"fmt"
	"testing"

	"ferry"
)

const mib = 1 << 20

// scenarios are what a user does. Each step settles before the next unless
// together says so.
var scenarios = map[string]func(w *world, rest func()){
	"put": func(w *world, rest func()) {
		w.write("a", []byte("one"))
		rest()
		w.write("a", []byte("two"))
		w.write("b/c", nil)
	},
	"parts": func(w *world, rest func()) {
		w.write("big", pattern(9*mib, 1))
		rest()
		w.edit("big", 3*mib, []byte("changed"))
		rest()
		w.edit("big", 9*mib, []byte("appended"))
	},
	"edit": func(w *world, rest func()) {
		w.write("a", []byte("hello, world"))
		rest()
		w.edit("a", 7, []byte("there"))
		w.edit("a", 20, []byte("far"))
	},
	"marker and link": func(w *world, rest func()) {
		w.make("dir", ferry.Dir, "")
		w.make("link", ferry.Symlink, "dir/x")
		rest()
		w.chmod("dir", 0o700)
		w.rename("dir", "dir2")
		rest()
		w.unlink("link")
	},
	"move": func(w *world, rest func()) {
		w.write("a", []byte("small"))
		w.write("m", pattern(2*mib, 2))
		rest()
		w.rename("a", "b")
		w.rename("m", "n")
		rest()
		w.chmod("b", 0o600)
		w.rename("b", "c")
	},
	"move over": func(w *world, rest func()) {
		w.write("a", []byte("new"))
		w.write("b", []byte("old"))
		rest()
		w.rename("a", "b")
	},
	"attr": func(w *world, rest func()) {
		w.write("a", []byte("x"))
		rest()
		w.chmod("a", 0o600)
		rest()
		w.chmod("a", 0o640)
		w.edit("a", 1, []byte("y"))
	},
	"swap": func(w *world, rest func()) {
		w.write("a", []byte("one"))
		w.write("b", pattern(2*mib, 3))
		rest()
		w.exchange("a", "b")
	},
	"ring": func(w *world, rest func()) {
		w.write("a", []byte("1"))
		w.write("b", []byte("2"))
		w.write("c", []byte("3"))
		rest()
		w.rename("a", "t")
		w.rename("b", "a")
		w.rename("c", "b")
		w.rename("t", "c")
	},
	"delete": func(w *world, rest func()) {
		for i := range 30 {
			w.write(ferry.Path(fmt.Sprintf("d/%02d", i)), []byte{byte(i)})
		}
		rest()
		for i := range 29 {
			w.unlink(ferry.Path(fmt.Sprintf("d/%02d", i)))
		}
	},
	"delete and make": func(w *world, rest func()) {
		w.write("a", []byte("one"))
		rest()
		w.unlink("a")
		w.write("a", []byte("two"))
		rest()
		w.unlink("a")
	},
}

// TestScenarios: without any fault the bucket ends as the user left the mount.
//
// semantics: write-settle
func TestScenarios(t *testing.T) {
	for name, play := range scenarios {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.start()
			play(w, w.settle)
			w.settle()
			if len(w.r.uploads) > 0 {
				t.Errorf("%d uploads are left at the server", len(w.r.uploads))
			}
		})
	}
}

// TestEveryFault plays each scenario again and again: the i-th request fails, or
// its answer is lost, or the process dies with its answer, for every i, until no
// request is left to fail. The bucket must end the same each time.
func TestEveryFault(t *testing.T) {
	for _, mode := range []string{"fails", "answer lost", "dies before", "dies after"} {
		for name, play := range scenarios {
			if testing.Short() && name == "parts" {
				continue
			}
			t.Run(mode+"/"+name, func(t *testing.T) {
				t.Parallel()
				for i := 0; playWithFault(t, mode, i, play); i++ {
				}
			})
		}
	}
}

// playWithFault reports whether there was an i-th request.
func playWithFault(t *testing.T, mode string, at int, play func(*world, func())) (hit bool) {
	w := newWorld(t)
	n := 0
	w.r.fault = func(api string, key ferry.ObjectKey) (bool, error) {
		n++
		if n-1 != at {
			return false, nil
		}
		hit = true
		fail := remoteErr(ferry.KindTransient, key, "the "+api+" failed")
		switch mode {
		case "fails":
			return false, fail
		case "answer lost":
			return true, nil
		case "dies before":
			w.r.dead = true
			w.died <- struct{}{}
			return false, fail
		default:
			w.r.dead = true
			w.died <- struct{}{}
			return true, nil
		}
	}
	w.start()
	play(w, w.settle)
	w.settle()
	w.kill()
	return hit
}
