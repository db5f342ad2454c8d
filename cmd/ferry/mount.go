package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"ferry"
	"ferry/fusefs/content"
	"ferry/fusefs/tree"
	"ferry/journal"
	"ferry/service"
	"ferry/service/control"
	"ferry/syncer"
	"ferry/syncer/s3remote"
)

// Shares of --memory-max. The rest is for Go itself, the journal's unfolded rows
// and the tree.
const (
	readShare = 4 // a quarter for read buffers
)

// mount is one mount being put together; its parts in the order they are made.
type mount struct {
	c     *mountConfig
	log   *slog.Logger
	state *stateDir

	endpoint string
	creds    *s3remote.Credentials
	journal  *journal.Journal
	memory   memory
	remote   *s3remote.Remote
	health   *healthRemote
	gens     *ferry.Generations
	tree     *tree.Tree
	files    *content.Files
	syncer   *syncer.Syncer
	kernel   *kernel
	daemon   *daemon
	control  *control.Server

	staging  int64 // budget in bytes
	started  time.Time
	warnings []string
	closers  []io.Closer // closed last-first when nothing runs any more
	units    []service.Unit
}

// serveMount mounts, calls ready, and returns when the mount is gone: by umount,
// by the end of ctx, or by a failure. Everything refused is refused before
// anything is mounted.
func serveMount(ctx context.Context, c *mountConfig, log *slog.Logger, ready func()) (err error) {
	debug.SetMemoryLimit(c.MemoryMax)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := &mount{c: c, log: log, started: time.Now(), gens: ferry.NewGenerations()}
	defer func() {
		for i := len(m.closers) - 1; i >= 0; i-- {
			err = errors.Join(err, m.closers[i].Close())
		}
	}()
	steps := []func(context.Context) error{
		m.checkPlaces, m.startStore, m.askServer, m.openJournal, m.openRemote, m.makeTree, m.makeSyncer, m.makeMount,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	m.makeDaemon(cancel)
	if err := m.serveControl(); err != nil {
		return err
	}
	return service.Run(ctx, append(m.units, announce(ready))...)
}

// closeFunc makes a function an io.Closer.
type closeFunc func() error

func (f closeFunc) Close() error { return f() }

func (m *mount) onClose(f func() error) { m.closers = append(m.closers, closeFunc(f)) }

func (m *mount) addUnit(name string, grace time.Duration, run func(context.Context) error) {
	m.units = append(m.units, service.Unit{Name: name, Run: run, Grace: grace})
}

// checkPlaces looks at the mount point and the state directory.
func (m *mount) checkPlaces(context.Context) (err error) {
	if err := checkMountpoint(m.c.MountGiven, m.c.Mountpoint); err != nil {
		return err
	}
	if m.state, err = prepareStateDir(m.c); err != nil {
		return err
	}
	if m.state.unsafe != "" {
		m.warn(m.state.unsafe)
	}
	return nil
}

// warn is for promises that are withdrawn as long as the mount lives.
func (m *mount) warn(text string) {
	m.warnings = append(m.warnings, text)
	m.log.Warn(text)
}

// askServer finds credentials and asks for the bucket before the state directory
// is bound to it: a mistyped name binds nothing.
func (m *mount) askServer(ctx context.Context) (err error) {
	if m.c.Embedded == "" {
		m.endpoint = defaultEndpoint(m.c)
		if m.creds, err = s3remote.FindCredentials(s3remote.CredentialSources{Endpoint: m.endpoint}); err != nil {
			return coded(exitDenied, err)
		}
	}
	if m.state.used {
		return nil // openRemote asks, and may go on without an answer
	}
	first, err := s3remote.New(remoteOptions(m.c, m.endpoint, m.creds, [32]byte{}))
	if err != nil {
		return coded(exitUsage, err)
	}
	defer first.Close()
	_, err = findBucket(ctx, m.c, first, m.creds, nil, m.log)
	return err
}

// openJournal locks the state directory and reads what survived.
func (m *mount) openJournal(context.Context) (err error) {
	if m.state.lost {
		m.log.Error("journal.db is gone from the state directory: it is made anew of what log and staging hold")
	}
	if m.journal, err = openJournal(m.c, m.log); err != nil {
		return err
	}
	m.onClose(m.closeJournal)
	used := m.journal.Staging().Usage()
	if m.staging, err = stagingMax(m.c, m.state, used); err != nil {
		return err
	}
	m.memory, err = recall(m.journal)
	return err
}

func (m *mount) closeJournal() error {
	err := m.journal.Close()
	if err != nil && m.kernel != nil && m.kernel.abandoned() {
		// Handles are open, which is said to be a bug elsewhere.
		m.log.Warn("files are still open: they are sealed as they are at the next start", "err", err)
		return nil
	}
	return err
}

// openRemote connects with what the journal remembers.
func (m *mount) openRemote(ctx context.Context) (err error) {
	m.remote, err = s3remote.New(remoteOptions(m.c, m.endpoint, m.creds, m.memory.digest))
	if err != nil {
		return coded(exitUsage, err)
	}
	m.onClose(func() error { m.remote.Close(); return nil })
	m.health = newHealthRemote(m.remote, func(offline bool, err error) {
		if offline {
			m.log.Warn("the server does not answer: writes wait in staging", "err", err)
		} else {
			m.log.Info("the server answers again")
		}
	})
	offline, err := connect(ctx, m.c, m.remote, m.creds, m.memory.caps, m.log)
	if err != nil {
		return err
	}
	if offline != nil {
		m.health.setOffline(offline)
		m.log.Warn("the server does not answer: mounting offline, with what is here", "err", offline)
		return nil
	}
	for _, s := range m.remote.Capabilities().Shortfalls() {
		m.log.Warn(s)
	}
	return remember(m.journal, m.remote.Capabilities())
}

// serveControl makes the socket and registers the mount, so that a name in use is
// refused before anything is mounted.
func (m *mount) serveControl() (err error) {
	remove, err := registry().Register(control.Mount{
		Name: m.c.Name, PID: os.Getpid(), Socket: filepath.Join(m.c.StateDir, socketFile),
		Mountpoint: m.c.Mountpoint, StateDir: m.c.StateDir,
	})
	if ferry.IsKind(err, ferry.KindBusy) {
		return coded(exitLocked, err)
	}
	if err != nil {
		return err
	}
	m.onClose(func() error { remove(); return nil })
	if m.control, err = control.NewServer(filepath.Join(m.c.StateDir, socketFile), m.daemon, m.log); err != nil {
		return err
	}
	m.onClose(func() error { _ = m.control.Close(); return nil }) // Run has closed it, if it ran
	// Started first and so stopped last: what goes on at the end can be asked.
	m.units = append([]service.Unit{{Name: "control", Run: m.control.Run}}, m.units...)
	return nil
}

// announce is the last unit: it says that all is there.
func announce(ready func()) service.Unit {
	return service.Unit{
		Name:  "ready",
		Start: func(context.Context) error { ready(); return nil },
		Run:   func(ctx context.Context) error { <-ctx.Done(); return nil },
	}
}
