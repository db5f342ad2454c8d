package tree

import (
	"context"
	"fmt"
	"slices"

	"ferry"
)

// What the model does with names and attributes.

func (w *world) create() (string, error) {
	dir, name := w.somewhere()
	p := dir.Join(name)
	id, ok, err := w.at(dir)
	if err != nil || !ok {
		return string(p), err
	}
	excl := w.r.IntN(2) == 0
	old := w.names[p]
	e, created, err := w.t.Create(context.Background(), w.origin(), id, name, 0o640, 1, 2, excl)
	want := ferry.Kind(0)
	if old != nil && excl {
		want = ferry.KindExists
	}
	if ok, err := w.expect(err, want); !ok {
		return string(p), err
	}
	if created != (old == nil) {
		return string(p), fmt.Errorf("created is %v", created)
	}
	if created {
		w.names[p] = &thing{kind: ferry.File, mode: 0o640}
		w.seen(p)
	}
	if err := w.got(p, e); err != nil || !created {
		return string(p), err
	}
	w.openIt(p)
	if w.r.IntN(3) > 0 {
		err = w.close(e.ID)
	}
	return string(p), err
}

func (w *world) mkdir() (string, error) {
	dir, name := w.somewhere()
	p := dir.Join(name)
	id, ok, err := w.at(dir)
	if err != nil || !ok {
		return string(p), err
	}
	e, err := w.t.Mkdir(context.Background(), w.origin(), id, name, 0o700, 1, 2)
	want := ferry.Kind(0)
	if w.names[p] != nil {
		want = ferry.KindExists
	}
	if ok, err := w.expect(err, want); !ok {
		return string(p), err
	}
	w.names[p] = &thing{kind: ferry.Dir, mode: 0o700}
	w.seen(p)
	return string(p), w.got(p, e)
}

func (w *world) symlink() (string, error) {
	dir, name := w.somewhere()
	p := dir.Join(name)
	id, ok, err := w.at(dir)
	if err != nil || !ok {
		return string(p), err
	}
	e, err := w.t.Symlink(context.Background(), w.origin(), id, name, "to/"+name, 1, 2)
	want := ferry.Kind(0)
	if w.names[p] != nil {
		want = ferry.KindExists
	}
	if ok, err := w.expect(err, want); !ok {
		return string(p), err
	}
	w.names[p] = &thing{kind: ferry.Symlink, mode: 0o777, data: "to/" + name}
	w.seen(p)
	return string(p), w.got(p, e)
}

func (w *world) unlink() (string, error) {
	dir, name := w.someone()
	p := dir.Join(name)
	id, ok, err := w.at(dir)
	if err != nil || !ok {
		return string(p), err
	}
	th, want := w.names[p], ferry.Kind(0)
	switch {
	case th == nil:
		want = ferry.KindNotFound
	case th.kind == ferry.Dir:
		want = ferry.KindIsDir
	}
	if ok, err := w.expect(w.t.Unlink(context.Background(), w.origin(), id, name), want); !ok {
		return string(p), err
	}
	w.unname(p)
	return string(p), nil
}

func (w *world) rmdir() (string, error) {
	dir, name := w.someone()
	p := dir.Join(name)
	id, ok, err := w.at(dir)
	if err != nil || !ok {
		return string(p), err
	}
	th, want := w.names[p], ferry.Kind(0)
	switch {
	case th == nil:
		want = ferry.KindNotFound
	case th.kind != ferry.Dir:
		want = ferry.KindNotDir
	case !w.empty(p):
		want = ferry.KindNotEmpty
	}
	if ok, err := w.expect(w.t.Rmdir(context.Background(), w.origin(), id, name), want); !ok {
		return string(p), err
	}
	w.unname(p)
	return string(p), nil
}

func (w *world) rename() (string, error) {
	fromDir, fromName := w.someone()
	toDir, toName := w.somewhere()
	if w.r.IntN(3) == 0 {
		toDir, toName = w.someone()
	}
	flags := []uint32{0, 0, 0, RenameNoReplace, RenameExchange, RenameExchange}[w.r.IntN(6)]
	from, to := fromDir.Join(fromName), toDir.Join(toName)
	what := fmt.Sprintf("%s to %s flags %d", from, to, flags)
	a, ok, err := w.at(fromDir)
	if err != nil || !ok {
		return what, err
	}
	b, ok, err := w.at(toDir)
	if err != nil || !ok {
		return what, err
	}
	src, dst, want := w.names[from], w.names[to], ferry.Kind(0)
	switch {
	case src == nil:
		want = ferry.KindNotFound
	case to.Below(from), flags == RenameExchange && from.Below(to):
		want = ferry.KindInvalid
	case flags == RenameExchange && dst == nil:
		want = ferry.KindNotFound
	case flags == RenameNoReplace && dst != nil:
		want = ferry.KindExists
	case from == to || dst == nil || flags == RenameExchange:
	case src.kind == ferry.Dir && dst.kind != ferry.Dir:
		want = ferry.KindNotDir
	case src.kind != ferry.Dir && dst.kind == ferry.Dir:
		want = ferry.KindIsDir
	case dst.kind == ferry.Dir && !w.empty(to):
		want = ferry.KindNotEmpty
	}
	ok, err = w.expect(w.t.Rename(context.Background(), w.origin(), a, fromName, b, toName, flags), want)
	if !ok || from == to {
		return what, err
	}
	moved := map[ferry.Path]*thing{}
	take := func(from, to ferry.Path) {
		for _, p := range w.paths(func(p ferry.Path, _ *thing) bool { return p == from || p.Below(from) }) {
			moved[p.Rebase(from, to)] = w.names[p]
			w.unname(p)
		}
	}
	if flags == RenameExchange {
		take(to, from)
	} else if dst != nil {
		w.unname(to)
	}
	take(from, to)
	for p, th := range moved {
		w.names[p] = th
		w.seen(p)
	}
	w.dirs = slices.DeleteFunc(w.dirs, func(d *openDir) bool {
		if w.names[d.path] == d.node {
			return false
		}
		d.h.Close() // it is read on under its old name, and what it gives is not compared
		return true
	})
	return what, nil
}

func (w *world) setattr() (string, error) {
	dir, name := w.someone()
	p := dir.Join(name)
	th := w.names[p]
	if th == nil {
		return "", nil
	}
	id, ok, err := w.at(p)
	if err != nil || !ok {
		return string(p), err
	}
	mode := 0o600 + uint32(w.r.IntN(64))
	e, err := w.t.SetAttr(context.Background(), w.origin(), id, AttrChange{Mode: &mode})
	if ok, err := w.expect(err, 0); !ok {
		return string(p), err
	}
	th.mode = mode
	return string(p), w.same(p, th, e)
}

func (w *world) setxattr() (string, error) {
	dir, name := w.someone()
	p := dir.Join(name)
	th := w.names[p]
	if th == nil {
		return "", nil
	}
	id, ok, err := w.at(p)
	if err != nil || !ok {
		return string(p), err
	}
	if th.xattr != "" && w.r.IntN(2) == 0 {
		if ok, err := w.expect(w.t.RemoveXattr(context.Background(), w.origin(), id, "user.x"), 0); !ok {
			return string(p), err
		}
		th.xattr = ""
		return string(p), nil
	}
	v := fmt.Sprint(w.r.IntN(1000))
	if ok, err := w.expect(w.t.SetXattr(context.Background(), w.origin(), id, "user.x", []byte(v), 0), 0); !ok {
		return string(p), err
	}
	th.xattr = v
	return string(p), nil
}

func (w *world) lookup() (string, error) {
	dir, name := w.somewhere()
	p := dir.Join(name)
	id, ok, err := w.at(dir)
	if err != nil || !ok {
		return string(p), err
	}
	e, err := w.t.Lookup(context.Background(), id, name)
	want := ferry.Kind(0)
	if w.names[p] == nil {
		want = ferry.KindNotFound
	}
	if ok, err := w.expect(err, want); !ok {
		return string(p), err
	}
	return string(p), w.got(p, e)
}

// readdir reads a few names of a directory that stays open while other things
// happen, and now and then goes back.
func (w *world) readdir() (string, error) {
	if len(w.dirs) < 2 && (len(w.dirs) == 0 || w.r.IntN(3) == 0) {
		dir, _ := w.somewhere()
		id, ok, err := w.at(dir)
		if err != nil || !ok {
			return string(dir), err
		}
		h, err := w.t.OpenDir(context.Background(), id)
		if err != nil {
			return string(dir), err
		}
		w.dirs = append(w.dirs, &openDir{h: h, id: id, path: dir, node: w.names[dir]})
	}
	i := w.r.IntN(len(w.dirs))
	d := w.dirs[i]
	if w.names[d.path] != d.node {
		d.h.Close()
		w.dirs = slices.Delete(w.dirs, i, i+1)
		return string(d.path) + " is gone", nil
	}
	if d.cookie == 0 || w.r.IntN(10) == 0 {
		d.cookie, d.got, d.always = 0, map[string]int{}, map[string]bool{}
		for _, p := range w.paths(func(p ferry.Path, _ *thing) bool { dir, _ := p.Split(); return dir == d.path }) {
			_, name := p.Split()
			d.always[name] = true
		}
	}
	n, most := 0, 1+w.r.IntN(3)
	var fault error
	err := d.h.Read(context.Background(), d.cookie, func(e DirEntry, next uint64) bool {
		if n == most {
			return false
		}
		n++
		d.cookie = next
		if d.got[e.Name]++; d.got[e.Name] > 1 && d.always[e.Name] && fault == nil {
			fault = fmt.Errorf("%q is given twice", e.Name)
		}
		w.t.Ref(e.ID)
		if err := w.got(d.path.Join(e.Name), e.Entry); err != nil && fault == nil {
			fault = fmt.Errorf("readdir: %w", err)
		}
		return true
	})
	switch {
	case fault != nil:
		return string(d.path), fault
	case err != nil && w.excused(err):
		return string(d.path), nil
	case err != nil:
		return string(d.path), err
	case n == most:
		return string(d.path), nil
	}
	for name := range d.always {
		if d.got[name] == 0 {
			return string(d.path), fmt.Errorf("%q was there all the while and is not given", name)
		}
	}
	d.h.Close()
	w.dirs = slices.Delete(w.dirs, i, i+1)
	return string(d.path) + " to its end", nil
}
