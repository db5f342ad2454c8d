package content

import (
	"context"
	"time"

	"ferry"
)

const (
	// roomPoll is how often a waiting writer looks whether something was stored.
	roomPoll = 50 * time.Millisecond
	// slowFrom is the eighth of the staging budget at which writers are slowed.
	slowFrom = 7
	// slowest is how long a MiB takes when the budget is all but used up.
	slowest = 100 * time.Millisecond
)

// room returns when n more bytes may be staged: at once while the budget is far,
// later when it is near. A writer who sees no progress for Options.Patience gets
// KindNoSpace.
func (f *Files) room(ctx context.Context, n int64) error {
	limit := f.o.StagingMax
	if limit == 0 {
		return nil
	}
	used := f.o.Staging.Usage()
	slow := limit / 8 * slowFrom
	switch {
	case used+n <= slow:
		return nil
	case used+n <= limit:
		// Between slow and limit the delay grows evenly.
		d := time.Duration(float64(slowest) * float64(n) / (1 << 20) * float64(used-slow) / float64(limit-slow))
		return wait(ctx, d)
	}
	best, since := used, time.Now()
	for used+n > limit {
		if err := wait(ctx, roomPoll); err != nil {
			return err
		}
		used = f.o.Staging.Usage()
		switch {
		case used < best:
			best, since = used, time.Now()
		case time.Since(since) > f.o.Patience:
			now := time.Now().UnixNano()
			if last := f.noSpace.Swap(now); now-last > int64(time.Minute) {
				f.o.Log.Warn("the staging budget is used up and nothing is being stored: writers get \"no space\"", "used", used, "max", limit)
			}
			return &ferry.Error{
				Op: "content.write", Kind: ferry.KindNoSpace, Msg: "the staging budget is used up and nothing is being stored",
				Hint: "see `ferry status`; a larger --staging-max helps if uploads go on",
			}
		}
	}
	return nil
}

// wait returns after d, or with ctx's error.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
