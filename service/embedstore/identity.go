package embedstore

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ferry"
)

// home is the folder in DIR for what a store remembers: its keys, and its port,
// so that the endpoint stays the same.
const home = ".ferry-store"

// lock takes the folder for one store. The lock belongs to the open file, which
// the child inherits: it holds until the last of both processes is gone. A store
// that is just ending is waited for.
func lock(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, home, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(lockPatience)
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil || !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, &ferry.Error{
				Op: "embedstore.start", Key: dir, Kind: ferry.KindBusy, Err: err,
				Msg: "another ferry serves this folder", Hint: "unmount it there, or choose another folder",
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

const lockPatience = 3 * time.Second

const (
	keyName    = "AWS_ACCESS_KEY_ID"
	secretName = "AWS_SECRET_ACCESS_KEY"
)

// keys returns the store's credentials, made at the first start. The file has
// the form of an environment file, so that other S3 tools can be given it.
func keys(dir string) (access, secret string, err error) {
	path := filepath.Join(dir, home, "credentials")
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		access, secret = "ferry"+rand.Text()[:11], rand.Text()
		text := fmt.Sprintf("%s=%s\n%s=%s\n", keyName, access, secretName, secret)
		return access, secret, writeFile(path, text)
	}
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		switch k, v, _ := strings.Cut(s.Text(), "="); k {
		case keyName:
			access = v
		case secretName:
			secret = v
		}
	}
	if access == "" || secret == "" {
		return "", "", fmt.Errorf("%s has not the lines %s=… and %s=…", path, keyName, secretName)
	}
	return access, secret, nil
}

// address returns the store's address on loopback: the one it had before if
// nobody else has taken that port, else a free one.
func address(dir string) (string, error) {
	path := filepath.Join(dir, home, "port")
	if b, err := os.ReadFile(path); err == nil {
		if port, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 16); err == nil && port > 0 {
			addr := net.JoinHostPort("127.0.0.1", strconv.FormatUint(port, 10))
			if l, err := net.Listen("tcp", addr); err == nil {
				return addr, l.Close()
			}
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := l.Addr().(*net.TCPAddr) //nolint:forcetypeassert // a TCP listener's
	if err := l.Close(); err != nil {
		return "", err
	}
	return addr.String(), writeFile(path, strconv.Itoa(addr.Port)+"\n")
}

// writeFile writes a file that is there whole or not at all, for the owner only.
func writeFile(path, text string) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = temp.WriteString(text)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name()) // the first error is the one that tells
	}
	return err
}
