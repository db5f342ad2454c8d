// Package control is how people and scripts speak to a running daemon: HTTP with
// JSON over a unix socket that only its owner may open. The CLI is its first
// client. What it answers is a contract with scripts: fields are added, never
// renamed.
package control

import "time"

// Status is the answer of GET /v1/status.
type Status struct {
	Name       string `json:"name"`
	Endpoint   string `json:"endpoint"`
	Bucket     string `json:"bucket"`
	Prefix     string `json:"prefix"`
	Mountpoint string `json:"mountpoint"`
	StateDir   string `json:"state_dir"`
	ReadOnly   bool   `json:"read_only"`
	State      string `json:"state"` // StateReady, StateOffline or StateDraining
	// Reason says why State is not ready.
	Reason string     `json:"reason,omitempty"`
	Daemon DaemonInfo `json:"daemon"`

	Pending Pending  `json:"pending"`
	Uploads []Upload `json:"uploads"` // oldest first, at most MaxListed
	Parked  []Parked `json:"parked"`  // oldest first, at most MaxListed
	Jobs    []Job    `json:"jobs"`    // newest first, at most MaxListed

	Staging  Usage    `json:"staging"`
	Cache    Usage    `json:"cache"`
	Counters Counters `json:"counters"`
	// Warnings are promises withdrawn on this server or machine, as sentences.
	Warnings []string `json:"warnings"`
}

// The states of a mount.
const (
	StateReady    = "ready"    // the server answers
	StateOffline  = "offline"  // the server does not answer: writes wait in staging
	StateDraining = "draining" // it will be unmounted once all is stored
)

// MaxListed bounds every list of an answer; counts and sums are of everything.
const MaxListed = 1000

// DaemonInfo names the process.
type DaemonInfo struct {
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Restarts int       `json:"restarts"` // starts since the mount was made, without the first
	Version  string    `json:"version"`
}

// Pending is what is not in the bucket yet.
type Pending struct {
	Operations int64 `json:"operations"` // keys at which something is to be done
	Bytes      int64 `json:"bytes"`      // bytes still to be sent
	// OldestSeconds is the age of the oldest operation, 0 if there is none.
	OldestSeconds float64 `json:"oldest_seconds"`
}

// Upload is one generation on its way into the bucket.
type Upload struct {
	ID          string  `json:"id"`
	Key         string  `json:"key"`
	Size        int64   `json:"size"`
	StoredBytes int64   `json:"stored_bytes"` // bytes of acknowledged parts
	Parts       int     `json:"parts"`
	PartsDone   int     `json:"parts_done"`
	State       string  `json:"state"`
	Reason      string  `json:"reason"`
	AgeSeconds  float64 `json:"age_seconds"`
}

// Parked is a key or an upload that waits for a person.
type Parked struct {
	ID         string  `json:"id"` // of the upload, or the key: what `uploads retry` takes
	Key        string  `json:"key"`
	Reason     string  `json:"reason"`
	Size       int64   `json:"size"`
	AgeSeconds float64 `json:"age_seconds"`
}

// Job is a delete job.
type Job struct {
	ID        string     `json:"id"`
	Scope     string     `json:"scope"`
	Status    string     `json:"status"`
	Requested int64      `json:"requested"`
	Deleted   int64      `json:"deleted"`
	Remaining int64      `json:"remaining"`
	Failed    int64      `json:"failed"`
	Reasons   []string   `json:"reasons"`
	Made      time.Time  `json:"made"`
	Ended     *time.Time `json:"ended"`
}

// Usage is a bounded store: bytes in use and its bound (0: no bound of its own).
type Usage struct {
	Bytes int64 `json:"bytes"`
	Max   int64 `json:"max"`
}

// Counters count since the daemon's start.
type Counters struct {
	BytesSent    int64            `json:"bytes_sent"`
	BytesFetched int64            `json:"bytes_fetched"`
	BytesCopied  int64            `json:"bytes_copied"`
	PartsSent    int64            `json:"parts_sent"`
	PartsCopied  int64            `json:"parts_copied"`
	Requests     map[string]int64 `json:"requests"`
	Conflicts    int64            `json:"conflicts"`
}

// Progress is one line of a streamed answer.
type Progress struct {
	State   string   `json:"state"` // as in Status
	Pending Pending  `json:"pending"`
	Parked  []Parked `json:"parked,omitempty"`
	// Note says what goes on, in words; empty in most lines.
	Note string `json:"note,omitempty"`
	// Done ends the stream: everything asked for is true.
	Done bool `json:"done,omitempty"`
	// Error ends the stream: it will not become true.
	Error *Fault `json:"error,omitempty"`
}

// WaitRequest is the body of POST /v1/wait.
type WaitRequest struct {
	// Paths below the mount, "" for all of it.
	Paths []string `json:"paths"`
}

// UmountRequest is the body of POST /v1/umount.
type UmountRequest struct {
	Now bool `json:"now"`
}

// CacheReport is the answer of POST /v1/cache/drop and GET /v1/cache.
type CacheReport struct {
	Bytes int64 `json:"bytes"` // of read buffers, before a drop
	Max   int64 `json:"max"`
	Files int64 `json:"files"` // files whose pages the kernel was told to forget
}

// Finding is one line of a doctor's report.
type Finding struct {
	Topic string `json:"topic"`
	Level string `json:"level"` // LevelOK, LevelNote, LevelWarning or LevelError
	Text  string `json:"text"`
}

// The levels of a finding.
const (
	LevelOK      = "ok"
	LevelNote    = "note"
	LevelWarning = "warning"
	LevelError   = "error"
)

// Report is the answer of GET /v1/doctor.
type Report struct {
	Findings []Finding `json:"findings"`
}
