// Package mounttest holds tests that any mount of ferry must pass, for whoever can
// mount one.
package mounttest

import (
	"maps"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// refused are go-fuse's tests that cannot pass, and why.
var refused = map[string]string{
	"Link":             "an object has one key",
	"LinkUnlinkRename": "an object has one key",
	"XAttrLarge":       "the metadata of an object holds 2 KiB",
	// go-fuse leaves it out too ("fix this test"): it wants two POSIX locks of one
	// process to conflict, which they do on no local file system.
	"FcntlFlockLocksFile": "it fails on ext4 as well",
}

// Posix runs go-fuse's own tests, but for those that cannot pass, each in the empty
// directory that mount returns.
func Posix(t *testing.T, mount func(t *testing.T) string) {
	for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
		if refused[name] == "" {
			t.Run(name, func(t *testing.T) { posixtest.All[name](t, mount(t)) })
		}
	}
}
