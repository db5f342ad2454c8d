// Package journal is what survives a crash: typed rows, changed by transactions,
// and the staging files beside them.
//
//	redo/       write-ahead log (journal/redo)
//	journal.db  bbolt: the log's checkpoint
//	staging/    one sparse file for each generation (journal/staging)
//	lock, identity.json, ballast
//
// A change is one record appended to the log with one write(2); then it is in
// memory, and survives kill -9. [Journal.Sync] makes it survive a power cut: it
// makes the staging files durable, appends a barrier record and makes the log
// durable. Records behind no barrier are dropped when the machine's boot ID has
// changed, so that names and bytes come together or not at all.
//
// Rows are looked for from the top of a stack of layers:
//
//	what the transaction itself changed
//	mem       changes since the last fold began
//	batch     a large change, staged in bbolt and committed by one log record
//	frozen    what is being folded
//	tables    bbolt
//
// All but the transaction's own are immutable, so a view costs no locks. Folding
// makes mem the frozen layer, waits for a barrier, writes it to the tables in one
// bbolt transaction together with the number of the last record, and then
// removes the log segments before it. Nothing waits for a fold unless memory is
// full.
package journal
