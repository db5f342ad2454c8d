package fstest

import (
	"testing"

	"ferry/fusefs/mounttest"
)

// go-fuse's own tests pass on a mount.
func TestPosix(t *testing.T) {
	mounttest.Posix(t, func(t *testing.T) string { return mount(t, nil).dir })
}
