package syncer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"ferry"
)

// collided is for a request that was refused because the key does not hold what
// it was known to hold. What is there is looked at, and kept or not as the
// policy says; then the step is tried again on what is there now.
func (s *Syncer) collided(ctx context.Context, key ferry.ObjectKey, intent ferry.Intent) (keys, error) {
	obj, there, err := s.head(ctx, key)
	if err != nil {
		return nil, err
	}
	if ours(obj, there, intent) {
		return s.stored(key, intent, obj.Version, putOptions(obj))
	}
	if !there { // it was deleted there: ours is put as new
		return keys{key}, s.replaceKnown(key, intent, ferry.KnownAbsent)
	}
	kind := ferry.File
	if err := s.j.View(func(tx ferry.Tx) error {
		if in := tx.Inode(intent.Inode); in != nil {
			kind = in.Kind
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if kind == ferry.Dir || s.sameStart(obj.Generation) {
		// A marker has nothing to lose; and what this process made itself, by a
		// request whose answer came too late, nobody else has changed.
		return keys{key}, s.replaceKnown(key, intent, ferry.KnownVersion(obj.Version))
	}
	s.conflicts.Add(1)
	policy := s.o.Conflict
	if policy == KeepTheir && intent.Kind == ferry.IntentMove {
		policy = KeepBoth // a rename must not destroy what is stored
	}
	var kept ferry.ObjectKey
	switch policy {
	case KeepTheir:
		err = s.yieldTo(key, intent, obj)
	case KeepBoth:
		if kept, err = s.keepAside(ctx, key, obj); err == nil {
			err = s.replaceKnown(key, intent, ferry.KnownVersion(obj.Version))
		}
	case KeepOurs:
		err = s.replaceKnown(key, intent, ferry.KnownVersion(obj.Version))
	}
	if ferry.IsKind(err, ferry.KindConflict) || ferry.IsKind(err, ferry.KindNotFound) {
		return keys{key}, s.clearIntent(key, intent) // it changed again: look again
	}
	if err != nil {
		return nil, err
	}
	s.o.Log.Warn("two writers: another client changed what ours replaces", "key", key, "theirs", obj.ETag, "kept as", kept)
	s.o.Events.Conflict(key, kept, obj.Version)
	// Writers that collide must not go on in step.
	pause(ctx, time.Duration(rand.Int64N(int64(50*time.Millisecond))))
	return keys{key}, nil
}

// replaceKnown records that the request made no object because known is there.
func (s *Syncer) replaceKnown(key ferry.ObjectKey, intent ferry.Intent, known ferry.Known) error {
	return s.j.Update(func(tx ferry.Tx) error {
		k := tx.Key(key)
		if k == nil || k.Intent == nil || k.Intent.Generation != intent.Generation {
			return errStale
		}
		refuse(tx, k, &known)
		return nil
	})
}

// sameStart reports whether g was made by this process.
func (s *Syncer) sameStart(g ferry.Generation) bool {
	mine, _, _ := strings.Cut(string(s.o.Generations.Next()), "-")
	theirs, _, ok := strings.Cut(string(g), "-")
	return ok && mine == theirs
}

// yieldTo drops ours for theirs.
func (s *Syncer) yieldTo(key ferry.ObjectKey, intent ferry.Intent, obj ferry.Object) error {
	err := s.j.Update(func(tx ferry.Tx) error {
		k := tx.Key(key)
		if k == nil || k.Intent == nil || k.Intent.Generation != intent.Generation {
			return errStale
		}
		in := tx.Inode(intent.Inode)
		if in == nil || in.Content != "" && in.Content != intent.Generation {
			refuse(tx, k, nil) // written again: the newer content meets theirs
			return nil
		}
		known := ferry.KnownVersion(obj.Version)
		refuse(tx, k, &known)
		in.Content, in.Size, in.Remote = "", obj.Size, &obj.Version
		in.StoredAttrSeq = in.AttrSeq
		tx.PutInode(in)
		ferry.Supersede(tx, intent.Generation)
		ferry.CloseIfSettled(tx, in)
		return nil
	})
	if err == nil {
		s.o.Events.Changed(key)
	}
	return err
}

// keepAside copies theirs to a name of its own beside key, unless that was done
// already, and returns the name.
func (s *Syncer) keepAside(ctx context.Context, key ferry.ObjectKey, theirs ferry.Object) (ferry.ObjectKey, error) {
	for n := 1; ; n++ {
		dest := conflictName(key, theirs.Modified, s.o.Host, n)
		taken := false
		if err := s.j.View(func(tx ferry.Tx) error {
			taken = tx.InodeAt(dest.Path()) != 0 || tx.Key(dest) != nil
			return nil
		}); err != nil {
			return "", err
		}
		if taken {
			continue
		}
		there, present, err := s.head(ctx, dest)
		switch {
		case err != nil:
			return "", err
		case present && there.ETag == theirs.ETag && there.Size == theirs.Size && there.Generation == theirs.Generation:
			return dest, nil // an earlier try made it
		case present:
			continue
		}
		if _, err := s.copyObject(ctx, theirs.Version, dest); err != nil {
			return "", err
		}
		s.o.Crash("syncer.conflict.kept")
		s.o.Events.Changed(dest)
		return dest, nil
	}
}

// conflictName returns "name (conflict 2026-11-21T21.10.05Z HOST).ext" beside
// key, with a number from the second on. It depends on nothing but its
// arguments, so that a conflict resolved twice has one copy.
func conflictName(key ferry.ObjectKey, when time.Time, host string, n int) ferry.ObjectKey {
	dir, name := key.Path().Split()
	ext := path.Ext(name)
	if ext == name || len(ext) > 32 {
		ext = ""
	}
	stem := strings.TrimSuffix(name, ext)
	host = strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' {
			return '-'
		}
		return r
	}, host)
	mark := fmt.Sprintf(" (conflict %s %s)", when.UTC().Format("2006-01-02T15.04.05Z"), host)
	if n > 1 {
		mark = fmt.Sprintf(" (conflict %s %s %d)", when.UTC().Format("2006-01-02T15.04.05Z"), host, n)
	}
	room := min(ferry.MaxComponentLength, ferry.MaxKeyLength-len(dir)-1) - len(mark) - len(ext)
	for len(stem) > max(room, 1) {
		_, w := utf8.DecodeLastRuneInString(stem)
		stem = stem[:len(stem)-w]
	}
	return dir.Join(stem + mark + ext).Key()
}
