package fusefs

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"ferry"
	"ferry/fusefs/content"
)

const (
	maxWrite      = 1 << 20 // bytes of one WRITE or READ at most
	maxBackground = 64      // read-ahead requests of the kernel under way at a time
)

// Options of [Mount]. Mountpoint, Tree, Content and Journal are needed.
type Options struct {
	Mountpoint string
	Tree       Tree
	Content    Content
	Journal    Journal
	// ConnectionID names this FUSE connection in the journal; 0 makes one.
	ConnectionID uint64
	// AllowOther lets other users in; the kernel checks permissions then.
	AllowOther bool
	ReadOnly   bool
	FsName     string // the first column of df and of mount; "" means "ferry"
	// Timeout is how long the kernel believes names and attributes; 0 means 1 s.
	Timeout time.Duration
	// Debug logs every request and answer.
	Debug bool
	// Panic is called when a request has panicked, with locks possibly held. It
	// must end the process. nil panics anew where nobody recovers.
	Panic func(v any)
	Log   *slog.Logger
}

// Server is a mount.
type Server struct {
	fs         *rawFS
	fuse       *fuse.Server
	mountpoint string
	done       chan struct{} // closed when Serve has ended
	watch      context.CancelFunc
	served     sync.Once
}

// Mount mounts at o.Mountpoint. A mount of ferry whose daemon is dead is detached
// first. Nothing is answered before [Server.Serve] runs. KindInvalid, KindBusy or
// KindNotFound say, in a sentence, what is wrong with the mount point.
func Mount(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
	if o.ConnectionID == 0 {
		o.ConnectionID = ferry.ConnectionID()
	}
	if o.FsName == "" {
		o.FsName = "ferry"
	}
	if o.Panic == nil {
		o.Panic = func(v any) { go panic(v) }
	}
	mountpoint, err := CheckMountpoint(o.Mountpoint, o.Log)
	if err != nil {
		return nil, err
	}
	fs := &rawFS{
		tree: o.Tree, content: o.Content, journal: o.Journal, connection: o.ConnectionID,
		timeout: o.Timeout, log: o.Log, inflight: inflight{all: map[*request]struct{}{}},
		invalid: newInvalidator(o.Log),
		files:   map[uint64]*content.Handle{}, dirs: map[uint64]*dirHandle{},
	}
	s := &Server{fs: fs, mountpoint: mountpoint, done: make(chan struct{})}
	if s.fuse, err = mount(fs, mountpoint, o); err != nil {
		fs.invalid.stop()
		return nil, &ferry.Error{
			Op: "fusefs.mount", Key: mountpoint, Kind: ferry.KindDenied, Err: err, Msg: "the kernel or fusermount3 refused the mount",
			Hint: "is /dev/fuse there, and fusermount3 installed? --allow-other needs user_allow_other in /etc/fuse.conf",
		}
	}
	tuneReadAhead(mountpoint, o.Log)
	ctx, s.watch = context.WithCancel(ctx)
	fs.wg.Go(func() { fs.watchdog(ctx) })
	return s, nil
}

func mount(fs *rawFS, mountpoint string, o Options) (*fuse.Server, error) {
	m := fuse.MountOptions{
		AllowOther: o.AllowOther,
		FsName:     o.FsName,
		Name:       "ferry",
		MaxWrite:   maxWrite, MaxBackground: maxBackground, MaxReadAhead: maxWrite,
		// Without these the kernel asks for security.capability before every WRITE.
		IgnoreSecurityLabels: true,
		ExtraCapabilities:    fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_ATOMIC_O_TRUNC,
		// Pages are ours to drop: at open, if the content is another one. By itself the
		// kernel would drop them after every write, because the mtime is another one.
		ExplicitDataCacheControl: true,
		Debug:                    o.Debug,
		Logger:                   slog.NewLogLogger(o.Log.Handler(), slog.LevelInfo),
		PanicHandler: func(v any) fuse.Status {
			o.Panic(v)
			return fuse.EIO
		},
	}
	if o.AllowOther {
		m.Options = append(m.Options, "default_permissions")
	}
	if os.Geteuid() == 0 {
		direct := m
		direct.DirectMountStrict = true
		direct.DirectMountFlags = syscall.MS_NOSUID | syscall.MS_NODEV
		if o.ReadOnly {
			direct.DirectMountFlags |= syscall.MS_RDONLY
		}
		s, err := fuse.NewServer(fs, mountpoint, &direct)
		if err == nil || !errors.Is(err, syscall.EPERM) {
			return s, err
		}
	}
	if o.ReadOnly {
		m.Options = append(m.Options, "ro")
	}
	return fuse.NewServer(fs, mountpoint, &m)
}

// Mountpoint returns the absolute path of the mount point.
func (s *Server) Mountpoint() string { return s.mountpoint }

// Serve answers requests until the file system is unmounted.
func (s *Server) Serve() {
	s.served.Do(func() {
		s.fuse.Serve()
		s.watch()
		s.fs.invalid.stop()
		s.fs.releaseAll()
		s.fs.wg.Wait()
		close(s.done)
	})
}

// WaitMount returns when requests are answered. Serve must be running.
func (s *Server) WaitMount() error { return s.fuse.WaitMount() }

// Wait returns when Serve has ended, or with ctx's error.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Unmount takes the mount away; Serve returns then. KindBusy if a program still
// uses it.
func (s *Server) Unmount() error {
	err := s.fuse.Unmount()
	if err == nil {
		return nil
	}
	return &ferry.Error{
		Op: "fusefs.unmount", Key: s.mountpoint, Kind: ferry.KindBusy, Err: err,
		Msg: "a program still uses the mount", Hint: "`fuser -vm " + s.mountpoint + "` shows which",
	}
}

// Detach takes the mount out of the tree of names at once. Programs that still use
// it keep what they have open; Serve returns when the last of them is done.
func (s *Server) Detach() error { return detach(s.mountpoint) }

// Invalidate tells the kernel that what it knows of a name, or of an inode's
// attributes and data, is stale. It does not block.
func (s *Server) Invalidate(parent ferry.InodeID, name string, id ferry.InodeID) {
	s.fs.invalid.add(invalidation{parent, name, id})
}
