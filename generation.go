package ferry

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"sync/atomic"
)

// Generation names one sealed or growing version of an inode's content, or one
// attempt to make an object (a move, a change of metadata). It travels in the
// object's metadata, so that a lost answer can be settled by a HEAD. "" is none.
type Generation string

// Generations makes generation IDs: 64 random bits for each start of the daemon
// and a counter. Safe for concurrent use.
type Generations struct {
	start string
	n     atomic.Uint64
}

// NewGenerations returns a maker with a fresh random start.
func NewGenerations() *Generations {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return &Generations{start: hex.EncodeToString(b[:])}
}

// Next returns a generation ID that no other start of any daemon has made.
func (g *Generations) Next() Generation {
	return Generation(g.start + "-" + strconv.FormatUint(g.n.Add(1), 36))
}

// Valid reports whether g has the form that [Generations.Next] gives. It is safe
// as a file name then.
func (g Generation) Valid() bool {
	start, n, ok := strings.Cut(string(g), "-")
	if !ok || len(start) != 16 || n == "" || len(n) > 13 {
		return false
	}
	if _, err := hex.DecodeString(start); err != nil {
		return false
	}
	_, err := strconv.ParseUint(n, 36, 64)
	return err == nil
}

// ConnectionID returns 64 random bits that name one FUSE connection; see [Origin].
func ConnectionID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:]) | 1
}
