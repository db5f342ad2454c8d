package main

import (
	"context"

	"ferry"
)

// cancelUpload gives up a generation with its bytes.
func (m *mount) cancelUpload(_ context.Context, u *ferry.Upload) error {
	return &ferry.Error{Op: "uploads.cancel", Key: string(u.Generation), Kind: ferry.KindUnsupported, Msg: "not built in"}
}
