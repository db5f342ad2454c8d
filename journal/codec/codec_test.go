package codec

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"ferry"

	"pgregory.net/rapid"
)

func same(t interface{ Fatalf(string, ...any) }, got, want any) {
	if !reflect.DeepEqual(got, want) {
		g, _ := json.Marshal(got)
		w, _ := json.Marshal(want)
		t.Fatalf("\n got %s\nwant %s", g, w)
	}
}

func versions() *rapid.Generator[*ferry.Version] { return rapid.Ptr(rapid.Make[ferry.Version](), true) }

// TestRoundTrip: every row comes back as it was.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.Make[ferry.Inode]().Draw(t, "inode")
		in.Remote = versions().Draw(t, "remote")
		if len(in.Xattrs) == 0 {
			in.Xattrs = nil
		}
		for k, v := range in.Xattrs {
			in.Xattrs[k] = append([]byte{}, v...)
		}
		if len(in.Foreign) == 0 {
			in.Foreign = nil
		}
		got, err := DecodeInode(in.ID, Inode(&in))
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, &in)

		k := rapid.Make[ferry.KeyState]().Draw(t, "key")
		k.Known.Presence %= 3
		if len(k.After) == 0 {
			k.After = nil
		}
		gotKey, err := DecodeKeyState(k.Key, KeyState(&k))
		if err != nil {
			t.Fatal(err)
		}
		same(t, gotKey, &k)

		u := rapid.Make[ferry.Upload]().Draw(t, "upload")
		gotUpload, err := DecodeUpload(u.Generation, Upload(&u))
		if err != nil {
			t.Fatal(err)
		}
		same(t, gotUpload, &u)

		p := rapid.Make[ferry.Part]().Draw(t, "part")
		gotPart, err := DecodePart(p.Number, Part(p))
		if err != nil {
			t.Fatal(err)
		}
		same(t, gotPart, p)

		r, slot := rapid.Make[ferry.Reply]().Draw(t, "reply"), rapid.Uint64().Draw(t, "slot")
		gotReply, gotSlot, err := DecodeReply(Reply(r, slot))
		if err != nil || gotReply != r || gotSlot != slot {
			t.Fatalf("%v %v %v", gotReply, gotSlot, err)
		}

		j := &ferry.DeleteJob{
			ID: "x", Scope: rapid.String().Draw(t, "scope"), Requested: rapid.Int64().Draw(t, "n"),
			Made: time.Unix(rapid.Int64Range(-1e11, 1e11).Draw(t, "made"), 7).UTC(), Reasons: rapid.SliceOf(rapid.String()).Draw(t, "reasons"),
		}
		if len(j.Reasons) == 0 {
			j.Reasons = nil
		}
		gotJob, err := DecodeJob(j.ID, Job(j))
		if err != nil {
			t.Fatal(err)
		}
		same(t, gotJob, j)
	})
}

// TestLabelLimit: extents that do not fit are left out, and the label says so.
func TestLabelLimit(t *testing.T) {
	l := &Label{Generation: "g", Path: "a/b", Size: 1 << 40, Sealed: true, Complete: true, Base: &ferry.Version{Key: "a/b", ETag: "e"}}
	for i := range int64(1000) {
		l.Extents = append(l.Extents, ferry.Extent{Offset: i * 1e6, Length: 17})
		b := EncodeLabel(l, 3000)
		if len(b) > 3000 {
			t.Fatalf("%d bytes", len(b))
		}
		got, err := DecodeLabel(b)
		if err != nil {
			t.Fatal(err)
		}
		if got.Complete != (len(got.Extents) == len(l.Extents)) {
			t.Fatalf("complete %v with %d of %d extents", got.Complete, len(got.Extents), len(l.Extents))
		}
		if !got.Sealed || got.Path != l.Path || got.Size != l.Size || *got.Base != *l.Base {
			t.Fatalf("%+v", got)
		}
	}
}

// TestUnknownFields: a row with fields of a newer ferry is read without them.
func TestUnknownFields(t *testing.T) {
	in := &ferry.Inode{ID: 4, Kind: ferry.File, Path: "p", Size: 9}
	e := encoder{b: Inode(in)}
	e.uint(200, 7)
	e.str(201, "new")
	got, err := DecodeInode(4, e.b)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, in)
}

// FuzzRows: whatever the bytes are, decoding ends without a panic, and what it
// accepts means the same when it is written again.
func FuzzRows(f *testing.F) {
	v := ferry.Version{Key: "k", ETag: "e", Size: 4, VersionID: "v", Generation: "g"}
	f.Add(Inode(&ferry.Inode{Kind: ferry.File, Path: "a", Xattrs: map[string][]byte{"user.a": {1}}, Foreign: map[string]string{"A": "b"}, Remote: &v}))
	f.Add(KeyState(&ferry.KeyState{Known: ferry.KnownVersion(v), Intent: &ferry.Intent{Kind: 2, Dest: "x"}, Since: -4}))
	f.Add(Upload(&ferry.Upload{State: ferry.StateSealed, Base: &v, Truncating: -1}))
	f.Add(Part(ferry.Part{ETag: "e", Digest: []byte{1, 2}, Copied: true}))
	f.Add(Job(&ferry.DeleteJob{Scope: "s", Made: time.Unix(5, 6), Reasons: []string{"a", ""}}))
	f.Add(EncodeLabel(&Label{Path: "p", Extents: []ferry.Extent{{Offset: 1, Length: 2}}}, 3000))
	f.Fuzz(func(t *testing.T, b []byte) {
		if in, err := DecodeInode(1, b); err == nil {
			again, err := DecodeInode(1, Inode(in))
			if err != nil {
				t.Fatal(err)
			}
			same(t, again, in)
		}
		if k, err := DecodeKeyState("k", b); err == nil {
			again, err := DecodeKeyState("k", KeyState(k))
			if err != nil {
				t.Fatal(err)
			}
			same(t, again, k)
		}
		if u, err := DecodeUpload("g", b); err == nil {
			again, err := DecodeUpload("g", Upload(u))
			if err != nil {
				t.Fatal(err)
			}
			same(t, again, u)
		}
		if p, err := DecodePart(1, b); err == nil {
			again, err := DecodePart(1, Part(p))
			if err != nil {
				t.Fatal(err)
			}
			same(t, again, p)
		}
		_, _ = DecodeJob("j", b)
		_, _ = DecodeLabel(b)
		_, _, _ = DecodeReply(b)
	})
}
