package otelcore

// #include "shim.h"
import "C"

import (
	"encoding/json"
	"os"
	"syscall"
)

// A Snapshot is a collector at a moment.
type Snapshot struct {
	// State is the name of its state.
	State string `json:"state"`
	// Error is why it has failed; otherwise empty.
	Error string `json:"error"`
	// Memory is what it holds.
	Memory Memory `json:"memory"`
	// Components are the statuses of its components, from the start on.
	Components []ComponentStatus `json:"components"`
	// Queues are those of exporters, and of the program's inputs and processors.
	Queues []Queue `json:"queues"`
	// Metrics are its own metrics, up to service::telemetry::metrics::level.
	Metrics []Metric `json:"metrics"`
}

// Memory is memory in bytes.
type Memory struct {
	// HeldBytes is telemetry that the collector holds, counted exactly.
	HeldBytes uint64 `json:"held_bytes"`
	// KeptBytes is state that components keep, such as series.
	KeptBytes uint64 `json:"kept_bytes"`
	// LimitBytes is the limit of a memory_limiter; 0 where there is none.
	LimitBytes uint64 `json:"limit_bytes"`
	// ResidentBytes is the resident memory of the whole process.
	ResidentBytes uint64 `json:"resident_bytes"`
}

// A Queue is a queue of an exporter, or of an input or a processor of the program.
type Queue struct {
	// Kind is exporter, receiver or processor.
	Kind string `json:"kind"`
	// ID is the id of the component.
	ID string `json:"id"`
	// Signal is traces, metrics or logs; empty is all of them.
	Signal string `json:"signal"`
	// Unit is that of Size and Capacity: requests, items or bytes.
	Unit string `json:"unit"`
	// Size is how much it holds, what is being sent included.
	Size uint64 `json:"size"`
	// Capacity is the bound of Size.
	Capacity uint64 `json:"capacity"`
	// OnDisk is whether it is on disk.
	OnDisk bool `json:"on_disk"`
	// OldestAgeSeconds is for how long it has held its oldest payload. Nil: it holds none, or it is the queue of an input or a
	// processor of the program.
	OldestAgeSeconds *float64 `json:"oldest_age_seconds"`
}

// A Metric is a metric of the collector's own.
type Metric struct {
	Name string `json:"name"`
	Help string `json:"help"`
	// Unit is in UCUM; it may be empty.
	Unit string `json:"unit"`
	// Kind is counter, gauge or histogram.
	Kind   string   `json:"kind"`
	Series []Series `json:"series"`
}

// A Series is a series of a metric.
type Series struct {
	Labels map[string]string `json:"labels"`
	// Value is that of a counter or a gauge.
	Value float64 `json:"value"`
	// Bounds are the upper bounds of a histogram, ascending, without infinity.
	Bounds []float64 `json:"bounds"`
	// Counts are the counts of a histogram by bucket, not cumulative: one more than there are bounds.
	Counts []uint64 `json:"counts"`
	// Sum is the sum of a histogram's observations.
	Sum float64 `json:"sum"`
}

// Snapshot returns what there is to know about the collector at this moment.
func (c *Collector) Snapshot() (Snapshot, error) {
	var snapshot Snapshot
	document, err := c.read(func(handle C.uintptr_t) C.og_result { return C.og_snapshot(handle) })
	if err == nil {
		err = json.Unmarshal(document, &snapshot)
	}
	return snapshot, err
}

// StatusChanges returns a channel of the components whose status has changed from now on; call it before the start, and once. Changes
// of a component that are not received in time come as one, with its last status. The channel is closed by [Collector.Close]; a
// collector whose changes nobody receives any more is not slowed down.
func (c *Collector) StatusChanges() (<-chan ComponentStatus, error) {
	if c.life == nil {
		return nil, &Error{Code: InvalidArgument, Message: "the collector was not made by New"}
	}
	// A byte for each change, written by the collector's thread, which never calls Go.
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, &Error{Code: IO, Message: "no socket for the changes: " + err.Error(), cause: err}
	}
	if err := failure(C.og_watch(c.handle, C.int(ends[1]))); err != nil {
		_, _ = syscall.Close(ends[0]), syscall.Close(ends[1])
		return nil, err
	}
	changes := make(chan ComponentStatus)
	go c.watch(os.NewFile(uintptr(ends[0]), "otelcore statuses"), changes)
	return changes, nil
}

func (c *Collector) watch(from *os.File, changes chan<- ComponentStatus) {
	defer close(changes)
	defer from.Close()
	type key struct{ kind, id, instance string }
	known := map[key]ComponentStatus{}
	buffer := make([]byte, 256)
	for {
		_, ended := from.Read(buffer)
		statuses, err := c.ComponentStatuses()
		if err != nil {
			return
		}
		for _, status := range statuses {
			of := key{status.Kind, status.ID, status.Instance}
			if before, ok := known[of]; ok && before.Status == status.Status && before.ChangedAt.Equal(status.ChangedAt) {
				continue
			}
			known[of] = status
			select {
			case changes <- status:
			case <-c.ended:
				return
			}
		}
		if ended != nil {
			return
		}
	}
}
