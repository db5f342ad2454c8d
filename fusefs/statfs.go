package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"ferry"
)

// A bucket has no size: what is shown is large enough that no program gives up,
// and small enough that none overflows.
const (
	statfsBlock  = 4096
	statfsBlocks = 1 << 50 / statfsBlock // 1 PiB
	statfsFiles  = 1 << 32
)

// StatFs is df.
func (fs *rawFS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.Frsize = statfsBlock, statfsBlock
	out.Blocks, out.Bfree, out.Bavail = statfsBlocks, statfsBlocks, statfsBlocks
	out.Files, out.Ffree = statfsFiles, statfsFiles
	out.NameLen = ferry.MaxComponentLength
	return fuse.OK
}
