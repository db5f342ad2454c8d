package fstest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What the environment changes, for long runs against a daemon that stores files
// meanwhile: FERRY_FSX_FOR (how long), FERRY_FSX_MAX (largest offset),
// FERRY_FSX_PAUSE (how long a file sometimes stays closed), FERRY_FSX_SEED.
func fsxMax() int {
	if n, err := strconv.Atoi(os.Getenv("FERRY_FSX_MAX")); err == nil {
		return n
	}
	return 1 << 20
}

// fsx does random system calls to one file on the mount and to a byte slice.
type fsx struct {
	t    *testing.T
	r    *rand.Rand
	path string
	f    *os.File
	want []byte
	max  int
	log  []string // what was done, for the report
}

func (x *fsx) fail(format string, a ...any) {
	x.t.Helper()
	for _, l := range x.log[max(0, len(x.log)-40):] {
		x.t.Log(l)
	}
	x.t.Fatalf(format, a...)
}

func (x *fsx) must(err error) {
	if err != nil {
		x.t.Helper()
		x.fail("%v", err)
	}
}

func (x *fsx) did(format string, a ...any) { x.log = append(x.log, fmt.Sprintf(format, a...)) }

func (x *fsx) grow(size int) {
	if size > len(x.want) {
		x.want = append(x.want, make([]byte, size-len(x.want))...)
	}
}

// span draws a range; most are small, some cross many pages and read blocks.
func (x *fsx) span() (off, n int) {
	off = x.r.IntN(x.max)
	if x.r.IntN(3) == 0 && len(x.want) > 0 {
		off = x.r.IntN(len(x.want))
	}
	n = 1 + x.r.IntN(x.max>>x.r.IntN(19)+1)
	return off, n
}

func (x *fsx) bytes(n int) []byte {
	p := make([]byte, n)
	c := byte(x.r.Uint32())
	for i := range p {
		p[i] = c + byte(i)
	}
	return p
}

func (x *fsx) write() {
	off, n := x.span()
	x.did("write [%d, %d)", off, off+n)
	p := x.bytes(n)
	_, err := x.f.WriteAt(p, int64(off))
	x.must(err)
	x.grow(off + n)
	copy(x.want[off:], p)
}

func (x *fsx) read() {
	off, n := x.span()
	x.did("read [%d, %d)", off, off+n)
	p := make([]byte, n)
	got, _ := x.f.ReadAt(p, int64(off))
	x.same(p[:got], x.want[min(off, len(x.want)):min(off+n, len(x.want))], off)
}

func (x *fsx) same(got, want []byte, off int) {
	x.t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	x.fail("%d bytes at %d, want %d; they differ from %d on", len(got), off, len(want), off+i)
}

func (x *fsx) truncate() {
	size := x.r.IntN(x.max)
	x.did("truncate %d", size)
	if x.r.IntN(2) == 0 {
		x.must(x.f.Truncate(int64(size)))
	} else {
		x.must(os.Truncate(x.path, int64(size)))
	}
	x.grow(size)
	x.want = x.want[:size]
}

func (x *fsx) fallocate() {
	off, n := x.span()
	modes := []uint32{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE}
	mode := modes[x.r.IntN(len(modes))]
	x.did("fallocate %#x [%d, %d)", mode, off, off+n)
	x.must(unix.Fallocate(int(x.f.Fd()), mode, int64(off), int64(n)))
	if mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
		x.grow(off + n)
	}
	if mode&^unix.FALLOC_FL_KEEP_SIZE != 0 && off < len(x.want) {
		clear(x.want[off:min(off+n, len(x.want))])
	}
}

func (x *fsx) copyRange() {
	from, n := x.span()
	to := from + n + x.r.IntN(1<<16)
	x.did("copy [%d, %d) to %d", from, from+n, to)
	rest := max(0, min(n, len(x.want)-from))
	a, b := int64(from), int64(to)
	for rest > 0 {
		got, err := unix.CopyFileRange(int(x.f.Fd()), &a, int(x.f.Fd()), &b, rest, 0)
		x.must(err)
		if got == 0 {
			x.fail("copy_file_range stopped %d bytes early", rest)
		}
		at := int(b) - got
		x.grow(int(b))
		copy(x.want[at:at+got], x.want[int(a)-got:int(a)])
		rest -= got
	}
}

// mapped writes and reads through a shared mapping.
func (x *fsx) mapped() {
	if len(x.want) == 0 {
		return
	}
	off, n := x.span()
	off %= len(x.want)
	n = min(n, len(x.want)-off)
	x.did("mmap [%d, %d)", off, off+n)
	m, err := unix.Mmap(int(x.f.Fd()), 0, len(x.want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	x.must(err)
	x.same(m[off:off+n], x.want[off:off+n], off)
	if x.r.IntN(2) == 0 {
		p := x.bytes(n)
		copy(m[off:], p)
		copy(x.want[off:], p)
		if x.r.IntN(2) == 0 {
			x.must(unix.Msync(m, unix.MS_SYNC))
		}
	}
	x.must(unix.Munmap(m))
}

func (x *fsx) reopen() {
	x.did("reopen")
	x.must(x.f.Close())
	if d, err := time.ParseDuration(os.Getenv("FERRY_FSX_PAUSE")); err == nil && x.r.IntN(4) == 0 {
		x.did("%s pass", d)
		time.Sleep(d)
	}
	var err error
	x.f, err = os.OpenFile(x.path, os.O_RDWR, 0)
	x.must(err)
}

func (x *fsx) sync() {
	x.did("fsync")
	x.must(x.f.Sync())
}

func (x *fsx) size() {
	i, err := x.f.Stat()
	x.must(err)
	if i.Size() != int64(len(x.want)) {
		x.fail("size %d, want %d", i.Size(), len(x.want))
	}
	end, err := unix.Seek(int(x.f.Fd()), 0, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) == (len(x.want) > 0) || len(x.want) > 0 && end != 0 {
		x.fail("data begins at %d (%v)", end, err)
	}
}

func (x *fsx) run(until time.Time) (n int) {
	ops := []func(){x.write, x.write, x.write, x.read, x.read, x.read, x.truncate, x.fallocate, x.copyRange, x.mapped, x.mapped, x.reopen, x.sync, x.size}
	for ; n < 200 || time.Now().Before(until); n++ {
		ops[x.r.IntN(len(ops))]()
	}
	x.reopen()
	p, err := os.ReadFile(x.path)
	x.must(err)
	x.same(p, x.want, 0)
	x.must(x.f.Close())
	return n
}

// fsxEnv tells the test's own binary, run again, which file to work on.
const fsxEnv = "FERRY_FSX"

func fsxStart() []byte {
	p := make([]byte, 300_000)
	for i := range p {
		p[i] = byte(i * 7 >> 3)
	}
	return p
}

// Random system calls on a file of the mount do what they do to a byte slice,
// whether the file is new or begins as a stored object.
func TestFsx(t *testing.T) {
	if path := os.Getenv(fsxEnv); path != "" {
		fsxChild(t, path)
		return
	}
	b := &bucket{}
	m := mount(t, b)
	b.put("stored", fsxStart())
	for _, name := range []string{"stored", "new"} {
		// A page fault on the mount stops a thread of Go for good if the same process
		// has to answer it: the calls come from a child.
		cmd := exec.Command(os.Args[0], "-test.run=^TestFsx$", "-test.v", fmt.Sprintf("-test.short=%v", testing.Short()))
		cmd.Env = append(os.Environ(), fsxEnv+"="+filepath.Join(m.dir, name))
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func fsxChild(t *testing.T, path string) {
	seed := rand.Uint64()
	if s := os.Getenv("FERRY_FSX_SEED"); s != "" {
		fmt.Sscan(s, &seed)
	}
	t.Logf("FERRY_FSX_SEED=%d", seed)
	x := &fsx{t: t, r: rand.New(rand.NewPCG(seed, 1)), path: path, max: fsxMax()}
	var err error
	x.f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	x.must(err)
	x.want, err = os.ReadFile(path)
	x.must(err)
	if filepath.Base(path) == "stored" {
		x.same(x.want, fsxStart(), 0)
	}
	d := 3 * time.Second
	if testing.Short() {
		d = 0
	}
	if long, err := time.ParseDuration(os.Getenv("FERRY_FSX_FOR")); err == nil {
		d = long
	}
	t.Logf("%d operations", x.run(time.Now().Add(d)))
}
