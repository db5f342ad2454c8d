package ferry

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryPromiseHasATest: each sentence of docs/semantics.md ends in a name, and
// a test somewhere names it in a comment ("semantics: NAME ...").
func TestEveryPromiseHasATest(t *testing.T) {
	doc, err := os.ReadFile("docs/semantics.md")
	if err != nil {
		t.Fatal(err)
	}
	promised := map[string]bool{}
	for _, m := range regexp.MustCompile(`\[([a-z0-9-]+)\]\n`).FindAllStringSubmatch(string(doc), -1) {
		promised[m[1]] = false
	}
	if len(promised) < 20 {
		t.Fatalf("only %d promises found in docs/semantics.md", len(promised))
	}
	named := regexp.MustCompile(`(?m)^\s*// semantics:(.*)$`)
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			for name := range strings.FieldsFuncSeq(m[1], func(r rune) bool { return r == ' ' || r == ',' }) {
				if _, ok := promised[name]; !ok {
					t.Errorf("%s names %q, which docs/semantics.md does not promise", path, name)
					continue
				}
				promised[name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range promised {
		if !ok {
			t.Errorf("no test names the promise %q", name)
		}
	}
}
