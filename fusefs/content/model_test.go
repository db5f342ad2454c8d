package content

import (
	"bytes"
	"context"
	"os"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"ferry"
)

const modelMax = 1 << 19 // the largest offset: several read blocks

// model is one file, a byte slice, and everything that may happen to it: system
// calls, the syncer storing generations at any moment, and the daemon's end.
type model struct {
	w     *world
	f     *Files
	id    ferry.InodeID
	want  []byte
	open  []*Handle
	write []*Handle // those of open that may write

	committing ferry.Generation // sent to the bucket, answer not known yet
	sent       []byte
	late       func() // the Settled event that has not been delivered yet
}

func (m *model) must(t *rapid.T, err error) {
	if err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

func (m *model) Open(t *rapid.T) {
	if len(m.open) > 4 {
		t.Skip("enough handles")
	}
	flags := rapid.SampledFrom([]uint32{syscall.O_RDONLY, syscall.O_RDWR, syscall.O_WRONLY, syscall.O_RDWR | syscall.O_TRUNC}).Draw(t, "flags")
	e, err := m.w.names.Stat(context.Background(), m.id)
	m.must(t, err)
	h, err := m.f.OpenFile(context.Background(), e, flags)
	m.must(t, err)
	if flags&syscall.O_TRUNC != 0 {
		m.want = nil
	}
	m.open = append(m.open, h)
	if h.writer {
		m.write = append(m.write, h)
	}
}

func (m *model) Close(t *rapid.T) {
	if len(m.open) == 0 {
		t.Skip("nothing is open")
	}
	i := rapid.IntRange(0, len(m.open)-1).Draw(t, "handle")
	h := m.open[i]
	m.must(t, m.f.Flush(h))
	m.f.Release(h)
	m.open = append(m.open[:i], m.open[i+1:]...)
	for i, x := range m.write {
		if x == h {
			m.write = append(m.write[:i], m.write[i+1:]...)
			break
		}
	}
}

func (m *model) writer(t *rapid.T) *Handle {
	if len(m.write) == 0 {
		t.Skip("no writer")
	}
	return rapid.SampledFrom(m.write).Draw(t, "writer")
}

func (m *model) grow(size int) {
	if size > len(m.want) {
		m.want = append(m.want, make([]byte, size-len(m.want))...)
	}
}

func (m *model) Write(t *rapid.T) {
	h := m.writer(t)
	off := rapid.IntRange(0, modelMax).Draw(t, "off")
	if rapid.Bool().Draw(t, "append") {
		off = len(m.want)
	}
	n := rapid.IntRange(1, 70_000).Draw(t, "n")
	p := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, n)
	got, err := m.f.Write(context.Background(), h, p, int64(off))
	m.must(t, err)
	if got != n {
		t.Fatalf("%d of %d bytes written", got, n)
	}
	m.grow(off + n)
	copy(m.want[off:], p)
}

func (m *model) SetSize(t *rapid.T) {
	size := rapid.IntRange(0, modelMax).Draw(t, "size")
	e, err := m.w.names.Stat(context.Background(), m.id)
	m.must(t, err)
	m.must(t, m.f.SetSize(context.Background(), e, int64(size)))
	m.grow(size)
	m.want = m.want[:size]
}

func (m *model) Fallocate(t *rapid.T) {
	h := m.writer(t)
	mode := rapid.SampledFrom([]uint32{0, fallocKeepSize, fallocPunchHole | fallocKeepSize, fallocZeroRange, fallocZeroRange | fallocKeepSize}).Draw(t, "mode")
	off := rapid.IntRange(0, modelMax).Draw(t, "off")
	n := rapid.IntRange(1, 300_000).Draw(t, "n")
	m.must(t, m.f.Fallocate(context.Background(), h, mode, ferry.Extent{Offset: int64(off), Length: int64(n)}))
	if mode&fallocKeepSize == 0 {
		m.grow(off + n)
	}
	if mode&^fallocKeepSize != 0 && off < len(m.want) {
		clear(m.want[off:min(off+n, len(m.want))])
	}
}

func (m *model) Copy(t *rapid.T) {
	dst := m.writer(t)
	src := rapid.SampledFrom(m.open).Draw(t, "src")
	n := rapid.IntRange(1, 100_000).Draw(t, "n")
	from := rapid.IntRange(0, modelMax).Draw(t, "from")
	to := from + n + rapid.IntRange(0, 1000).Draw(t, "gap") // the kernel refuses overlaps
	got, err := m.f.Copy(context.Background(), src, int64(from), dst, int64(to), int64(n))
	m.must(t, err)
	have := max(0, min(n, len(m.want)-from))
	if got != int64(have) {
		t.Fatalf("%d bytes copied, want %d", got, have)
	}
	if have > 0 {
		m.grow(to + have)
		copy(m.want[to:to+have], m.want[from:from+have])
	}
}

func (m *model) Read(t *rapid.T) {
	if len(m.open) == 0 {
		t.Skip("nothing is open")
	}
	h := rapid.SampledFrom(m.open).Draw(t, "handle")
	off := rapid.IntRange(0, modelMax).Draw(t, "off")
	m.compare(t, h, off, rapid.IntRange(1, 200_000).Draw(t, "n"))
}

func (m *model) compare(t *rapid.T, h *Handle, off, n int) {
	p := make([]byte, n)
	got, err := m.f.Read(context.Background(), h, p, int64(off))
	m.must(t, err)
	want := m.want[min(off, len(m.want)):min(off+n, len(m.want))]
	if !bytes.Equal(p[:got], want) {
		i := 0
		for i < min(got, len(want)) && p[i] == want[i] {
			i++
		}
		t.Fatalf("read at %d gave %d bytes, want %d; they differ from %d on", off, got, len(want), off+i)
	}
}

// Commit is the syncer sending the sealed generation.
func (m *model) Commit(t *rapid.T) {
	if m.committing != "" {
		t.Skip("one is under way")
	}
	g, data, err := m.w.commit(m.id)
	m.must(t, err)
	if g == "" {
		t.Skip("nothing is sealed")
	}
	if !bytes.Equal(data, m.want) {
		t.Fatalf("the syncer would send %d bytes that are not the %d of the file", len(data), len(m.want))
	}
	m.committing, m.sent = g, data
}

// Answer is the bucket's answer to it. The event comes at once or later.
func (m *model) Answer(t *rapid.T) {
	if m.committing == "" {
		t.Skip("nothing was sent")
	}
	stored := rapid.IntRange(0, 3).Draw(t, "stored") > 0
	g := m.committing
	v, err := m.w.finish(m.id, g, m.sent, stored)
	m.must(t, err)
	m.committing = ""
	if !stored {
		return
	}
	m.Event(t)
	m.late = func() { m.f.Settled(v.Key, ferry.Object{Version: v}) }
	if rapid.Bool().Draw(t, "at once") {
		m.Event(t)
	}
}

// Event delivers a Settled event that was late.
func (m *model) Event(*rapid.T) {
	if m.late != nil {
		m.late()
		m.late = nil
	}
}

// Kill is the daemon's end without a word, and the next start.
func (m *model) Kill(t *rapid.T) {
	m.f.Close()
	m.open, m.write, m.late = nil, nil, nil
	m.f = m.w.start()
	m.must(t, m.f.Recover(context.Background()))
}

// killed is what a crash point throws at the moment of the daemon's end.
type killed struct{}

// KillInside ends the daemon at a crash point inside a system call that was not
// answered: each byte and the size are what they were before the call, or after it.
func (m *model) KillInside(t *rapid.T) {
	before := bytes.Clone(m.want)
	left := rapid.IntRange(0, 4).Draw(t, "crash points passed")
	m.w.crash = func(string) {
		if left--; left < 0 {
			panic(killed{})
		}
	}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(killed{}) {
				panic(r)
			}
		}()
		if len(m.write) == 0 || rapid.Bool().Draw(t, "truncate") {
			size := rapid.IntRange(0, modelMax).Draw(t, "size")
			m.grow(size)
			m.want = m.want[:size]
			e, err := m.w.names.Stat(context.Background(), m.id)
			m.must(t, err)
			m.must(t, m.f.SetSize(context.Background(), e, int64(size)))
			return
		}
		off := rapid.IntRange(0, modelMax).Draw(t, "off")
		p := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.IntRange(1, 70_000).Draw(t, "n"))
		m.grow(off + len(p))
		copy(m.want[off:], p)
		_, err := m.f.Write(context.Background(), m.write[0], p, int64(off))
		m.must(t, err)
	}()
	m.w.crash = nil
	after := m.want
	m.Kill(t)
	e, err := m.w.names.Stat(context.Background(), m.id)
	m.must(t, err)
	h, err := m.f.OpenFile(context.Background(), e, syscall.O_RDONLY)
	m.must(t, err)
	defer m.f.Release(h)
	p := make([]byte, modelMax+400_000)
	n, err := m.f.Read(context.Background(), h, p, 0)
	m.must(t, err)
	if n != len(before) && n != len(after) {
		t.Fatalf("%d bytes, neither the %d of before the call nor the %d of after it", n, len(before), len(after))
	}
	for i, c := range p[:n] {
		if (i >= len(before) || c != before[i]) && (i >= len(after) || c != after[i]) {
			t.Fatalf("byte %d of %d is neither the one of before the call nor the one of after it", i, n)
		}
	}
	m.want = bytes.Clone(p[:n])
}

func (m *model) check(t *rapid.T) {
	if size, _, ok := m.f.LiveSize(m.id); ok && size != int64(len(m.want)) {
		t.Fatalf("live size %d, want %d", size, len(m.want))
	}
	if got := m.f.Open(m.id); got != (len(m.open) > 0) {
		t.Fatalf("open is %v with %d handles", got, len(m.open))
	}
	if len(m.open) > 0 {
		if size := m.f.Size(m.open[0]); size != int64(len(m.want)) {
			t.Fatalf("size %d, want %d", size, len(m.want))
		}
	}
}

// A file is what its system calls made it, whatever the syncer stores meanwhile
// and whenever the daemon is killed; and so is what the syncer would send.
func TestFileEqualsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "content")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := &model{w: newWorld(dir), id: 7}
		m.f = m.w.start()
		if rapid.Bool().Draw(t, "stored before") {
			m.want = bytes.Repeat([]byte("0123456789abcdef"), rapid.IntRange(0, modelMax/16).Draw(t, "blocks"))
			m.w.bucket.put(key(m.id), m.want, "")
		} else {
			e, err := m.w.names.create(m.id, m.w.gens.Next())
			m.must(t, err)
			h, err := m.f.OpenFile(context.Background(), e, syscall.O_WRONLY)
			m.must(t, err)
			m.open, m.write = []*Handle{h}, []*Handle{h}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": m.check, "Open": m.Open, "Close": m.Close, "Write": m.Write, "Write2": m.Write, "SetSize": m.SetSize,
			"Fallocate": m.Fallocate, "Copy": m.Copy, "Read": m.Read, "Read2": m.Read,
			"Commit": m.Commit, "Answer": m.Answer, "Event": m.Event, "Kill": m.Kill, "KillInside": m.KillInside,
		})
		for len(m.open) > 0 {
			m.Close(t)
		}
		m.Event(t)
		e, err := m.w.names.Stat(context.Background(), m.id)
		m.must(t, err)
		h, err := m.f.OpenFile(context.Background(), e, syscall.O_RDONLY)
		m.must(t, err)
		m.compare(t, h, 0, modelMax+400_000)
		m.f.Release(h)
		if n := m.f.ReadMemory(); n != 0 {
			// Fetches that were cancelled give back on their own time.
			m.f.Close()
			if n := m.f.ReadMemory(); n != 0 {
				t.Fatalf("%d bytes of read buffers are held by nobody", n)
			}
			return
		}
		m.f.Close()
	})
}
