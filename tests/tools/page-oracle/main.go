// Writes what Prometheus's parser reads in pages.
//
// Usage: page-oracle FOLDER. For each page (*.txt is text 0.0.4, *.om OpenMetrics 1.0, *.pb delimited protobuf) it writes
// PAGE.expected, one line for each event; an error is the last line.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "page-oracle:", err)
		os.Exit(1)
	}
}

func run(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(folder, entry.Name())
		page, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var parser textparse.Parser
		table := labels.NewSymbolTable()
		switch filepath.Ext(path) {
		case ".txt":
			parser = textparse.NewPromParser(page, table, false)
		case ".om":
			parser = textparse.NewOpenMetricsParser(page, table)
		case ".pb":
			parser = textparse.NewProtobufParser(page, false, false, false, false, table)
		default:
			continue
		}
		if err := os.WriteFile(path+".expected", []byte(events(parser, filepath.Ext(path) == ".pb")), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func events(parser textparse.Parser, withCreated bool) string {
	var out strings.Builder
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			fmt.Fprintln(&out, "error")
			return out.String()
		}
		switch entry {
		case textparse.EntryHelp:
			name, text := parser.Help()
			fmt.Fprintf(&out, "help %s %s\n", quoted(string(name)), quoted(string(text)))
		case textparse.EntryType:
			name, kind := parser.Type()
			fmt.Fprintf(&out, "type %s %s\n", quoted(string(name)), kind)
		case textparse.EntryUnit:
			name, unit := parser.Unit()
			fmt.Fprintf(&out, "unit %s %s\n", quoted(string(name)), quoted(string(unit)))
		case textparse.EntrySeries:
			_, ts, value := parser.Series()
			fmt.Fprintf(&out, "sample %s %s%s%s%s\n", series(parser), number(value), at(ts), created(parser, withCreated), exemplars(parser))
		case textparse.EntryHistogram:
			_, ts, h, fh := parser.Histogram()
			fmt.Fprintf(&out, "native %s%s%s%s%s\n", series(parser), native(h, fh), at(ts), created(parser, withCreated), exemplars(parser))
		}
	}
}

func series(parser textparse.Parser) string {
	var ls labels.Labels
	parser.Labels(&ls)
	return quoted(ls.Get(labels.MetricName)) + block(ls)
}

func block(ls labels.Labels) string {
	var parts []string
	ls.Range(func(l labels.Label) {
		value := l.Value
		if l.Name == labels.MetricName {
			return
		}
		if l.Name == "le" || l.Name == "quantile" {
			if v, err := strconv.ParseFloat(value, 64); err == nil {
				value = number(v)
			}
		}
		parts = append(parts, quoted(l.Name)+"="+quoted(value))
	})
	sort.Strings(parts)
	return "{" + strings.Join(parts, ",") + "}"
}

func exemplars(parser textparse.Parser) string {
	var out string
	for {
		var e exemplar.Exemplar
		if !parser.Exemplar(&e) {
			return out
		}
		out += " # " + block(e.Labels) + " " + number(e.Value)
		if e.HasTs {
			out += at(&e.Ts)
		}
	}
}

func created(parser textparse.Parser, withCreated bool) string {
	if !withCreated {
		return ""
	}
	if st := parser.StartTimestamp(); st != 0 {
		return " created " + strconv.FormatInt(st, 10)
	}
	return ""
}

func native(h *histogram.Histogram, fh *histogram.FloatHistogram) string {
	side := func(sign string, spans []histogram.Span) (out string) {
		for _, s := range spans {
			out += fmt.Sprintf(" %s%d:%d", sign, s.Offset, s.Length)
		}
		return out
	}
	if h != nil {
		return fmt.Sprintf(" schema %d count %d sum %s zero %d threshold %s", h.Schema, h.Count, number(h.Sum), h.ZeroCount, number(h.ZeroThreshold)) +
			side("+", h.PositiveSpans) + deltas(h.PositiveBuckets) + side("-", h.NegativeSpans) + deltas(h.NegativeBuckets)
	}
	return fmt.Sprintf(" schema %d count float %s sum %s zero float %s threshold %s", fh.Schema, number(fh.Count), number(fh.Sum), number(fh.ZeroCount), number(fh.ZeroThreshold)) +
		side("+", fh.PositiveSpans) + floats(fh.PositiveBuckets) + side("-", fh.NegativeSpans) + floats(fh.NegativeBuckets)
}

func deltas(v []int64) string {
	parts := make([]string, len(v))
	for i, d := range v {
		parts[i] = strconv.FormatInt(d, 10)
	}
	return " [" + strings.Join(parts, ", ") + "]"
}

func floats(v []float64) string {
	parts := make([]string, len(v))
	for i, f := range v {
		parts[i] = `"` + number(f) + `"`
	}
	return " [" + strings.Join(parts, ", ") + "]"
}

func number(v float64) string {
	if v == 0 {
		return "0"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

func at(ms *int64) string {
	if ms == nil {
		return ""
	}
	return " @" + strconv.FormatInt(*ms, 10)
}

// In quotes, with what is not printable ASCII as code points.
func quoted(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			out.WriteByte('\\')
			out.WriteRune(c)
		case c >= ' ' && c <= '~':
			out.WriteRune(c)
		default:
			fmt.Fprintf(&out, "\\u{%x}", c)
		}
	}
	out.WriteByte('"')
	return out.String()
}
