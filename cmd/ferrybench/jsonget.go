package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// jsonGet prints one value of a JSON document, named by a path such as
// .uploads[0].parts_done or .counters.requests.DeleteObjects. Strings are
// printed bare, numbers without an exponent, lists and objects as JSON; what is
// absent is 0, as a counter that nothing has touched is.
func jsonGet(r io.Reader, w io.Writer, args []string) error {
	if len(args) != 1 {
		return errors.New("get needs one path, such as .counters.bytes_sent")
	}
	decoder := json.NewDecoder(r)
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return fmt.Errorf("standard input is not JSON: %w", err)
	}
	path := strings.NewReplacer("[", ".", "]", "").Replace(args[0])
	for name := range strings.SplitSeq(strings.TrimPrefix(path, "."), ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[name]
		case []any:
			value = nil
			if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(v) {
				value = v[i]
			}
		default:
			value = nil
		}
	}
	var err error
	switch v := value.(type) {
	case nil:
		_, err = fmt.Fprintln(w, 0)
	case string, json.Number, bool:
		_, err = fmt.Fprintln(w, v)
	default:
		err = json.NewEncoder(w).Encode(v)
	}
	return err
}
