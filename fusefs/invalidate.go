package fusefs

import (
	"log/slog"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ferry"
)

// invalidateQueue bounds what waits to be told to the kernel. What does not fit is
// left out: the kernel asks again after the timeout of names and attributes.
const invalidateQueue = 4096

// invalidator tells the kernel what it knows wrongly, from a goroutine of its own:
// the kernel may wait for a request of ours to be answered before it takes it.
type invalidator struct {
	log   *slog.Logger
	queue chan invalidation
	wg    sync.WaitGroup

	mu     sync.Mutex
	closed bool
}

type invalidation struct {
	parent ferry.InodeID // 0: no name
	name   string
	id     ferry.InodeID // 0: no inode
}

func newInvalidator(log *slog.Logger) *invalidator {
	return &invalidator{log: log, queue: make(chan invalidation, invalidateQueue)}
}

// add queues one. It does not block.
func (i *invalidator) add(v invalidation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return
	}
	select {
	case i.queue <- v:
	default:
	}
}

// start begins to work off the queue.
func (i *invalidator) start(s *fuse.Server) {
	i.wg.Go(func() {
		for v := range i.queue {
			if v.name != "" {
				i.told("name", s.EntryNotify(uint64(v.parent), v.name))
			}
			if v.id != 0 {
				i.told("inode", s.InodeNotify(uint64(v.id), 0, 0))
			}
		}
	})
}

func (i *invalidator) told(what string, s fuse.Status) {
	// ENOENT: the kernel did not know it. ENODEV: it is unmounted.
	if !s.Ok() && s != fuse.ENOENT && s != fuse.ENODEV && s != fuse.EBADF {
		i.log.Debug("the kernel did not take an invalidation", "what", what, "errno", s.String())
	}
}

// stop ends the work and waits for it.
func (i *invalidator) stop() {
	i.mu.Lock()
	if !i.closed {
		i.closed = true
		close(i.queue)
	}
	i.mu.Unlock()
	i.wg.Wait()
}
