package journal

import (
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// A change of more than 1 MiB (the rename of a large directory) does not go
// through the log: its rows are put into a bucket of bbolt chunk by chunk, and
// one small record of the log commits them. Until they are moved to their tables
// the bucket is a layer of its own. Without the record it is garbage, removed at
// start.

const (
	// defaultRecordMax is the largest change that goes through the log.
	defaultRecordMax = 1 << 20
	// defaultChunkMax is how much of a large change is kept in memory at a time.
	defaultChunkMax = 4 << 20
	// defaultMoveRows is how many rows of a batch one transaction moves.
	defaultMoveRows = 20_000
)

func batchBucket(tx *bolt.Tx, batch uint64) *bolt.Bucket {
	b := tx.Bucket([]byte(bucketBatches))
	if b == nil {
		return nil
	}
	return b.Bucket(u64(batch))
}

// stage adds rows to a batch, making it if first. Durable on return.
func (c *checkpoint) stage(batch uint64, m memtable, first bool) error {
	return guard(func() error {
		return c.db.Update(func(tx *bolt.Tx) error {
			all := tx.Bucket([]byte(bucketBatches))
			if first && all.Bucket(u64(batch)) != nil {
				if err := all.DeleteBucket(u64(batch)); err != nil {
					return err
				}
			}
			b, err := all.CreateBucketIfNotExists(u64(batch))
			if err != nil {
				return err
			}
			for cur := m.cursor(""); cur.valid(); cur.next() {
				e := cur.entry()
				value := []byte{0}
				if !e.deleted {
					value = append([]byte{1}, e.value...)
				}
				if err := b.Put([]byte(e.key), seal(e.key, value)); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// move puts some rows of a committed batch into their tables. done says that it
// was the last of them; the checkpoint then holds everything up to folded.
func (c *checkpoint) move(batch, folded uint64, limit int) (done bool, err error) {
	err = guard(func() error {
		return c.db.Update(func(tx *bolt.Tx) error {
			b := batchBucket(tx, batch)
			if b == nil {
				return fmt.Errorf("%w: batch %d is missing", errDamaged, batch)
			}
			var moved [][]byte
			cur := b.Cursor()
			for k, v := cur.First(); k != nil && len(moved) < limit; k, v = cur.Next() {
				e, err := staged(k, v)
				if err != nil {
					return err
				}
				if err := apply(tx, &e); err != nil {
					return err
				}
				moved = append(moved, k)
			}
			if done = len(moved) < limit; !done {
				for _, k := range moved {
					if err := b.Delete(k); err != nil {
						return err
					}
				}
				return nil
			}
			if err := tx.Bucket([]byte(bucketBatches)).DeleteBucket(u64(batch)); err != nil {
				return err
			}
			return c.note(tx, folded)
		})
	})
	if err == nil && done {
		c.folded = folded
	}
	return done, err
}

// staged reads a row of a batch.
func staged(k, sealed []byte) (entry, error) {
	v, err := unseal(k, sealed)
	if err != nil {
		return entry{}, err
	}
	if len(v) == 0 {
		return entry{}, errDamaged
	}
	return entry{key: string(k), value: v[1:], deleted: v[0] == 0}, nil
}

// hasBatch reports whether a batch is there.
func (c *checkpoint) hasBatch(batch uint64) (ok bool, err error) {
	err = guard(func() error {
		return c.db.View(func(tx *bolt.Tx) error {
			ok = batchBucket(tx, batch) != nil
			return nil
		})
	})
	return ok, err
}

// dropBatches removes every batch but keep (0: all).
func (c *checkpoint) dropBatches(keep uint64) error {
	return guard(func() error {
		var drop [][]byte
		err := c.db.View(func(tx *bolt.Tx) error {
			return tx.Bucket([]byte(bucketBatches)).ForEach(func(k, _ []byte) error {
				if fromU64(k) != keep {
					drop = append(drop, append([]byte{}, k...))
				}
				return nil
			})
		})
		if err != nil || len(drop) == 0 {
			return err
		}
		return c.db.Update(func(tx *bolt.Tx) error {
			for _, k := range drop {
				if err := tx.Bucket([]byte(bucketBatches)).DeleteBucket(k); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// batchLayer is the rows of a batch.
type batchLayer struct {
	r     *reader
	batch uint64
}

func (l batchLayer) lookup(key string) (found *entry) {
	err := guard(func() error {
		b := l.r.batch(l.batch)
		if b == nil {
			return nil // all of it has been moved
		}
		v := b.Get([]byte(key))
		if v == nil {
			return nil
		}
		e, err := staged([]byte(key), v)
		found = &e
		return err
	})
	if err != nil {
		l.r.broken(err)
		return nil
	}
	return found
}

func (l batchLayer) scan(from string) cursor {
	c := &boltCursor{r: l.r, decode: staged}
	c.step(func() ([]byte, []byte) {
		b := l.r.batch(l.batch)
		if b == nil {
			return nil, nil
		}
		c.c = b.Cursor()
		return c.c.Seek([]byte(from))
	})
	return c
}
