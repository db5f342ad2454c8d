package journal_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ferry"
	"ferry/journal"
	"ferry/journal/crashpoint"
	"ferry/journal/journaltest"
)

// TestPowerCut plays power cuts on a loop-mounted image of ext4: the image file
// is copied while a child works, which leaves out what is only in the page cache.
// On the copy everything is there that a Sync acknowledged, and names and bytes
// come together or not at all.
//
// semantics: keep-fsync-power keep-together
func TestPowerCut(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test mounts a loop image: run it as root")
	}
	work := t.TempDir()
	image, mnt := filepath.Join(work, "disk.img"), filepath.Join(work, "mnt")
	run(t, "truncate", "-s", "96M", image)
	run(t, "mkfs.ext4", "-q", "-F", image)
	mount(t, image, mnt)
	dir, seed := filepath.Join(mnt, "state"), uint64(31337)
	c := startChild(t, dir, seed, 0, 1<<30)
	defer func() {
		_ = c.cmd.Process.Signal(syscall.SIGCONT)
		_ = c.cmd.Process.Kill()
		c.wait(t)
	}()
	rounds := 8
	if os.Getenv("FERRY_LONG") != "" {
		rounds = 60
	}
	last := 0
	for round := range rounds {
		var synced int
		for {
			_, synced = c.acknowledged()
			if synced > last+60 {
				break
			}
			select {
			case <-c.read:
				t.Fatalf("the child ended: %s", c.errors.String())
			case <-time.After(time.Millisecond):
			}
		}
		last = synced
		snapshot := filepath.Join(work, "cut.img")
		copyAtOnce(t, c, image, snapshot)
		cut := filepath.Join(work, "cut")
		undo := mount(t, snapshot, cut)
		o := childOptions(t, filepath.Join(cut, "state"))
		o.BootID, o.UnsafeFS = "after the cut", false
		j, w := survivors(t, o, seed, synced, synced+5000)
		w.bytesAreThere(t, j)
		checkAfterCut(t, j)
		t.Logf("round %d: %d changes were synced, %d survived, %d dropped", round, synced, w.n, j.Recovered().Dropped)
		if damage := j.Recovered().Damage; damage != nil {
			t.Fatalf("a power cut is no damage: %v", damage)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		undo()
	}
}

// TestCutAfterReopen: a power cut takes back that a closed file was opened again;
// what was written since may be there or not. The row says what is there.
func TestCutAfterReopen(t *testing.T) {
	o := journaltest.Options(t, t.TempDir())
	o.BootID = "before"
	j, err := journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	path := closedFiles(t, j, 2)[1]
	err = j.Update(func(tx ferry.Tx) error {
		tx.PutPart(tx.Inode(tx.InodeAt(path)).Content, ferry.Part{Number: 1, Extent: ferry.Extent{Length: 10}, ETag: "old"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = j.Update(func(tx ferry.Tx) error {
		u := tx.Upload(tx.Inode(tx.InodeAt(path)).Content)
		u.State = ferry.StateDirty
		tx.PutUpload(u)
		f, err := j.Staging().Open(u.Generation)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Truncate(40)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Abandon(); err != nil {
		t.Fatal(err)
	}
	o.BootID = "after"
	// The first start after the cut dies before it has acted on what it found.
	c := startChild(t, o.Dir, 1, 0, 0, envBoot+"="+o.BootID, crashpoint.Env+"="+crashpoint.OpenSegment)
	if !c.wait(t) {
		t.Fatal("the child was not killed")
	}
	j = journaltest.Reopen(t, o)
	err = j.View(func(tx ferry.Tx) error {
		in := tx.Inode(tx.InodeAt(path))
		if u := tx.Upload(in.Content); u.State != ferry.StateSealed || u.Size != 40 || in.Size != 40 {
			t.Errorf("%s, %d bytes, inode %d bytes", u.State, u.Size, in.Size)
		}
		if p := tx.Parts(in.Content); len(p) > 0 {
			t.Errorf("a part of bytes that may have changed counts: %v", p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkAfterCut(t *testing.T, j *journal.Journal) {
	t.Helper()
	if err := journal.Check(j); err != nil {
		t.Fatalf("check: %v", err)
	}
}

// copyAtOnce copies the image as it is at one moment: the child is stopped, and
// the copy counts if nothing was written while it was made.
func copyAtOnce(t *testing.T, c *child, from, to string) {
	t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.cmd.Process.Signal(syscall.SIGCONT) }()
	for range 20 {
		run(t, "cp", "--sparse=always", from, to)
		if exec.Command("cmp", "-s", from, to).Run() == nil {
			return
		}
	}
	t.Fatal("the image never stood still")
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out.String())
	}
}

// mount mounts an image until undo, or the end of the test.
func mount(t *testing.T, image, dir string) (undo func()) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, "mount", "-o", "loop", image, dir)
	mounted := true
	undo = func() {
		if mounted {
			mounted = false
			run(t, "umount", dir)
		}
	}
	t.Cleanup(undo)
	return undo
}
