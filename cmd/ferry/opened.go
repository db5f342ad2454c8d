package main

import (
	"context"
	"sync"

	"ferry"
	"ferry/fusefs/content"
	"ferry/fusefs/tree"
)

// openedFiles is fusefs/content with a memory of which inodes the kernel may hold
// pages of: `ferry cache drop` tells the kernel to forget those.
type openedFiles struct {
	*content.Files

	mu  sync.Mutex
	ids map[ferry.InodeID]struct{} // as many as the kernel remembers
}

func newOpenedFiles(f *content.Files) *openedFiles {
	return &openedFiles{Files: f, ids: map[ferry.InodeID]struct{}{}}
}

// OpenFile opens and remembers.
func (o *openedFiles) OpenFile(ctx context.Context, e tree.Entry, flags uint32) (*content.Handle, error) {
	h, err := o.Files.OpenFile(ctx, e, flags)
	if err == nil {
		o.mu.Lock()
		o.ids[e.ID] = struct{}{}
		o.mu.Unlock()
	}
	return h, err
}

// Forgotten says that the kernel has dropped the inode.
func (o *openedFiles) Forgotten(id ferry.InodeID) {
	o.mu.Lock()
	delete(o.ids, id)
	o.mu.Unlock()
	o.Files.Forgotten(id)
}

func (o *openedFiles) list() []ferry.InodeID {
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := make([]ferry.InodeID, 0, len(o.ids))
	for id := range o.ids {
		ids = append(ids, id)
	}
	return ids
}
