package ferry

import "fmt"

// UploadState is how far a generation has come. Its name goes into the journal.
type UploadState uint8

// The states of an upload. docs/upload-states.md is generated from the table.
const (
	StateDirty      UploadState = iota + 1 // being written, nothing sent
	StateStreaming                         // being written, parts go out behind the writer
	StateSealed                            // content final, nothing under way
	StateUploading                         // content final, parts go out
	StateCompleting                        // the request that makes the object is journaled
	StateAborting                          // not wanted any more, the server still holds parts
	StateParked                            // stopped until a person acts; the bytes stay
	StateStored                            // in the bucket, and proven so
	StateDiscarded                         // not wanted, nothing left at the server
)

// UploadEvent is what moves an upload from state to state.
type UploadEvent uint8

// The events of an upload.
const (
	EventOpened     UploadEvent = iota + 1 // a multipart upload was opened
	EventSealed                            // the last writer closed
	EventUnsealed                          // opened for writing again
	EventCommitting                        // the request that makes the object is about to be sent
	EventRefusedNow                        // that request was answered, and made no object
	EventStored                            // the object is there
	EventLost                              // the server does not know the upload ID any more
	EventSuperseded                        // nobody wants this content any more
	EventAborted                           // the server holds no parts any more
	EventParked                            // a permanent refusal, or its base is lost
	EventRetry                             // a person asked to try again
)

// transitions is the whole life of one generation. A pair that is absent is
// illegal. Completing has no superseded edge on purpose: once the request that
// makes the object is under way its outcome must be learnt first.
var transitions = map[UploadState]map[UploadEvent]UploadState{
	StateDirty: {
		EventOpened: StateStreaming, EventSealed: StateSealed,
		EventSuperseded: StateDiscarded, EventParked: StateParked,
	},
	StateStreaming: {
		EventSealed: StateUploading, EventLost: StateDirty, EventSuperseded: StateAborting,
	},
	StateSealed: {
		EventOpened: StateUploading, EventUnsealed: StateDirty, EventCommitting: StateCompleting,
		EventSuperseded: StateDiscarded, EventParked: StateParked,
	},
	StateUploading: {
		EventUnsealed: StateStreaming, EventCommitting: StateCompleting, EventLost: StateSealed,
		EventSuperseded: StateAborting, EventParked: StateParked,
	},
	StateCompleting: {
		EventStored: StateStored, EventRefusedNow: StateUploading, EventLost: StateSealed, EventParked: StateParked,
	},
	StateAborting: {EventAborted: StateDiscarded},
	StateParked: {
		EventRetry: StateSealed, EventUnsealed: StateDirty, EventSuperseded: StateAborting,
	},
	StateStored:    {}, // final: the row is deleted
	StateDiscarded: {}, // final: the row is deleted
}

var stateNames = [...]string{"", "dirty", "streaming", "sealed", "uploading", "completing", "aborting", "parked", "stored", "discarded"}

var eventNames = [...]string{"", "opened", "sealed", "unsealed", "committing", "refused-now", "stored", "lost", "superseded", "aborted", "parked", "retry"}

// String returns the state in one word.
func (s UploadState) String() string {
	if s == 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state-%d", uint8(s))
	}
	return stateNames[s]
}

// String returns the event in one word.
func (e UploadEvent) String() string {
	if e == 0 || int(e) >= len(eventNames) {
		return fmt.Sprintf("event-%d", uint8(e))
	}
	return eventNames[e]
}

// Next returns the state after e. An illegal pair is a bug in the caller and
// yields a KindInternal error.
func (s UploadState) Next(e UploadEvent) (UploadState, error) {
	next, ok := transitions[s][e]
	if !ok {
		return s, &Error{Op: "ferry.upload", Kind: KindInternal, Msg: fmt.Sprintf("an upload that is %s cannot be %s", s, e)}
	}
	return next, nil
}

// Final reports whether nothing can follow s. The row of a final upload is
// deleted in the transaction that made it final.
func (s UploadState) Final() bool { return s == StateStored || s == StateDiscarded }

// Writable reports whether the content may still change.
func (s UploadState) Writable() bool { return s == StateDirty || s == StateStreaming }

// NeedsBytes reports whether the staging file must be kept.
func (s UploadState) NeedsBytes() bool { return s != StateAborting && !s.Final() }
