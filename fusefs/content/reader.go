package content

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"ferry"
)

const (
	// windowMax is how far ahead of a sequential reader is fetched.
	windowMax = 32 << 20
	// slack is how far a read may lie after the furthest one and still count as
	// sequential, behind how far before it: the kernel sends several of up to 1 MiB
	// at a time, in any order.
	slack  = 1 << 20
	behind = 4 << 20
	// keepRandom is how many blocks a reader keeps that reads around.
	keepRandom = 8
	// idleAfter is when the blocks of a reader that nobody asks are dropped.
	idleAfter = 5 * time.Second
)

// reader reads one version for one handle: what was asked for, rounded to
// 128 KiB, and more ahead the longer it reads in order.
type reader struct {
	all *readers
	v   ferry.Version

	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	blocks []*block // by offset, not overlapping
	next   int64    // end of the furthest read of the present run
	window int64    // how far ahead of next is fetched; 0 until reads come in order
	run    int64    // where the present run began
	used   time.Time
}

// readers are all readers, so that memory can be taken back from idle ones.
type readers struct {
	f     *Files
	slots chan struct{} // one for each GET of read-ahead under way

	mu   sync.Mutex
	open map[*reader]struct{}
}

func newReaders(f *Files) *readers {
	return &readers{f: f, slots: make(chan struct{}, f.o.Readers), open: map[*reader]struct{}{}}
}

// openReader begins to read v.
func (rs *readers) openReader(v ferry.Version) *reader {
	r := &reader{all: rs, v: v, next: -1, used: time.Now()}
	r.ctx, r.cancel = context.WithCancel(rs.f.ctx)
	rs.mu.Lock()
	rs.open[r] = struct{}{}
	rs.mu.Unlock()
	return r
}

// janitor drops what idle readers hold, until Files.Close.
func (rs *readers) janitor() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-rs.f.ctx.Done():
			return
		case now := <-t.C:
			rs.trim(func(r *reader) bool { return now.Sub(r.used) > idleAfter }, nil)
		}
	}
}

// trim drops the blocks of the readers for which idle reports true.
func (rs *readers) trim(idle func(*reader) bool, but *reader) {
	rs.mu.Lock()
	list := make([]*reader, 0, len(rs.open))
	for r := range rs.open {
		if r != but {
			list = append(list, r)
		}
	}
	rs.mu.Unlock()
	for _, r := range list {
		if !r.mu.TryLock() {
			continue // it is being used
		}
		if idle(r) {
			r.dropAll()
		}
		r.mu.Unlock()
	}
}

// reclaim makes room for self: the longest idle half of the other readers lets go.
func (rs *readers) reclaim(self *reader) {
	now := time.Now()
	for _, age := range []time.Duration{time.Second, 100 * time.Millisecond, 0} {
		before := rs.f.arena.used()
		rs.trim(func(r *reader) bool { return now.Sub(r.used) >= age }, self)
		if rs.f.arena.used() < before {
			return
		}
	}
}

// close ends the reader: its fetches are cancelled and its blocks dropped.
func (r *reader) close() {
	r.cancel()
	r.all.mu.Lock()
	delete(r.all.open, r)
	r.all.mu.Unlock()
	r.mu.Lock()
	r.closed = true
	r.dropAll()
	r.mu.Unlock()
}

// dropAll lets go of all blocks. r.mu must be held.
func (r *reader) dropAll() {
	for _, b := range r.blocks {
		b.cancel()
		b.drop()
	}
	r.blocks, r.window = nil, 0
}

// read fills p from off. All of p lies inside the object.
func (r *reader) read(ctx context.Context, p []byte, off int64) error {
	for len(p) > 0 {
		b, err := r.need(ctx, off, int64(len(p)))
		if err != nil {
			return err
		}
		n := min(int64(len(p)), b.End()-off)
		err = b.copyTo(ctx, p[:n], off)
		b.drop()
		if errors.Is(err, context.Canceled) && ctx.Err() == nil && r.ctx.Err() == nil {
			continue // the block was dropped to make room while we waited for it
		}
		if err != nil {
			return r.closedOr(err)
		}
		p, off = p[n:], off+n
	}
	return nil
}

// errReaderClosed says that the handle reads another version from now on.
var errReaderClosed = errors.New("the reader is closed")

// closedOr returns errReaderClosed if that is why reading failed.
func (r *reader) closedOr(err error) error {
	if r.ctx.Err() != nil && r.all.f.ctx.Err() == nil {
		return errReaderClosed
	}
	return err
}

// need returns the block that holds off, with one reference for the caller, and
// sees to it that what is likely to come next is under way.
func (r *reader) need(ctx context.Context, off, length int64) (*block, error) {
	var buf []byte // memory waited for, when the arena was full
	defer func() {
		if buf != nil {
			r.all.f.arena.give(buf)
		}
	}()
	for {
		b, least, err := r.needNow(off, length, &buf)
		if b != nil || err != nil {
			return b, err
		}
		// Wait without the lock, so that others can take from us.
		if buf != nil {
			r.all.f.arena.give(buf)
		}
		buf, err = r.all.f.arena.take(ctx, least, func() { r.all.reclaim(r); r.shed(off) })
		if err != nil {
			return nil, err
		}
	}
}

// needNow is need without waiting: if the arena is full and spare, memory that was
// waited for, is too small, it returns no block and how many bytes it takes.
func (r *reader) needNow(off, length int64, spare *[]byte) (b *block, least int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, 0, errReaderClosed
	}
	r.used = time.Now()
	sequential := r.observe(off, length)
	if b = r.find(off); b == nil {
		r.prune()
		e := r.gap(off, length)
		wide := e
		if sequential && r.window > e.Length {
			// The window has not kept up: fetch more than what was asked at once.
			wide.Length = max(e.Length, min(r.window, blockMax, r.upTo(off)-e.Offset))
		}
		if b = r.begin(wide, false); b == nil {
			if int64(cap(*spare)) < e.Length {
				return nil, e.Length, nil
			}
			b = r.beginIn((*spare)[:e.Length], e, false)
			*spare = nil
		}
	}
	b.hold()
	b.used = r.used
	if sequential {
		r.ahead()
	}
	return b, 0, nil
}

// observe follows the pattern of reads. It reports whether this one goes on where
// the last ones were. r.mu must be held.
func (r *reader) observe(off, length int64) bool {
	end := off + length
	if r.next >= 0 && off >= r.next-behind && off <= r.next+max(slack, r.window) {
		r.next = max(r.next, end)
		return r.next-r.run > blockMin
	}
	r.next, r.run, r.window = end, off, 0
	return false
}

// find returns the block that holds off, nil if none. One that failed is dropped,
// so that the next read tries again. r.mu must be held.
func (r *reader) find(off int64) *block {
	for i, b := range r.blocks {
		if off < b.Offset || off >= b.End() {
			continue
		}
		if b.failed() {
			r.blocks = slices.Delete(r.blocks, i, i+1)
			b.drop()
			return nil
		}
		return b
	}
	return nil
}

// gap returns what has to be fetched for length bytes at off: rounded to 128 KiB,
// up to what is there or under way already. r.mu must be held.
func (r *reader) gap(off, length int64) ferry.Extent {
	from := off / blockMin * blockMin
	to := min((off+length+blockMin-1)/blockMin*blockMin, from+blockMax)
	for _, b := range r.blocks {
		if b.End() <= off {
			from = max(from, b.End())
		}
	}
	to = min(to, r.upTo(off))
	return ferry.Extent{Offset: from, Length: to - from}
}

// upTo returns where the next block after off begins, or the end of the object.
func (r *reader) upTo(off int64) int64 {
	to := r.v.Size
	for _, b := range r.blocks {
		if b.Offset > off {
			to = min(to, b.Offset)
		}
	}
	return to
}

// ahead keeps the window in front of a sequential reader full. Its size doubles
// each time. r.mu must be held.
func (r *reader) ahead() {
	end := r.next // up to where everything is there or under way
	for _, b := range r.blocks {
		if b.Offset <= end && b.End() > end {
			end = b.End()
		}
	}
	if r.window > 0 && end-r.next > r.window/2 || end >= r.v.Size {
		return
	}
	r.prune()
	r.window = min(max(2*r.window, 2*blockMin), windowMax)
	for end < min(r.next+r.window, r.v.Size) {
		n := min(max(r.window/8, blockMin), blockMax)
		// Blocks end at multiples of their length, so that runs of them line up.
		e := ferry.Extent{Offset: end, Length: min((end/n+1)*n, r.upTo(end)) - end}
		if r.begin(e, true) == nil {
			return
		}
		end = e.End()
	}
}

// begin starts to fetch e, unless the arena is full. r.mu must be held.
func (r *reader) begin(e ferry.Extent, ahead bool) *block {
	buf := r.all.f.arena.try(e.Length)
	if buf == nil {
		return nil
	}
	return r.beginIn(buf, e, ahead)
}

// beginIn starts to fetch e into buf. r.mu must be held.
func (r *reader) beginIn(buf []byte, e ferry.Extent, ahead bool) *block {
	ctx, cancel := context.WithCancel(r.ctx)
	b := newBlock(r.all.f.arena, e, buf, cancel)
	i, _ := slices.BinarySearchFunc(r.blocks, e.Offset, func(b *block, off int64) int { return cmp.Compare(b.Offset, off) })
	r.blocks = slices.Insert(r.blocks, i, b)
	r.all.f.wg.Go(func() {
		defer cancel()
		defer b.drop()
		if ahead {
			select {
			case r.all.slots <- struct{}{}:
				defer func() { <-r.all.slots }()
			case <-ctx.Done():
				b.end(ctx.Err())
				return
			}
		}
		r.all.f.fetch(ctx, r.v, b)
	})
	return b
}

// prune drops what is behind a sequential reader, or all but the latest blocks of
// one that reads around. r.mu must be held.
func (r *reader) prune() {
	keep := r.blocks[:0]
	for _, b := range r.blocks {
		if r.window > 0 && (b.End() < r.next-behind || b.Offset > r.next+2*windowMax) && !b.wanted() {
			b.cancel()
			b.drop()
			continue
		}
		keep = append(keep, b)
	}
	clear(r.blocks[len(keep):])
	r.blocks = keep
	for r.window == 0 && len(r.blocks) > keepRandom {
		i := -1
		for j, b := range r.blocks {
			if (i < 0 || b.used.Before(r.blocks[i].used)) && !b.wanted() {
				i = j
			}
		}
		if i < 0 {
			return // as many readers as blocks: each needs its own
		}
		r.blocks[i].cancel()
		r.blocks[i].drop()
		r.blocks = slices.Delete(r.blocks, i, i+1)
	}
}

// shed drops what this reader holds apart from the block at off, when the arena is
// full and nobody else had anything to give.
func (r *reader) shed(off int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	keep := r.blocks[:0]
	for _, b := range r.blocks {
		if off >= b.Offset && off < b.End() || b.wanted() {
			keep = append(keep, b)
			continue
		}
		b.cancel()
		b.drop()
	}
	clear(r.blocks[len(keep):])
	r.blocks, r.window = keep, 0
}
