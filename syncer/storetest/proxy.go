package storetest

import (
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fault is what a [Proxy] does to the requests that it is for.
type Fault struct {
	// Method and Match say which requests: "" and nil are all.
	Method string
	Match  func(*http.Request) bool
	// Nth makes it the n-th matching request only, counted from 1; 0 is each of them.
	Nth int
	// Probability of each; 0 is certainty.
	Probability float64

	// One or more of:
	Delay      time.Duration // before it is forwarded
	Status     int           // answered with this status and S3's SlowDown, not forwarded
	DropAnswer bool          // forwarded, and the connection closed instead of an answer
	Refuse     bool          // the connection closed, not forwarded
	CutAt      int64         // the answer's body ends after so many bytes, with the connection; see Cut
	Cut        bool
	StallAt    int64 // the answer's body pauses after so many bytes until the proxy closes; see Stall
	Stall      bool
	Hang       bool // forwarded, and never answered
	CutSent    bool // only CutAt bytes of the request's body are forwarded, then both connections close
	FlipSent   bool // the first byte of the request's body is changed
	FlipGot    bool // the first byte of the answer's body is changed

	seen, hit int
}

// PathHas matches requests whose path or query holds s.
func PathHas(s string) func(*http.Request) bool {
	return func(r *http.Request) bool { return strings.Contains(r.URL.RequestURI(), s) }
}

// Proxy stands between a client and a server and loses, cuts and delays what
// passes, as told. Its address stays the same through an outage.
type Proxy struct {
	URL string

	t       testing.TB
	backend string
	addr    string
	client  *http.Transport
	closed  context.Context
	close   context.CancelFunc

	mu       sync.Mutex
	faults   []*Fault
	requests []string
	server   *http.Server
	done     chan struct{}
	handlers sync.WaitGroup
}

// NewProxy starts a proxy to endpoint (a URL).
func NewProxy(t testing.TB, endpoint string) *Proxy {
	t.Helper()
	p := &Proxy{
		t: t, backend: strings.TrimPrefix(endpoint, "http://"), addr: FreeAddr(t),
		// No connection is used twice: MinIO hangs up silently after some refusals.
		client: &http.Transport{DisableCompression: true, DisableKeepAlives: true, ExpectContinueTimeout: 10 * time.Second},
	}
	p.closed, p.close = context.WithCancel(context.Background())
	p.URL = "http://" + p.addr
	p.up()
	t.Cleanup(func() {
		p.close()
		p.down()
		p.handlers.Wait()
		p.client.CloseIdleConnections()
	})
	return p
}

// Add makes the proxy do f from now on.
func (p *Proxy) Add(f Fault) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, &f)
	return &f
}

// Clear ends all faults.
func (p *Proxy) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = nil
}

// Hits returns how often f happened.
func (p *Proxy) Hits(f *Fault) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return f.hit
}

// Requests returns the requests since the last call, as "METHOD path?query".
func (p *Proxy) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.requests
	p.requests = nil
	return r
}

// Outage makes the proxy refuse connections (and drops those that are there), or
// ends that.
func (p *Proxy) Outage(on bool) {
	if on {
		p.down()
	} else {
		p.up()
	}
}

func (p *Proxy) up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		return
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatalf("the proxy cannot listen: %v", err)
	}
	s := &http.Server{Handler: http.HandlerFunc(p.serve), ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // "server closed"
	}()
	p.server, p.done = s, done
}

func (p *Proxy) down() {
	p.mu.Lock()
	s, done := p.server, p.done
	p.server = nil
	p.mu.Unlock()
	if s == nil {
		return
	}
	_ = s.Close() // the listener and all connections
	<-done
}

// fault returns what to do to r: the sum of all faults that are for it.
func (p *Proxy) fault(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, r.Method+" "+r.URL.RequestURI())
	var sum Fault
	for _, f := range p.faults {
		if f.Method != "" && f.Method != r.Method || f.Match != nil && !f.Match(r) {
			continue
		}
		f.seen++
		if f.Nth != 0 && f.seen != f.Nth || f.Probability != 0 && rand.Float64() >= f.Probability {
			continue
		}
		f.hit++
		sum = merge(sum, f)
	}
	return sum
}

func merge(a Fault, b *Fault) Fault {
	a.Delay += b.Delay
	if b.Status != 0 {
		a.Status = b.Status
	}
	if b.Cut {
		a.Cut, a.CutAt = true, b.CutAt
	}
	if b.Stall {
		a.Stall, a.StallAt = true, b.StallAt
	}
	if b.CutSent {
		a.CutSent, a.CutAt = true, b.CutAt
	}
	a.DropAnswer = a.DropAnswer || b.DropAnswer
	a.Refuse = a.Refuse || b.Refuse
	a.Hang = a.Hang || b.Hang
	a.FlipSent = a.FlipSent || b.FlipSent
	a.FlipGot = a.FlipGot || b.FlipGot
	return a
}

// flip changes the first byte that is read.
type flip struct {
	io.ReadCloser
	done bool
}

func (f *flip) Read(b []byte) (int, error) {
	n, err := f.ReadCloser.Read(b)
	if n > 0 && !f.done {
		f.done = true
		b[0] ^= 0xff
	}
	return n, err
}

// broken is a body that breaks off.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("cut off") }

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	p.handlers.Add(1)
	defer p.handlers.Done()
	f := p.fault(r)
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-p.closed.Done():
		}
	}
	switch {
	case f.Refuse:
		panic(http.ErrAbortHandler) // closes the connection without an answer
	case f.Status != 0:
		_, _ = io.Copy(io.Discard, r.Body) // else the client sees a broken pipe
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>injected</Message></Error>`)
		return
	}
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = "http", p.backend, ""
	if f.FlipSent {
		out.Body = &flip{ReadCloser: r.Body}
	}
	if f.CutSent {
		out.Header.Del("Expect") // or the server would not have begun
		out.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, f.CutAt), broken{}))
	}
	resp, err := p.client.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	if f.FlipGot {
		resp.Body = &flip{ReadCloser: resp.Body}
	}
	switch {
	case f.DropAnswer:
		_, _ = io.Copy(io.Discard, resp.Body)
		panic(http.ErrAbortHandler)
	case f.Hang:
		select {
		case <-p.closed.Done():
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	}
	p.answer(w, r, resp, f)
}

func (p *Proxy) answer(w http.ResponseWriter, r *http.Request, resp *http.Response, f Fault) {
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	limit := int64(-1)
	switch {
	case f.Cut:
		limit = f.CutAt
	case f.Stall:
		limit = f.StallAt
	}
	var err error
	if limit < 0 {
		_, err = io.Copy(w, resp.Body)
	} else {
		_, err = io.CopyN(w, resp.Body, limit)
		if errors.Is(err, io.EOF) { // shorter than the limit
			err = nil
		}
		_ = http.NewResponseController(w).Flush() // a client that is gone needs none
	}
	if f.Stall {
		select {
		case <-p.closed.Done():
		case <-r.Context().Done():
		}
	}
	if err != nil || limit >= 0 {
		panic(http.ErrAbortHandler)
	}
}
