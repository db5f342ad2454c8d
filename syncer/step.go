package syncer

import (
	"context"
	"errors"
	"fmt"

	"ferry"
)

// keys are those that a step may have unblocked.
type keys []ferry.ObjectKey

// errStale says that the rows changed between looking and acting: look again.
var errStale = errors.New("the rows changed meanwhile")

// parkError stops the work on a key until a person acts.
type parkError struct {
	reason string
	err    error
	is     error // what errors.Is finds beside err; may be nil
}

func (e *parkError) Error() string {
	if e.err == nil {
		return e.reason
	}
	return e.reason + ": " + e.err.Error()
}
func (e *parkError) Unwrap() error { return e.err }

// Is implements errors.Is.
func (e *parkError) Is(target error) bool { return e.is != nil && e.is == target }

// permanent reports whether trying again cannot help, and why, as a sentence.
func permanent(err error) (reason string, ok bool) {
	if p, ok := errors.AsType[*parkError](err); ok {
		return p.Error(), true
	}
	switch ferry.KindOf(err) { //nolint:exhaustive // the rest may pass
	case ferry.KindDenied, ferry.KindNoSpace, ferry.KindInvalid, ferry.KindTooLarge, ferry.KindNameTooLong, ferry.KindUnsupported, ferry.KindPerm:
		if _, ok := errors.AsType[*ferry.Error](err); ok {
			return err.Error(), true
		}
	}
	return "", false
}

// work takes the steps of key until there is nothing to do for it, or a step
// fails.
func (s *Syncer) work(ctx context.Context, key ferry.ObjectKey, c class, stop context.CancelCauseFunc) {
	const most = 50 // a key that never comes to rest makes way for others
	for range most {
		seen := s.agenda.pokes.Load()
		if ctx.Err() != nil {
			s.release(key, nil, seen)
			return
		}
		now, err := s.look(key)
		if err == nil && (now.class == classNone || now.class != c && now.class != classSmall) {
			s.release(key, nil, seen)
			if now.class != classNone || now.waits != "" {
				s.agenda.lookAt(key) // by the scheduler, for which it waits or goes on
			}
			return
		}
		var touched keys
		if err == nil {
			touched, err = s.step(ctx, now)
		}
		s.agenda.lookAt(touched...)
		if errors.Is(err, errStale) {
			continue
		}
		if err != nil {
			s.failed(ctx, key, err, stop)
			s.release(key, err, seen)
			return
		}
		s.line.note(nil)
		s.moved.signal()
	}
	s.release(key, errStale, 0)
}

// failed notes why a step failed.
func (s *Syncer) failed(ctx context.Context, key ferry.ObjectKey, err error, stop context.CancelCauseFunc) {
	if ctx.Err() != nil {
		return
	}
	s.line.note(err)
	switch ferry.KindOf(err) {
	case ferry.KindReadOnly:
		stop(err)
	case ferry.KindTransient:
		s.o.Log.Info("will try again", "key", key, "error", err)
	default:
		s.o.Log.Error("a step failed", "key", key, "error", err)
	}
}

// view is what a step starts from.
type view struct {
	key   ferry.ObjectKey
	class class
	waits ferry.ObjectKey
	k     *ferry.KeyState
	step  ferry.Step
	aside *ferry.Inode // the inode to move out of the way, if a cycle is to be broken
}

// look reads what is to be done for key.
func (s *Syncer) look(key ferry.ObjectKey) (v view, err error) {
	v.key = key
	err = s.j.View(func(tx ferry.Tx) error {
		if v.k = tx.Key(key); v.k == nil {
			return nil
		}
		v.class, v.waits = s.classOf(tx, v.k)
		v.step = ferry.NextStep(tx, v.k)
		if v.step.Kind == ferry.StepWait {
			v.aside = cycleAt(tx, v.k, v.step)
		}
		return nil
	})
	return v, err
}

// step takes one step.
func (s *Syncer) step(ctx context.Context, v view) (keys, error) {
	switch v.step.Kind {
	case ferry.StepDone:
		return nil, s.closeRow(v.key)
	case ferry.StepSettle:
		return s.settle(ctx, v)
	case ferry.StepUpload:
		return s.upload(ctx, v.key, v.step.Upload.Generation)
	case ferry.StepPut:
		if s.inParts(v.step) {
			return s.upload(ctx, v.key, v.step.Upload.Generation)
		}
		return s.put(ctx, v)
	case ferry.StepMove:
		return s.move(ctx, v)
	case ferry.StepAttr:
		return s.attr(ctx, v)
	case ferry.StepWait:
		if v.aside != nil {
			return s.moveAside(ctx, v)
		}
		return nil, nil
	case ferry.StepNone:
		return nil, s.unpark(v.key)
	case ferry.StepDelete:
		return nil, nil // the deleter's
	default:
		return nil, &ferry.Error{Op: "syncer.step", Key: string(v.key), Kind: ferry.KindInternal, Msg: fmt.Sprintf("step %d", v.step.Kind)}
	}
}

// again returns errStale unless the rows still ask for the step in v.
func (v view) again(tx ferry.Tx) (*ferry.KeyState, ferry.Step, error) {
	k := tx.Key(v.key)
	if k == nil {
		return nil, ferry.Step{}, errStale
	}
	step := ferry.NextStep(tx, k)
	if step.Kind != v.step.Kind || (step.Inode == nil) != (v.step.Inode == nil) || step.Inode != nil && step.Inode.ID != v.step.Inode.ID {
		return nil, ferry.Step{}, errStale
	}
	return k, step, nil
}

// closeRow ends a row whose key holds what is wanted.
func (s *Syncer) closeRow(key ferry.ObjectKey) error {
	return s.j.Update(func(tx ferry.Tx) error {
		k := tx.Key(key)
		if k == nil || ferry.NextStep(tx, k).Kind != ferry.StepDone {
			return nil
		}
		if k.Wanted.Kind == ferry.WantInode {
			if in := tx.Inode(k.Wanted.Inode); in != nil {
				ferry.CloseIfSettled(tx, in)
			}
			return nil
		}
		k.Wanted = ferry.Wanted{}
		tx.PutKey(k)
		return nil
	})
}

// park stops the work on key, and of its upload g if it has one, until a person
// acts. A request that is journaled for the key was answered: it made no object.
func (s *Syncer) park(key ferry.ObjectKey, g ferry.Generation, reason string) (keys, error) {
	var id ferry.InodeID
	parked := false
	err := s.j.Update(func(tx ferry.Tx) error {
		k := tx.Key(key)
		if k == nil {
			return nil
		}
		if i := k.Intent; i != nil {
			id = i.Inode
			refuse(tx, k, nil)
			if k = tx.Key(key); k == nil || k.Wanted.Kind != ferry.WantInode || k.Wanted.Inode != id {
				return nil // wanted differently meanwhile: that is tried first
			}
		}
		if g != "" {
			u := tx.Upload(g)
			if u == nil {
				return nil
			}
			id = u.Inode
			next, err := u.State.Next(ferry.EventParked)
			if err != nil || u.State.Writable() {
				return nil // written again, or given up: another step follows
			}
			u.State, u.Reason = next, reason
			tx.PutUpload(u)
		}
		parked = true
		k.Parked = reason
		tx.PutKey(k)
		return nil
	})
	if err != nil || !parked {
		return keys{key}, err
	}
	s.forget(g)
	s.o.Log.Error("stopped until a person acts", "key", key, "generation", g, "reason", reason)
	s.o.Events.StateChanged(id, key)
	return nil, nil
}

// unpark takes up a key that was parked for a content which was replaced.
func (s *Syncer) unpark(key ferry.ObjectKey) error {
	return s.j.Update(func(tx ferry.Tx) error {
		if k := tx.Key(key); k != nil && reopened(tx, k) {
			k.Parked, k.Attempts = "", 0
			tx.PutKey(k)
		}
		return nil
	})
}

// refuse records that the request journaled for k was answered and made no
// object; known is what is there instead, nil if that was not learnt. A
// generation that nobody wants any more is given up then.
func refuse(tx ferry.Tx, k *ferry.KeyState, known *ferry.Known) {
	intent := *k.Intent
	k.Intent = nil
	if known != nil {
		k.Known = *known
	}
	u := tx.Upload(intent.Generation)
	if u == nil || u.State != ferry.StateCompleting {
		if k.Wanted.Kind == ferry.WantAbsent && k.Known.Presence == ferry.Absent && k.Upload == "" {
			k.Wanted = ferry.Wanted{}
		}
		tx.PutKey(k)
		return
	}
	event := ferry.EventLost
	if intent.Kind == ferry.IntentComplete {
		event = ferry.EventRefusedNow
	}
	next, err := u.State.Next(event)
	if err != nil {
		tx.Fail(err)
		return
	}
	tx.PutKey(k)
	if event == ferry.EventLost {
		ferry.Unbind(tx, u)
		u.Key, u.UploadID = "", ""
	}
	u.State = next
	tx.PutUpload(u)
	if unwanted(tx, u) {
		ferry.Supersede(tx, u.Generation)
	}
}

// unwanted reports whether no inode has u as its content.
func unwanted(tx ferry.Tx, u *ferry.Upload) bool {
	in := tx.Inode(u.Inode)
	return in == nil || in.Content != u.Generation
}
