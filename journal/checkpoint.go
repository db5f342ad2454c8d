package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"ferry"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	// mapSize is address space, not memory. bbolt cannot grow beyond its mapping
	// while any reader is active, so it gets one that it does not outgrow.
	mapSize = 64 << 30
	maxSize = mapSize - 4<<30
	// allocStep is by how much journal.db grows at a time.
	allocStep = 1 << 20
	// verifyMax is the size up to which every row is read and compared with its
	// checksum at start. Beyond it a damaged row is found when it is read.
	verifyMax = 64 << 20
)

// Buckets that hold no rows of tables.
const (
	bucketSelf    = "ferry"   // schema version, last folded record
	bucketBatches = "batches" // a bucket for each large change, by its number
)

const (
	selfSchema = "schema"
	selfFolded = "folded"
)

// schemaVersion is what this ferry writes. A change of the tables adds an entry
// to migrations.
const schemaVersion = 1

// migrations bring the tables from version i to i+1.
func migrations() map[uint64]func(*bolt.Tx) error {
	return map[uint64]func(*bolt.Tx) error{
		0: func(*bolt.Tx) error { return nil }, // a new file
	}
}

// errDamaged says that journal.db cannot be trusted.
var errDamaged = errors.New("journal.db is damaged")

// checkpoint is the log's rows folded into bbolt.
type checkpoint struct {
	db     *bolt.DB
	folded uint64
	// rebuilt says that the next fold ends a recovery after a lost checkpoint.
	rebuilt bool
}

// openCheckpoint opens or makes the file. An error that is errDamaged says that
// the file is not what was written; the file is closed then. bbolt panics on some
// damage: that counts the same.
func openCheckpoint(path string) (c *checkpoint, err error) {
	i, statErr := os.Stat(path)
	existed := statErr == nil && i.Size() > 0
	c = &checkpoint{}
	err = guard(func() error {
		db, err := bolt.Open(path, 0o600, &bolt.Options{
			Timeout: time.Second, InitialMmapSize: mapSize, MaxSize: maxSize,
			FreelistType: bolt.FreelistMapType, NoStatistics: true,
		})
		if err != nil {
			return err
		}
		c.db = db
		db.AllocSize = allocStep
		return c.prepare(existed)
	})
	if err == nil {
		return c, nil
	}
	if c.db != nil {
		_ = guard(c.db.Close)
	}
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, &ferry.Error{Op: "journal.open", Key: path, Kind: ferry.KindBusy, Msg: "another process has the journal open", Err: err}
	case errors.Is(err, syscall.ENOSPC):
		return nil, &ferry.Error{Op: "journal.open", Key: path, Kind: ferry.KindNoSpace, Err: err, Hint: "free some space on the disk with the state directory"}
	case errors.Is(err, os.ErrPermission):
		return nil, &ferry.Error{Op: "journal.open", Key: path, Kind: ferry.KindDenied, Err: err}
	case ferry.KindOf(err) != ferry.KindInternal:
		return nil, err
	case !existed:
		return nil, &ferry.Error{Op: "journal.open", Key: path, Kind: ferry.KindInternal, Err: err}
	default:
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
}

// guard runs fn and turns panics of bbolt, and faults in its mapping, into errors.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return fn()
}

// prepare makes the buckets, migrates, and verifies.
func (c *checkpoint) prepare(existed bool) error {
	if existed {
		if err := c.verify(); err != nil {
			return err
		}
	}
	return c.db.Update(func(tx *bolt.Tx) error {
		self, err := tx.CreateBucketIfNotExists([]byte(bucketSelf))
		if err != nil {
			return err
		}
		version := fromU64(self.Get([]byte(selfSchema)))
		if version > schemaVersion {
			return &ferry.Error{
				Op: "journal.open", Kind: ferry.KindUnsupported,
				Msg:  fmt.Sprintf("the journal was written by a newer ferry (schema %d, this one knows %d)", version, schemaVersion),
				Hint: "mount it with that ferry, or a newer one",
			}
		}
		if version == 0 && existed && self.Get([]byte(selfFolded)) != nil {
			return errDamaged
		}
		for _, t := range tables() {
			if _, err := tx.CreateBucketIfNotExists([]byte(t.bucket())); err != nil {
				return err
			}
		}
		if _, err := tx.CreateBucketIfNotExists([]byte(bucketBatches)); err != nil {
			return err
		}
		for ; version < schemaVersion; version++ {
			if err := migrations()[version](tx); err != nil {
				return fmt.Errorf("migration from schema %d: %w", version, err)
			}
		}
		c.folded = fromU64(self.Get([]byte(selfFolded)))
		return self.Put([]byte(selfSchema), u64(version))
	})
}

// verify reads what a damaged file would get wrong.
func (c *checkpoint) verify() error {
	return c.db.View(func(tx *bolt.Tx) error {
		i, err := os.Stat(c.db.Path())
		if err != nil {
			return err
		}
		if i.Size() < tx.Size() {
			return fmt.Errorf("%w: it is %d bytes long and should be %d", errDamaged, i.Size(), tx.Size())
		}
		if tx.Size() > verifyMax {
			return nil
		}
		for _, t := range tables() {
			name := t.bucket()
			b := tx.Bucket([]byte(name))
			if b == nil {
				// The transaction that makes the buckets makes all of them.
				if tx.Bucket([]byte(bucketSelf)) != nil {
					return fmt.Errorf("%w: table %s is missing", errDamaged, name)
				}
				continue
			}
			err := b.ForEach(func(k, v []byte) error {
				if len(k) == 0 || table(k[0]) != t {
					return fmt.Errorf("%w: table %s holds a foreign row", errDamaged, name)
				}
				_, err := unseal(k, v)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// seal puts a checksum before a value, so that a row that rots is not believed.
func seal(key string, value []byte) []byte {
	b := make([]byte, 4, 4+len(value))
	binary.LittleEndian.PutUint32(b, checksum([]byte(key), value))
	return append(b, value...)
}

func unseal(key, sealed []byte) ([]byte, error) {
	if len(sealed) < 4 || binary.LittleEndian.Uint32(sealed) != checksum(key, sealed[4:]) {
		return nil, fmt.Errorf("%w: row %q fails its checksum", errDamaged, key)
	}
	return sealed[4:], nil
}

func checksum(key, value []byte) uint32 {
	t := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(key, t), t, value)
}

// write puts and deletes rows in one transaction and records that everything up
// to folded is in it.
func (c *checkpoint) write(m memtable, folded uint64) error {
	err := guard(func() error {
		return c.db.Update(func(tx *bolt.Tx) error {
			for cur := m.cursor(""); cur.valid(); cur.next() {
				if err := apply(tx, cur.entry()); err != nil {
					return err
				}
			}
			return c.note(tx, folded)
		})
	})
	if err == nil {
		c.folded = folded
	}
	return err
}

// note records that everything up to folded is in the tables.
func (c *checkpoint) note(tx *bolt.Tx, folded uint64) error {
	self := tx.Bucket([]byte(bucketSelf))
	if c.rebuilt {
		if err := self.Delete([]byte(selfRebuilding)); err != nil {
			return err
		}
	}
	return self.Put([]byte(selfFolded), u64(folded))
}

// apply puts or deletes one row.
func apply(tx *bolt.Tx, e *entry) error {
	b := tx.Bucket([]byte(table(e.key[0]).bucket()))
	if b == nil {
		return fmt.Errorf("%w: no table %q", errDamaged, e.key[0])
	}
	if e.deleted {
		return b.Delete([]byte(e.key))
	}
	return b.Put([]byte(e.key), seal(e.key, e.value))
}

// reader is a read transaction with a count of users.
type reader struct {
	tx   *bolt.Tx
	refs int
	// fail is told of rows that cannot be read.
	fail func(error)
	// Buckets that were looked up: bbolt walks its root page for each.
	tables  map[table]*bolt.Bucket
	batches map[uint64]*bolt.Bucket
}

// table returns a table's bucket, nil if there is none.
func (r *reader) table(t table) *bolt.Bucket {
	b, ok := r.tables[t]
	if !ok {
		b = r.tx.Bucket([]byte(t.bucket()))
		if r.tables == nil {
			r.tables = make(map[table]*bolt.Bucket, 4)
		}
		r.tables[t] = b
	}
	return b
}

// batch returns a batch's bucket, nil if there is none.
func (r *reader) batch(batch uint64) *bolt.Bucket {
	b, ok := r.batches[batch]
	if !ok {
		b = batchBucket(r.tx, batch)
		if r.batches == nil {
			r.batches = make(map[uint64]*bolt.Bucket, 1)
		}
		r.batches[batch] = b
	}
	return b
}

func (c *checkpoint) reader(fail func(error)) (*reader, error) {
	tx, err := c.db.Begin(false)
	if err != nil {
		return nil, &ferry.Error{Op: "journal.read", Kind: ferry.KindInternal, Err: err}
	}
	return &reader{tx: tx, refs: 1, fail: fail}, nil
}

func (r *reader) release() {
	r.refs--
	if r.refs == 0 {
		_ = r.tx.Rollback() // ending a read transaction cannot lose anything
	}
}

func (r *reader) broken(err error) {
	r.fail(&ferry.Error{
		Op: "journal.read", Kind: ferry.KindCorrupt, Err: err,
		Hint: "unmount, move journal.db aside and mount again: what the log and staging hold comes back",
	})
}

// tableLayer is the folded rows.
type tableLayer struct{ r *reader }

func (l tableLayer) lookup(key string) (e *entry) {
	err := guard(func() error {
		b := l.r.table(table(key[0]))
		if b == nil {
			return errDamaged
		}
		v := b.Get([]byte(key))
		if v == nil {
			return nil
		}
		v, err := unseal([]byte(key), v)
		e = &entry{key: key, value: v}
		return err
	})
	if err != nil {
		l.r.broken(err)
		return nil
	}
	return e
}

func (l tableLayer) scan(from string) cursor {
	c := &boltCursor{r: l.r, decode: func(k, v []byte) (entry, error) {
		v, err := unseal(k, v)
		return entry{key: string(k), value: v}, err
	}}
	c.step(func() ([]byte, []byte) {
		b := l.r.table(table(from[0]))
		if b == nil {
			return nil, nil
		}
		c.c = b.Cursor()
		return c.c.Seek([]byte(from))
	})
	return c
}

// boltCursor walks one bucket.
type boltCursor struct {
	r      *reader
	c      *bolt.Cursor
	decode func(k, v []byte) (entry, error)
	at     entry
	ok     bool
}

func (c *boltCursor) step(move func() (k, v []byte)) {
	err := guard(func() (err error) {
		k, v := move()
		c.ok = k != nil
		if c.ok {
			c.at, err = c.decode(k, v)
		}
		return err
	})
	if err != nil {
		c.ok = false
		c.r.broken(err)
	}
}

func (c *boltCursor) valid() bool   { return c.ok }
func (c *boltCursor) entry() *entry { return &c.at }
func (c *boltCursor) next()         { c.step(func() ([]byte, []byte) { return c.c.Next() }) }

const selfRebuilding = "rebuilding"

// rebuilding reports whether a recovery after a lost checkpoint was begun and not
// ended.
func (c *checkpoint) rebuilding() (yes bool, err error) {
	err = guard(func() error {
		return c.db.View(func(tx *bolt.Tx) error {
			yes = len(tx.Bucket([]byte(bucketSelf)).Get([]byte(selfRebuilding))) > 0
			return nil
		})
	})
	return yes, err
}

func (c *checkpoint) setRebuilding(yes bool) error {
	return guard(func() error {
		return c.db.Update(func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte(bucketSelf))
			if !yes {
				return b.Delete([]byte(selfRebuilding))
			}
			return b.Put([]byte(selfRebuilding), []byte{1})
		})
	})
}
