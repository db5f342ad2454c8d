package journal_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ferry"
	"ferry/journal"
	"ferry/journal/crashpoint"
	"ferry/journal/journaltest"
	"ferry/journal/vfs"
)

// A child is this test binary run again: it opens a journal, goes on with a
// world's history, and says on its standard output what returned.
const (
	envDir   = "FERRY_TEST_JOURNAL"
	envSeed  = "FERRY_TEST_SEED"
	envFrom  = "FERRY_TEST_FROM" // changes already made
	envUntil = "FERRY_TEST_UNTIL"
	envFull  = "FERRY_TEST_DISK_FULL" // the disk is full once
	envBoot  = "FERRY_TEST_BOOT"      // a boot ID of its own
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envDir); dir != "" {
		if err := childMain(dir); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func number(env string) int {
	n, err := strconv.Atoi(os.Getenv(env))
	if err != nil {
		panic(env + ": " + err.Error())
	}
	return n
}

func childMain(dir string) error {
	o := journal.Options{
		Dir: dir, BootID: os.Getenv(envBoot), UnsafeFS: true, BallastSize: 64 << 10, SyncInterval: 3 * time.Millisecond,
		Log:      slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Identity: journal.Identity{Endpoint: "http://test", Bucket: "bucket"},
	}
	tiny(&o)
	if os.Getenv(envFull) != "" {
		var once sync.Once
		full := &journaltest.FaultFS{FS: vfs.OS()}
		full.Fault = func(op, name string) (n int, err error) {
			if op == "fallocate" {
				once.Do(func() { err = syscall.ENOSPC })
			}
			return 0, err
		}
		o.FS = full
	}
	w := newWorld(uint64(number(envSeed))).at(number(envFrom))
	j, err := journal.Open(o)
	if err != nil {
		return err
	}
	clones := ferry.NewGenerations()
	for until := number(envUntil); w.n < until; {
		if err := w.do(j); err != nil {
			return err
		}
		fmt.Println("done", w.n)
		switch {
		case w.n%17 == 0:
			if err := j.Sync(context.Background()); err != nil {
				return err
			}
			fmt.Println("synced", w.n)
		case w.n%23 == 0:
			if u, ok := first(w.uploadsIn(ferry.StateSealed)); ok {
				if err := j.Staging().Clone(u.Generation, clones.Next(), nil); err != nil {
					return err
				}
			}
		}
	}
	if err := journal.Check(j); err != nil {
		return err
	}
	return j.Close()
}

func first[T any](list []T) (v T, ok bool) {
	if len(list) == 0 {
		return v, false
	}
	return list[0], true
}

// child is a running one.
type child struct {
	cmd    *exec.Cmd
	mu     sync.Mutex
	done   int
	synced int
	read   chan struct{} // closed when its output ended
	errors strings.Builder
}

// startChild starts one that goes on from change `from`.
func startChild(t testing.TB, dir string, seed uint64, from, until int, env ...string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0]), done: from, read: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), append(env, envDir+"="+dir,
		envSeed+"="+strconv.FormatUint(seed, 10), envFrom+"="+strconv.Itoa(from), envUntil+"="+strconv.Itoa(until))...)
	c.cmd.Stderr = &c.errors
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.read)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			what, count, _ := strings.Cut(lines.Text(), " ")
			n, _ := strconv.Atoi(count)
			c.mu.Lock()
			if what == "done" {
				c.done = n
			} else {
				c.synced = n
			}
			c.mu.Unlock()
		}
	}()
	return c
}

// acknowledged returns how many changes returned, and how many a Sync covered.
func (c *child) acknowledged() (done, synced int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done, c.synced
}

// wait returns whether the child was killed. Any other end but success fails.
func (c *child) wait(t testing.TB) (killed bool) {
	t.Helper()
	<-c.read
	err := c.cmd.Wait()
	if status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil {
		t.Fatalf("child: %v\n%s", err, c.errors.String())
	}
	return false
}

// survivors opens the journal in dir and finds which of the changes from `from`
// to `to` it ends after.
func survivors(t testing.TB, o journal.Options, seed uint64, from, to int) (*journal.Journal, *world) {
	t.Helper()
	j, err := journal.Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	got, err := lines(j)
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	w := newWorld(seed).at(from)
	nearest := difference(got, dump(w.ref))
	for difference(got, dump(w.ref)) != "" {
		if w.n >= to {
			t.Fatalf("the journal ends after none of the changes %d to %d; compared with the first: %s", from, to, nearest)
		}
		if err := w.do(nil); err != nil {
			t.Fatal(err)
		}
	}
	return j, w
}

func childOptions(t testing.TB, dir string) journal.Options {
	o := journaltest.Options(t, dir)
	tiny(&o)
	return o
}

// TestCrashPoints kills a child at every point, at the first and at later
// passages, and goes on with what is left: what the child had acknowledged is
// there, and at most the one change that was under way.
func TestCrashPoints(t *testing.T) {
	unreached := map[string]bool{
		crashpoint.RebuildBefore: true, crashpoint.SetAside: true, // TestCrashWhileRebuilding
	}
	for _, point := range crashpoint.Points() {
		if unreached[point] {
			continue
		}
		t.Run(point, func(t *testing.T) {
			dir, seed, n := t.TempDir(), uint64(len(point))*7919, 0
			passages := []int{1, 3, 9}
			if os.Getenv("FERRY_LONG") != "" {
				passages = []int{1, 3, 2, 9, 1, 20, 4, 40, 5, 6, 7, 8, 80}
			}
			for round, hits := range passages {
				env := []string{crashpoint.Env + "=" + point + ":" + strconv.Itoa(hits)}
				if strings.HasPrefix(point, "ballast") {
					env = append(env, envFull+"=1")
				}
				c := startChild(t, dir, seed, n, n+250, env...)
				killed := c.wait(t)
				if round == 0 && !killed {
					t.Fatalf("the child never came to %s", point)
				}
				done, _ := c.acknowledged()
				j, w := survivors(t, childOptions(t, dir), seed, done, done+1)
				w.equals(t, j)
				n = w.n
				end := j.Abandon
				if round%2 == 1 {
					end = j.Close
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestKillAnywhere kills a child at moments of its own choosing.
func TestKillAnywhere(t *testing.T) {
	dir, seed, n := t.TempDir(), uint64(4711), 0
	for round := range 12 {
		c := startChild(t, dir, seed, n, 1<<30)
		for target := n + 20 + 37*round%90; ; {
			if done, _ := c.acknowledged(); done >= target {
				break
			}
			select {
			case <-c.read:
				c.wait(t)
				t.Fatal("the child ended by itself")
			case <-time.After(100 * time.Microsecond):
			}
		}
		if err := c.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		c.wait(t)
		done, _ := c.acknowledged()
		j, w := survivors(t, childOptions(t, dir), seed, done, done+1)
		w.equals(t, j)
		n = w.n
		if err := j.Abandon(); err != nil {
			t.Fatal(err)
		}
	}
}
