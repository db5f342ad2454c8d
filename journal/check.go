package journal

import (
	"errors"
	"fmt"
	"math"

	"ferry"
)

// Check returns every broken invariant of j's rows and staging files, joined, nil
// if there is none. It sees what is committed; nothing should write meanwhile.
// Every journal opened in a test is checked when it closes.
func Check(j *Journal) error {
	err := checkRows(j, true)
	if j.o.Log != nil {
		for _, note := range cycles(j) {
			j.log.Info("check", "note", note)
		}
	}
	return err
}

// checker collects what is wrong.
type checker struct {
	tx   ferry.Tx
	raw  *tx
	errs []error
	left int // rows that may still be looked at
}

// openRows is how many rows a start looks at: it must not take long.
const openRows = 50_000

// more counts a row and reports whether it is to be looked at.
func (c *checker) more() bool {
	c.left--
	return c.left >= 0
}

// maxFaults is enough to see what is wrong.
const maxFaults = 20

func (c *checker) bad(key, format string, args ...any) {
	if len(c.errs) < maxFaults {
		c.errs = append(c.errs, &ferry.Error{
			Op: "journal.check", Key: key, Kind: ferry.KindInternal, Msg: fmt.Sprintf(format, args...),
		})
	}
}

// checkRows checks the rows; deep also looks at the staging files.
func checkRows(j *Journal, deep bool) error {
	c := &checker{left: openRows}
	if deep {
		c.left = math.MaxInt
	}
	err := j.View(func(ftx ferry.Tx) error {
		c.tx = ftx
		c.raw, _ = ftx.(*tx)
		c.inodes()
		c.indexes()
		c.keys()
		c.uploads()
		c.replies()
		if deep {
			c.staging(j)
		}
		return nil
	})
	return errors.Join(append(c.errs, err)...)
}

func (c *checker) inodes() {
	for in := range c.tx.Inodes() {
		if !c.more() {
			return
		}
		name := string(in.Path)
		if in.Kind < ferry.File || in.Kind > ferry.Symlink {
			c.bad(name, "inode %d is of kind %d", in.ID, in.Kind)
		}
		if !in.Unlinked && c.tx.InodeAt(in.Path) != in.ID {
			c.bad(name, "inode %d is not in the index of paths", in.ID)
		}
		if in.Remote != nil && !c.refers(in.Remote.Key, in.ID) {
			c.bad(name, "inode %d is not in the index of remote objects", in.ID)
		}
		if in.Content != "" {
			u := c.tx.Upload(in.Content)
			switch {
			case u == nil:
				c.bad(name, "the content %s of inode %d has no upload", in.Content, in.ID)
			case u.Inode != in.ID:
				c.bad(name, "the content %s of inode %d is that of inode %d", in.Content, in.ID, u.Inode)
			}
		}
		if in.Unlinked || in.Settled() {
			continue
		}
		k := c.tx.Key(in.Key())
		if k == nil || k.Wanted != (ferry.Wanted{Kind: ferry.WantInode, Inode: in.ID}) {
			c.bad(name, "inode %d differs from the bucket, and its key does not want it", in.ID)
		}
	}
}

func (c *checker) refers(k ferry.ObjectKey, id ferry.InodeID) bool {
	for ref := range c.tx.Refs(k) {
		if ref == id {
			return true
		}
	}
	return false
}

// indexes checks that every row of an index leads to a row that says the same.
func (c *checker) indexes() {
	for p, id := range c.tx.Paths("") {
		if !c.more() {
			return
		}
		if in := c.tx.Inode(id); in == nil || in.Unlinked || in.Path != p {
			c.bad(string(p), "the index of paths leads to inode %d, which is not there", id)
		}
	}
	c.raw.prefix(string(byte(tableRefs)), func(_ rows, key string, _ []byte) bool {
		if len(key) < 10 {
			c.bad(key, "a malformed row in the index of remote objects")
			return c.more()
		}
		k, id := ferry.ObjectKey(key[1:len(key)-9]), ferry.InodeID(tail64(key))
		if in := c.tx.Inode(id); in == nil || in.Remote == nil || in.Remote.Key != k {
			c.bad(string(k), "the index of remote objects leads to inode %d, whose object is elsewhere", id)
		}
		return c.more()
	})
	c.raw.prefix(string(byte(tableWork)), func(_ rows, key string, _ []byte) bool {
		since, k, ok := parseWorkKey(key)
		if ks := c.tx.Key(k); !ok || ks == nil || ks.Since != since {
			c.bad(string(k), "the index of work has a row that its key does not know")
		}
		return c.more()
	})
}

func (c *checker) keys() {
	for k := range c.tx.Keys("") {
		if !c.more() {
			return
		}
		name := string(k.Key)
		if k.Idle() {
			c.bad(name, "the key has a row and nothing to do")
		}
		if _, ok := c.raw.get(workKey(k.Since, k.Key)); !ok {
			c.bad(name, "the key is not in the index of work")
		}
		if k.Wanted.Kind == ferry.WantInode {
			in := c.tx.Inode(k.Wanted.Inode)
			switch {
			case in == nil:
				c.bad(name, "the key wants inode %d, which has no row", k.Wanted.Inode)
			case in.Unlinked:
				c.bad(name, "the key wants inode %d, which is unlinked", k.Wanted.Inode)
			case in.Key() != k.Key:
				c.bad(name, "the key wants inode %d, whose key is %q", k.Wanted.Inode, in.Key())
			}
		}
		if k.Upload != "" {
			u := c.tx.Upload(k.Upload)
			switch {
			case u == nil:
				c.bad(name, "the key is bound to upload %s, which has no row", k.Upload)
			case u.Key != k.Key:
				c.bad(name, "the key is bound to upload %s, which is bound to %q", k.Upload, u.Key)
			}
		}
	}
}

func (c *checker) uploads() {
	for u := range c.tx.Uploads() {
		if !c.more() {
			return
		}
		name := string(u.Path)
		if u.State < ferry.StateDirty || u.State.Final() {
			c.bad(name, "upload %s has a row and is %s", u.Generation, u.State)
		}
		if u.UploadID != "" && u.Key == "" {
			c.bad(name, "upload %s has an ID and no key", u.Generation)
		}
		c.extents(u)
	}
	for _, t := range []table{tableParts, tableExtents} {
		last := ""
		c.raw.prefix(string(byte(t)), func(_ rows, key string, _ []byte) bool {
			if len(key) < 11 {
				c.bad(key, "a malformed row of %s", t.bucket())
				return true
			}
			if g := key[1 : len(key)-9]; g != last {
				last = g
				if c.tx.Upload(ferry.Generation(g)) == nil {
					c.bad(g, "%s of an upload that has no row", t.bucket())
				}
			}
			return true
		})
	}
}

// extents checks that those of u are sorted, apart, and only there with a base.
func (c *checker) extents(u *ferry.Upload) {
	end := int64(-1)
	c.raw.prefix(extentPrefix(u.Generation), func(_ rows, key string, v []byte) bool {
		e := extentRow(key, v)
		switch {
		case u.Base == nil && !u.State.Writable():
			c.bad(string(u.Path), "upload %s has extents and no base", u.Generation)
			return false
		case e.Offset < 0 || e.Length <= 0:
			c.bad(string(u.Path), "upload %s has the extent %s", u.Generation, e)
		case e.Offset <= end:
			c.bad(string(u.Path), "upload %s has extents that touch at %d", u.Generation, e.Offset)
		case !u.State.Writable() && u.Truncating < 0 && e.End() > u.Size:
			c.bad(string(u.Path), "upload %s has %d bytes and the extent %s", u.Generation, u.Size, e)
		}
		end = e.End()
		return true
	})
}

func (c *checker) replies() {
	c.raw.prefix(string(byte(tableReplies)), func(_ rows, key string, _ []byte) bool {
		if len(key) != 17 {
			c.bad(key, "a reply has a malformed key")
			return true
		}
		o := ferry.Origin{Connection: fromU64([]byte(key[1:9])), Unique: tail64(key)}
		_ = c.tx.Reply(o) // fails the view if it cannot be read
		return true
	})
}

// staging checks that the bytes that rows speak of are there.
func (c *checker) staging(j *Journal) {
	for u := range c.tx.Uploads() {
		if !u.State.NeedsBytes() || u.State.Writable() || u.Truncating >= 0 {
			continue // a file that is being written has no size but its own
		}
		ours := u.Size > 0
		if u.Base != nil {
			ours = len(c.tx.Extents(u.Generation).All()) > 0
		}
		ok, err := j.store.Exists(u.Generation)
		switch {
		case err != nil:
			c.bad(string(u.Path), "staging: %v", err)
		case !ok && ours:
			c.bad(string(u.Path), "the staging file of upload %s (%s) is missing", u.Generation, u.State)
		case ok && u.Base == nil:
			if size, err := j.store.SizeOf(u.Generation); err != nil || size != u.Size {
				c.bad(string(u.Path), "upload %s (%s) has %d bytes and its staging file %d (%v)", u.Generation, u.State, u.Size, size, err)
			}
		}
	}
}

// cycles describes keys that wait for one another in a circle. A swap of two
// names makes one on purpose: the syncer breaks it through a key of its own.
func cycles(j *Journal) (notes []string) {
	_ = j.View(func(tx ferry.Tx) error {
		waits := map[ferry.ObjectKey]ferry.ObjectKey{}
		for k := range tx.Keys("") {
			for id := range tx.Refs(k.Key) {
				in := tx.Inode(id)
				if in != nil && !in.Unlinked && in.Key() != k.Key && k.Wanted.Inode != id {
					waits[k.Key] = in.Key()
				}
			}
		}
		done := map[ferry.ObjectKey]bool{}
		for start := range waits {
			seen := map[ferry.ObjectKey]bool{}
			for at := start; at != "" && !done[at]; at = waits[at] {
				if seen[at] {
					notes = append(notes, fmt.Sprintf("%q waits for itself: a swap", at))
					break
				}
				seen[at] = true
			}
			for k := range seen {
				done[k] = true
			}
		}
		return nil
	})
	return notes
}
