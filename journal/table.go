package journal

import (
	"encoding/binary"
	"math"

	"ferry"
)

// A table is a kind of row. Its byte is the first of every key of its rows, in
// memory, in the log and in bbolt, and never changes its meaning.
type table byte

const (
	tableInodes     table = 'i' // id -> inode
	tablePaths      table = 'p' // path -> id, of linked inodes
	tableRefs       table = 'r' // key of Remote, NUL, id -> nothing
	tableKeys       table = 'k' // object key -> key state
	tableWork       table = 'w' // since, object key -> nothing
	tableUploads    table = 'u' // generation -> upload
	tableParts      table = 'n' // generation, NUL, number -> part
	tableExtents    table = 'e' // generation, NUL, end -> offset
	tableTombstones table = 't' // path -> nothing
	tableJobs       table = 'j' // id -> delete job
	tableReplies    table = 'a' // connection, unique -> reply
	tableRing       table = 'o' // connection, slot -> unique
	tableSettings   table = 's' // name -> value
	tableMeta       table = 'm' // what the journal keeps for itself
)

// tables lists every table.
func tables() []table {
	return []table{
		tableInodes, tablePaths, tableRefs, tableKeys, tableWork, tableUploads, tableParts,
		tableExtents, tableTombstones, tableJobs, tableReplies, tableRing, tableSettings, tableMeta,
	}
}

// bucket returns the table's bucket in bbolt, "" for no table.
func (t table) bucket() string {
	switch t {
	case tableInodes:
		return "inodes"
	case tablePaths:
		return "paths"
	case tableRefs:
		return "refs"
	case tableKeys:
		return "keys"
	case tableWork:
		return "work"
	case tableUploads:
		return "uploads"
	case tableParts:
		return "parts"
	case tableExtents:
		return "extents"
	case tableTombstones:
		return "tombstones"
	case tableJobs:
		return "jobs"
	case tableReplies:
		return "replies"
	case tableRing:
		return "ring"
	case tableSettings:
		return "settings"
	case tableMeta:
		return "meta"
	default:
		return ""
	}
}

// Keys of tableMeta.
const (
	metaNextInode  = "m/next-inode" // uint64: IDs below it may be in use
	metaConnection = "m/connection" // uint64: the connection of the last reply
)

func u64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func fromU64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func key64(t table, v uint64) string {
	b := append(make([]byte, 0, 9), byte(t))
	return string(binary.BigEndian.AppendUint64(b, v))
}

func keyStr(t table, s string) string { return string(byte(t)) + s }

func inodeKey(id ferry.InodeID) string     { return key64(tableInodes, uint64(id)) }
func pathKey(p ferry.Path) string          { return keyStr(tablePaths, string(p)) }
func objectKey(k ferry.ObjectKey) string   { return keyStr(tableKeys, string(k)) }
func uploadKey(g ferry.Generation) string  { return keyStr(tableUploads, string(g)) }
func tombstoneKey(p ferry.Path) string     { return keyStr(tableTombstones, string(p)) }
func refPrefix(k ferry.ObjectKey) string   { return keyStr(tableRefs, string(k)+"\x00") }
func partPrefix(g ferry.Generation) string { return keyStr(tableParts, string(g)+"\x00") }
func extentPrefix(g ferry.Generation) string {
	return keyStr(tableExtents, string(g)+"\x00")
}

func refKey(k ferry.ObjectKey, id ferry.InodeID) string {
	return refPrefix(k) + string(u64(uint64(id)))
}

func partKey(g ferry.Generation, n ferry.PartNumber) string {
	return partPrefix(g) + string(u64(uint64(n)))
}

// extentKey orders the extents of a generation by their ends: what touches a new
// extent is found by one seek forward.
func extentKey(g ferry.Generation, end int64) string {
	return extentPrefix(g) + string(u64(uint64(end)))
}

// workKey orders by since, also before 1970.
func workKey(since int64, k ferry.ObjectKey) string {
	return key64(tableWork, uint64(since)^(1<<63)) + string(k)
}

func parseWorkKey(key string) (since int64, k ferry.ObjectKey, ok bool) {
	if len(key) < 9 {
		return 0, "", false
	}
	return int64(binary.BigEndian.Uint64([]byte(key[1:9])) ^ (1 << 63)), ferry.ObjectKey(key[9:]), true
}

func replyKey(o ferry.Origin) string {
	return key64(tableReplies, o.Connection) + string(u64(o.Unique))
}

func ringKey(connection, slot uint64) string {
	return key64(tableRing, connection) + string(u64(slot))
}

// tail64 returns the last eight bytes of a key as a number.
func tail64(key string) uint64 {
	if len(key) < 8 {
		return math.MaxUint64
	}
	return binary.BigEndian.Uint64([]byte(key[len(key)-8:]))
}

// after returns the least key that is greater than every key with the prefix;
// "" if there is none.
func after(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return ""
}
