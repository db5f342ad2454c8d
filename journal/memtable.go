package journal

import "hash/maphash"

// entry is a row that was put, or deleted.
type entry struct {
	key     string
	value   []byte // never changed
	deleted bool
}

// entryOverhead is what a row costs in memory beside its bytes: a node, the
// headers of key and value, and what the allocator rounds up.
const entryOverhead = 128

func (e *entry) size() int { return len(e.key) + len(e.value) + entryOverhead }

// memtable is an immutable ordered map of rows (a treap whose priorities are
// hashes of the keys, so that equal contents have equal shapes). Changing it
// gives a new one that shares nearly all nodes; readers go on with theirs. The
// zero value is empty.
type memtable struct {
	root  *node
	bytes int
	rows  int
}

type node struct {
	entry
	priority    uint64
	left, right *node
}

// seed is the process's: shapes need not outlive it.
var seed = maphash.MakeSeed() //nolint:gochecknoglobals // a constant of the process

func (m memtable) empty() bool { return m.root == nil }

// get returns the entry of key, nil if the map has none.
func (m memtable) get(key string) *entry {
	for n := m.root; n != nil; {
		switch {
		case key == n.key:
			return &n.entry
		case key < n.key:
			n = n.left
		default:
			n = n.right
		}
	}
	return nil
}

// put returns m with e in it.
func (m memtable) put(e entry) memtable {
	if old := m.get(e.key); old != nil {
		m.bytes -= old.size()
		m.rows--
	}
	m.bytes += e.size()
	m.rows++
	m.root = m.root.put(&node{entry: e, priority: maphash.String(seed, e.key)})
	return m
}

// putAll returns m with every entry of o laid over it.
func (m memtable) putAll(o memtable) memtable {
	if m.empty() {
		return o
	}
	for c := o.cursor(""); c.valid(); c.next() {
		m = m.put(*c.entry())
	}
	return m
}

// above orders nodes by priority; keys break ties, so that shapes are unique.
func (n *node) above(o *node) bool {
	return n.priority > o.priority || n.priority == o.priority && n.key < o.key
}

func (n *node) put(e *node) *node {
	if n == nil {
		return e
	}
	c := *n
	switch {
	case e.key == n.key:
		c.entry = e.entry
		return &c
	case e.above(n):
		e.left, e.right = n.split(e.key)
		return e
	case e.key < n.key:
		c.left = n.left.put(e)
	default:
		c.right = n.right.put(e)
	}
	return &c
}

// split returns the nodes before and after key, which n does not hold.
func (n *node) split(key string) (before, behind *node) {
	if n == nil {
		return nil, nil
	}
	c := *n
	if key < n.key {
		before, c.left = n.left.split(key)
		return before, &c
	}
	c.right, behind = n.right.split(key)
	return &c, behind
}

// memCursor walks a memtable in order.
type memCursor struct{ stack []*node }

// cursor returns a cursor at the first key that is at least from.
func (m memtable) cursor(from string) *memCursor {
	c := &memCursor{}
	for n := m.root; n != nil; {
		if n.key < from {
			n = n.right
			continue
		}
		c.stack = append(c.stack, n)
		n = n.left
	}
	return c
}

func (c *memCursor) valid() bool { return len(c.stack) > 0 }

func (c *memCursor) entry() *entry { return &c.stack[len(c.stack)-1].entry }

func (c *memCursor) next() {
	top := c.stack[len(c.stack)-1]
	c.stack = c.stack[:len(c.stack)-1]
	for n := top.right; n != nil; n = n.left {
		c.stack = append(c.stack, n)
	}
}
