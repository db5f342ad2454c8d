package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ferry"
)

func names(p ferry.Page) (out []string) {
	for _, o := range p.Objects {
		out = append(out, string(o.Key))
	}
	out = append(out, "|")
	for _, k := range p.Prefixes {
		out = append(out, string(k))
	}
	return out
}

func testList(t *testing.T, s *suite) {
	r, ctx := s.remote(t), t.Context()
	meta := ferry.PutOptions{Metadata: map[string]string{"mode": "0100600", "ferry-generation": "g"}, Headers: map[string]string{"Cache-Control": "no-store"}}
	for _, k := range []ferry.ObjectKey{"a", "b/", "b/x", "b/y/z", "c/d/e", "f"} {
		b := []byte(k)
		if k.IsMarker() {
			b = nil
		}
		if _, err := r.Put(ctx, k, bytes.NewReader(b), int64(len(b)), meta); err != nil {
			t.Fatalf("Put %q: %v", k, err)
		}
	}
	for _, c := range []struct {
		req  ferry.ListRequest
		want string // objects | prefixes
	}{
		{ferry.ListRequest{}, "a b/ b/x b/y/z c/d/e f |"},
		{ferry.ListRequest{Delimiter: true}, "a f | b/ c/"},
		{ferry.ListRequest{Delimiter: true, Prefix: "b/"}, "b/ b/x | b/y/"},
		{ferry.ListRequest{Delimiter: true, Prefix: "b/", After: "b/"}, "b/x | b/y/"},
		{ferry.ListRequest{Delimiter: true, Prefix: "c/"}, "| c/d/"},
		{ferry.ListRequest{Delimiter: true, Prefix: "c"}, "| c/"},
		{ferry.ListRequest{Delimiter: true, After: "a"}, "f | b/ c/"},
		{ferry.ListRequest{Delimiter: true, After: "b/"}, "f | c/"},
		{ferry.ListRequest{Delimiter: true, After: "c/"}, "f |"},
		{ferry.ListRequest{Prefix: "b/"}, "b/ b/x b/y/z |"},
		{ferry.ListRequest{Prefix: "b/", After: "b/x"}, "b/y/z |"},
		{ferry.ListRequest{After: "b/y/z"}, "c/d/e f |"},
		{ferry.ListRequest{Prefix: "none/"}, "|"},
		{ferry.ListRequest{Prefix: "none/", Delimiter: true}, "|"},
	} {
		for _, c.req.Metadata = range []bool{false, true} {
			p, err := r.List(ctx, c.req)
			if got := strings.Join(names(p), " "); err != nil || got != c.want {
				t.Errorf("List %+v: got %q, %v; want %q", c.req, got, err, c.want)
			}
			if p.More {
				t.Errorf("List %+v says that more follows", c.req)
			}
			for _, o := range p.Objects {
				h, err := r.Head(ctx, o.Key)
				if err != nil {
					t.Fatal(err)
				}
				if !o.Same(h.Version) || o.Size != h.Size || o.Modified.Sub(h.Modified).Abs().Seconds() > 1 {
					t.Errorf("listed as %+v, Head says %+v", o, h)
				}
				switch known := o.Metadata != nil; {
				case known != (s.ListsMetadata && c.req.Metadata):
					t.Errorf("List %+v: metadata known: %v", c.req, known)
				case known && (o.Metadata["mode"] != "0100600" || o.Generation != "g" || o.Headers["Cache-Control"] != "no-store"):
					t.Errorf("List %+v: %q has metadata %q, headers %q, generation %q", c.req, o.Key, o.Metadata, o.Headers, o.Generation)
				}
			}
		}
	}
}

// testListPages: each page is one request; all pages together are everything,
// once, in order.
func testListPages(t *testing.T, s *suite) {
	r, proxy := s.behind(t)
	ctx := t.Context()
	var flat, folded []string
	for i := range 7 {
		for j := range 3 {
			k := ferry.ObjectKey(fmt.Sprintf("d%d/k%d", i, j))
			put(t, r, k, []byte("x"))
			flat = append(flat, string(k))
		}
		k := ferry.ObjectKey(fmt.Sprintf("f%d", i))
		put(t, r, k, []byte("x"))
		folded = append(folded, fmt.Sprintf("d%d/", i), string(k))
		flat = append(flat, string(k))
	}
	slices.Sort(flat)
	slices.Sort(folded)
	for _, max := range []int{1, 2, 5, 7, 1000} {
		for _, delimiter := range []bool{false, true} {
			want := flat
			if delimiter {
				want = folded
			}
			proxy.Requests()
			var got []string
			pages := 0
			for after := ferry.ObjectKey(""); ; {
				p, err := r.List(ctx, ferry.ListRequest{After: after, Delimiter: delimiter, Max: max})
				if err != nil {
					t.Fatal(err)
				}
				pages++
				page := slices.DeleteFunc(names(p), func(s string) bool { return s == "|" })
				slices.Sort(page)
				if len(page) > max {
					t.Fatalf("a page of %d names, at most %d were asked for", len(page), max)
				}
				if len(page) > 0 && string(p.Last) != page[len(page)-1] {
					t.Fatalf("Last is %q, the greatest name is %q", p.Last, page[len(page)-1])
				}
				got = append(got, page...)
				if !p.More || pages > 100 {
					break
				}
				after = p.Last
			}
			if !slices.Equal(got, want) {
				t.Errorf("max %d, delimiter %v: got %q, want %q", max, delimiter, got, want)
			}
			if requests := proxy.Requests(); len(requests) != pages {
				t.Errorf("max %d, delimiter %v: %d requests for %d pages: %q", max, delimiter, len(requests), pages, requests)
			}
			if least := (len(want) + max - 1) / max; pages > least+1 {
				t.Errorf("max %d, delimiter %v: %d pages for %d names", max, delimiter, pages, len(want))
			}
		}
	}
}
