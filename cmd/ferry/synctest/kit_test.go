// Package synctest tests the syncer as the daemon wires it, on a real journal, a
// real staging area and a real MinIO, without a mount: the test changes rows as
// the tree and the open files do, and looks at the bucket as another client.
package synctest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/minio/highwayhash"

	"ferry"
	"ferry/journal"
	"ferry/journal/staging"
	"ferry/syncer"
	"ferry/syncer/s3remote"
	"ferry/syncer/storetest"
)

const mib = 1 << 20

// rig is one state directory, one bucket, and a syncer between them.
type rig struct {
	t        *testing.T
	server   *storetest.Server
	proxy    *storetest.Proxy
	bucket   string
	dir      string
	identity journal.Identity
	digest   [32]byte

	other  *s3remote.Remote // another client of the bucket
	gens   *ferry.Generations
	j      *journal.Journal
	remote *s3remote.Remote
	s      *syncer.Syncer
	stop   context.CancelFunc
	ended  chan error
	change func(*syncer.Options)
	sent   int64 // by the remotes before this one
}

type stage struct{ *staging.Store }

func (s stage) Open(g ferry.Generation) (syncer.StagedFile, error) { return s.Store.Open(g) }

func newRig(t *testing.T) *rig {
	t.Helper()
	server := storetest.StartMinIO(t)
	r := &rig{t: t, server: server, proxy: storetest.NewProxy(t, server.Endpoint), bucket: server.MakeBucket(t), dir: t.TempDir()}
	r.identity = journal.Identity{Endpoint: server.Endpoint, Bucket: r.bucket}
	_, _ = rand.Read(r.digest[:])
	r.other = r.client(server.Endpoint)
	t.Cleanup(func() {
		if r.stop != nil {
			r.end()
		}
	})
	return r
}

// client returns a client of the bucket at an endpoint.
func (r *rig) client(endpoint string) *s3remote.Remote {
	r.t.Helper()
	c, err := s3remote.New(s3remote.Options{
		Endpoint: endpoint, Region: "us-east-1", Bucket: r.bucket, DigestKey: r.digest,
		Credentials: s3remote.StaticCredentials(r.server.AccessKey, r.server.SecretKey, ""),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// begin opens the state directory and starts the syncer.
func (r *rig) begin() {
	r.t.Helper()
	var err error
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if r.j, err = journal.Open(journal.Options{Dir: r.dir, Identity: r.identity, UnsafeFS: true, Log: log}); err != nil {
		r.t.Fatal(err)
	}
	r.remote = r.client(r.proxy.URL)
	if _, err := r.remote.Probe(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.gens = ferry.NewGenerations()
	o := syncer.Options{
		Journal: r.j, Remote: r.remote, Staging: stage{r.j.Staging()}, Generations: r.gens, Capabilities: r.remote.Capabilities,
		Digest: func() hash.Hash { h, _ := highwayhash.New(r.digest[:]); return h },
		Log:    log, Host: "HOST", Linger: 10 * time.Millisecond,
	}
	if r.change != nil {
		r.change(&o)
	}
	r.s = syncer.New(o)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	s := r.s
	go func() { ended <- s.Run(ctx) }()
	r.stop, r.ended = stop, ended
}

// end stops the syncer in the middle of what it does, and checks the journal.
func (r *rig) end() {
	r.t.Helper()
	r.stop()
	r.stop = nil
	if err := <-r.ended; err != nil {
		r.t.Errorf("Run: %v", err)
	}
	if err := journal.Check(r.j); err != nil {
		r.t.Errorf("journal: %v", err)
	}
	r.sent += r.remote.Counters().BytesSent
	r.remote.Close()
	if err := r.j.Close(); err != nil {
		r.t.Errorf("journal: %v", err)
	}
}

func (r *rig) update(fn func(tx ferry.Tx) error) {
	r.t.Helper()
	if err := r.j.Update(fn); err != nil {
		r.t.Fatal(err)
	}
	r.s.Wake()
}

// wait returns when all is stored.
func (r *rig) wait() {
	r.t.Helper()
	ctx, stop := context.WithTimeout(r.t.Context(), 60*time.Second)
	defer stop()
	if err := r.s.Wait(ctx, ""); err != nil {
		r.t.Fatalf("Wait: %v; %s", err, r.left())
	}
}

func (r *rig) left() (s string) {
	_ = r.j.View(func(tx ferry.Tx) error {
		for k := range tx.Keys("") {
			s += "\n" + string(k.Key) + ": " + ferry.NextStep(tx, k).Kind.String() + " " + k.Parked
		}
		return nil
	})
	return s
}

// seen is what a listing tells.
func (r *rig) seen(key ferry.ObjectKey) ferry.Known {
	o, err := r.remote.Head(context.Background(), key)
	switch {
	case err == nil:
		return ferry.KnownVersion(o.Version)
	case ferry.IsKind(err, ferry.KindNotFound):
		return ferry.KnownAbsent
	default:
		r.t.Fatal(err)
		return ferry.Known{}
	}
}

// inode returns the inode at p; seen is what is in the bucket at its key.
func (r *rig) inode(tx ferry.Tx, p ferry.Path, seen ferry.Known) *ferry.Inode {
	if in := tx.Inode(tx.InodeAt(p)); in != nil {
		return in
	}
	in := &ferry.Inode{ID: tx.NextInodeID(), Kind: ferry.File, Path: p, Attr: ferry.Attr{Mode: 0o644}}
	if seen.Presence == ferry.Present {
		in.Remote, in.Size = &seen.Version, seen.Version.Size
	}
	tx.PutInode(in)
	return in
}

func (r *rig) now() int64 { return time.Now().UnixNano() }

// open begins a generation at p: over the stored object if edit, else new. It
// is staged and sealed by the caller.
func (r *rig) open(p ferry.Path, edit bool) (g ferry.Generation) {
	r.t.Helper()
	seen := r.seen(p.Key())
	g = r.gens.Next()
	r.update(func(tx ferry.Tx) error {
		in := r.inode(tx, p, seen)
		u := &ferry.Upload{Generation: g, Inode: in.ID, State: ferry.StateDirty, Path: p, Truncating: -1, Since: r.now()}
		if edit {
			u.Base, u.BaseLimit = in.Remote, in.Remote.Size
		}
		tx.PutUpload(u)
		if in.Content != "" {
			ferry.Supersede(tx, in.Content)
		}
		in.Content = g
		tx.PutInode(in)
		ferry.Want(tx, p.Key(), seen, ferry.Wanted{Kind: ferry.WantInode, Inode: in.ID}, r.now())
		return nil
	})
	return g
}

// stage writes bytes of a generation, 1 MiB at a time, as an open file does.
func (r *rig) stage(g ferry.Generation, off int64, b []byte) {
	r.t.Helper()
	f, err := r.j.Staging().Open(g)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	for len(b) > 0 {
		n := min(len(b), mib)
		if _, err := f.WriteAt(b[:n], off); err != nil {
			r.t.Fatal(err)
		}
		off, b = off+int64(n), b[n:]
		r.s.Grown(0, g, off)
	}
}

func (r *rig) seal(g ferry.Generation, size int64, ours ...ferry.Extent) {
	r.t.Helper()
	r.update(func(tx ferry.Tx) error {
		u := tx.Upload(g)
		next, err := u.State.Next(ferry.EventSealed)
		if err != nil {
			return err
		}
		for _, e := range ours {
			tx.AddExtent(g, e)
		}
		u.State, u.Size = next, size
		tx.PutUpload(u)
		in := tx.Inode(u.Inode)
		in.Size = size
		tx.PutInode(in)
		return nil
	})
	r.s.Sealed(g)
}

func (r *rig) write(p ferry.Path, b []byte) {
	r.t.Helper()
	g := r.open(p, false)
	r.stage(g, 0, b)
	r.seal(g, int64(len(b)))
}

// edit writes b at off over the stored object and returns the new content.
func (r *rig) edit(p ferry.Path, old []byte, off int64, b []byte) []byte {
	r.t.Helper()
	g := r.open(p, true)
	r.stage(g, off, b)
	body := append([]byte(nil), old...)
	if n := off + int64(len(b)) - int64(len(body)); n > 0 {
		body = append(body, make([]byte, n)...)
	}
	copy(body[off:], b)
	r.seal(g, int64(len(body)), ferry.Extent{Offset: off, Length: int64(len(b))})
	return body
}

func (r *rig) rename(from, to ferry.Path) {
	r.t.Helper()
	a, b := r.seen(from.Key()), r.seen(to.Key())
	r.update(func(tx ferry.Tx) error {
		in := r.inode(tx, from, a)
		in.Path = to
		tx.PutInode(in)
		ferry.Unwant(tx, from.Key(), a, r.now())
		ferry.Want(tx, to.Key(), b, ferry.Wanted{Kind: ferry.WantInode, Inode: in.ID}, r.now())
		return nil
	})
}

func (r *rig) exchange(p, q ferry.Path) {
	r.t.Helper()
	a, b := r.seen(p.Key()), r.seen(q.Key())
	r.update(func(tx ferry.Tx) error {
		x, y := r.inode(tx, p, a), r.inode(tx, q, b)
		tx.DeleteInode(y.ID)
		x.Path, y.Path = q, p
		tx.PutInode(x)
		tx.PutInode(y)
		ferry.Want(tx, p.Key(), a, ferry.Wanted{Kind: ferry.WantInode, Inode: y.ID}, r.now())
		ferry.Want(tx, q.Key(), b, ferry.Wanted{Kind: ferry.WantInode, Inode: x.ID}, r.now())
		return nil
	})
}

func (r *rig) chmod(p ferry.Path, mode uint32) {
	r.t.Helper()
	seen := r.seen(p.Key())
	r.update(func(tx ferry.Tx) error {
		in := r.inode(tx, p, seen)
		in.Attr.Mode = mode
		in.AttrSeq++
		tx.PutInode(in)
		ferry.Want(tx, p.Key(), seen, ferry.Wanted{Kind: ferry.WantInode, Inode: in.ID}, r.now())
		return nil
	})
}

func (r *rig) unlink(p ferry.Path, seen ferry.Known) {
	r.t.Helper()
	r.update(func(tx ferry.Tx) error {
		in := r.inode(tx, p, seen)
		tx.DeleteInode(in.ID)
		ferry.Unwant(tx, p.Key(), seen, r.now())
		return nil
	})
}

// bytesSent counts those of all remotes so far.
func (r *rig) bytesSent() int64 { return r.sent + r.remote.Counters().BytesSent }

// random returns n bytes that do not compress and do not repeat.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

var errDiffers = errors.New("it differs")

func sum(b []byte) [32]byte { return sha256.Sum256(b) }
