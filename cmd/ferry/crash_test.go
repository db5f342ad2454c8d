package main

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ferry/service/control"
	"ferry/syncer/storetest"
)

// long is set by `make crash`: the full count instead of a sample.
func long() bool { return os.Getenv("FERRY_LONG") != "" }

func choose[T any](sample, full T) T {
	if long() {
		return full
	}
	return sample
}

// maxResent is what one kill may cost: docs/durability.md.
const maxResent = 64 << 20

// meter counts what goes to the server, by standing in front of it.
type meter struct {
	listener net.Listener
	sent     atomic.Int64
	conns    sync.WaitGroup
}

func newMeter(t *testing.T, s3 *storetest.Server) (*meter, *storetest.Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{listener: l}
	m.conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			m.conns.Go(func() { m.pass(c, strings.TrimPrefix(s3.Endpoint, "http://")) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		m.conns.Wait()
	})
	front := *s3
	front.Endpoint = "http://" + l.Addr().String()
	return m, &front
}

func (m *meter) pass(c net.Conn, to string) {
	defer c.Close()
	s, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer s.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(c, s)
		c.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		m.sent.Add(int64(n))
		if n > 0 {
			if _, err := s.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	s.Close()
	<-done
}

// killer is the loop of kills: one file at a time is copied in, and everything is
// killed at random moments until the file is stored.
type killer struct {
	*place
	t      *testing.T
	s3     *storetest.Server
	bucket string
	rnd    *mathrand.Rand
	meter  *meter
	source string
	bytes  []byte
	took   time.Duration // from the start of cp until stored, undisturbed

	file   string // its name in the mount
	acked  bool   // cp had returned
	kills  int    // while it was the file
	before int64  // meter when it was begun
}

// Nothing whose close had returned is lost, each object is right by sha256, and a
// kill costs at most 64 MiB of sending.
//
// semantics: keep-close-kill keep-resume write-whole
func TestKillsOfEverythingDuringAndAfterCopy(t *testing.T) {
	needMount(t)
	kills := choose(4, 50)
	if n, err := strconv.Atoi(os.Getenv("FERRY_KILLS")); err == nil {
		kills = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s3 := storetest.StartMinIO(t)
	m, front := newMeter(t, s3)
	k := &killer{
		place: newPlace(t, front), t: t, s3: s3, bucket: s3.MakeBucket(t), meter: m,
		rnd: mathrand.New(mathrand.NewPCG(seed, 1)), bytes: make([]byte, choose(96<<20, 256<<20)),
	}
	_, _ = rand.Read(k.bytes)
	k.source = k.write("source.bin", string(k.bytes))

	first := k.mount(k.bucket, k.mnt())
	begin := time.Now()
	if err := k.copy("first"); err != nil {
		t.Fatal(err)
	}
	k.must("wait", "--timeout", "1m", k.mnt())
	k.took = time.Since(begin)
	first.kill()

	for round, done := 0, 0; done < kills || k.file != ""; round++ {
		done += k.life(round, done < kills)
	}
}

// life is the life of one daemon: it takes up the file that the last one left, or
// a new one. It ends with a kill while a file is new and, now and then, while the
// rest of one is sent, if more are wanted. It returns how many.
func (k *killer) life(round int, kill bool) int {
	d := k.mount(k.bucket, k.mnt())
	ended := make(chan struct{})
	kill = kill && (k.file == "" || k.rnd.IntN(5) < 2)
	if k.file == "" {
		k.file, k.acked, k.kills, k.before = fmt.Sprintf("file-%d", round), false, 0, k.meter.sent.Load()
		go func() {
			defer close(ended)
			k.acked = k.copy(k.file) == nil
		}()
	} else {
		close(ended)
		k.checkWholeOrAbsent()
		k.checkThroughMount()
	}
	if kill {
		time.Sleep(time.Duration(k.rnd.Int64N(int64(k.took))))
		d.kill()
		if round%3 == 2 {
			k.s3.Kill()
			k.s3.Start()
		}
		<-ended
		k.kills++
		return 1
	}
	<-ended
	k.must("wait", "--timeout", "2m", k.mnt())
	k.checkObject()
	k.must("umount", k.mnt())
	return 0
}

// copy is cp: nil if it said that all was well.
func (k *killer) copy(name string) error {
	out, err := exec.Command("cp", k.source, filepath.Join(k.mnt(), name)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return nil
}

// checkWholeOrAbsent looks at the bucket while the upload may be under way.
func (k *killer) checkWholeOrAbsent() {
	keys := k.s3.Keys(k.t, k.bucket, k.file)
	if len(keys) == 0 {
		return
	}
	if got := object(k.t, k.s3, k.bucket, k.file); k.acked && len(got) != len(k.bytes) {
		k.t.Errorf("object %s has %d bytes of %d while it is being sent", k.file, len(got), len(k.bytes))
	}
}

// checkThroughMount looks at the file after a kill. What was not acknowledged may
// be a beginning of it, or nothing.
func (k *killer) checkThroughMount() {
	got, err := os.ReadFile(filepath.Join(k.mnt(), k.file))
	switch {
	case errors.Is(err, os.ErrNotExist) && !k.acked:
		k.file = ""
	case err != nil:
		k.t.Fatalf("%s after kill %d: %v (its close had returned: %v)", k.file, k.kills, err, k.acked)
	case k.acked && len(got) != len(k.bytes):
		k.t.Fatalf("%s after kill %d: %d bytes of %d, though its close had returned", k.file, k.kills, len(got), len(k.bytes))
	case sha256.Sum256(got) != sha256.Sum256(k.bytes[:len(got)]):
		k.t.Fatalf("%s after kill %d: other bytes than were written", k.file, k.kills)
	}
}

// checkObject compares the object by a plain S3 client, counts what was sent, and
// removes the file.
func (k *killer) checkObject() {
	if k.file == "" {
		return
	}
	got := object(k.t, k.s3, k.bucket, k.file)
	if (k.acked && len(got) != len(k.bytes)) || sha256.Sum256(got) != sha256.Sum256(k.bytes[:len(got)]) {
		k.t.Fatalf("object %s: %d bytes that are not those written (acknowledged: %v)", k.file, len(got), k.acked)
	}
	// A MiB for each life is for headers, probes and listings.
	sent := k.meter.sent.Load() - k.before
	resent := sent - int64(len(got)) - int64(k.kills+1)<<20
	k.t.Logf("%s: %s, acknowledged %v, %d kills, sent %s, so again %s", k.file, formatSize(int64(len(got))), k.acked, k.kills, formatSize(sent), formatSize(max(0, resent)))
	if resent > int64(k.kills)*maxResent {
		k.t.Errorf("%s: %s were sent again after %d kills; want at most 64 MiB for each", k.file, formatSize(resent), k.kills)
	}
	if err := os.Remove(filepath.Join(k.mnt(), k.file)); err != nil {
		k.t.Fatal(err)
	}
	k.must("wait", "--timeout", "1m", k.mnt())
	k.file = ""
}

// The server goes away during a copy and comes back: the copy ends well, status
// says offline meanwhile, and what is staged can be read.
//
// semantics: read-local
func TestServerKilledDuringCopy(t *testing.T) {
	needMount(t)
	s3 := storetest.StartMinIO(t)
	p := newPlace(t, s3)
	bucket := s3.MakeBucket(t)
	p.mount(bucket, p.mnt())
	data := make([]byte, choose(96<<20, 512<<20))
	_, _ = rand.Read(data)
	source := p.write("source.bin", string(data))

	cp := exec.Command("cp", source, filepath.Join(p.mnt(), "a.bin"))
	if err := cp.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the copy has begun", func() bool {
		info, err := os.Stat(filepath.Join(p.mnt(), "a.bin"))
		return err == nil && info.Size() > 8<<20
	})
	s3.Kill()
	down := time.Now()
	if err := cp.Wait(); err != nil {
		t.Fatalf("cp without the server: %v", err)
	}
	eventually(t, 30*time.Second, "status says offline", func() bool { return p.status().State == control.StateOffline })
	if got, err := os.ReadFile(filepath.Join(p.mnt(), "a.bin")); err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
		t.Errorf("a staged file without the server: %d bytes, %v", len(got), err)
	}
	if err := os.WriteFile(filepath.Join(p.mnt(), "b.txt"), []byte("written offline"), 0o644); err != nil {
		t.Errorf("a write without the server: %v", err)
	}
	if r := p.run("wait", "--timeout", "1s", p.mnt()); r.code != exitNotYet {
		t.Errorf("wait without the server: exit %d, want %d: %s", r.code, exitNotYet, r.err)
	}
	if rest := choose(6*time.Second, 60*time.Second) - time.Since(down); rest > 0 {
		time.Sleep(rest)
	}
	s3.Start()
	p.must("wait", "--timeout", "1m", p.mnt())
	if got := object(t, s3, bucket, "a.bin"); sha256.Sum256(got) != sha256.Sum256(data) {
		t.Errorf("object a.bin: %d bytes that are not those written", len(got))
	}
	if got := object(t, s3, bucket, "b.txt"); string(got) != "written offline" {
		t.Errorf("object b.txt: %q", got)
	}
	eventually(t, 10*time.Second, "status says ready", func() bool { return p.status().State == control.StateReady })
}

// A mount is made without its server if it was made with it before, and never on
// a state directory that does not know the bucket.
//
// semantics: read-unknown
func TestMountOffline(t *testing.T) {
	needMount(t)
	s3 := storetest.StartMinIO(t)
	p := newPlace(t, s3)
	bucket := s3.MakeBucket(t)
	m := p.mount(bucket, p.mnt())
	if err := os.WriteFile(filepath.Join(p.mnt(), "a.txt"), []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.kill()
	s3.Kill()
	if r := p.run("mount", "--state-dir", filepath.Join(p.dir, "other"), bucket, p.mkdir("mnt2")); r.code != exitEndpoint {
		t.Errorf("first mount without the server: exit %d, want %d: %s", r.code, exitEndpoint, r.err)
	}
	m = p.mount(bucket, p.mnt())
	if s := p.status(); s.State != control.StateOffline || s.Daemon.Restarts != 1 {
		t.Errorf("state %q after %d restarts; want offline after 1", s.State, s.Daemon.Restarts)
	}
	if got, err := os.ReadFile(filepath.Join(p.mnt(), "a.txt")); err != nil || string(got) != "one" {
		t.Errorf("what was acknowledged before the kill: %q, %v", got, err)
	}
	// Unknown is not absent.
	if _, err := os.Stat(filepath.Join(p.mnt(), "never-listed")); !errors.Is(err, syscall.EIO) {
		t.Errorf("a name that was never listed: %v; want EIO", err)
	}
	s3.Start()
	p.must("wait", "--timeout", "1m", p.mnt())
	if got := object(t, s3, bucket, "a.txt"); string(got) != "one" {
		t.Errorf("object a.txt: %q", got)
	}
	if code := m.end(syscall.SIGTERM); code != 0 {
		t.Errorf("SIGTERM: exit %d", code)
	}
}
