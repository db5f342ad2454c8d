package synctest

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/syncer"
)

// holds fails unless the bucket has exactly these objects.
func (r *rig) holds(want map[string][]byte) {
	r.t.Helper()
	seen := map[string]bool{}
	for after := ferry.ObjectKey(""); ; {
		page, err := r.other.List(r.t.Context(), ferry.ListRequest{After: after})
		if err != nil {
			r.t.Fatal(err)
		}
		for _, o := range page.Objects {
			key := string(o.Key)
			seen[key] = true
			body, ok := want[key]
			if !ok {
				r.t.Errorf("%q should not be there", key)
				continue
			}
			if err := r.same(o.Version, body); err != nil {
				r.t.Errorf("%q: %v", key, err)
			}
		}
		if after = page.Last; !page.More {
			break
		}
	}
	for key := range want {
		if !seen[key] {
			r.t.Errorf("%q is missing", key)
		}
	}
}

func (r *rig) same(v ferry.Version, body []byte) error {
	if v.Size != int64(len(body)) {
		return fmt.Errorf("%w: %d bytes, want %d", errDiffers, v.Size, len(body))
	}
	if v.Size == 0 {
		return nil
	}
	o, err := r.other.Get(r.t.Context(), v, ferry.Extent{Length: v.Size})
	if err != nil {
		return err
	}
	defer o.Close()
	got, err := io.ReadAll(o)
	if err == nil && sum(got) != sum(body) {
		err = errDiffers
	}
	return err
}

// TestLifeOfFiles: every kind of step against MinIO.
func TestLifeOfFiles(t *testing.T) {
	r := newRig(t)
	r.begin()
	small, big := []byte("hello"), random(40*mib)
	r.write("small", small)
	r.write("big", big)
	r.wait()
	r.holds(map[string][]byte{"small": small, "big": big})

	before := r.bytesSent()
	big = r.edit("big", big, 20*mib, random(4096))
	r.wait()
	if sent := r.bytesSent() - before; sent > 5<<20 {
		t.Errorf("4 KiB in the middle sent %d bytes", sent)
	}
	before = r.bytesSent()
	big = r.edit("big", big, int64(len(big)), random(mib))
	small = r.edit("small", small, 3, []byte("p me"))
	r.wait()
	if sent := r.bytesSent() - before; sent > mib+100 {
		t.Errorf("1 MiB appended sent %d bytes", sent)
	}
	r.holds(map[string][]byte{"small": small, "big": big})

	before = r.bytesSent()
	r.rename("big", "dir/big2")
	r.rename("small", "dir/small2")
	r.wait()
	r.exchange("dir/big2", "dir/small2")
	r.chmod("dir/big2", 0o600)
	r.wait()
	if sent := r.bytesSent() - before; sent > 100 {
		t.Errorf("renames sent %d bytes", sent)
	}
	r.holds(map[string][]byte{"dir/big2": small, "dir/small2": big})
	info, err := r.other.Head(t.Context(), "dir/big2")
	if err != nil || info.Metadata["mode"] != "0100600" {
		t.Errorf("the mode is %q, %v", info.Metadata["mode"], err)
	}
	r.unlink("dir/big2", r.seen("dir/big2"))
	r.unlink("dir/small2", r.seen("dir/small2"))
	r.wait()
	r.holds(nil)
}

// TestMoveKeeps: what other tools gave an object survives a rename, an edit and
// a change of mode.
func TestMoveKeeps(t *testing.T) {
	for _, size := range []int{10, 2 * mib} {
		r := newRig(t)
		body := random(size)
		_, err := r.other.Put(t.Context(), "a.txt", bytes.NewReader(body), int64(size), ferry.PutOptions{
			Headers:  map[string]string{"Content-Type": "text/plain", "Cache-Control": "no-store"},
			Metadata: map[string]string{"color": "blue"},
		})
		if err != nil {
			t.Fatal(err)
		}
		r.begin()
		check := func(key ferry.ObjectKey) {
			t.Helper()
			info, err := r.other.Head(t.Context(), key)
			if err != nil || info.Headers["Content-Type"] != "text/plain" || info.Metadata["color"] != "blue" || info.Headers["Cache-Control"] != "no-store" {
				t.Errorf("%s: %v %+v", key, err, info)
			}
		}
		r.rename("a.txt", "b.txt")
		r.wait()
		check("b.txt")
		r.chmod("b.txt", 0o600)
		r.wait()
		check("b.txt")
		body = r.edit("b.txt", body, 5, []byte("edit"))
		r.wait()
		check("b.txt")
		r.holds(map[string][]byte{"b.txt": body})
	}
}

// TestConflict: two writers of one name, small and in parts.
func TestConflict(t *testing.T) {
	for _, size := range []int{10, 20 * mib} {
		r := newRig(t)
		r.begin()
		g := r.open("d/f.bin", false)
		body := random(size)
		r.stage(g, 0, body)
		if _, err := r.other.Put(t.Context(), "d/f.bin", strings.NewReader("theirs"), 6, ferry.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		stat, err := r.other.Head(t.Context(), "d/f.bin")
		if err != nil {
			t.Fatal(err)
		}
		r.seal(g, int64(size))
		r.wait()
		kept := "d/f (conflict " + stat.Modified.UTC().Format("2006-01-02T15.04.05Z") + " HOST).bin"
		r.holds(map[string][]byte{"d/f.bin": body, kept: []byte("theirs")})
		if sent := r.bytesSent(); sent > int64(size)+1000 {
			t.Errorf("%d bytes were sent for %d", sent, size)
		}
	}
}

// TestRestarts: the syncer is stopped again and again in the middle of uploads;
// what is at the server is not sent again.
func TestRestarts(t *testing.T) {
	r := newRig(t)
	r.begin()
	body := random(120 * mib)
	g := r.open("big", false)
	r.stage(g, 0, body)
	r.seal(g, int64(len(body)))
	for range 3 {
		parts := r.s.Counters().PartsSent
		for deadline := time.Now().Add(20 * time.Second); r.s.Counters().PartsSent < parts+2 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		r.end()
		r.begin()
	}
	r.wait()
	r.holds(map[string][]byte{"big": body})
	if most := int64(len(body)) + 3*64*mib; r.bytesSent() > most {
		t.Errorf("%d bytes were sent, want at most %d", r.bytesSent(), most)
	}
}

// TestOutage: the server goes away in the middle and comes back.
func TestOutage(t *testing.T) {
	r := newRig(t)
	r.change = func(o *syncer.Options) { o.ProbeEvery = 50 * time.Millisecond }
	r.begin()
	body := random(60 * mib)
	want := map[string][]byte{"big": body}
	r.proxy.Outage(true)
	for i := range 20 {
		p := ferry.Path(fmt.Sprint("small", i))
		want[string(p)] = []byte{byte(i)}
	}
	// Rows are made without asking the bucket, which is away.
	for p, b := range want {
		g := r.gens.Next()
		r.update(func(tx ferry.Tx) error {
			in := r.inode(tx, ferry.Path(p), ferry.KnownAbsent)
			tx.PutUpload(&ferry.Upload{Generation: g, Inode: in.ID, State: ferry.StateDirty, Path: in.Path, Truncating: -1, Since: r.now()})
			in.Content = g
			tx.PutInode(in)
			ferry.Want(tx, in.Key(), ferry.KnownAbsent, ferry.Wanted{Kind: ferry.WantInode, Inode: in.ID}, r.now())
			return nil
		})
		r.stage(g, 0, b)
		r.seal(g, int64(len(b)))
	}
	for deadline := time.Now().Add(20 * time.Second); r.s.State() != "offline"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is never offline")
		}
	}
	r.proxy.Outage(false)
	for r.s.Counters().PartsSent < 2 {
		time.Sleep(time.Millisecond)
	}
	r.proxy.Outage(true)
	time.Sleep(100 * time.Millisecond)
	r.proxy.Outage(false)
	r.wait()
	r.holds(want)
}

// TestManyDeleted: a folder of 2,500 objects goes in a few requests.
func TestManyDeleted(t *testing.T) {
	r := newRig(t)
	r.begin()
	const n = 2500
	for i := range n {
		p := ferry.Path(fmt.Sprintf("d/%d/%04d", i%10, i))
		g := r.gens.Next()
		r.update(func(tx ferry.Tx) error {
			in := r.inode(tx, p, ferry.KnownAbsent)
			u := &ferry.Upload{Generation: g, Inode: in.ID, State: ferry.StateSealed, Path: p, Truncating: -1, Since: r.now()}
			tx.PutUpload(u)
			in.Content = g
			tx.PutInode(in)
			ferry.Want(tx, p.Key(), ferry.KnownAbsent, ferry.Wanted{Kind: ferry.WantInode, Inode: in.ID}, r.now())
			return nil
		})
	}
	began := time.Now()
	r.wait()
	t.Logf("%d empty files stored in %v", n, time.Since(began))
	before := r.remote.Counters().Requests
	seen := map[ferry.Path]ferry.Known{}
	for after := ferry.ObjectKey(""); ; {
		page, err := r.remote.List(t.Context(), ferry.ListRequest{After: after})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			seen[o.Key.Path()] = ferry.KnownVersion(o.Version)
		}
		if after = page.Last; !page.More {
			break
		}
	}
	if len(seen) != n {
		t.Fatalf("%d objects are in the bucket", len(seen))
	}
	for p, known := range seen {
		r.unlink(p, known)
	}
	r.wait()
	r.holds(nil)
	all := int64(0)
	for api, c := range r.remote.Counters().Requests {
		all += c - before[api]
	}
	if all > 12 {
		t.Errorf("%d requests deleted %d objects", all, n)
	}
}
