// Package s3remote speaks S3 through minio-go. It is the only package that
// does: keys get and lose the mount's prefix here, foreign errors get their Kind
// here, and every request has an end here.
//
// A call makes one try. Nothing hangs for ever: dialling, waiting for an answer
// and every pause in a body have limits. What went over the line is counted at
// the transport, failed tries included.
package s3remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"ferry"
)

// Options of a remote.
type Options struct {
	Endpoint string // URL of the server: http://host:9000 or https://s3.example.org
	Region   string // "" asks the server
	Bucket   string
	// Prefix is the mount's own: "" or keys that end in "/" (a missing one is added).
	Prefix      string
	Credentials *Credentials // nil is anonymous
	// PathStyle is "" or "auto" (host style on Amazon and Google only), "path" or "host".
	PathStyle string
	UserAgent string // name and version as "ferry/1.2"; "" adds nothing
	// SSE asks for encryption at the server: "" (none), "AES256", "aws:kms" or "aws:kms:KEYID".
	SSE string
	// CACert is PEM to trust beside the system's certificates; nil for none.
	CACert []byte
	// DigestKey keys the digest of parts; see ferry.Part.
	DigestKey [32]byte
	// UploadRate limits bodies that are sent, bytes per second; 0 is no limit.
	UploadRate int64

	DialTimeout   time.Duration // 0 means 10 s
	AnswerTimeout time.Duration // from a request's last byte to the answer; 0 means 60 s
	StallTimeout  time.Duration // without progress in a body; 0 means 30 s
	// MaxIdleConns is how many idle connections are kept; 0 means 64.
	MaxIdleConns int
}

// Remote is one bucket (or a prefix of it) on one server. It implements
// syncer.Remote. Safe for concurrent use.
type Remote struct {
	core      *minio.Core
	transport *transport
	bucket    string
	prefix    string
	region    string
	sse       encrypt.ServerSide
	digestKey [32]byte
	hashers   *hashers
	caps      atomic.Pointer[ferry.Capabilities]
}

// New returns a remote. It checks the options and sends nothing; errors are
// KindInvalid.
func New(o Options) (*Remote, error) {
	invalid := func(msg, hint string, err error) (*Remote, error) {
		return nil, &ferry.Error{Op: "s3remote.new", Kind: ferry.KindInvalid, Msg: msg, Hint: hint, Err: err}
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		return invalid(fmt.Sprintf("the endpoint %q is not the address of a server", redactURL(o.Endpoint)), "give it as http://HOST:PORT or https://HOST", nil)
	}
	if err := s3utils.CheckValidBucketName(o.Bucket); err != nil {
		return invalid(fmt.Sprintf("%q cannot be the name of a bucket", o.Bucket), "3 to 63 lower-case letters, digits, dots and hyphens", err)
	}
	prefix := strings.TrimPrefix(o.Prefix, "/")
	if prefix != "" {
		if !strings.HasSuffix(prefix, "/") {
			prefix += "/"
		}
		if err := ferry.ObjectKey(prefix).Check(); err != nil {
			return invalid(fmt.Sprintf("%q cannot be a prefix", o.Prefix), "name components joined by single slashes", err)
		}
	}
	sse, err := parseSSE(o.SSE)
	if err != nil {
		return invalid(err.Error(), `use "AES256", "aws:kms" or "aws:kms:KEYID"`, nil)
	}
	lookup, ok := map[string]minio.BucketLookupType{
		"": minio.BucketLookupAuto, "auto": minio.BucketLookupAuto, "path": minio.BucketLookupPath, "host": minio.BucketLookupDNS,
	}[o.PathStyle]
	if !ok {
		return invalid(fmt.Sprintf("%q is no style of bucket addresses", o.PathStyle), `use "auto", "path" or "host"`, nil)
	}
	inner, err := newHTTPTransport(o)
	if err != nil {
		return invalid("the certificates cannot be read", "give a file with certificates in PEM form", err)
	}
	t := newTransport(inner, o)
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds: o.Credentials.provider(), Secure: u.Scheme == "https", Transport: t,
		Region: o.Region, BucketLookup: lookup, MaxRetries: 1,
	})
	if err != nil {
		return invalid(fmt.Sprintf("the endpoint %q cannot be used", o.Endpoint), "give it as http://HOST:PORT or https://HOST", err)
	}
	if name, version, _ := strings.Cut(o.UserAgent, "/"); name != "" {
		if version == "" {
			version = "0"
		}
		core.SetAppInfo(name, version)
	}
	return &Remote{
		core: core, transport: t, bucket: o.Bucket, prefix: prefix, region: o.Region,
		sse: sse, digestKey: o.DigestKey, hashers: newHashers(),
	}, nil
}

// redactURL takes user and password off an address that cannot be used anyway.
func redactURL(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "…" + s[i:]
	}
	return s
}

func parseSSE(mode string) (encrypt.ServerSide, error) {
	switch key, isKMS := strings.CutPrefix(mode, "aws:kms"); {
	case mode == "":
		return nil, nil
	case mode == "AES256":
		return encrypt.NewSSE(), nil
	case isKMS && (key == "" || key[0] == ':'):
		return encrypt.NewSSEKMS(strings.TrimPrefix(key, ":"), nil)
	default:
		return nil, fmt.Errorf("%q is no encryption that ferry knows", mode)
	}
}

func newHTTPTransport(o Options) (*http.Transport, error) {
	dialer := &net.Dialer{Timeout: orDefault(o.DialTimeout, 10*time.Second), KeepAlive: 15 * time.Second}
	idle := o.MaxIdleConns
	if idle == 0 {
		idle = 64
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, &dialError{err}
			}
			return newConn(c), nil
		},
		MaxIdleConns: idle, MaxIdleConnsPerHost: idle,
		IdleConnTimeout:       20 * time.Second, // below the 30 s after which MinIO hangs up
		TLSHandshakeTimeout:   orDefault(o.DialTimeout, 10*time.Second),
		ExpectContinueTimeout: time.Second,
		ReadBufferSize:        64 << 10, WriteBufferSize: 64 << 10,
		// An object stored with Content-Encoding: gzip is passed on as it is.
		DisableCompression: true,
		TLSClientConfig:    &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if o.CACert != nil {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(o.CACert) {
			return nil, errors.New("no certificate in it")
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return t, nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// Capabilities returns what the last Probe or SetCapabilities said.
func (r *Remote) Capabilities() ferry.Capabilities {
	if c := r.caps.Load(); c != nil {
		return *c
	}
	return ferry.Capabilities{}
}

// SetCapabilities sets what an earlier probe of the same server found.
func (r *Remote) SetCapabilities(c ferry.Capabilities) { r.caps.Store(&c) }

// SetUploadRate limits the bodies that are sent from now on, those under way
// included, to bytes per second in all; 0 is no limit.
func (r *Remote) SetUploadRate(bytesPerSecond int64) { r.transport.limiter.set(bytesPerSecond) }

// Counters returns what went over the line so far.
func (r *Remote) Counters() Counters { return r.transport.counters.snapshot() }

// Close drops the idle connections and what the remote holds in memory. Calls
// that are under way go on.
func (r *Remote) Close() {
	r.transport.inner.CloseIdleConnections()
	r.hashers.close()
}

// BucketExists reports whether the bucket is there and may be seen.
func (r *Remote) BucketExists(ctx context.Context) (bool, error) {
	ok, err := r.core.BucketExists(withCall(ctx, &call{api: "HeadBucket", method: http.MethodHead}), r.bucket)
	return ok, classify("s3remote.bucket", "", err)
}

// MakeBucket makes the bucket. A bucket of ours that is there already is success.
func (r *Remote) MakeBucket(ctx context.Context) error {
	ctx = withCall(ctx, &call{api: "CreateBucket", method: http.MethodPut})
	err := r.core.MakeBucket(ctx, r.bucket, minio.MakeBucketOptions{Region: r.region})
	if minio.ToErrorResponse(err).Code == "BucketAlreadyOwnedByYou" {
		return nil
	}
	return classify("s3remote.bucket", "", err)
}

// full returns the key in the bucket of a key of the mount, or a KindInvalid
// error for one that S3 cannot have.
func (r *Remote) full(op string, key ferry.ObjectKey) (string, error) {
	k := r.prefix + string(key)
	if err := s3utils.CheckValidObjectName(k); err != nil || key == "" {
		return "", &ferry.Error{
			Op: op, Key: string(key), Kind: ferry.KindInvalid, Err: err,
			Msg: "S3 cannot have such a key", Hint: "keys are 1 to 1024 bytes of UTF-8, the mount's prefix included",
		}
	}
	return k, nil
}

// rel returns the key of the mount of a key in the bucket.
func (r *Remote) rel(key string) ferry.ObjectKey {
	return ferry.ObjectKey(strings.TrimPrefix(key, r.prefix))
}
