package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"ferry"
)

// A unix socket's path holds at most 107 bytes, and state directories can lie
// deeper. So sockets are reached through the descriptor of their folder.
func throughDir(path string, use func(short string) error) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

func listenUnix(path string) (net.Listener, error) {
	// The state directory is locked by us: a socket that is there was left behind.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, listenError(path, err)
	}
	var l *net.UnixListener
	err := throughDir(path, func(short string) (err error) {
		// Nobody else may connect in the moment before chmod.
		old := unix.Umask(0o177)
		defer unix.Umask(old)
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, listenError(path, err)
	}
	// Its name leads through a descriptor that is closed now; the next start
	// removes the file.
	l.SetUnlinkOnClose(false)
	return l, nil
}

func listenError(path string, err error) error {
	return &ferry.Error{Op: "control.listen", Key: path, Kind: ferry.KindInvalid, Msg: "the control socket cannot be made", Err: err}
}

func dialUnix(ctx context.Context, path string) (c net.Conn, err error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	err = throughDir(path, func(short string) error {
		c, err = d.DialContext(ctx, "unix", short)
		return err
	})
	return c, err
}
