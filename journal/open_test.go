package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ferry"
	"ferry/journal"
	"ferry/journal/journaltest"

	bolt "go.etcd.io/bbolt"
)

func refused(t *testing.T, o journal.Options, kind ferry.Kind, words ...string) {
	t.Helper()
	j, err := journal.Open(o)
	if err == nil {
		j.Close()
		t.Fatal("it opened")
	}
	if ferry.KindOf(err) != kind {
		t.Fatalf("kind %s: %v", ferry.KindOf(err), err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Fatalf("the sentence does not say %q: %v", w, err)
		}
	}
}

func TestTwoOpeners(t *testing.T) {
	o := journaltest.Options(t, t.TempDir())
	journaltest.Reopen(t, o)
	refused(t, o, ferry.KindBusy, strconv.Itoa(os.Getpid()), "--state-dir")
}

func TestOtherBucket(t *testing.T) {
	o := journaltest.Options(t, t.TempDir())
	j, err := journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	other := o
	other.Identity.Prefix = "below/"
	refused(t, other, ferry.KindInvalid, "bucket at http://test", "bucket/below at http://test")
	journaltest.Reopen(t, o) // and it is still ours
}

func TestFileSystems(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "ferry-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	o := journaltest.Options(t, filepath.Join(dir, "state"))
	o.UnsafeFS = false
	refused(t, o, ferry.KindUnsupported, "tmpfs", "ext4, xfs and btrfs", "--state-fs-unsafe")
	o.UnsafeFS = true
	journaltest.Reopen(t, o)
}

func TestStateDirectoryIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	journaltest.Reopen(t, journaltest.Options(t, dir))
	i, err := os.Stat(dir)
	if err != nil || i.Mode().Perm() != 0o700 {
		t.Fatalf("%v %v", i.Mode(), err)
	}
}

func TestNewerSchema(t *testing.T) {
	o := journaltest.Options(t, t.TempDir())
	j, err := journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(o.Dir, "journal.db")
	db, err := bolt.Open(name, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("ferry")).Put([]byte("schema"), []byte{0, 0, 0, 0, 0, 0, 0, 9})
	})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	refused(t, o, ferry.KindUnsupported, "newer ferry", "schema 9")
	if _, err := os.Stat(name); err != nil {
		t.Fatal("a newer journal must be left alone:", err)
	}
}

func TestUnreadableIdentity(t *testing.T) {
	o := journaltest.Options(t, t.TempDir())
	if err := os.WriteFile(filepath.Join(o.Dir, "identity.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, o, ferry.KindCorrupt, "identity.json")
}

// TestInodeIDsAreNeverUsedTwice, not even those that no row was made for.
func TestInodeIDsAreNeverUsedTwice(t *testing.T) {
	o := journaltest.Options(t, t.TempDir())
	seen := map[ferry.InodeID]bool{ferry.RootInode: true, 0: true}
	for round := range 6 {
		j, err := journal.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		take := func(tx ferry.Tx) error {
			for range 50 {
				id := tx.NextInodeID()
				if seen[id] {
					return fmt.Errorf("ID %d a second time", id)
				}
				seen[id] = true
			}
			return nil
		}
		if err := j.View(take); err != nil {
			t.Fatal(err)
		}
		if err := j.Update(take); err != nil {
			t.Fatal(err)
		}
		end := j.Close
		if round%2 == 0 {
			end = j.Abandon
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReplies: the last 8192 of the connection are kept, over starts too, and
// another connection's are forgotten.
func TestReplies(t *testing.T) {
	o := journaltest.Options(t, t.TempDir())
	j, err := journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	put := func(connection uint64, from, to int) {
		t.Helper()
		err := j.Update(func(tx ferry.Tx) error {
			for i := from; i < to; i++ {
				tx.PutReply(ferry.Origin{Connection: connection, Unique: uint64(i)}, ferry.Reply{Errno: -2, Size: uint32(i)})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	count := func(connection uint64, from, to int) (n int) {
		t.Helper()
		err := j.View(func(tx ferry.Tx) error {
			for i := from; i < to; i++ {
				if r := tx.Reply(ferry.Origin{Connection: connection, Unique: uint64(i)}); r != nil {
					n++
					if r.Size != uint32(i) || r.Errno != -2 {
						return fmt.Errorf("reply %d is %+v", i, r)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	reopen := func() {
		t.Helper()
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if j, err = journal.Open(o); err != nil {
			t.Fatal(err)
		}
	}
	put(1, 0, 10)
	reopen()
	put(2, 0, 30_000)
	reopen()
	put(2, 30_000, 40_000)
	if n := count(1, 0, 10); n != 0 {
		t.Fatalf("%d replies of an old connection", n)
	}
	if n := count(2, 40_000-8192, 40_000); n != 8192 {
		t.Fatalf("%d of the last 8192 replies", n)
	}
	if n := count(2, 0, 20_000); n != 0 {
		t.Fatalf("%d old replies are kept", n)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}
