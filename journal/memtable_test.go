package journal

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestMemtable compares with a map, and checks that older versions stay as they
// were.
func TestMemtable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m memtable
		model := map[string]string{}
		type version struct {
			m     memtable
			model map[string]string
		}
		var old []version
		key := rapid.StringN(0, 3, 6)
		for range rapid.IntRange(0, 80).Draw(t, "changes") {
			k, v := key.Draw(t, "key"), rapid.String().Draw(t, "value")
			m = m.put(entry{key: k, value: []byte(v)})
			model[k] = v
			old = append(old, version{m, maps.Clone(model)})
		}
		for _, v := range old {
			sameAs(t, v.m, v.model, key.Draw(t, "from"))
		}
	})
}

func sameAs(t *rapid.T, m memtable, model map[string]string, from string) {
	if m.rows != len(model) {
		t.Fatalf("%d rows, want %d", m.rows, len(model))
	}
	size := 0
	for k, v := range model {
		e := m.get(k)
		if e == nil || string(e.value) != v {
			t.Fatalf("%q: %v, want %q", k, e, v)
		}
		size += e.size()
	}
	if m.bytes != size {
		t.Fatalf("%d bytes, want %d", m.bytes, size)
	}
	var want, got []string
	for _, k := range slices.Sorted(maps.Keys(model)) {
		if k >= from {
			want = append(want, k)
		}
	}
	for c := m.cursor(from); c.valid(); c.next() {
		got = append(got, c.entry().key)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("from %q: %q, want %q", from, got, want)
	}
}

func FuzzPayload(f *testing.F) {
	var m memtable
	m = m.put(entry{key: "iabc", value: []byte("row")}).put(entry{key: "kgone", deleted: true})
	f.Add(payload(m, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m memtable
		if decodePayload(b, func(e entry) { m = m.put(e) }) != nil {
			return
		}
		var again memtable
		if err := decodePayload(payload(m, nil), func(e entry) { again = again.put(e) }); err != nil {
			t.Fatal(err)
		}
		if again.rows != m.rows || again.bytes != m.bytes {
			t.Fatal("a payload changes when it is written again")
		}
	})
}
