package s3remote

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
)

// conn is a connection that can be retired. MinIO hangs up without saying so
// after it has refused a request whose body it did not read; a request that is
// sent on that connection a moment later would be lost, and nobody could say
// whether it took effect. A retired connection takes no byte of it, so that
// net/http sends it on another one.
type conn struct {
	net.Conn
	retired atomic.Bool
}

var errRetired = errors.New("the connection is not used any more")

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	if c.retired.Load() {
		return 0, errRetired
	}
	return c.Conn.Write(b)
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
