package s3remote

import (
	"sync"
	"sync/atomic"
)

// Counters is what went over the line since New, failed tries included.
type Counters struct {
	// Requests by the name of their S3 API (PutObject, UploadPart, …).
	Requests     map[string]int64
	BytesSent    int64 // of bodies of PutObject and UploadPart
	BytesFetched int64 // of bodies of GetObject
	BytesCopied  int64 // by CopyObject and UploadPartCopy, at the server
}

type counters struct {
	sent, fetched, copied atomic.Int64

	mu       sync.Mutex
	requests map[string]int64
}

func (c *counters) request(api string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests[api]++
}

func (c *counters) snapshot() Counters {
	s := Counters{
		Requests:  map[string]int64{},
		BytesSent: c.sent.Load(), BytesFetched: c.fetched.Load(), BytesCopied: c.copied.Load(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for api, n := range c.requests {
		s.Requests[api] = n
	}
	return s
}
