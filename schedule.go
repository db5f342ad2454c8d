package ferry

// tier is a run of parts of one size in the schedule.
type tier struct {
	size  int64
	count int64
}

// schedule gives the part sizes of a new file that is written in order. It is a
// function of the offset alone, so that parts can go out before the size is
// known; it covers MaxObjectSize within MaxParts, and up to 305 GiB no part is
// over 64 MiB.
var schedule = [...]tier{{8 << 20, 1000}, {16 << 20, 1000}, {32 << 20, 1000}, {64 << 20, 4000}, {1700 << 20, 3000}}

// PartAt returns the bytes of part n if the file goes on behind them; the last
// part of a file ends where the file does. n is from 1 to [MaxParts]; other
// numbers have the zero extent.
func PartAt(n PartNumber) Extent {
	if n < 1 {
		return Extent{}
	}
	i, offset := int64(n)-1, int64(0)
	for _, t := range schedule {
		if i < t.count {
			return Extent{offset + i*t.size, t.size}
		}
		i -= t.count
		offset += t.count * t.size
	}
	return Extent{}
}

// PartOf returns the part that holds the byte at offset. An offset that no part
// holds (beyond [MaxObjectSize], or negative) has part 0.
func PartOf(offset int64) PartNumber {
	if offset < 0 {
		return 0
	}
	n := int64(0)
	for _, t := range schedule {
		if span := t.count * t.size; offset >= span {
			offset -= span
			n += t.count
			continue
		}
		return PartNumber(n + offset/t.size + 1)
	}
	return 0
}

// PartsFor returns how many parts a file of size bytes has: at least one, for an
// empty file is one empty part. 0 if it is too large for S3.
func PartsFor(size int64) PartNumber {
	switch {
	case size < 0 || size > MaxObjectSize:
		return 0
	case size == 0:
		return 1
	default:
		return PartOf(size - 1)
	}
}

// PartIn returns the bytes of part n of a file of size bytes, whose last part is
// shorter.
func PartIn(n PartNumber, size int64) Extent {
	e := PartAt(n)
	e.Length = max(0, min(e.Length, size-e.Offset))
	return e
}
