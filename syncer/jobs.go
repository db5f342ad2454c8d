package syncer

import (
	"time"

	"ferry"
)

// jobLeast is how many names deleted together make a delete job: a single rm is
// not worth a row. reasonsMost is how many failures a job quotes.
const (
	jobLeast    = 16
	reasonsMost = 8
)

// burstJob returns the job of the burst under way, a new one if the batch is
// large enough to begin one.
func (s *Syncer) burstJob(batch int) ferry.JobID {
	s.del.mu.Lock()
	defer s.del.mu.Unlock()
	if s.del.job == "" && batch >= jobLeast {
		s.del.job = ferry.JobID(s.o.Generations.Next())
	}
	return s.del.job
}

// countRequested adds keys to the job of the burst.
func (s *Syncer) countRequested(tx ferry.Tx, id ferry.JobID, claimed []ferry.ObjectKey) {
	job := tx.Job(id)
	if job == nil {
		job = &ferry.DeleteJob{ID: id, Made: s.o.Now()}
	}
	scope := ferry.ObjectKey(job.Scope)
	if job.Requested == 0 {
		scope = claimed[0]
	}
	for _, key := range claimed {
		scope = commonPrefix(scope, key)
	}
	job.Scope, job.Requested, job.Ended = string(scope), job.Requested+int64(len(claimed)), time.Time{}
	tx.PutJob(job)
}

// jobCount gathers what a transaction adds to jobs.
type jobCount struct {
	s    *Syncer
	jobs map[ferry.JobID]*ferry.DeleteJob
}

func newJobCount(s *Syncer) *jobCount {
	return &jobCount{s: s, jobs: map[ferry.JobID]*ferry.DeleteJob{}}
}

func (c *jobCount) add(id ferry.JobID, ok bool, reason string) {
	if id == "" {
		return
	}
	d := c.jobs[id]
	if d == nil {
		d = &ferry.DeleteJob{}
		c.jobs[id] = d
	}
	if ok {
		d.Deleted++
		return
	}
	d.Failed++
	if len(d.Reasons) < reasonsMost {
		d.Reasons = append(d.Reasons, reason)
	}
}

// store adds the counts to the jobs' rows. A job that the syncer did not make
// itself ends with its last name; a burst's job ends with the burst.
func (c *jobCount) store(tx ferry.Tx) {
	for id, d := range c.jobs {
		job := tx.Job(id)
		if job == nil {
			continue
		}
		job.Deleted += d.Deleted
		job.Failed += d.Failed
		job.Reasons = append(job.Reasons, d.Reasons...)
		job.Reasons = job.Reasons[:min(len(job.Reasons), reasonsMost)]
		if job.Deleted+job.Failed >= job.Requested && !c.s.burstGoesOn(id) {
			job.Ended = c.s.o.Now()
		}
		tx.PutJob(job)
	}
}

func (s *Syncer) burstGoesOn(id ferry.JobID) bool {
	s.del.mu.Lock()
	defer s.del.mu.Unlock()
	return s.del.job == id
}

// endBurst closes the burst's job when nothing is left of it.
func (s *Syncer) endBurst() {
	s.del.mu.Lock()
	id := s.del.job
	if id == "" || len(s.del.keys) > 0 || s.del.work > 0 || time.Since(s.del.last) < s.o.Gather {
		s.del.mu.Unlock()
		return
	}
	s.del.job = ""
	s.del.mu.Unlock()
	s.closeJobs(id)
}

// closeJobs ends jobs of which no name is left to delete: id, or, at the start,
// all (a name that was wanted again leaves its job without a count).
func (s *Syncer) closeJobs(id ferry.JobID) {
	open := map[ferry.JobID]bool{}
	err := s.j.View(func(tx ferry.Tx) error {
		for j := range tx.Jobs() {
			if j.Ended.IsZero() && (id == "" || j.ID == id) {
				open[j.ID] = true
			}
		}
		if len(open) == 0 {
			return nil
		}
		for k := range tx.Keys("") {
			delete(open, k.Job)
		}
		return nil
	})
	if err == nil && len(open) > 0 {
		err = s.j.Update(func(tx ferry.Tx) error {
			for id := range open {
				if job := tx.Job(id); job != nil {
					job.Ended = s.o.Now()
					tx.PutJob(job)
				}
			}
			return nil
		})
	}
	if err != nil {
		s.o.Log.Warn("the delete jobs could not be closed", "error", err)
	}
}
