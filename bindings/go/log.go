package otelcore

// #include "shim.h"
// #cgo nocallback og_sink_new
// #cgo nocallback og_sink_end
import "C"

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
)

// A logPipe is where the collector's records arrive; see log.c.
type logPipe struct {
	level C.otelcore_log_level
	// The end that the collector writes to, and closes; the reader frees it.
	sink *C.og_sink
	// Closed when the last record has been given to the logger.
	done chan struct{}
}

// The levels by the library's numbers, which begin with OTELCORE_LOG_DEBUG.
var levels = [...]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}

// newLogPipe starts a goroutine that passes records to logger and ends when the collector has freed its log. A nil pipe is
// for a logger that is not enabled.
func newLogPipe(logger *slog.Logger) (*logPipe, error) {
	if logger == nil {
		return nil, nil
	}
	for number, level := range levels {
		if !logger.Enabled(context.Background(), level) {
			continue
		}
		// A packet socket keeps message boundaries, the kernel limits their number, and a closed end is read as EOF.
		ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
		if err != nil {
			return nil, &Error{Code: IO, Message: "no socket for the log: " + err.Error(), cause: err}
		}
		pipe := &logPipe{level: C.otelcore_log_level(number), sink: C.og_sink_new(C.int(ends[1])), done: make(chan struct{})}
		if pipe.sink == nil {
			_, _ = syscall.Close(ends[0]), syscall.Close(ends[1])
			return nil, &Error{Code: IO, Message: "no memory for the log"}
		}
		go pipe.read(os.NewFile(uintptr(ends[0]), "otelcore log"), logger)
		return pipe, nil
	}
	return nil, nil
}

// The head of a record: how many were dropped before it, its level, and the lengths of three texts.
const logHead = 8 + 4 + 3*4

func (p *logPipe) read(from *os.File, logger *slog.Logger) {
	defer close(p.done)
	defer from.Close()
	buffer := make([]byte, logHead+3*16384)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			tellDropped(uint64(C.og_sink_end(p.sink)), logger)
			return
		}
		give(buffer[:n], logger)
	}
}

func tellDropped(dropped uint64, logger *slog.Logger) {
	if dropped > 0 {
		logger.Warn("Log records were dropped", "dropped_records", dropped)
	}
}

func give(record []byte, logger *slog.Logger) {
	if len(record) < logHead {
		return
	}
	tellDropped(binary.NativeEndian.Uint64(record), logger)
	number := min(binary.NativeEndian.Uint32(record[8:]), uint32(len(levels)-1))
	var texts [3]string
	rest := record[logHead:]
	for i := range texts {
		length := min(int(binary.NativeEndian.Uint32(record[12+4*i:])), len(rest))
		texts[i], rest = strings.ToValidUTF8(string(rest[:length]), "\uFFFD"), rest[length:]
	}
	var attributes []slog.Attr
	if texts[0] != "" {
		attributes = append(attributes, slog.String("component", texts[0]))
	}
	logger.LogAttrs(context.Background(), levels[number], texts[1], append(attributes, fields(texts[2])...)...)
}

// fields makes attributes of a JSON object; of a truncated one, a single text.
func fields(object string) []slog.Attr {
	var values map[string]any
	decoder := json.NewDecoder(strings.NewReader(object))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		return []slog.Attr{slog.String("fields", object)}
	}
	var attributes []slog.Attr
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := slog.AnyValue(values[name])
		if number, ok := values[name].(json.Number); ok {
			value = slog.StringValue(fmt.Sprint(number))
			if n, err := number.Int64(); err == nil {
				value = slog.Int64Value(n)
			} else if f, err := number.Float64(); err == nil {
				value = slog.Float64Value(f)
			}
		}
		attributes = append(attributes, slog.Attr{Key: name, Value: value})
	}
	return attributes
}
