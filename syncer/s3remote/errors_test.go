package s3remote

import (
	"bufio"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"ferry"
)

// TestClassify: each answer and failure gets the kind that the syncer acts on.
func TestClassify(t *testing.T) {
	answer := func(status int, code, msg string) error {
		return minio.ErrorResponse{StatusCode: status, Code: code, Message: msg}
	}
	line := func(err error) error { return &url.Error{Op: "Put", URL: "http://x/y", Err: &lineError{err}} }
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for _, c := range []struct {
		err  error
		want ferry.Kind
	}{
		{minio.ErrorResponse{StatusCode: 404, Code: "NoSuchKey", RequestID: "1"}, ferry.KindNotFound},
		{minio.ErrorResponse{StatusCode: 404, Code: "NoSuchKey", XMLName: xml.Name{Local: "Error"}}, ferry.KindNotFound},
		{answer(404, "NoSuchKey", ""), ferry.KindTransient}, // minio-go's guess from a bare 404
		{answer(404, "NoSuchUpload", ""), ferry.KindNoUpload},
		{answer(404, "NoSuchBucket", ""), ferry.KindTransient}, // no answer about a key
		{answer(404, "404 Not Found", "nginx"), ferry.KindTransient},
		{answer(412, "PreconditionFailed", ""), ferry.KindConflict},
		{answer(412, "412 Precondition Failed", ""), ferry.KindConflict},
		{answer(409, "ConditionalRequestConflict", ""), ferry.KindTransient},
		{answer(403, "AccessDenied", ""), ferry.KindDenied},
		{answer(403, "InvalidAccessKeyId", ""), ferry.KindDenied},
		{answer(403, "SignatureDoesNotMatch", ""), ferry.KindDenied},
		{answer(403, "RequestTimeTooSkewed", ""), ferry.KindTransient},
		{answer(401, "401 Unauthorized", ""), ferry.KindDenied},
		{answer(400, "InvalidRequest", "Object is WORM protected and cannot be overwritten"), ferry.KindDenied},
		{answer(400, "XMinioAdminBucketQuotaExceeded", ""), ferry.KindNoSpace},
		{answer(507, "XMinioStorageFull", ""), ferry.KindNoSpace},
		{answer(507, "507 Insufficient Storage", ""), ferry.KindNoSpace},
		{answer(503, "SlowDown", ""), ferry.KindTransient},
		{answer(500, "InternalError", ""), ferry.KindTransient},
		{answer(502, "502 Bad Gateway", ""), ferry.KindTransient},
		{answer(429, "429 Too Many Requests", ""), ferry.KindTransient},
		{answer(200, "InternalError", "an error in a 200"), ferry.KindTransient},
		{answer(400, "BadDigest", ""), ferry.KindCorrupt},
		{answer(400, "XAmzContentSHA256Mismatch", ""), ferry.KindCorrupt},
		{answer(400, "IncompleteBody", ""), ferry.KindTransient},
		{answer(416, "InvalidRange", ""), ferry.KindInvalid},
		{answer(304, "304 Not Modified", ""), ferry.KindInvalid},
		{answer(400, "EntityTooSmall", ""), ferry.KindInvalid},
		{answer(400, "SomethingNew", ""), ferry.KindInvalid},
		{answer(501, "NotImplemented", ""), ferry.KindUnsupported},
		{answer(405, "MethodNotAllowed", ""), ferry.KindUnsupported},
		{answer(301, "PermanentRedirect", ""), ferry.KindInvalid},
		{line(&dialError{refused}), ferry.KindTransient},
		{line(io.ErrUnexpectedEOF), ferry.KindTransient},
		{line(&stallError{"no answer", 1}), ferry.KindTransient},
		{errors.New("http: server gave HTTP response to HTTPS client"), ferry.KindInvalid},
		{errors.New("anything else"), ferry.KindTransient},
		{&ferry.Error{Op: "x", Kind: ferry.KindNoSpace}, ferry.KindNoSpace},
		{fmt.Errorf("wrapped: %w", &ferry.Error{Op: "x", Kind: ferry.KindNoSpace}), ferry.KindNoSpace},
	} {
		if got := classify("op", "key", c.err); ferry.KindOf(got) != c.want || got.Error() == "" {
			t.Errorf("%+v is %v: %v, want kind %q", c.err, ferry.KindOf(got), got, c.want)
		}
	}
	if classify("op", "key", nil) != nil {
		t.Error("no error became one")
	}
	if err := classify("op", "key", line(&dialError{refused})); !errors.Is(err, ferry.ErrOffline) {
		t.Errorf("a refused connection is not offline: %v", err)
	}
	for _, err := range []error{line(io.ErrUnexpectedEOF), answer(503, "SlowDown", "")} {
		if errors.Is(classify("op", "key", err), ferry.ErrOffline) {
			t.Errorf("%v is said to be offline", err)
		}
	}
	if err := classify("op", "key", line(context.Canceled)); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call is not recognised: %v", err)
	}
}

// TestNotS3: what stands before the store may answer anything; no name is absent
// because of it, and nothing is stored.
func TestNotS3(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"a bare 404": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) },
		"an HTML 404": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			_, _ = io.WriteString(w, "<html><body>no such page</body></html>")
		},
		"an HTML 200":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>log in first</html>") },
		"an empty 200": func(http.ResponseWriter, *http.Request) {},
		"a redirect":   func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", "/login"); w.WriteHeader(302) },
	} {
		server := httptest.NewServer(answer)
		r, err := New(Options{Endpoint: server.URL, Bucket: "bucket", Region: "us-east-1", Credentials: StaticCredentials("a", "b", "")})
		if err != nil {
			t.Fatal(err)
		}
		ctx, v := t.Context(), ferry.Version{Key: "k", ETag: "e", Size: 10}
		check := func(what string, err error) {
			t.Helper()
			if err == nil || ferry.IsKind(err, ferry.KindNotFound) || ferry.IsKind(err, ferry.KindInternal) {
				t.Errorf("%s to %s: %v", name, what, err)
			}
		}
		_, err = r.Head(ctx, "k")
		check("Head", err)
		_, err = r.Get(ctx, v, ferry.Extent{Length: 10})
		check("Get", err)
		page, err := r.List(ctx, ferry.ListRequest{})
		if err == nil {
			t.Errorf("%s to List: %+v", name, page)
		}
		if parts, err := r.ListParts(ctx, "k", "id"); err == nil {
			t.Errorf("%s to ListParts: %+v", name, parts)
		}
		_, err = r.Put(ctx, "k", strings.NewReader("x"), 1, ferry.PutOptions{})
		check("Put", err)
		_, err = r.NewUpload(ctx, "k", ferry.PutOptions{})
		check("NewUpload", err)
		_, err = r.CopyPart(ctx, "k", "id", 1, v, ferry.Extent{Length: 10})
		check("CopyPart", err)
		_, err = r.Complete(ctx, "k", "id", []ferry.Part{{Number: 1, ETag: "e"}}, ferry.Precondition{})
		check("Complete", err)
		_, err = r.Copy(ctx, v, "k2", ferry.PutOptions{})
		check("Copy", err)
		failed, err := r.Delete(ctx, []ferry.ObjectKey{"k"})
		if err == nil && failed["k"] == nil {
			t.Errorf("%s to Delete is taken for success", name)
		}
		r.Close()
		server.Close()
	}
}

// TestLineErrorText: minio-go throws away errors whose text has "EOF" in it.
func TestLineErrorText(t *testing.T) {
	for _, err := range []error{io.EOF, io.ErrUnexpectedEOF, fmt.Errorf("readLoop: %w", io.EOF), errors.New("some EOF of others")} {
		if text := (&lineError{err}).Error(); strings.Contains(text, "EOF") || text == "" {
			t.Errorf("%v reads %q", err, text)
		}
	}
}

// TestNewRefuses: each bad option gets one sentence and a hint.
func TestNewRefuses(t *testing.T) {
	good := Options{Endpoint: "http://127.0.0.1:9000", Bucket: "bucket"}
	for name, change := range map[string]func(*Options){
		"no endpoint":   func(o *Options) { o.Endpoint = "" },
		"no scheme":     func(o *Options) { o.Endpoint = "127.0.0.1:9000" },
		"a path":        func(o *Options) { o.Endpoint = "http://127.0.0.1:9000/bucket" },
		"a password":    func(o *Options) { o.Endpoint = "http://user:secret@127.0.0.1:9000" },
		"no bucket":     func(o *Options) { o.Bucket = "" },
		"a bad bucket":  func(o *Options) { o.Bucket = "Not A Bucket" },
		"a bad prefix":  func(o *Options) { o.Prefix = "a//b" },
		"a bad style":   func(o *Options) { o.PathStyle = "sideways" },
		"a bad SSE":     func(o *Options) { o.SSE = "rot13" },
		"a bad CA cert": func(o *Options) { o.CACert = []byte("none") },
	} {
		o := good
		change(&o)
		_, err := New(o)
		e, ok := errors.AsType[*ferry.Error](err)
		if !ok || e.Kind != ferry.KindInvalid || e.Msg == "" || e.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
	for _, change := range []func(*Options){
		func(*Options) {},
		func(o *Options) { o.Prefix = "a/b" },
		func(o *Options) { o.SSE = "AES256" },
		func(o *Options) { o.SSE = "aws:kms" },
		func(o *Options) { o.SSE = "aws:kms:key-1" },
		func(o *Options) { o.Endpoint = "https://s3.amazonaws.com/" },
	} {
		o := good
		change(&o)
		if _, err := New(o); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// TestSSEHeaders: the encryption that was asked for is on puts, uploads and copies.
func TestSSEHeaders(t *testing.T) {
	for mode, want := range map[string][2]string{
		"": {}, "AES256": {"AES256"}, "aws:kms": {"aws:kms"}, "aws:kms:key-1": {"aws:kms", "key-1"},
	} {
		sse, err := parseSSE(mode)
		if err != nil {
			t.Fatal(err)
		}
		put := minio.PutObjectOptions{ServerSideEncryption: sse}.Header()
		copied := http.Header{}
		(&copyHeaders{sse: sse}).Marshal(copied)
		for what, h := range map[string]http.Header{"put": put, "copy": copied} {
			got := [2]string{h.Get("X-Amz-Server-Side-Encryption"), h.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")}
			if got != want {
				t.Errorf("%q on a %s: %q, want %q", mode, what, got, want)
			}
		}
	}
}

// TestAnswerBeforeBody: a server that answers while the body is being sent, and
// then breaks the line, is heard.
func TestAnswerBeforeBody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// It says "go on", takes a little, refuses, and hangs up on the rest.
			in := bufio.NewReader(c)
			if _, err := http.ReadRequest(in); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			_, _ = io.ReadFull(in, make([]byte, 100_000))
			const body = `<Error><Code>PreconditionFailed</Code></Error>`
			_, _ = fmt.Fprintf(c, "HTTP/1.1 412 Precondition Failed\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			c.Close() // unread bytes make it a reset
		}
	}()
	r, err := New(Options{Endpoint: "http://" + l.Addr().String(), Bucket: "bucket", Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range 20 {
		_, err := r.Put(t.Context(), "k", strings.NewReader(strings.Repeat("x", 8<<20)), 8<<20, ferry.PutOptions{Cond: ferry.Precondition{IfAbsent: true}})
		if !ferry.IsKind(err, ferry.KindConflict) {
			t.Fatalf("put %d: %v", i, err)
		}
	}
}
