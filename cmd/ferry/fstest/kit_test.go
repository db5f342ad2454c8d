// Package fstest tests the kernel's view on a real mount: names, open files and
// journal as the daemon wires them, over a bucket in memory.
package fstest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
	"ferry/fusefs"
	"ferry/fusefs/content"
	"ferry/fusefs/tree"
	"ferry/journal"
	"ferry/journal/staging"
)

// bucket is a bucket in memory that counts what is asked of it.
type bucket struct {
	mu      sync.Mutex
	objects map[ferry.ObjectKey]object

	gets, fetched, lists, heads atomic.Int64
}

type object struct {
	ferry.Object
	data []byte
}

func (b *bucket) put(key ferry.ObjectKey, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := ferry.Version{Key: key, ETag: ferry.ETag(fmt.Sprintf("etag-%s-%d", key, time.Now().UnixNano())), Size: int64(len(data))}
	b.objects[key] = object{ferry.Object{Version: v, Modified: time.Now(), Metadata: map[string]string{}}, data}
}

func (b *bucket) Head(_ context.Context, key ferry.ObjectKey) (ferry.Object, error) {
	b.heads.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.objects[key]
	if !ok {
		return ferry.Object{}, &ferry.Error{Op: "head", Key: string(key), Kind: ferry.KindNotFound}
	}
	return o.Object, nil
}

func (b *bucket) Get(ctx context.Context, v ferry.Version, e ferry.Extent) (io.ReadCloser, error) {
	b.gets.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.objects[v.Key]
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case !ok:
		return nil, &ferry.Error{Op: "get", Key: string(v.Key), Kind: ferry.KindNotFound}
	case o.ETag != v.ETag:
		return nil, &ferry.Error{Op: "get", Key: string(v.Key), Kind: ferry.KindConflict}
	}
	b.fetched.Add(e.Length)
	return io.NopCloser(bytes.NewReader(o.data[e.Offset:e.End()])), nil
}

func (b *bucket) List(_ context.Context, req ferry.ListRequest) (ferry.Page, error) {
	b.lists.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	limit := req.Max
	if limit == 0 {
		limit = 1000
	}
	var keys []ferry.ObjectKey
	for k := range b.objects {
		if strings.HasPrefix(string(k), string(req.Prefix)) && k > req.After {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var p ferry.Page
	for _, k := range keys {
		name := k
		rest := strings.TrimPrefix(string(k), string(req.Prefix))
		i := strings.IndexByte(rest, '/')
		folded := req.Delimiter && i >= 0 && k != req.Prefix
		if folded {
			name = req.Prefix + ferry.ObjectKey(rest[:i+1])
			if name <= req.After || len(p.Prefixes) > 0 && p.Prefixes[len(p.Prefixes)-1] == name {
				continue
			}
		}
		if len(p.Objects)+len(p.Prefixes) == limit {
			p.More = true
			break
		}
		if folded {
			p.Prefixes = append(p.Prefixes, name)
		} else {
			p.Objects = append(p.Objects, b.objects[k].Object)
		}
		p.Last = name
	}
	return p, nil
}

// stagingFor is journal/staging as content wants it.
type stagingFor struct{ *staging.Store }

func (s stagingFor) Open(g ferry.Generation) (content.StagingFile, error) {
	f, err := s.Store.Open(g)
	if err != nil {
		return nil, err
	}
	return stagedFile{f}, nil
}

type stagedFile struct{ *staging.File }

func (f stagedFile) Label(l content.Label) error {
	return f.File.Label(staging.Label{
		Inode: l.Inode, Path: l.Path, Attr: l.Attr, Size: l.Size, Sealed: l.Sealed,
		Base: l.Base, BaseLimit: l.BaseLimit, Extents: l.Extents, Complete: true,
	})
}

// mounted is a mount and what it is made of.
type mounted struct {
	dir     string // mount point
	bucket  *bucket
	journal *journal.Journal
	files   *content.Files
	fs      *counting
}

// counting counts requests by name; see counts_test.go.
type counting struct {
	fusefs.Content
	writes, reads atomic.Int64
}

func (c *counting) Write(ctx context.Context, h *content.Handle, p []byte, off int64) (int, error) {
	c.writes.Add(1)
	return c.Content.Write(ctx, h, p, off)
}

func (c *counting) Read(ctx context.Context, h *content.Handle, p []byte, off int64) (int, error) {
	c.reads.Add(1)
	return c.Content.Read(ctx, h, p, off)
}

// mount mounts a new state directory over b and takes all away when the test ends.
// Every journal is checked when it closes, and no read buffer may be left.
func mount(t testing.TB, b *bucket, change ...func(*fusefs.Options)) *mounted {
	t.Helper()
	if b == nil {
		b = &bucket{}
	}
	if b.objects == nil {
		b.objects = map[ferry.ObjectKey]object{}
	}
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	j, err := journal.Open(journal.Options{Dir: t.TempDir(), UnsafeFS: true, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var server *fusefs.Server
	gens := ferry.NewGenerations()
	tr := tree.New(tree.Options{
		Journal: j, Remote: b, Generations: gens, ListsMetadata: func() bool { return true },
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Log: log,
		Invalidate: func(parent ferry.InodeID, name string, id ferry.InodeID) {
			if server != nil {
				server.Invalidate(parent, name, id)
			}
		},
	})
	files := content.New(ctx, content.Options{
		Journal: j, Staging: stagingFor{j.Staging()}, Tree: tr, Remote: b, Generations: gens, Log: log,
	})
	tr.SetOpenness(files)
	for _, recover := range []func(context.Context) error{files.Recover, tr.Recover} {
		if err := recover(ctx); err != nil {
			t.Fatal(err)
		}
	}
	m := &mounted{dir: t.TempDir(), bucket: b, journal: j, files: files, fs: &counting{Content: files}}
	o := fusefs.Options{Mountpoint: m.dir, Tree: tr, Content: m.fs, Journal: j, Log: log}
	for _, fn := range change {
		fn(&o)
	}
	server, err = fusefs.Mount(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { server.Serve(); close(served) }()
	if err := server.WaitMount(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
			if err := server.Detach(); err != nil {
				t.Error(err)
			}
		}
		select {
		case <-served:
		case <-time.After(10 * time.Second):
			t.Error("the server did not end")
		}
		files.Close()
		cancel()
		if n := files.ReadMemory(); n != 0 {
			t.Errorf("%d bytes of read buffers are left", n)
		}
		if err := journal.Check(j); err != nil {
			t.Error(err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	defer func() { _ = recover() }() // a log line after the test's end
	w.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}
