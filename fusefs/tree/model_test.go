package tree

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// op is one random operation: what it does follows from kind and seed alone and
// from what is there, so that a list of them can be shortened.
type op struct {
	kind int
	seed uint64
}

// world settings of one run.
type setting struct {
	page     int
	metadata bool
	maxDir   int
}

var settings = []setting{{3, true, 1000}, {1000, true, 1000}, {2, false, 1000}, {3, true, 4}, {2, false, 2}}

type action struct {
	name   string
	weight int
	do     func(w *world) (what string, fault error)
}

var actions = []action{
	{"create", 10, (*world).create},
	{"mkdir", 8, (*world).mkdir},
	{"symlink", 2, (*world).symlink},
	{"unlink", 7, (*world).unlink},
	{"rmdir", 6, (*world).rmdir},
	{"rename", 12, (*world).rename},
	{"setattr", 4, (*world).setattr},
	{"setxattr", 3, (*world).setxattr},
	{"lookup", 6, (*world).lookup},
	{"readdir", 6, (*world).readdir},
	{"write", 8, (*world).write},
	{"close", 6, (*world).closeSome},
	{"forget", 5, (*world).forget},
	{"expire", 3, (*world).expire},
	{"steps", 20, (*world).steps},
	{"quiesce", 2, func(w *world) (string, error) {
		if w.b.offline || len(w.open) > 0 {
			return "", nil
		}
		return "", w.quiesce()
	}},
	{"foreign put", 5, (*world).foreignPut},
	{"foreign delete", 3, (*world).foreignDelete},
	{"offline", 2, (*world).offline},
	{"restart", 2, (*world).restart},
	{"compare", 4, func(w *world) (string, error) { return "", w.compare("") }},
}

func randomOps(seed uint64, n int) []op {
	r := rand.New(rand.NewPCG(seed, 1))
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	ops := make([]op, n)
	for i := range ops {
		x := r.IntN(total)
		for k, a := range actions {
			if x -= a.weight; x < 0 {
				ops[i] = op{k, r.Uint64() % 100_000}
				break
			}
		}
	}
	return ops
}

// run does ops in a new world and compares at each step.
func run(s setting, ops []op) (log []string, fault error) {
	w := newWorld(s.page, s.metadata, s.maxDir)
	defer func() {
		if e := recover(); e != nil {
			if err, ok := e.(error); ok && !strings.Contains(err.Error(), "runtime error") {
				log, fault = w.log, err
				return
			}
			panic(e)
		}
	}()
	for _, o := range ops {
		w.r = rand.New(rand.NewPCG(o.seed, 2))
		what, err := actions[o.kind].do(w)
		w.log = append(w.log, fmt.Sprintf("{%d, %d} %s %s", o.kind, o.seed, actions[o.kind].name, what))
		if err == nil {
			err = w.j.Check()
		}
		if err == nil {
			err = w.counters()
		}
		if err == nil && w.r.IntN(4) == 0 {
			err = w.compare("")
		}
		if err != nil {
			return w.log, err
		}
	}
	w.r = rand.New(rand.NewPCG(1, 3))
	if err := w.final(); err != nil {
		w.log = append(w.log, "final")
		return w.log, err
	}
	return w.log, nil
}

// shorten leaves out every op that the fault does not need.
func shorten(s setting, ops []op) []op {
	fails := func(ops []op) bool {
		_, err := run(s, ops)
		return err != nil
	}
	for size := len(ops) / 2; size > 0; {
		shorter := false
		for i := 0; i+size <= len(ops); {
			if cut := slices.Delete(slices.Clone(ops), i, i+size); fails(cut) {
				ops, shorter = cut, true
			} else {
				i += size
			}
		}
		if !shorter || size > len(ops) {
			size /= 2
		}
	}
	return ops
}

// TestModel drives a tree, its journal and its bucket with random operations
// beside a model of a POSIX file system.
func TestModel(t *testing.T) {
	seeds := uint64(120)
	if testing.Short() {
		seeds = 30
	}
	for i, s := range settings {
		t.Run(fmt.Sprintf("page=%d,metadata=%v,large=%d", s.page, s.metadata, s.maxDir), func(t *testing.T) {
			t.Parallel()
			for seed := range seeds {
				ops := randomOps(seed*uint64(len(settings))+uint64(i), 90)
				if _, err := run(s, ops); err != nil {
					ops = shorten(s, ops)
					log, err := run(s, ops)
					t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(log, "\n"))
				}
			}
		})
	}
}
