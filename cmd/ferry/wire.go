package main

import (
	"context"
	"fmt"
	"hash"
	"log/slog"
	"os"
	"time"

	"github.com/minio/highwayhash"

	"ferry"
	"ferry/fusefs/content"
	"ferry/fusefs/tree"
	"ferry/journal"
	"ferry/journal/crashpoint"
	"ferry/journal/staging"
	"ferry/syncer"
)

func journalOptions(c *mountConfig, log *slog.Logger) journal.Options {
	return journal.Options{
		Dir: c.StateDir, Identity: c.identity(), UnsafeFS: c.UnsafeFS, Log: log.With("part", "journal"), Crash: crashpoint.Here,
	}
}

// openJournal locks and opens the state directory. A daemon that is just ending
// gets a moment to give it back.
func openJournal(c *mountConfig, log *slog.Logger) (*journal.Journal, error) {
	o := journalOptions(c, log)
	for deadline := time.Now().Add(2 * time.Second); ; {
		j, err := journal.Open(o)
		if err == nil {
			report := j.Recovered()
			if report.Replayed > 0 {
				log.Info("journal replayed", "records", report.Replayed, "dropped", report.Dropped)
			}
			return j, nil
		}
		if ferry.IsKind(err, ferry.KindBusy) && time.Now().Before(deadline) {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		return nil, journalError(err)
	}
}

func journalError(err error) error {
	switch ferry.KindOf(err) {
	case ferry.KindBusy:
		return coded(exitLocked, err)
	case ferry.KindInvalid:
		return coded(exitOtherState, err)
	case ferry.KindUnsupported:
		return coded(exitStateFS, err)
	case ferry.KindNoSpace:
		return coded(exitNoSpace, err)
	default:
		return coded(exitFailed, err)
	}
}

func (c *mountConfig) identity() journal.Identity {
	endpoint := defaultEndpoint(c)
	if c.Embedded != "" {
		endpoint = "embedded:" + c.Embedded
	}
	return journal.Identity{Endpoint: endpoint, Bucket: c.Bucket, Prefix: c.Prefix}
}

// makeTree makes names and open files, and takes over what the last daemon left:
// files that were open are sealed as they are.
func (m *mount) makeTree(ctx context.Context) error {
	m.tree = tree.New(tree.Options{
		Journal: m.journal, Remote: m.health, Generations: m.gens, TTL: m.c.TTL, ReadOnly: m.c.ReadOnly,
		ListsMetadata: func() bool { return m.remote.Capabilities().ListsMetadata },
		UID:           uint32(os.Getuid()), GID: uint32(os.Getgid()),
		Wake: m.wake, Invalidate: m.invalidate, Log: m.log.With("part", "tree"),
	})
	m.files = content.New(ctx, content.Options{
		Journal: m.journal, Staging: contentStaging{m.journal.Staging()}, Tree: m.tree, Remote: m.health, Generations: m.gens,
		Uploads: uploadsHook{m}, Wake: m.wake, ReadMemory: m.c.MemoryMax / readShare, StagingMax: m.staging,
		Crash: crashpoint.Here, Log: m.log.With("part", "content"),
	})
	m.onClose(func() error { m.files.Close(); return nil })
	m.tree.SetOpenness(m.files)
	if err := m.files.Recover(ctx); err != nil {
		return fmt.Errorf("what was open when the last daemon ended could not be sealed: %w", err)
	}
	return m.tree.Recover(ctx)
}

// wake tells the syncer that rows changed, once there is one.
func (m *mount) wake() {
	if m.syncer != nil {
		m.syncer.Wake()
	}
}

// invalidate tells the kernel that what it knows is stale, once there is a mount.
func (m *mount) invalidate(parent ferry.InodeID, name string, id ferry.InodeID) {
	if m.kernel != nil {
		m.kernel.invalidate(parent, name, id)
	}
}

// makeSyncer makes what brings the bucket to what the rows say.
func (m *mount) makeSyncer(context.Context) error {
	conflict, err := syncer.ParseConflictPolicy(m.c.Conflict)
	if err != nil {
		return coded(exitUsage, err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "ferry"
	}
	m.syncer = syncer.New(syncer.Options{
		Journal: learningJournal{m.journal, m}, Remote: m.health, Staging: syncerStaging{m.journal.Staging()}, Generations: m.gens,
		Capabilities: m.remote.Capabilities,
		Digest: func() hash.Hash {
			h, _ := highwayhash.New(m.memory.digest[:]) // fails for other key sizes only
			return h
		},
		Events: events{m}, Log: m.log.With("part", "syncer"), Crash: crashpoint.Here, Host: host, Conflict: conflict,
		PartsInFlight: m.c.UploadParts, TTL: m.c.TTL,
	})
	m.addUnit("health", 5*time.Second, m.health.watch)
	m.addUnit("syncer", 15*time.Second, m.runSyncer)
	return nil
}

// runSyncer goes on without the syncer if the journal takes no more changes: what
// is here stays readable, and status says what is wrong.
func (m *mount) runSyncer(ctx context.Context) error {
	err := m.syncer.Run(ctx)
	if err != nil && ctx.Err() == nil {
		m.log.Error("nothing is sent any more and the mount takes no more writes", "err", err)
		<-ctx.Done()
	}
	return err
}

// syncerStaging is journal/staging as the syncer wants it.
type syncerStaging struct{ *staging.Store }

func (s syncerStaging) Open(g ferry.Generation) (syncer.StagedFile, error) { return s.Store.Open(g) }

// uploadsHook tells the syncer what happens to open files. Nothing is open before
// the mount is served, and the syncer is there then.
type uploadsHook struct{ m *mount }

func (u uploadsHook) Grown(id ferry.InodeID, g ferry.Generation, size int64) {
	u.m.syncer.Grown(id, g, size)
}
func (u uploadsHook) Rewritten(g ferry.Generation, e ferry.Extent) { u.m.syncer.Rewritten(g, e) }
func (u uploadsHook) Sealed(g ferry.Generation)                    { u.m.syncer.Sealed(g) }

// events tells the mount what the syncer learnt.
type events struct{ m *mount }

func (e events) Settled(key ferry.ObjectKey, obj ferry.Object) { e.m.files.Settled(key, obj) }
func (e events) Removed(ferry.ObjectKey)                       {} // learningJournal was earlier
func (e events) Changed(key ferry.ObjectKey)                   { e.m.tree.Changed(key) }

func (e events) Conflict(key, kept ferry.ObjectKey, theirs ferry.Version) {
	e.m.log.Warn("another writer's version was found", "key", key, "kept_as", kept, "etag", theirs.ETag)
}

func (e events) StateChanged(id ferry.InodeID, key ferry.ObjectKey) {
	e.m.log.Debug("state changed", "key", key, "inode", id)
}

func (e events) Dropped(id ferry.InodeID, key ferry.ObjectKey) {
	e.m.log.Warn("a file is gone: its object was deleted by another client, or its upload was cancelled", "key", key, "inode", id)
	e.m.tree.Changed(key)
}
