package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 2, 3}, 2.5},
	} {
		if got := median(c.samples); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.samples, got, c.want)
		}
	}
}

func TestRatioIsTheMedianOfTheRoundsRatios(t *testing.T) {
	var r report
	// The second round was slow for both: its ratio is like the others'.
	r.addRatio("w", []time.Duration{2e9, 20e9, 3e9}, "raw", []time.Duration{1e9, 10e9, 1e9}, 2.5)
	got := r.Rows[0]
	if got.Ratio != 2 || !got.Met || got.Measured != 3 || got.FloorIs != 1 {
		t.Errorf("ratio %v, met %v, measured %v, floor %v; want 2, true, 3, 1", got.Ratio, got.Met, got.Measured, got.FloorIs)
	}
}

func TestTableShowsWhatIsMissed(t *testing.T) {
	r := report{Size: 1 << 30, Rounds: 3}
	r.addValue("rm: requests", "requests", []float64{30}, "≤ 25", 25)
	r.addValue("cat: bytes", "B", []float64{5 << 20}, "", 0)
	var out bytes.Buffer
	if err := r.print(&out, false); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"| rm: requests | 30 requests |  |  | ≤ 25 | no |", "| cat: bytes | 5.0 MiB |  |  |  |  |"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("the table lacks %q:\n%s", line, out.String())
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "12": 12, "64KiB": 64 << 10, "48MiB": 48 << 20, "1GiB": 1 << 30} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1MB", "1.5GiB", "99999999999999GiB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", text, got)
		}
	}
}

func TestJSONGet(t *testing.T) {
	const doc = `{"name":"demo","uploads":[{"parts_done":12}],"counters":{"bytes_sent":12345678901234,"requests":{"PutObject":3}}}`
	for path, want := range map[string]string{
		".name":                      "demo",
		".uploads[0].parts_done":     "12",
		".uploads[1].parts_done":     "0",
		".counters.bytes_sent":       "12345678901234",
		".counters.requests.Unknown": "0",
		".counters.requests":         `{"PutObject":3}`,
	} {
		var out bytes.Buffer
		if err := jsonGet(strings.NewReader(doc), &out, []string{path}); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(out.String()); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}
