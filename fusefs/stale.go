package fusefs

import (
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// staleWithin is how soon the kernel looks a path up again after an ESTALE.
const staleWithin = time.Second

// staleOpens remembers which threads were told ESTALE by an open. Between LOOKUP
// and OPEN a file may be replaced. On ESTALE the kernel looks the path up anew, but
// once only: if that loses the race too, the program gets ENOENT, an answer of
// open(2) that programs know.
type staleOpens struct {
	mu   sync.Mutex
	last [64]struct { // by thread ID modulo 64; a collision costs one retry
		thread uint32
		at     time.Time
	}
}

// answer returns s, or ENOENT if thread was told ESTALE just before.
func (o *staleOpens) answer(thread uint32, s fuse.Status) fuse.Status {
	if s != fuse.Status(syscall.ESTALE) {
		return s
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	l := &o.last[thread%uint32(len(o.last))]
	again := l.thread == thread && time.Since(l.at) < staleWithin
	l.thread, l.at = thread, time.Now()
	if again {
		return fuse.ENOENT
	}
	return s
}
