package control

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ferry"
)

// Mount says where a running daemon can be spoken to. One file NAME.json in the
// registry for each.
type Mount struct {
	Name       string `json:"name"`
	PID        int    `json:"pid"`
	Socket     string `json:"socket"`
	Mountpoint string `json:"mountpoint"` // as in /proc/self/mountinfo
	StateDir   string `json:"state_dir"`
}

// Registry is a list of folders: mounts are registered in the first that can be
// made, and looked for in all.
type Registry []string

// RegistryEnv names a folder that takes the place of all others.
const RegistryEnv = "FERRY_RUNTIME_DIR"

// DefaultRegistry returns $XDG_RUNTIME_DIR/ferry or, for root, /run/ferry, and
// behind them a folder under stateRoot for users without a session.
func DefaultRegistry(stateRoot string) (r Registry) {
	if dir := os.Getenv(RegistryEnv); filepath.IsAbs(dir) {
		return Registry{dir}
	}
	if os.Geteuid() == 0 {
		r = append(r, "/run/ferry")
	} else if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		r = append(r, filepath.Join(dir, "ferry"))
	}
	return append(r, filepath.Join(stateRoot, ".run"))
}

// Register writes m's file. A file of the same name whose process lives is a
// KindBusy error; one whose process is gone is replaced.
func (r Registry) Register(m Mount) (remove func(), err error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	for _, old := range r.all() {
		if old.Name == m.Name && old.PID != m.PID && old.alive() {
			return nil, &ferry.Error{
				Op: "control.register", Key: m.Name, Kind: ferry.KindBusy,
				Msg: "a mount of this name runs already at " + old.Mountpoint, Hint: "give this one another with --name",
			}
		}
	}
	var last error
	for _, dir := range r {
		path := filepath.Join(dir, m.Name+".json")
		if last = os.MkdirAll(dir, 0o700); last != nil {
			continue
		}
		if last = os.WriteFile(path+".new", text, 0o600); last != nil {
			continue
		}
		if last = os.Rename(path+".new", path); last != nil {
			continue
		}
		return func() { _ = os.Remove(path) }, nil
	}
	return nil, &ferry.Error{Op: "control.register", Key: m.Name, Kind: ferry.KindInvalid, Msg: "no folder for the list of running mounts can be written", Err: last}
}

// Mounts returns the registered mounts whose process lives.
func (r Registry) Mounts() (live []Mount) {
	for _, m := range r.all() {
		if m.alive() {
			live = append(live, m)
		}
	}
	return live
}

func (r Registry) all() (mounts []Mount) {
	for _, dir := range r {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // not there, or another user's
		}
		for _, e := range entries {
			if m, ok := readMount(filepath.Join(dir, e.Name()), e); ok {
				mounts = append(mounts, m)
			}
		}
	}
	return mounts
}

func readMount(path string, e fs.DirEntry) (m Mount, ok bool) {
	name, isJSON := strings.CutSuffix(e.Name(), ".json")
	if !isJSON || !e.Type().IsRegular() {
		return m, false
	}
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &m) != nil {
		return m, false
	}
	return m, m.Name == name && m.PID > 0
}

// alive reports whether somebody listens on the socket: a process ID alone may
// have been taken by another program after a crash.
func (m Mount) alive() bool {
	if err := unix.Kill(m.PID, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) //nolint:forbidigo // a look that ends by itself
	defer cancel()
	c, err := dialUnix(ctx, m.Socket)
	if err == nil {
		c.Close()
	}
	return err == nil || errors.Is(err, fs.ErrPermission)
}
