package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is what one run found.
type report struct {
	Size    int64   `json:"size"`   // bytes of the big file
	Rounds  int     `json:"rounds"` // of each row
	Seconds float64 `json:"seconds"`
	Rows    []row   `json:"rows"`
}

// row is one line of the table: ferry's figure, the floor's where there is one,
// and the goal.
type row struct {
	Work     string    `json:"work"`
	Unit     string    `json:"unit"`     // s, B or requests
	Measured float64   `json:"measured"` // median of Samples
	Floor    string    `json:"floor,omitempty"`
	FloorIs  float64   `json:"floor_measured,omitempty"` // median of FloorSamples
	Ratio    float64   `json:"ratio,omitempty"`          // median of the rounds' ratios
	Goal     string    `json:"goal"`
	Limit    float64   `json:"limit"` // of Ratio if there is a floor, of Measured if not
	Met      bool      `json:"met"`
	Samples  []float64 `json:"samples"`
	FloorAre []float64 `json:"floor_samples,omitempty"`
}

// addValue adds a row that is compared with a fixed limit. A limit of 0 is no
// goal, only a figure.
func (r *report) addValue(work, unit string, samples []float64, goal string, limit float64) {
	m := median(samples)
	r.Rows = append(r.Rows, row{Work: work, Unit: unit, Measured: m, Goal: goal, Limit: limit, Met: limit == 0 || m <= limit, Samples: samples})
}

// addRatio adds a row that is compared with a floor measured in the same
// rounds. The ratio is the median of the rounds' ratios, not the ratio of the
// medians: a machine that was slow for one round was slow for both.
func (r *report) addRatio(work string, samples []time.Duration, floor string, floors []time.Duration, limit float64) {
	mine, theirs := seconds(samples), seconds(floors)
	ratios := make([]float64, min(len(mine), len(theirs)))
	for i := range ratios {
		ratios[i] = mine[i] / theirs[i]
	}
	ratio := median(ratios)
	goal := ""
	if limit > 0 {
		goal = fmt.Sprintf("≤ %.2f × %s", limit, floor)
	}
	r.Rows = append(r.Rows, row{
		Work: work, Unit: "s", Measured: median(mine), Floor: floor, FloorIs: median(theirs),
		Ratio: ratio, Goal: goal, Limit: limit, Met: limit == 0 || ratio <= limit, Samples: mine, FloorAre: theirs,
	})
}

func seconds(durations []time.Duration) []float64 {
	out := make([]float64, len(durations))
	for i, d := range durations {
		out[i] = d.Seconds()
	}
	return out
}

// median returns the middle sample, or the mean of the two in the middle; 0 if
// there is none.
func median(samples []float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// print writes the table as markdown, or everything as JSON.
func (r *report) print(w io.Writer, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "File of %s, median of %d rounds, %d CPUs, %s, %.0f s in all.\n\n",
		showBytes(float64(r.Size)), r.Rounds, runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly), r.Seconds)
	s.WriteString("| work | ferry | floor | ratio | goal | met |\n|---|---|---|---|---|---|\n")
	for _, x := range r.Rows {
		floor, ratio, met := "", "", "no"
		if x.Floor != "" {
			floor = fmt.Sprintf("%s %s", x.Floor, show(x.FloorIs, x.Unit))
			ratio = fmt.Sprintf("%.2f", x.Ratio)
		}
		if x.Met {
			met = "yes"
		}
		if x.Limit == 0 {
			met = ""
		}
		fmt.Fprintf(&s, "| %s | %s | %s | %s | %s | %s |\n", x.Work, show(x.Measured, x.Unit), floor, ratio, x.Goal, met)
	}
	_, err := io.WriteString(w, s.String())
	return err
}

func show(v float64, unit string) string {
	switch unit {
	case "B":
		return showBytes(v)
	case "s":
		return fmt.Sprintf("%.2f s", v)
	default:
		return fmt.Sprintf("%.0f %s", v, unit)
	}
}

func showBytes(v float64) string {
	switch {
	case v >= 1<<30:
		return fmt.Sprintf("%.2f GiB", v/(1<<30))
	case v >= 1<<20:
		return fmt.Sprintf("%.1f MiB", v/(1<<20))
	case v >= 1<<10:
		return fmt.Sprintf("%.0f KiB", v/(1<<10))
	default:
		return fmt.Sprintf("%.0f B", v)
	}
}
