package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"ferry"
	"ferry/journal"
	"ferry/service/control"
	"ferry/syncer/s3remote"
)

// examineUnmounted looks at state directory and server of a mount that does not
// run. rebuild brings back what staging holds although journal.db is lost.
func examineUnmounted(ctx context.Context, c *mountConfig, log *slog.Logger, rebuild bool) (control.Report, error) {
	var r report
	state, err := prepareStateDir(c)
	if err != nil {
		return control.Report{}, err
	}
	r.stateDir(state.path, state.unsafe)
	switch {
	case state.used || rebuild:
		if err := r.journal(c, log, rebuild); err != nil {
			return control.Report{}, err
		}
	default:
		r.ok("journal", "none yet: this state directory was never mounted with")
	}
	if c.Embedded != "" {
		r.ok("server", "the embedded store runs while it is mounted; its objects are plain files in "+c.Embedded)
		return control.Report{Findings: r.findings}, nil
	}
	return control.Report{Findings: r.findings}, r.server(ctx, c, log)
}

// journal opens the journal, which recovers it, and checks it.
func (r *report) journal(c *mountConfig, log *slog.Logger, rebuild bool) (err error) {
	if _, err := os.Lstat(filepath.Join(c.StateDir, checkpointFile)); rebuild && err == nil {
		rep, err := journal.Rebuild(journalOptions(c, log))
		if err != nil {
			return journalError(err)
		}
		r.recovered(rep)
	}
	j, err := openJournal(c, log)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := j.Close(); err == nil {
			err = closeErr
		}
	}()
	r.recovered(j.Recovered())
	if err := journal.Check(j); err != nil {
		r.add(control.LevelError, "journal", sentence(err))
		return nil
	}
	r.ok("journal", "every invariant holds")
	rows := &rowReader{journal: j, liveSize: notOpen, parts: partsFor, now: now}
	sum, err := rows.summarise(nil, false)
	if err != nil {
		return err
	}
	r.ok("journal", fmt.Sprintf("%d operations with %s are not stored yet, %d are parked", sum.pending.Operations, formatSize(sum.pending.Bytes), len(sum.parked)))
	return nil
}

// recovered tells what opening the journal found.
func (r *report) recovered(rep journal.Report) {
	for _, d := range rep.Damage {
		r.add(control.LevelWarning, "journal", "damaged: "+d)
	}
	if rep.SetAside != "" {
		r.add(control.LevelNote, "journal", "the old journal.db is kept as "+rep.SetAside)
	}
	for _, p := range rep.Restored {
		r.add(control.LevelNote, "journal", fmt.Sprintf("brought back from staging: %s", p))
	}
	for _, l := range rep.Lost {
		r.add(control.LevelWarning, "journal", "lost: "+l)
	}
}

// recoveryWarnings are what a mount goes on saying after a damaged journal.
func recoveryWarnings(rep journal.Report) (list []string) {
	for _, l := range rep.Lost {
		list = append(list, "The journal was damaged, and lost: "+l)
	}
	return list
}

// server asks the server what it can do and looks at the keys.
func (r *report) server(ctx context.Context, c *mountConfig, log *slog.Logger) error {
	creds, err := s3remote.FindCredentials(s3remote.CredentialSources{Endpoint: defaultEndpoint(c)})
	if err != nil {
		return coded(exitDenied, err)
	}
	remote, err := s3remote.New(remoteOptions(c, defaultEndpoint(c), creds, [32]byte{}))
	if err != nil {
		return coded(exitUsage, err)
	}
	defer remote.Close()
	if _, err := connect(ctx, c, remote, creds, nil, log); err != nil {
		r.add(control.LevelError, "server", sentence(err))
		return nil
	}
	r.capabilities(remote.Capabilities())
	r.keys(ctx, remote)
	return nil
}

func now() time.Time { return time.Now() }

func notOpen(ferry.InodeID) (size, mtime int64, ok bool) { return 0, 0, false }

func partsFor(size int64) int { return int(ferry.PartsFor(size)) }
