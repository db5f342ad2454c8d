package s3remote

import (
	"crypto/md5"
	"hash"
	"sync"

	md5simd "github.com/minio/md5-simd"
)

// hashers makes MD5 sums of several bodies at once on the vector units, which
// takes half the time of one by one. It ends when it is closed and the last hash
// is released; later hashes are plain ones.
type hashers struct {
	mu     sync.Mutex
	server md5simd.Server
	open   int
	closed bool
}

func newHashers() *hashers { return &hashers{server: md5simd.NewServer()} }

// simdSize is the size from which on it pays.
const simdSize = 64 << 10

// new returns a hash for size bytes and what releases it, to be called once.
func (h *hashers) new(size int64) (hash.Hash, func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || size < simdSize {
		return md5.New(), func() {}
	}
	h.open++
	m := h.server.NewHash()
	return m, func() {
		m.Close()
		h.mu.Lock()
		defer h.mu.Unlock()
		h.open--
		h.end()
	}
}

func (h *hashers) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		h.end()
	}
}

func (h *hashers) end() {
	if h.closed && h.open == 0 {
		h.server.Close()
	}
}
