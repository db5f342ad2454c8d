package ferry

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestEveryUploadStateReachesAFinalOne: a state that cannot would strand a file.
func TestEveryUploadStateReachesAFinalOne(t *testing.T) {
	for start := StateDirty; start <= StateDiscarded; start++ {
		seen := map[UploadState]bool{start: true}
		queue := []UploadState{start}
		final := false
		for len(queue) > 0 {
			s := queue[0]
			queue = queue[1:]
			final = final || s.Final()
			for _, next := range transitions[s] {
				if !seen[next] {
					seen[next] = true
					queue = append(queue, next)
				}
			}
		}
		if !final {
			t.Errorf("from %v no final state can be reached", start)
		}
		if start.Final() != (len(transitions[start]) == 0) {
			t.Errorf("%v: Final is %v with %d transitions", start, start.Final(), len(transitions[start]))
		}
	}
}

// TestCompletingIsNotSuperseded: once the request that makes the object may be
// under way, its outcome must be learnt first.
func TestCompletingIsNotSuperseded(t *testing.T) {
	if _, err := StateCompleting.Next(EventSuperseded); !IsKind(err, KindInternal) {
		t.Errorf("err = %v; want an internal error", err)
	}
}

// TestBytesAreKeptUntilStored: only states from which the content cannot be wanted
// again let the staging file go.
func TestBytesAreKeptUntilStored(t *testing.T) {
	for s := StateDirty; s <= StateDiscarded; s++ {
		reachesStored := false
		seen := map[UploadState]bool{}
		var walk func(UploadState)
		walk = func(s UploadState) {
			if seen[s] {
				return
			}
			seen[s] = true
			for _, next := range transitions[s] {
				reachesStored = reachesStored || next == StateStored
				walk(next)
			}
		}
		walk(s)
		if s.NeedsBytes() != reachesStored {
			t.Errorf("%v: NeedsBytes is %v, but that it can still be stored is %v", s, s.NeedsBytes(), reachesStored)
		}
	}
}

// TestUploadStatesDoc keeps docs/upload-states.md in step with the table.
func TestUploadStatesDoc(t *testing.T) {
	var b strings.Builder
	b.WriteString("# The life of an upload\n\nGenerated from `uploadstate.go` by `make golden`; do not edit.\n\n")
	b.WriteString("| state | event | next |\n|---|---|---|\n")
	for s := StateDirty; s <= StateDiscarded; s++ {
		for _, e := range slices.Sorted(maps.Keys(transitions[s])) {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", s, e, transitions[s][e])
		}
		if s.Final() {
			fmt.Fprintf(&b, "| %s | | (final: the row is deleted) |\n", s)
		}
	}
	const path = "docs/upload-states.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil { //nolint:gosec // a public document
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is not what the table says; run make golden and read the diff", path)
	}
}
