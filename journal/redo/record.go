// Package redo is the journal's write-ahead log: framed records in numbered
// segment files, appended with one write each, made durable on demand.
//
// A segment is a header and records without gaps; the rest of the file is zeros
// because it was preallocated. Records are numbered through all segments. Each
// start of the daemon begins a new segment; its header says which record comes
// first in it, so records with that number or a greater one in earlier segments
// are dead: a start that had to drop records needs not erase them.
//
// All numbers are little endian. Checksums are CRC32C.
package redo

import (
	"encoding/binary"
	"hash/crc32"
)

// Kind is what a record is.
type Kind uint8

// The kinds of record.
const (
	Rows    Kind = iota + 1 // payload: rows put and deleted
	Batch                   // payload: the number of a batch staged in the checkpoint
	Barrier                 // payload: uint64, the record up to which all is durable
)

// Record is one record of the log.
type Record struct {
	Seq     uint64
	Kind    Kind
	Payload []byte
}

// A record's head: checksum of the rest, length of the payload, number, kind.
const headSize = 4 + 4 + 8 + 1

// MaxPayload bounds what a length field may say. The journal stages what is
// longer than 1 MiB.
const MaxPayload = 16 << 20

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// frame appends the record to b. salt is the segment's: a record that was moved
// to another segment or place by a disk's mistake is not taken for a record.
func frame(b []byte, salt uint32, r Record) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Payload)))
	b = binary.LittleEndian.AppendUint64(b, r.Seq)
	b = append(b, byte(r.Kind))
	b = append(b, r.Payload...)
	binary.LittleEndian.PutUint32(b[start:], crc32.Update(salt, castagnoli(), b[start+4:]))
	return b
}

// next reads the record at the start of b and returns its whole length; 0 if
// there is none.
func next(b []byte, salt uint32) (r Record, n int) {
	if len(b) < headSize {
		return r, 0
	}
	length := binary.LittleEndian.Uint32(b[4:])
	if length > MaxPayload || int(length) > len(b)-headSize {
		return r, 0
	}
	n = headSize + int(length)
	if crc32.Update(salt, castagnoli(), b[4:n]) != binary.LittleEndian.Uint32(b) {
		return r, 0
	}
	r = Record{Seq: binary.LittleEndian.Uint64(b[8:]), Kind: Kind(b[16]), Payload: b[headSize:n:n]}
	if r.Seq == 0 || r.Kind < Rows || r.Kind > Barrier {
		return Record{}, 0
	}
	return r, n
}

// BarrierPayload and BarrierSeq write and read a barrier's payload.
func BarrierPayload(through uint64) []byte { return binary.LittleEndian.AppendUint64(nil, through) }

// BarrierSeq returns the record up to which r says that all is durable.
func BarrierSeq(r Record) uint64 {
	if r.Kind != Barrier || len(r.Payload) < 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(r.Payload)
}

// A segment's header: magic, checksum of the rest, random salt, first record,
// the barrier known when it was made, and the boot that wrote it (36 bytes).
const (
	magic      = "ferrylg1"
	headerSize = 128
	bootSize   = 64
)

type header struct {
	salt    uint32
	first   uint64
	barrier uint64
	boot    string
}

func (h header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[12:], h.salt)
	binary.LittleEndian.PutUint64(b[16:], h.first)
	binary.LittleEndian.PutUint64(b[24:], h.barrier)
	copy(b[32:32+bootSize], h.boot)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:], castagnoli()))
	return b
}

func decodeHeader(b []byte) (h header, ok bool) {
	if len(b) < headerSize || string(b[:8]) != magic ||
		crc32.Checksum(b[12:headerSize], castagnoli()) != binary.LittleEndian.Uint32(b[8:]) {
		return h, false
	}
	boot := b[32 : 32+bootSize]
	for len(boot) > 0 && boot[len(boot)-1] == 0 {
		boot = boot[:len(boot)-1]
	}
	return header{
		salt: binary.LittleEndian.Uint32(b[12:]), first: binary.LittleEndian.Uint64(b[16:]),
		barrier: binary.LittleEndian.Uint64(b[24:]), boot: string(boot),
	}, true
}
