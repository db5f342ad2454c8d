package ferry_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ferry"
)

var defaults = ferry.Defaults{UID: 1000, GID: 1001, FileMode: 0o640, DirMode: 0o750}

// TestMetadataRoundTrip: what ferry writes, ferry reads; nothing that is foreign
// is lost on the way.
func TestMetadataRoundTrip(t *testing.T) {
	headers := []string{"Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires"}
	rapid.Check(t, func(t *rapid.T) {
		in := &ferry.Inode{
			Path: "dir/name",
			Kind: rapid.SampledFrom([]ferry.NodeKind{ferry.File, ferry.Dir, ferry.Symlink}).Draw(t, "kind"),
			Attr: ferry.Attr{
				Mode:  rapid.Uint32Range(0, 0o7777).Draw(t, "mode"),
				UID:   rapid.Uint32().Draw(t, "uid"),
				GID:   rapid.Uint32().Draw(t, "gid"),
				Mtime: rapid.Int64().Draw(t, "mtime"),
			},
		}
		if in.Kind == ferry.Symlink {
			in.Target = rapid.StringN(1, 50, 100).Draw(t, "target")
		}
		for name, v := range rapid.MapOfN(rapid.StringN(1, 10, 20), rapid.SliceOfN(rapid.Byte(), 0, 50), 0, 4).Draw(t, "xattrs") {
			if in.Xattrs == nil {
				in.Xattrs = map[string][]byte{}
			}
			in.Xattrs["user."+strings.ReplaceAll(name, "\x00", "0")] = v
		}
		foreign := map[string]string{}
		for name, v := range rapid.MapOfN(rapid.StringMatching(`x-[a-z0-9-]{1,10}`), rapid.StringMatching(`[ -~]{1,20}`), 0, 3).Draw(t, "foreign") {
			foreign["X-Amz-Meta-"+name] = v
		}
		for _, h := range headers {
			if rapid.Bool().Draw(t, h) {
				foreign[h] = "text/" + rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "value")
			}
		}
		in.Foreign = foreign
		gen := ferry.NewGenerations().Next()

		meta, hdrs, err := ferry.EncodeMetadata(in, gen)
		if err != nil {
			t.Fatal(err)
		}
		for k := range meta {
			if k != strings.ToLower(k) {
				t.Fatalf("metadata name %q is not lower-case", k)
			}
		}
		got := ferry.DecodeMetadata(ferry.Object{
			Version:  ferry.Version{Key: in.Key()},
			Modified: time.Unix(1, 0), Metadata: meta, Headers: hdrs,
		}, defaults)
		in.Attr.Ctime = time.Unix(1, 0).UnixNano()
		switch {
		case got.Kind != in.Kind, got.Attr != in.Attr, got.Target != in.Target, got.Generation != gen, !got.HasMetadata:
			t.Fatalf("got %+v, want %+v", got, in)
		case !maps.EqualFunc(got.Xattrs, in.Xattrs, func(a, b []byte) bool { return string(a) == string(b) }):
			t.Fatalf("xattrs %q, want %q", got.Xattrs, in.Xattrs)
		case !maps.Equal(got.Foreign, foreign):
			t.Fatalf("foreign %q, want %q", got.Foreign, foreign)
		}
	})
}

// TestDialects: what other tools write is read as they mean it.
func TestDialects(t *testing.T) {
	base := ferry.Attr{Mode: 0o640, UID: 1000, GID: 1001, Mtime: 7e9, Ctime: 7e9}
	with := func(change func(*ferry.Attr)) ferry.Attr { a := base; change(&a); return a }
	for _, c := range []struct {
		name string
		key  ferry.ObjectKey
		meta map[string]string
		kind ferry.NodeKind
		attr ferry.Attr
		// what stays foreign, by its name in Inode.Foreign
		foreign string
		target  string
	}{
		{name: "nothing", kind: ferry.File, attr: base},
		{name: "bare marker", key: "d/", kind: ferry.Dir, attr: with(func(a *ferry.Attr) { a.Mode = 0o750 })},
		{
			name: "rclone", kind: ferry.File, meta: map[string]string{"mode": "0100755", "uid": "5", "gid": "6", "mtime": "1700000000.5", "md5chksum": "x"},
			attr: with(func(a *ferry.Attr) { a.Mode, a.UID, a.GID, a.Mtime = 0o755, 5, 6, 1_700_000_000_500_000_000 }),
		},
		{
			name: "s3fs", kind: ferry.File, meta: map[string]string{"mode": "33188", "mtime": "1700000000.000000005", "ctime": "1", "atime": "2"},
			attr: with(func(a *ferry.Attr) { a.Mode, a.Mtime = 0o644, 1_700_000_000_000_000_005 }),
		},
		{
			name: "s3fs directory", key: "d/", kind: ferry.Dir, meta: map[string]string{"mode": "16877", "mtime": "12"},
			attr: with(func(a *ferry.Attr) { a.Mode, a.Mtime = 0o755, 12e9 }),
		},
		{name: "s3fs symlink", kind: ferry.Symlink, meta: map[string]string{"mode": "41471"}, attr: with(func(a *ferry.Attr) { a.Mode = 0o777 })},
		{name: "geesefs symlink", kind: ferry.Symlink, meta: map[string]string{"--symlink-target": "a%2Fb"}, target: "a/b", attr: with(func(a *ferry.Attr) { a.Mode = 0o777 })},
		{name: "gcsfuse symlink", kind: ferry.Symlink, meta: map[string]string{"goog-reserved-file-is-symlink": "true"}, attr: with(func(a *ferry.Attr) { a.Mode = 0o777 })},
		{
			name: "gcsfuse mtime", kind: ferry.File, meta: map[string]string{"gcsfuse_mtime": "1970-01-01T00:00:09Z"},
			attr: with(func(a *ferry.Attr) { a.Mtime = 9e9 }),
		},
		{
			name: "gsutil", kind: ferry.File, meta: map[string]string{"goog-reserved-posix-mode": "755", "goog-reserved-posix-uid": "7", "goog-reserved-posix-gid": "8", "goog-reserved-file-mtime": "9"},
			attr: with(func(a *ferry.Attr) { a.Mode, a.UID, a.GID, a.Mtime = 0o755, 7, 8, 9e9 }),
		},
		{
			name: "FSx", kind: ferry.File, meta: map[string]string{"file-permissions": "0100664", "file-owner": "500", "file-group": "501", "file-mtime": "1595002920000000000ns"},
			attr: with(func(a *ferry.Attr) { a.Mode, a.UID, a.GID, a.Mtime = 0o664, 500, 501, 1595002920000000000 }),
		},
		{
			name: "s3sync", kind: ferry.File, meta: map[string]string{"permissions": "493", "owner": "3", "group": "4"},
			attr: with(func(a *ferry.Attr) { a.Mode, a.UID, a.GID = 0o755, 3, 4 }),
		},
		{name: "nonsense", kind: ferry.File, meta: map[string]string{"mode": "rwx", "uid": "-1", "mtime": "yesterday"}, attr: base},
		{name: "before 1970", kind: ferry.File, meta: map[string]string{"mtime": "-1.500000000"}, attr: with(func(a *ferry.Attr) { a.Mtime = -1_500_000_000 })},
		{name: "beyond int64", kind: ferry.File, meta: map[string]string{"mtime": "99999999999"}, attr: base},
		{name: "foreign", kind: ferry.File, meta: map[string]string{"colour": "red"}, foreign: "X-Amz-Meta-colour", attr: base},
		{name: "damaged xattr", kind: ferry.File, meta: map[string]string{"ferry-xattr-zz": "eA=="}, foreign: "X-Amz-Meta-ferry-xattr-zz", attr: base},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := c.key
			if key == "" {
				key = "f"
			}
			meta := c.meta
			if meta == nil {
				meta = map[string]string{}
			}
			got := ferry.DecodeMetadata(ferry.Object{Version: ferry.Version{Key: key}, Modified: time.Unix(7, 0), Metadata: meta}, defaults)
			if got.Kind != c.kind || got.Attr != c.attr || got.Target != c.target {
				t.Errorf("got kind %d, %+v, target %q; want kind %d, %+v, target %q", got.Kind, got.Attr, got.Target, c.kind, c.attr, c.target)
			}
			if _, ok := got.Foreign[c.foreign]; c.foreign != "" && !ok || c.foreign == "" && got.Foreign != nil {
				t.Errorf("foreign is %q, want %q", got.Foreign, c.foreign)
			}
		})
	}
}

func TestMetadataUnknown(t *testing.T) {
	if ferry.DecodeMetadata(ferry.Object{}, defaults).HasMetadata {
		t.Error("metadata that nobody told is said to be known")
	}
}

// TestMetadataLimit: attributes that S3 cannot hold are refused; a symlink's
// target is left out instead, because the object's bytes hold it.
func TestMetadataLimit(t *testing.T) {
	in := &ferry.Inode{Kind: ferry.File, Xattrs: map[string][]byte{"user.big": make([]byte, 2000)}}
	if _, _, err := ferry.EncodeMetadata(in, "g"); !ferry.IsKind(err, ferry.KindTooLarge) {
		t.Errorf("2000 bytes of xattr: %v, want %v", err, ferry.KindTooLarge)
	}
	link := &ferry.Inode{Kind: ferry.Symlink, Target: strings.Repeat("x", 4000)}
	meta, _, err := ferry.EncodeMetadata(link, "g")
	if err != nil {
		t.Fatal(err)
	}
	got := ferry.DecodeMetadata(ferry.Object{Version: ferry.Version{Key: "l"}, Metadata: meta}, defaults)
	if got.Kind != ferry.Symlink || got.Target != "" {
		t.Errorf("got kind %d, target %q; want a symlink whose target is in its bytes", got.Kind, got.Target)
	}
}

// FuzzDecodeMetadata: no metadata makes DecodeMetadata fail, and what it read
// stays the same when it is written and read again.
func FuzzDecodeMetadata(f *testing.F) {
	f.Add("f", "mode", "0100644", "mtime", "1700000000.123456789")
	f.Add("d/", "mode", "16877", "gcsfuse_mtime", "1970-01-01T00:00:09Z")
	f.Add("l", "symlink-target", "%2e%zz", "ferry-xattr-757365722e61", "=")
	f.Add("x", "mtime", "-9223372036.854775808", "file-mtime", "12ns")
	f.Fuzz(func(t *testing.T, key, n1, v1, n2, v2 string) {
		meta := map[string]string{strings.ToLower(n1): v1, strings.ToLower(n2): v2}
		got := ferry.DecodeMetadata(ferry.Object{Version: ferry.Version{Key: ferry.ObjectKey(key)}, Metadata: meta}, defaults)
		in := &ferry.Inode{Kind: got.Kind, Attr: got.Attr, Xattrs: got.Xattrs, Target: got.Target, Foreign: got.Foreign}
		again, headers, err := ferry.EncodeMetadata(in, got.Generation)
		if ferry.IsKind(err, ferry.KindTooLarge) || len(got.Target) > 600 {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		back := ferry.DecodeMetadata(ferry.Object{Version: ferry.Version{Key: ferry.ObjectKey(key)}, Metadata: again, Headers: headers}, defaults)
		got.Attr.Ctime, back.Attr.Ctime = 0, 0
		if back.Kind != got.Kind || back.Attr != got.Attr || back.Target != got.Target ||
			back.Generation != got.Generation || !maps.Equal(back.Foreign, got.Foreign) ||
			!maps.EqualFunc(back.Xattrs, got.Xattrs, func(a, b []byte) bool { return string(a) == string(b) }) {
			t.Fatalf("%q was read as %+v, written as %q and then read as %+v", meta, got, again, back)
		}
	})
}
