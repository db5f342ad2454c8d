package s3remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// call travels in a request's context and tells the transport what minio-go
// cannot: what the request is, and where its body comes from.
type call struct {
	api    string
	method string
	body   *source       // nil if it has none
	extra  time.Duration // more patience for the answer: work at the server
	page   *page         // of a listing
	root   string        // the element an answer must begin with; "" is not checked
}

// page makes a listing end after one request: minio-go would fetch them all.
type page struct{ more bool }

type callKey struct{}

func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// dialError says that no connection could be made.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// lineError is a failure of the line. minio-go replaces errors whose text has
// "EOF" in it by ones that say nothing, so this one's has not.
type lineError struct{ err error }

func (e *lineError) Error() string {
	if errors.Is(e.err, io.ErrUnexpectedEOF) || errors.Is(e.err, io.EOF) {
		return "the server closed the connection early"
	}
	return strings.ReplaceAll(e.err.Error(), "EOF", "end of stream")
}
func (e *lineError) Unwrap() error { return e.err }

// stallError says that a limit of patience was reached.
type stallError struct {
	what  string
	after time.Duration
}

func (e *stallError) Error() string { return fmt.Sprintf("%s for %s", e.what, e.after) }

// transport counts, limits and watches every request.
type transport struct {
	inner    *http.Transport
	answer   time.Duration
	stall    time.Duration
	limiter  limiter
	counters counters
	server   atomic.Pointer[string]
}

func newTransport(inner *http.Transport, o Options) *transport {
	t := &transport{
		inner:    inner,
		answer:   orDefault(o.AnswerTimeout, time.Minute),
		stall:    orDefault(o.StallTimeout, 30*time.Second),
		counters: counters{requests: map[string]int64{}},
	}
	t.limiter.set(o.UploadRate)
	return t
}

// expectSize is the size of a body from which on the server is asked before it
// is sent: a refusal is then an answer and not a broken connection. Smaller ones
// leave in one write together with their headers and would only wait for it.
const expectSize = 48 << 10

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	c, _ := req.Context().Value(callKey{}).(*call)
	if c == nil || c.method != req.Method || req.URL.Query().Has("location") {
		c = &call{api: "Other", method: req.Method} // minio-go's own: regions, credentials
	}
	if c.page != nil && req.URL.Query().Has("continuation-token") {
		c.page.more = true
		return emptyPage(req), nil
	}
	t.counters.request(c.api)

	ctx, cancel := context.WithCancelCause(req.Context())
	w := &watch{cancel: cancel}
	w.begin(sending, t.answer+c.extra, "no answer from the server")
	req = req.WithContext(ctx)
	var used *conn
	if req.ContentLength > 0 {
		trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { used = connOf(i.Conn) }}
		req = req.WithContext(httptrace.WithClientTrace(ctx, trace))
		if err := t.attach(ctx, req, c, w); err != nil {
			w.end()
			cancel(nil)
			return nil, err
		}
	}
	resp, err := t.inner.RoundTrip(req)
	if err != nil {
		w.end()
		if stalled, ok := errors.AsType[*stallError](context.Cause(ctx)); ok && errors.Is(err, context.Canceled) {
			err = stalled
		}
		cancel(nil)
		return nil, &lineError{err}
	}
	if resp.StatusCode < 300 {
		used = nil
	} else if used != nil {
		used.retire()
	}
	if s := resp.Header.Get("Server"); s != "" && t.server.Load() == nil {
		t.server.Store(&s)
	}
	w.end()
	b := &answerBody{ReadCloser: resp.Body, ctx: ctx, watch: w, stall: t.stall, retired: used}
	if c.api == apiGet && resp.StatusCode < 300 {
		b.count = &t.counters.fetched
	}
	resp.Body = b
	if c.root != "" && resp.StatusCode < 300 {
		resp.Body = &rootCheck{ReadCloser: b, buf: bufio.NewReader(b), root: []byte("<" + c.root)}
	}
	return resp, nil
}

var errNotS3 = errors.New("the answer is not one of S3")

// rootCheck fails the reading of an answer that is not what it should be. A page
// that some portal shows instead of a listing would be an empty listing to
// encoding/xml, and everything would seem to be gone.
type rootCheck struct {
	io.ReadCloser
	buf  *bufio.Reader
	root []byte
	ok   bool
}

// Read implements io.Reader.
func (r *rootCheck) Read(p []byte) (int, error) {
	if !r.ok {
		head, err := r.buf.Peek(512)
		if !bytes.Contains(head, r.root) {
			if err == nil || errors.Is(err, io.EOF) {
				err = errNotS3
			}
			return 0, err
		}
		r.ok = true
	}
	return r.buf.Read(p)
}

// attach puts the call's real body into the request, and gives every body the
// means to be sent again on another connection if the first took nothing of it.
func (t *transport) attach(ctx context.Context, req *http.Request, c *call, w *watch) error {
	if c.body == nil || req.ContentLength != c.body.extent.Length {
		b, err := io.ReadAll(req.Body) // minio-go's own: a list of parts or keys
		if err != nil {
			return err
		}
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
		req.Body, err = req.GetBody()
		return err
	}
	const what = "no progress in sending"
	open := func() io.ReadCloser {
		left := c.body.extent.Length
		alive := func() { w.begin(sending, t.stall, what) }
		alive()
		return c.body.open(ctx, func(ctx context.Context, n int) error {
			alive()
			return t.limiter.wait(ctx, n, alive)
		}, func(n int) {
			t.counters.sent.Add(int64(n))
			if left -= int64(n); left == 0 {
				w.begin(sending, t.answer+c.extra, "no answer from the server")
			}
		})
	}
	req.Body = open()
	req.GetBody = func() (io.ReadCloser, error) { return open(), nil }
	if req.ContentLength >= expectSize {
		req.Header = req.Header.Clone()
		req.Header.Set("Expect", "100-continue")
	}
	return nil
}

// emptyPage is an answer that ends minio-go's listing without a request.
func emptyPage(req *http.Request) *http.Response {
	const text = `<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>`
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, ContentLength: int64(len(text)), Request: req,
		Body: io.NopCloser(bytes.NewReader([]byte(text))),
	}
}

// watch cancels a request that makes no progress.
type watch struct {
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer
	phase phase
	limit time.Duration
	what  string
}

// phase is which side of a request the clock is for: the transport may still
// read a body when the answer is there already, and that no longer counts.
type phase int

const (
	sending phase = iota
	receiving
)

// begin starts the clock anew.
func (w *watch) begin(p phase, limit time.Duration, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p < w.phase {
		return
	}
	w.limit, w.what = limit, what
	if w.timer == nil {
		w.timer = time.AfterFunc(limit, w.fire)
	} else {
		w.timer.Reset(limit)
	}
}

func (w *watch) fire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancel(&stallError{w.what, w.limit})
}

// end stops the clock; from now on only receiving starts it.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase = receiving
	if w.timer != nil {
		w.timer.Stop()
	}
}

// answerBody watches and counts the reading of an answer. The clock runs only
// while a Read waits: a slow caller is not the server's fault.
type answerBody struct {
	io.ReadCloser
	ctx   context.Context
	watch *watch
	stall time.Duration
	count *atomic.Int64 // nil if it does not count
	// retired is the connection, if it shall not be used again.
	retired *conn
}

// Read implements io.Reader.
func (b *answerBody) Read(p []byte) (int, error) {
	b.watch.begin(receiving, b.stall, "no progress in receiving")
	n, err := b.ReadCloser.Read(p)
	b.watch.end()
	if b.count != nil {
		b.count.Add(int64(n))
	}
	if err != nil && err != io.EOF { //nolint:errorlint // Read returns io.EOF itself
		if stalled, ok := errors.AsType[*stallError](context.Cause(b.ctx)); ok {
			err = stalled
		}
		err = &lineError{err}
	}
	return n, err
}

// Close implements io.Closer.
func (b *answerBody) Close() error {
	b.watch.end()
	err := b.ReadCloser.Close()
	b.watch.cancel(nil)
	if b.retired != nil {
		b.retired.Close() //nolint:errcheck // it is not used again
	}
	return err
}
