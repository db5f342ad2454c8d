package syncer

import (
	"context"
	"time"

	"ferry"
)

// Pending is what is not in the bucket yet.
type Pending struct {
	Operations int64 // keys with work
	Bytes      int64 // of content that is to be sent, parts at the server taken off
	Parked     int64 // keys that wait for a person, not counted above
	Oldest     time.Time
}

// Pending counts the rows.
func (s *Syncer) Pending() (p Pending, err error) {
	err = s.j.View(func(tx ferry.Tx) error {
		p = Pending{}
		for k := range tx.Keys("") {
			if k.Idle() {
				continue
			}
			if _, parked := parkedAt(tx, k); parked {
				p.Parked++
				continue
			}
			p.Operations++
			if since := time.Unix(0, k.Since); p.Oldest.IsZero() || since.Before(p.Oldest) {
				p.Oldest = since
			}
		}
		for u := range tx.Uploads() {
			if !u.State.NeedsBytes() || u.State == ferry.StateParked {
				continue
			}
			p.Bytes += u.Size
			for _, part := range tx.Parts(u.Generation) {
				p.Bytes -= min(part.Extent.Length, u.Size)
			}
		}
		p.Bytes = max(0, p.Bytes)
		return nil
	})
	return p, err
}

// parkedAt returns why k waits for a person.
func parkedAt(tx ferry.Tx, k *ferry.KeyState) (reason string, parked bool) {
	g := k.Upload
	if g == "" && k.Wanted.Kind == ferry.WantInode {
		if in := tx.Inode(k.Wanted.Inode); in != nil {
			g = in.Content
		}
	}
	if u := tx.Upload(g); u != nil {
		if u.State == ferry.StateParked {
			return u.Reason, true
		}
		return "", false
	}
	return k.Parked, k.Parked != ""
}

// Retry takes up what was parked: id is a generation or a key. KindNotFound if
// nothing of that name is parked.
func (s *Syncer) Retry(id string) error {
	var key ferry.ObjectKey
	var inode ferry.InodeID
	err := s.j.Update(func(tx ferry.Tx) error {
		key = ferry.ObjectKey(id)
		g := ferry.Generation("")
		if u := tx.Upload(ferry.Generation(id)); u != nil {
			g, inode, key = u.Generation, u.Inode, u.Key
			if in := tx.Inode(u.Inode); key == "" && in != nil && !in.Unlinked {
				key = in.Key()
			}
		} else if k := tx.Key(key); k != nil {
			if g = k.Upload; g == "" && k.Wanted.Kind == ferry.WantInode {
				if in := tx.Inode(k.Wanted.Inode); in != nil {
					g, inode = in.Content, in.ID
				}
			}
		}
		done := false
		if u := tx.Upload(g); u != nil && u.State == ferry.StateParked {
			next, err := u.State.Next(ferry.EventRetry)
			if err != nil {
				return err
			}
			u.State, u.Reason, done = next, "", true
			tx.PutUpload(u)
		}
		if k := tx.Key(key); k != nil && k.Parked != "" {
			k.Parked, k.Attempts, done = "", 0, true
			tx.PutKey(k)
		}
		if !done {
			return &ferry.Error{Op: "syncer.retry", Key: id, Kind: ferry.KindNotFound, Msg: "nothing of that name is parked"}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.forget(ferry.Generation(id))
	s.o.Events.StateChanged(inode, key)
	s.agenda.lookAt(key)
	return nil
}

// Cancel gives up a generation with its bytes: the name goes back to what the
// bucket holds, and away if the bucket holds nothing of it. KindBusy while it is
// being written, or while the request that makes the object is under way.
func (s *Syncer) Cancel(g ferry.Generation) error {
	busy := &ferry.Error{Op: "syncer.cancel", Key: string(g), Kind: ferry.KindBusy, Msg: "it is being written, or about to be stored", Hint: "close the file and try again"}
	var in *ferry.Inode
	var key ferry.ObjectKey
	gone := false
	err := s.j.Update(func(tx ferry.Tx) error {
		u := tx.Upload(g)
		switch {
		case u == nil:
			return &ferry.Error{Op: "syncer.cancel", Key: string(g), Kind: ferry.KindNotFound, Msg: "there is no such upload"}
		case u.State.Writable() || u.State == ferry.StateCompleting:
			return busy
		case u.State == ferry.StateAborting:
			return nil
		}
		if in = tx.Inode(u.Inode); in == nil || in.Content != g {
			ferry.Supersede(tx, g)
			return nil
		}
		key = in.Key()
		k := tx.Key(key)
		if k != nil && k.Intent != nil {
			return busy
		}
		in.Content, gone = "", in.Remote == nil
		if gone {
			if k != nil && k.Wanted == (ferry.Wanted{Kind: ferry.WantInode, Inode: in.ID}) {
				k.Wanted, k.Parked = ferry.Wanted{}, ""
				tx.PutKey(k)
			}
			ferry.Supersede(tx, g)
			tx.DeleteInode(in.ID)
			return nil
		}
		in.Size = in.Remote.Size
		tx.PutInode(in)
		ferry.Supersede(tx, g)
		if k = tx.Key(key); k != nil && k.Parked != "" {
			k.Parked = ""
			tx.PutKey(k)
		}
		ferry.CloseIfSettled(tx, in)
		return nil
	})
	if err != nil {
		return err
	}
	s.forget(g)
	if in != nil {
		if gone {
			s.o.Events.Dropped(in.ID, key)
		} else {
			s.o.Events.Changed(key)
		}
	}
	s.Wake()
	s.moved.signal()
	return nil
}

// Expedite makes everything go at once, without waiting whether a difference
// goes away by itself, until the function it returns is called.
func (s *Syncer) Expedite() (done func()) {
	s.hurry.Add(1)
	s.Wake()
	s.del.nudge()
	return func() { s.hurry.Add(-1) }
}

// ParkedError says that what was waited for has stopped until a person acts.
type ParkedError struct {
	Key    ferry.ObjectKey
	Reason string
	More   int // how many others are parked too
}

// Error returns a sentence.
func (e *ParkedError) Error() string {
	return "\"" + string(e.Key) + "\" is parked: " + e.Reason
}

// Wait returns when everything at and below path ("" is everything) is stored:
// nil; or a *ParkedError when all that is left is parked; or when ctx ends. A
// file that is open for writing is not stored.
func (s *Syncer) Wait(ctx context.Context, path ferry.Path) error {
	defer s.Expedite()()
	for {
		moved, began := s.moved.next(), time.Now()
		left, parked, err := s.left(path)
		switch {
		case err != nil:
			return err
		case parked != nil && left == 0:
			return parked
		case left == 0:
			return nil
		}
		// Reading many rows for each that is stored would cost more than storing it.
		if !pause(ctx, min(time.Second, 10*time.Since(began))) {
			return context.Cause(ctx)
		}
		t := time.NewTimer(500 * time.Millisecond) // the rows change by others too
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-moved:
		case <-t.C:
		}
		t.Stop()
	}
}

// left counts what is not stored at and below path.
func (s *Syncer) left(path ferry.Path) (left int, parked *ParkedError, err error) {
	err = s.j.View(func(tx ferry.Tx) error {
		for k := range tx.Keys(path.Key()) {
			if p := k.Key.Path(); k.Idle() || path != "" && p != path && !p.Below(path) {
				continue
			}
			if reason, ok := parkedAt(tx, k); !ok {
				left++
			} else if parked == nil {
				parked = &ParkedError{Key: k.Key, Reason: reason}
			} else {
				parked.More++
			}
		}
		return nil
	})
	return left, parked, err
}
