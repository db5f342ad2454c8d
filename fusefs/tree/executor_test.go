package tree

import (
	"errors"
	"fmt"
	"slices"

	"ferry"
)

// staged is what a model of the staging area keeps of one generation: bytes laid
// over the base, as the upload's row says.
type staged struct {
	writes []stagedWrite
	size   int64
}

type stagedWrite struct {
	off  int64
	data string
}

// executor works off KeyStates one step at a time by ferry.NextStep, as the
// syncer does: intent first, then the request, then the answer.
type executor struct {
	j      *memJournal
	b      *memBucket
	t      *Tree
	gens   *ferry.Generations
	bytes  map[ferry.Generation]*staged
	asides int
	// die says whether the daemon dies before the named point: the step ends there.
	die func(point string) bool
}

// update is an Update in which the tree learns of each object before the row that
// spoke for it is gone, as cmd/ferry wires it.
func (x *executor) update(fn func(ferry.Tx) error) error {
	return x.j.Update(func(tx ferry.Tx) error { return fn(learningTx{tx, x}) })
}

type learningTx struct {
	ferry.Tx
	x *executor
}

func (l learningTx) DeleteInode(id ferry.InodeID) {
	if in := l.Inode(id); in != nil && !in.Unlinked && in.Settled() {
		if o, ok := l.x.b.get(in.Key()); ok {
			l.x.t.Settled(in.Key(), o.Object)
		}
	}
	l.Tx.DeleteInode(id)
}

func (l learningTx) PutKey(k *ferry.KeyState) {
	if k.Idle() && k.Known.Presence == ferry.Absent {
		l.x.t.Removed(k.Key)
	}
	l.Tx.PutKey(k)
}

// content returns the bytes of a generation.
func (x *executor) content(u *ferry.Upload) (string, error) {
	s := x.bytes[u.Generation]
	if s == nil {
		s = &staged{} // a missing staging file is an empty file
	}
	buf := make([]byte, s.size)
	if u.Base != nil {
		base, err := x.b.read(*u.Base)
		if err != nil {
			return "", fmt.Errorf("base of %s: %w", u.Generation, err)
		}
		copy(buf, base[:min(u.BaseLimit, int64(len(base)))])
	}
	for _, w := range s.writes {
		copy(buf[w.off:], w.data)
	}
	return string(buf), nil
}

// step does one step for the key with that number (modulo) and reports whether
// anything was done.
func (x *executor) step(n int) (did string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", did, err)
		}
	}()
	var keys []*ferry.KeyState
	var aborts []*ferry.Upload
	if err := x.j.View(func(tx ferry.Tx) error {
		for k := range tx.Work(0, "") {
			keys = append(keys, k)
		}
		for u := range tx.Uploads() {
			if u.State == ferry.StateAborting {
				aborts = append(aborts, u)
			}
		}
		return nil
	}); err != nil {
		return "view", err
	}
	if len(keys)+len(aborts) == 0 || x.b.offline {
		return "", nil
	}
	n %= len(keys) + len(aborts)
	if n >= len(keys) {
		u := aborts[n-len(keys)]
		return "abort " + string(u.Generation), x.abort(u)
	}
	k := keys[n]
	var s ferry.Step
	if err := x.j.View(func(tx ferry.Tx) error { s = ferry.NextStep(tx, k); return nil }); err != nil {
		return "next " + string(k.Key), err
	}
	did = fmt.Sprintf("%s %q", s.Kind, k.Key)
	switch s.Kind {
	case ferry.StepNone:
		return "", nil
	case ferry.StepWait:
		return x.wait(k)
	case ferry.StepDone:
		return did, x.done(k)
	case ferry.StepSettle:
		return did, x.settle(k)
	case ferry.StepUpload:
		return did, x.upload(k, s.Upload)
	case ferry.StepPut:
		return did, x.begin(k, s, n)
	case ferry.StepMove, ferry.StepAttr:
		return did, x.move(k, s)
	case ferry.StepDelete:
		return did, x.delete(k)
	}
	return did, errors.New("unknown step")
}

func (x *executor) abort(u *ferry.Upload) error {
	return x.update(func(tx ferry.Tx) (err error) {
		if u.State, err = u.State.Next(ferry.EventAborted); err != nil {
			return err
		}
		if k := tx.Key(u.Key); u.Key != "" && k != nil && k.Upload == u.Generation {
			k.Upload = ""
			tx.PutKey(k)
		}
		tx.PutUpload(u)
		return nil
	})
}

func (x *executor) done(k *ferry.KeyState) error {
	return x.update(func(tx ferry.Tx) error {
		if k.Wanted.Kind == ferry.WantInode {
			ferry.CloseIfSettled(tx, tx.Inode(k.Wanted.Inode))
			return nil
		}
		k.Wanted = ferry.Wanted{}
		tx.PutKey(k)
		return nil
	})
}

// begin starts to put a generation: at random in one request, or by opening a
// multipart upload.
func (x *executor) begin(k *ferry.KeyState, s ferry.Step, n int) error {
	if u := s.Upload; u != nil && n%2 == 0 {
		return x.update(func(tx ferry.Tx) (err error) {
			if u.State == ferry.StateSealed {
				if u.State, err = u.State.Next(ferry.EventOpened); err != nil {
					return err
				}
			}
			u.Key, u.UploadID, k.Upload = k.Key, "id-"+ferry.UploadID(u.Generation), u.Generation
			tx.PutUpload(u)
			tx.PutKey(k)
			return nil
		})
	}
	intent := ferry.Intent{Kind: ferry.IntentPut, Inode: s.Inode.ID, AttrSeq: s.Inode.AttrSeq, Generation: x.gens.Next()}
	return x.commit(k, s.Upload, s.Inode, intent)
}

func (x *executor) upload(k *ferry.KeyState, u *ferry.Upload) error {
	var in *ferry.Inode
	if err := x.j.View(func(tx ferry.Tx) error { in = tx.Inode(u.Inode); return nil }); err != nil {
		return err
	}
	switch {
	case u.State == ferry.StateAborting:
		return x.abort(u)
	case in == nil:
		return fmt.Errorf("upload %s (%s) of inode %d, which has no row", u.Generation, u.State, u.Inode)
	}
	return x.commit(k, u, in, ferry.Intent{Kind: ferry.IntentComplete, Inode: in.ID, AttrSeq: in.AttrSeq})
}

// commit journals the intent, makes the object, and journals the answer.
func (x *executor) commit(k *ferry.KeyState, u *ferry.Upload, in *ferry.Inode, intent ferry.Intent) error {
	data := in.Target
	if u != nil {
		var err error
		if data, err = x.content(u); err != nil {
			return err
		}
		intent.Generation = u.Generation
	}
	if x.die("before intent") {
		return nil
	}
	if err := x.update(func(tx ferry.Tx) (err error) {
		if u != nil {
			if u.State, err = u.State.Next(ferry.EventCommitting); err != nil {
				return err
			}
			u.Key, k.Upload = k.Key, u.Generation
			tx.PutUpload(u)
		}
		k.Intent = &intent
		tx.PutKey(k)
		return nil
	}); err != nil || x.die("request") {
		return err
	}
	meta, headers, err := ferry.EncodeMetadata(in, intent.Generation)
	if err != nil {
		return err
	}
	o, err := x.b.putIf(k.Key, data, meta, headers, k.Known.Precondition())
	if err != nil {
		return x.conflict(k, err)
	}
	if x.die("answer") {
		return nil
	}
	return x.stored(k.Key, intent, o)
}

func (x *executor) stored(key ferry.ObjectKey, intent ferry.Intent, o ferry.Object) error {
	return x.update(func(tx ferry.Tx) error { ferry.Stored(tx, key, intent, o.Version); return nil })
}

// settle learns what became of a request.
func (x *executor) settle(k *ferry.KeyState) error {
	if k.Intent.Kind == ferry.IntentAside {
		if o, ok := x.b.get(k.Intent.Dest); ok {
			return x.rebind(k, o.Version)
		}
		k.Intent = nil
		return x.update(func(tx ferry.Tx) error { tx.PutKey(k); return nil })
	}
	if o, ok := x.b.get(k.Key); ok && o.Generation == k.Intent.Generation {
		return x.stored(k.Key, *k.Intent, o.Object)
	}
	return x.refused(k)
}

// refused takes an intent back that made no object.
func (x *executor) refused(k *ferry.KeyState) error {
	return x.update(func(tx ferry.Tx) (err error) {
		if u := tx.Upload(k.Intent.Generation); u != nil {
			event := ferry.EventLost
			if k.Intent.Kind == ferry.IntentComplete {
				event = ferry.EventRefusedNow
			} else {
				k.Upload, u.Key = "", ""
			}
			if u.State, err = u.State.Next(event); err != nil {
				return err
			}
			tx.PutUpload(u)
			if in := tx.Inode(u.Inode); in == nil || in.Content != u.Generation {
				k.Intent = nil
				tx.PutKey(k)
				ferry.Supersede(tx, u.Generation)
				return nil
			}
		}
		k.Intent = nil
		tx.PutKey(k)
		return nil
	})
}

// conflict takes over what the key holds instead of what was known. Only a delete
// whose answer was lost, or a key that could not be asked about, may lead here.
func (x *executor) conflict(k *ferry.KeyState, err error) error {
	o, there := x.b.get(k.Key)
	switch {
	case there && k.Known.Presence != ferry.Unknown:
		return err
	case there:
		k.Known = ferry.KnownVersion(o.Version)
	default:
		k.Known = ferry.KnownAbsent
	}
	return x.refused(k)
}

// move copies the inode's object here, or onto itself with new metadata.
func (x *executor) move(k *ferry.KeyState, s ferry.Step) error {
	in := s.Inode
	intent := ferry.Intent{Kind: ferry.IntentMove, Generation: x.gens.Next(), Inode: in.ID, AttrSeq: in.AttrSeq}
	if s.Kind == ferry.StepAttr {
		intent.Kind = ferry.IntentAttr
	}
	data, err := x.b.read(*in.Remote)
	if err != nil {
		return err
	}
	k.Intent = &intent
	if err := x.update(func(tx ferry.Tx) error { tx.PutKey(k); return nil }); err != nil || x.die("request") {
		return err
	}
	meta, headers, err := ferry.EncodeMetadata(in, intent.Generation)
	if err != nil {
		return err
	}
	o, err := x.b.putIf(k.Key, data, meta, headers, k.Known.Precondition())
	if err != nil {
		return x.conflict(k, err)
	}
	if x.die("answer") {
		return nil
	}
	return x.stored(k.Key, intent, o)
}

func (x *executor) delete(k *ferry.KeyState) error {
	o, there := x.b.get(k.Key)
	if there && k.Known.Presence == ferry.Present && o.ETag != k.Known.Version.ETag {
		return fmt.Errorf("the object to delete is %q, and %q was seen", o.ETag, k.Known.Version.ETag)
	}
	x.b.remove(k.Key)
	if x.die("answer") {
		return nil
	}
	return x.update(func(tx ferry.Tx) error { ferry.Gone(tx, k.Key); return nil })
}

// wait breaks a cycle of waiting keys: what lies at k is copied aside.
func (x *executor) wait(k *ferry.KeyState) (did string, err error) {
	cycle := false
	err = x.j.View(func(tx ferry.Tx) error {
		seen := []ferry.ObjectKey{k.Key}
		for at := k; ; {
			s := ferry.NextStep(tx, at)
			if s.Kind != ferry.StepWait || s.Waits == "" {
				return nil
			}
			if s.Waits == k.Key {
				cycle = ferry.Blocked(tx, k.Key, k.Wanted.Inode)
				return nil
			}
			if slices.Contains(seen, s.Waits) {
				return nil
			}
			if at = tx.Key(s.Waits); at == nil {
				return fmt.Errorf("%q waits for %q, which has no row", seen[len(seen)-1], s.Waits)
			}
			seen = append(seen, at.Key)
		}
	})
	if err != nil || !cycle {
		return "", err
	}
	x.asides++
	k.Intent = &ferry.Intent{Kind: ferry.IntentAside, Dest: ferry.ObjectKey(fmt.Sprintf(".ferry/aside/%d", x.asides))}
	if err := x.update(func(tx ferry.Tx) error { tx.PutKey(k); return nil }); err != nil || x.die("request") {
		return "aside", err
	}
	o, ok := x.b.get(k.Key)
	if !ok {
		return "aside", fmt.Errorf("nothing at %q to copy aside", k.Key)
	}
	v := x.b.put(k.Intent.Dest, o.data, o.Metadata, o.Headers).Version
	if x.die("answer") {
		return "aside", nil
	}
	return "aside", x.rebind(k, v)
}

// rebind lets the inodes whose bytes were at k have them at v.
func (x *executor) rebind(k *ferry.KeyState, v ferry.Version) error {
	return x.update(func(tx ferry.Tx) error {
		for id := range tx.Refs(k.Key) {
			if in := tx.Inode(id); k.Wanted.Inode != id {
				for u := range tx.Uploads() {
					if u.Inode == id && u.Base != nil && u.Base.Same(*in.Remote) {
						u.Base = &v
						tx.PutUpload(u)
					}
				}
				in.Remote = &v
				tx.PutInode(in)
			}
		}
		k.Intent = nil
		tx.PutKey(k)
		ferry.Want(tx, v.Key, ferry.KnownVersion(v), ferry.Wanted{Kind: ferry.WantAbsent}, 1)
		return nil
	})
}

// quiesce works until nothing is left to do.
func (x *executor) quiesce() error {
	die := x.die
	defer func() { x.die = die }()
	x.die = func(string) bool { return false }
	for range 1000 {
		x.j.mu.Lock()
		n := len(x.j.keys) + len(x.j.uploads)
		x.j.mu.Unlock()
		if n == 0 {
			return nil
		}
		for i := range n {
			if _, err := x.step(i); err != nil {
				return err
			}
		}
		if err := x.j.Check(); err != nil {
			return err
		}
	}
	return errors.New("work never ends: " + x.j.dump())
}
