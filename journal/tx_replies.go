package journal

import (
	"sync"

	"ferry"
	"ferry/journal/codec"
)

// ringSize is how many replies are kept of a connection: more than the kernel
// has requests under way at once.
const ringSize = 16384

// ring is where the next reply of a connection goes.
type ring struct{ connection, slot uint64 }

// Reply implements ferry.Tx.
func (t *tx) Reply(o ferry.Origin) *ferry.Reply {
	v, ok := t.get(replyKey(o))
	if !ok {
		return nil
	}
	r, _, err := codec.DecodeReply(v)
	return decoded(t, "reply", &r, err)
}

// PutReply implements ferry.Tx.
func (t *tx) PutReply(o ferry.Origin, r ferry.Reply) {
	if v, ok := t.get(replyKey(o)); ok {
		_, slot, err := codec.DecodeReply(v)
		if decoded(t, "reply", &slot, err) != nil {
			t.put(replyKey(o), codec.Reply(r, slot))
		}
		return
	}
	if t.replies.connection != o.Connection {
		t.replies = ring{connection: o.Connection}
		t.put(metaConnection, u64(o.Connection))
	}
	t.replies.slot++
	slot := t.replies.slot
	t.put(replyKey(o), codec.Reply(r, slot))
	t.put(ringKey(o.Connection, slot), u64(o.Unique))
	if slot <= ringSize {
		return
	}
	last := ringKey(o.Connection, slot-ringSize)
	if v, ok := t.get(last); ok {
		t.delete(replyKey(ferry.Origin{Connection: o.Connection, Unique: fromU64(v)}))
		t.delete(last)
	}
}

// dropReplies forgets the replies of every connection but the last, and finds
// where the ring of that one goes on.
func (t *tx) dropReplies() {
	v, _ := t.get(metaConnection)
	t.replies = ring{connection: fromU64(v)}
	for _, tab := range []table{tableReplies, tableRing} {
		t.prefix(string(byte(tab)), func(_ rows, key string, _ []byte) bool {
			switch {
			case len(key) != 17:
				t.failf(ferry.KindCorrupt, "", "a reply has a malformed key")
			case fromU64([]byte(key[1:9])) != t.replies.connection:
				t.delete(key)
			case tab == tableRing:
				t.replies.slot = max(t.replies.slot, tail64(key))
			}
			return true
		})
	}
}

// idReserve is how many inode IDs are reserved at a time: those of inodes that
// have no row are in the kernel's and the session file's hands.
const idReserve = 1 << 40

// ids hands out inode IDs that no earlier start has used.
type ids struct {
	mu       sync.Mutex
	last     uint64
	reserved uint64
}

// next returns an ID and the end of the reserve. low says that the reserve should
// be made larger.
func (i *ids) next() (id, end uint64, low bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.last++
	return i.last, i.reserved, i.last+idReserve/2 > i.reserved
}

func (i *ids) reserve(end uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.reserved = max(i.reserved, end)
}
