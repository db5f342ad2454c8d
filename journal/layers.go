package journal

// cursor walks rows in order of their keys.
type cursor interface {
	valid() bool
	// entry is the row the cursor is at; it belongs to the cursor until next.
	entry() *entry
	next()
}

// layer is one of the places where rows are: what a layer says of a key hides
// what those below it say.
type layer interface {
	// lookup returns nil if the layer says nothing of key.
	lookup(key string) *entry
	scan(from string) cursor
}

func (m memtable) lookup(key string) *entry { return m.get(key) }
func (m memtable) scan(from string) cursor  { return m.cursor(from) }

// rows is a consistent stack of layers, top first.
type rows []layer

// get returns the value of key.
func (r rows) get(key string) ([]byte, bool) {
	for _, l := range r {
		if e := l.lookup(key); e != nil {
			return e.value, !e.deleted
		}
	}
	return nil, false
}

// each calls fn for every row from `from` to before `to` ("": the end), in order,
// until it returns false.
func (r rows) each(from, to string, fn func(key string, value []byte) bool) {
	cursors := make([]cursor, len(r))
	for i, l := range r {
		cursors[i] = l.scan(from)
	}
	for {
		var top *entry
		for _, c := range cursors {
			if c.valid() && (top == nil || c.entry().key < top.key) {
				top = c.entry()
			}
		}
		if top == nil || to != "" && top.key >= to {
			return
		}
		e := *top
		for _, c := range cursors {
			if c.valid() && c.entry().key == e.key {
				c.next()
			}
		}
		if !e.deleted && !fn(e.key, e.value) {
			return
		}
	}
}
