// Package ferry holds the words that every other folder speaks: object keys,
// versions, generations, extents, inodes, the upload state table, the per-key
// reconciler, part schedules and plans, metadata dialects and error kinds.
//
// It imports the standard library only and does no I/O. The folders beside it
// are adapters that do not know one another; cmd/ferry wires them:
//
//	fusefs    the kernel's view: tree, open files, reads
//	syncer    everything that talks to the bucket
//	journal   what survives a crash: redo log, bbolt, staging files
//	service   life of the daemon, control API, embedded store
//
// # The model in one page
//
// A mount shows the bucket's listing with the journal's rows laid over it.
// Only what differs from the bucket, or is open, has rows:
//
//   - An [Inode] row is the thing a [Path] names. Remote says where its bytes
//     are now; Content names the staged [Generation] if its bytes are here.
//   - A [KeyState] row is one object key with what the bucket is known to hold
//     and what it shall hold (Known, Wanted). The work is their difference, one
//     step at a time per key, chosen by [NextStep]; an unanswered request (its
//     [Intent]) is settled before the next.
//   - An [Upload] row is one generation and how far it has come; the table in
//     uploadstate.go is its whole life.
//   - A tombstone row hides a directory removed or renamed away here while its
//     objects are still being deleted. (A file is hidden by its KeyState, which
//     wants the key absent.)
//
// A row that agrees with the bucket is deleted. Every change of rows is one
// atomic [Journal] Update; the syncer acts only on rows that lie behind a
// barrier, so that a power cut never leaves the bucket ahead of the journal.
package ferry
