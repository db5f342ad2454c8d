package syncer

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"ferry"
)

// verify sorts victims into those to delete, those that are gone already, and
// those that another client changed since they were seen, which are left alone:
// no server that ferry knows deletes in bulk under a condition. What was seen
// within the TTL counts as it is; the rest is compared by listing, one request
// for up to 1000 names, or by HEAD where the names lie far apart.
func (s *Syncer) verify(ctx context.Context, victims []victim) (left, gone []ferry.ObjectKey, changed []victim, err error) {
	var ask []victim
	now := s.o.Now().UnixNano()
	for _, v := range victims {
		age := now - v.since
		if v.key.Reserved() || v.known.Presence == ferry.Present && age >= 0 && age < int64(s.o.TTL) {
			left = append(left, v.key)
		} else {
			ask = append(ask, v)
		}
	}
	slices.SortFunc(ask, func(a, b victim) int { return strings.Compare(string(a.key), string(b.key)) })
	note := func(v victim, there *ferry.Object) {
		switch {
		case there == nil:
			gone = append(gone, v.key)
		case v.known.Presence == ferry.Present && v.known.Version.ETag == there.ETag:
			left = append(left, v.key)
		default:
			v.known = ferry.KnownVersion(there.Version)
			changed = append(changed, v)
		}
	}
	heads := 0 // how many to ask for singly before a listing is tried again
	for len(ask) > 0 {
		if heads > 0 || len(ask) <= 2 {
			heads--
			obj, there, err := s.head(ctx, ask[0].key)
			if err != nil {
				return nil, nil, nil, err
			}
			if !there {
				note(ask[0], nil)
			} else {
				note(ask[0], &obj)
			}
			ask = ask[1:]
			continue
		}
		n, err := s.verifyPage(ctx, ask, note)
		if err != nil {
			return nil, nil, nil, err
		}
		if ask = ask[n:]; n < 3 {
			heads = 8
		}
	}
	return left, gone, changed, nil
}

// verifyPage asks for one page of the listing from the first key on and notes
// all keys that it covers. It returns how many those are.
func (s *Syncer) verifyPage(ctx context.Context, ask []victim, note func(victim, *ferry.Object)) (covered int, err error) {
	first, last := ask[0].key, ask[len(ask)-1].key
	page, err := s.r.List(ctx, ferry.ListRequest{Prefix: commonPrefix(first, last), After: before(first), Max: 1000})
	if err != nil {
		return 0, err
	}
	i := 0
	for _, v := range ask {
		if page.More && v.key > page.Last {
			break
		}
		for i < len(page.Objects) && page.Objects[i].Key < v.key {
			i++
		}
		if i < len(page.Objects) && page.Objects[i].Key == v.key {
			note(v, &page.Objects[i])
		} else {
			note(v, nil)
		}
		covered++
	}
	return covered, nil
}

// commonPrefix returns the directory that both keys lie in, with its slash.
func commonPrefix(a, b ferry.ObjectKey) ferry.ObjectKey {
	n := 0
	for i := 0; i < min(len(a), len(b)) && a[i] == b[i]; i++ {
		if a[i] == '/' {
			n = i + 1
		}
	}
	return a[:n]
}

// before returns a key that sorts before k with little in between.
func before(k ferry.ObjectKey) ferry.ObjectKey {
	_, w := utf8.DecodeLastRuneInString(string(k))
	return k[:len(k)-w]
}
