package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ferry/journal/crashpoint"
	"ferry/syncer/storetest"
)

// The points at which the whole daemon is killed: before and after each request
// that changes the bucket, between the steps of a write, and at some of the
// journal's points (all of them are tested there).
var daemonPoints = []string{
	"content.seal.after", "content.seal.before", "content.truncate.before", "content.truncate.cut",
	"content.truncate.intent", "content.writable", "content.write.journaled", "content.write.staged",
	"syncer.aside.intent", "syncer.aside.sent", "syncer.attr.sent", "syncer.complete.intent", "syncer.complete.sent",
	"syncer.copy.intent", "syncer.delete.claimed", "syncer.delete.sent", "syncer.delete.stored", "syncer.move.sent",
	"syncer.part.sent", "syncer.put.intent", "syncer.put.sent", "syncer.stored", "syncer.upload.opened",
	crashpoint.AppendBefore + ":12", crashpoint.AppendAfter + ":20", crashpoint.AppendBefore + ":35", crashpoint.AppendAfter + ":50",
	crashpoint.SyncStaging + ":3", crashpoint.BarrierAppend + ":3", crashpoint.BarrierSynced + ":4", crashpoint.FreeBefore + ":2",
}

// step is one change by a program: what it does, and to a model of the tree.
type step struct {
	name    string
	touches []string // names whose content is open while it runs
	do      func(mnt string) error
	model   func(m map[string]string)
}

func text(n int, seed byte) string {
	b := bytes.Repeat([]byte{seed}, n)
	for i := 0; i < n; i += 997 {
		b[i] = byte(i) ^ seed
	}
	return string(b)
}

// stored is what the bucket holds before.
func stored() map[string]string {
	return map[string]string{
		"base.bin": text(12<<20, 1), "small.txt": "small", "dir/a.txt": "a", "dir/b.txt": "b", "keep.txt": "keep",
		"gone.txt": "gone", "p.txt": "was p", "q.txt": "was q", "cut.txt": "cut me",
	}
}

func writeAll(name, content string) step {
	return step{
		"write " + name,
		[]string{name},
		func(mnt string) error { return os.WriteFile(filepath.Join(mnt, name), []byte(content), 0o644) },
		func(m map[string]string) { m[name] = content },
	}
}

func steps() []step {
	patch := text(4096, 9)
	return []step{
		writeAll("new.bin", text(20<<20, 2)),
		writeAll("note.txt", "a note"),
		{"edit base.bin", []string{"base.bin"}, func(mnt string) error {
			f, err := os.OpenFile(filepath.Join(mnt, "base.bin"), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte(patch), 1<<20)
			return errors.Join(err, f.Truncate(11<<20), f.Close())
		}, func(m map[string]string) {
			b := []byte(m["base.bin"])[:11<<20]
			copy(b[1<<20:], patch)
			m["base.bin"] = string(b)
		}},
		{"rename small.txt", nil, func(mnt string) error {
			return os.Rename(filepath.Join(mnt, "small.txt"), filepath.Join(mnt, "renamed.txt"))
		}, func(m map[string]string) { move(m, "small.txt", "renamed.txt") }},
		{"rename dir", nil, func(mnt string) error {
			return os.Rename(filepath.Join(mnt, "dir"), filepath.Join(mnt, "dir2"))
		}, func(m map[string]string) {
			move(m, "dir/a.txt", "dir2/a.txt")
			move(m, "dir/b.txt", "dir2/b.txt")
		}},
		{"chmod keep.txt", nil, func(mnt string) error {
			return os.Chmod(filepath.Join(mnt, "keep.txt"), 0o600)
		}, func(map[string]string) {}},
		{"remove gone.txt", nil, func(mnt string) error {
			return os.Remove(filepath.Join(mnt, "gone.txt"))
		}, func(m map[string]string) { delete(m, "gone.txt") }},
		{"exchange p and q", nil, func(mnt string) error {
			return unix.Renameat2(unix.AT_FDCWD, filepath.Join(mnt, "p.txt"), unix.AT_FDCWD, filepath.Join(mnt, "q.txt"), unix.RENAME_EXCHANGE)
		}, func(m map[string]string) { m["p.txt"], m["q.txt"] = m["q.txt"], m["p.txt"] }},
		{"truncate cut.txt", []string{"cut.txt"}, func(mnt string) error {
			return os.Truncate(filepath.Join(mnt, "cut.txt"), 3)
		}, func(m map[string]string) { m["cut.txt"] = "cut" }},
	}
}

func move(m map[string]string, from, to string) {
	m[to] = m[from]
	delete(m, from)
}

// The daemon is killed at every point. What had returned is there afterwards, what
// had not is there or not, and when it has caught up the bucket is the tree.
func TestCrashAtEveryPointOfTheDaemon(t *testing.T) {
	needMount(t)
	s3 := storetest.StartMinIO(t)
	points := slices.Clone(daemonPoints)
	rand.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	for _, point := range points[:choose(5, len(points))] {
		t.Run(point, func(t *testing.T) { crashAt(t, s3, point) })
	}
}

func crashAt(t *testing.T, s3 *storetest.Server, point string) {
	p := newPlace(t, s3)
	bucket := s3.MakeBucket(t)
	m := p.mount(bucket, p.mnt())
	for name, content := range stored() {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(p.mnt(), name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(p.mnt(), name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.must("umount", p.mnt())
	m.code(time.Second)

	env := p.env
	p.env = append(slices.Clone(env), crashpoint.Env+"="+point)
	m = p.mount(bucket, p.mnt())
	p.env = env
	model := stored()
	var during *step
	for _, s := range steps() {
		if err := s.do(p.mnt()); err != nil {
			t.Logf("died in: %s: %v", s.name, err)
			during = &s
			break
		}
		s.model(model)
	}
	p.run("wait", "--timeout", "30s", p.mnt()) // most points are in what follows
	select {
	case <-m.ended:
	case <-time.After(time.Second):
		t.Errorf("the daemon did not come to %s", point)
	}
	m.kill()

	m = p.mount(bucket, p.mnt())
	checkTree(t, p.mnt(), model, during)
	p.must("wait", "--timeout", "1m", p.mnt())
	seen := readTree(t, p.mnt())
	checkTree(t, p.mnt(), model, during)
	p.must("umount", p.mnt())
	m.code(time.Second)
	if err := os.RemoveAll(p.state()); err != nil {
		t.Fatal(err)
	}
	m = p.mount("--read-only", bucket, p.mnt())
	if again := readTree(t, p.mnt()); !maps.Equal(seen, again) {
		t.Errorf("the bucket is not the tree:\n%v\nand was\n%v", digest(again), digest(seen))
	}
	m.end(syscall.SIGTERM)
}

// checkTree compares with the model. What was under way may have happened or not.
func checkTree(t *testing.T, mnt string, model map[string]string, during *step) {
	t.Helper()
	got := readTree(t, mnt)
	var open []string
	after := maps.Clone(model)
	if during != nil {
		open = during.touches
		during.model(after)
	}
	model = maps.Clone(model)
	for _, m := range []map[string]string{got, model, after} {
		for _, name := range open {
			delete(m, name) // half a write: readTree has seen that it can be read
		}
	}
	if !maps.Equal(got, model) && !maps.Equal(got, after) {
		t.Errorf("the tree is\n%v\nbut what had returned makes\n%v", digest(got), digest(model))
	}
}

func readTree(t *testing.T, mnt string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(mnt, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		got[strings.TrimPrefix(path, mnt+"/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// digest is a tree that can be printed.
func digest(m map[string]string) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, fmt.Sprintf("%s %d %x", name, len(m[name]), sha256.Sum256([]byte(m[name])))[:len(name)+20])
	}
	return list
}
