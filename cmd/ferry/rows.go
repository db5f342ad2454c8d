package main

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"ferry"
	"ferry/service/control"
)

// rowReader turns the journal's rows into what the control API shows.
type rowReader struct {
	journal ferry.Journal
	// liveSize is the size of a file that is being written.
	liveSize func(ferry.InodeID) (size, mtime int64, ok bool)
	// parts is how many parts an object of that size is sent in.
	parts func(size int64) int
	now   func() time.Time
}

// summary is what is pending at or below some paths.
type summary struct {
	pending control.Pending
	uploads []control.Upload // at most MaxListed
	parked  []control.Parked // at most MaxListed
}

// within reports whether key lies at or below p.
func within(key ferry.ObjectKey, p ferry.Path) bool {
	k := key.Path()
	return p == "" || k == p || k.Below(p)
}

// summarise reads the rows at and below the paths; none are all. full asks for
// the lists too.
func (r *rowReader) summarise(paths []ferry.Path, full bool) (s summary, err error) {
	if len(paths) == 0 || slices.Contains(paths, "") {
		paths = []ferry.Path{""}
	}
	now := r.now()
	err = r.journal.View(func(tx ferry.Tx) error {
		s = summary{}
		seen := map[ferry.ObjectKey]bool{}
		for _, p := range paths {
			for k := range tx.Keys(ferry.ObjectKey(p)) {
				if k.Idle() || !within(k.Key, p) || seen[k.Key] {
					continue
				}
				if len(paths) > 1 {
					seen[k.Key] = true
				}
				r.addKey(tx, &s, k, now, full)
			}
		}
		return nil
	})
	byAge := func(a, b float64) int { return cmp.Compare(b, a) }
	slices.SortStableFunc(s.uploads, func(a, b control.Upload) int { return byAge(a.AgeSeconds, b.AgeSeconds) })
	slices.SortStableFunc(s.parked, func(a, b control.Parked) int { return byAge(a.AgeSeconds, b.AgeSeconds) })
	s.uploads = s.uploads[:min(len(s.uploads), control.MaxListed)]
	s.parked = s.parked[:min(len(s.parked), control.MaxListed)]
	return s, err
}

// listSlack is how many more than MaxListed are read before the oldest are
// chosen, so that reading is bounded however much is pending.
const listSlack = 4 * control.MaxListed

func (r *rowReader) addKey(tx ferry.Tx, s *summary, k *ferry.KeyState, now time.Time, full bool) {
	age := max(0, now.Sub(time.Unix(0, k.Since)).Seconds())
	u := uploadOf(tx, k)
	if reason, id := parkedReason(k, u); reason != "" {
		p := control.Parked{ID: id, Key: string(k.Key), Reason: reason, AgeSeconds: age}
		if u != nil {
			p.Size = u.Size
		}
		if len(s.parked) < listSlack {
			s.parked = append(s.parked, p)
		}
		return
	}
	s.pending.Operations++
	s.pending.OldestSeconds = max(s.pending.OldestSeconds, age)
	if u == nil {
		return
	}
	v := r.upload(tx, u, now)
	s.pending.Bytes += max(0, v.Size-v.StoredBytes)
	if full && len(s.uploads) < listSlack {
		s.uploads = append(s.uploads, v)
	}
}

// uploadOf returns the upload that the key waits for, nil if none.
func uploadOf(tx ferry.Tx, k *ferry.KeyState) *ferry.Upload {
	if k.Upload != "" {
		return tx.Upload(k.Upload)
	}
	if k.Wanted.Kind != ferry.WantInode {
		return nil
	}
	if in := tx.Inode(k.Wanted.Inode); in != nil && in.Content != "" {
		return tx.Upload(in.Content)
	}
	return nil
}

// parkedReason returns why the key waits for a person, and the ID by which it
// is retried; "" if it does not.
func parkedReason(k *ferry.KeyState, u *ferry.Upload) (reason, id string) {
	switch {
	case u == nil:
		return k.Parked, string(k.Key)
	case u.State == ferry.StateParked:
		return cmp.Or(u.Reason, k.Parked, "no reason is known"), string(u.Generation)
	default:
		return "", "" // it was written again since: that is tried
	}
}

// upload is one row for people.
func (r *rowReader) upload(tx ferry.Tx, u *ferry.Upload, now time.Time) control.Upload {
	v := control.Upload{
		ID: string(u.Generation), Key: string(cmp.Or(u.Key, u.Path.Key())), Size: u.Size, State: u.State.String(), Reason: u.Reason,
		AgeSeconds: max(0, now.Sub(time.Unix(0, u.Since)).Seconds()),
	}
	if u.State.Writable() {
		if in := tx.Inode(u.Inode); in != nil {
			v.Size, v.Key = in.Size, string(in.Key())
		}
		if size, _, ok := r.liveSize(u.Inode); ok {
			v.Size = size
		}
	}
	for _, p := range tx.Parts(u.Generation) {
		v.PartsDone++
		v.StoredBytes += p.Extent.Length
	}
	v.StoredBytes = min(v.StoredBytes, v.Size)
	v.Parts = max(r.parts(v.Size), v.PartsDone)
	return v
}

// uploads lists all rows, oldest first, housekeeping at the server included.
func (r *rowReader) uploads() (list []control.Upload, err error) {
	now := r.now()
	err = r.journal.View(func(tx ferry.Tx) error {
		list = []control.Upload{}
		for u := range tx.Uploads() {
			if len(list) >= listSlack {
				break
			}
			list = append(list, r.upload(tx, u, now))
		}
		return nil
	})
	slices.SortStableFunc(list, func(a, b control.Upload) int { return cmp.Compare(b.AgeSeconds, a.AgeSeconds) })
	return list[:min(len(list), control.MaxListed)], err
}

func (r *rowReader) oneUpload(id string) (v control.Upload, err error) {
	err = r.journal.View(func(tx ferry.Tx) error {
		u := tx.Upload(ferry.Generation(id))
		if u == nil {
			return noSuch("upload", id)
		}
		v = r.upload(tx, u, r.now())
		return nil
	})
	return v, err
}

func (r *rowReader) jobs() (list []control.Job, err error) {
	err = r.journal.View(func(tx ferry.Tx) error {
		list = []control.Job{}
		for j := range tx.Jobs() {
			list = append(list, jobRow(j))
		}
		return nil
	})
	slices.SortStableFunc(list, func(a, b control.Job) int { return b.Made.Compare(a.Made) })
	return list[:min(len(list), control.MaxListed)], err
}

func (r *rowReader) job(id string) (v control.Job, err error) {
	err = r.journal.View(func(tx ferry.Tx) error {
		j := tx.Job(ferry.JobID(id))
		if j == nil {
			return noSuch("delete job", id)
		}
		v = jobRow(j)
		return nil
	})
	return v, err
}

func jobRow(j *ferry.DeleteJob) control.Job {
	v := control.Job{
		ID: string(j.ID), Scope: j.Scope, Status: j.Status(), Requested: j.Requested, Deleted: j.Deleted, Failed: j.Failed,
		Remaining: max(0, j.Requested-j.Deleted-j.Failed), Reasons: slices.Clone(j.Reasons), Made: j.Made,
	}
	if v.Reasons == nil {
		v.Reasons = []string{}
	}
	if !j.Ended.IsZero() {
		v.Ended = &j.Ended
	}
	return v
}

func noSuch(what, id string) error {
	return &ferry.Error{
		Op: "ferry.find", Key: id, Kind: ferry.KindNotFound, Msg: "there is no such " + what,
		Hint: "it may be stored by now; `ferry " + strings.TrimPrefix(what, "delete ") + "s list` shows what there is",
	}
}
