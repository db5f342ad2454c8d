package main

import (
	"context"
	"maps"

	"ferry/journal"
	"ferry/service/control"
)

// The names of requests that the counters always have, so that scripts can
// subtract.
var countedRequests = []string{
	"HeadObject", "GetObject", "ListObjectsV2", "PutObject", "CreateMultipartUpload", "UploadPart", "UploadPartCopy",
	"CompleteMultipartUpload", "AbortMultipartUpload", "ListParts", "CopyObject", "DeleteObject", "DeleteObjects",
}

// makeDaemon makes what answers the control API.
func (m *mount) makeDaemon(end context.CancelFunc) {
	m.daemon = &daemon{
		config: m.c, state: m.state, health: m.health, log: m.log, started: m.started, starts: m.memory.starts,
		rows: &rowReader{
			journal: m.journal, liveSize: m.files.LiveSize, now: now,
			parts: partsFor,
		},
		endpoint: m.endpoint, caps: m.remote.Capabilities, counters: m.counters,
		staging: func() control.Usage { return control.Usage{Bytes: m.journal.Staging().Usage(), Max: m.staging} },
		cache: func() control.Usage {
			return control.Usage{Bytes: m.files.ReadMemory(), Max: m.c.MemoryMax / readShare}
		},
		uploads:   m.syncer,
		dropCache: m.kernel.dropCache, unmount: m.kernel.unmount, check: m.checkJournal, dead: m.journal.ReadOnly, end: end,
		warnings: append(m.warnings, recoveryWarnings(m.journal.Recovered())...),
	}
}

// checkJournal asks up to three times: rows and staging files are looked at one
// after the other while the mount goes on.
func (m *mount) checkJournal() (err error) {
	for range 3 {
		if err = journal.Check(m.journal); err == nil {
			return nil
		}
	}
	return err
}

// counters adds up what went over the line and what it was for.
func (m *mount) counters() control.Counters {
	line, work := m.remote.Counters(), m.syncer.Counters()
	c := control.Counters{
		BytesSent: line.BytesSent, BytesFetched: line.BytesFetched, BytesCopied: line.BytesCopied,
		PartsSent: work.PartsSent, PartsCopied: work.PartsCopied, Conflicts: work.Conflicts, Requests: map[string]int64{},
	}
	for _, api := range countedRequests {
		c.Requests[api] = 0
	}
	maps.Copy(c.Requests, line.Requests)
	return c
}
