package fstest

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry"
	"ferry/fusefs"
)

// What cannot be mounted on is refused with a sentence before anything is mounted.
func TestMountpointsRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	busy := mount(t, nil).dir
	for _, c := range []struct {
		path string
		kind ferry.Kind
		says string
	}{
		{filepath.Join(dir, "absent"), ferry.KindNotFound, "does not exist"},
		{file, ferry.KindInvalid, "not a directory"},
		{dir, ferry.KindInvalid, "not empty"},
		{busy, ferry.KindBusy, "already mounted"},
	} {
		_, err := fusefs.CheckMountpoint(c.path, slog.New(slog.DiscardHandler))
		if !ferry.IsKind(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.path, err)
		}
	}
}
