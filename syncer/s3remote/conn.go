package s3remote

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// conn is a connection that knows two habits of S3 servers.
//
// MinIO hangs up without saying so after it has refused a request whose body it
// did not read. A request that is sent on that connection a moment later would be
// lost, and nobody could say whether it took effect. A connection can be retired:
// it takes no byte of the next request, so that net/http sends it on another one.
//
// A server that refuses while the body is still being sent breaks the line right
// after its answer. net/http takes the failed write for the outcome and throws
// the answer away; so a failed write is told only after the answer had a moment
// to be read.
type conn struct {
	net.Conn
	retired atomic.Bool
	once    sync.Once
	closed  chan struct{}
}

func newConn(c net.Conn) *conn { return &conn{Conn: c, closed: make(chan struct{})} }

// answerMoment is how long a failed write waits for the answer.
const answerMoment = 250 * time.Millisecond

var errRetired = errors.New("the connection is not used any more")

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	if c.retired.Load() {
		return 0, errRetired
	}
	n, err := c.Conn.Write(b)
	if err != nil {
		select {
		case <-time.After(answerMoment):
		case <-c.closed: // nothing came, or the answer is read, or the call is over
		}
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *conn) retire() { c.retired.Store(true) }

// connOf returns our connection below what net/http uses, nil if there is none.
func connOf(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	own, _ := c.(*conn)
	return own
}
