package otelcore

// #include "shim.h"
// #cgo noescape og_submit
// #cgo nocallback og_submit
// #cgo nocallback og_accepts
// #cgo nocallback og_input_free
// #cgo nocallback og_next
// #cgo nocallback og_wake
// #cgo nocallback og_output_free
// #cgo nocallback og_batch_signal
// #cgo nocallback og_batch_data
// #cgo nocallback og_batch_finish
// #cgo nocallback og_batch_retry_after
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"
)

// A Signal is a kind of telemetry.
type Signal int32

// The signals.
const (
	Traces  Signal = C.OTELCORE_TRACES  // an ExportTraceServiceRequest
	Metrics Signal = C.OTELCORE_METRICS // an ExportMetricsServiceRequest
	Logs    Signal = C.OTELCORE_LOGS    // an ExportLogsServiceRequest
)

// String is "traces", "metrics" or "logs".
func (s Signal) String() string {
	switch s {
	case Traces:
		return "traces"
	case Metrics:
		return "metrics"
	case Logs:
		return "logs"
	}
	return fmt.Sprintf("signal %d", int32(s))
}

// An Input is where telemetry is put in: an inproc receiver. It keeps its collector; where that has ended, it answers
// [ErrClosed].
type Input struct {
	handle    C.uintptr_t
	collector *Collector
	cleanup   runtime.Cleanup
}

// Submit takes a copy of otlp, a request of the signal in protobuf. It never waits. What is taken is in the collector's
// custody: delivered, or reported as lost. [ErrOverloaded] says that the same bytes may be taken later.
func (i *Input) Submit(ctx context.Context, signal Signal, otlp []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	data := (*C.uint8_t)(unsafe.SliceData(otlp))
	r := C.og_submit(i.handle, C.otelcore_signal(signal), data, C.size_t(len(otlp)))
	runtime.KeepAlive(otlp)
	runtime.KeepAlive(i)
	return failure(r)
}

// Accepts is nil where a pipeline takes this signal from the input, and [ErrNotFound] with what is taken where none does.
// It may be asked before the start.
func (i *Input) Accepts(signal Signal) error {
	r := C.og_accepts(i.handle, C.otelcore_signal(signal))
	runtime.KeepAlive(i)
	return failure(r)
}

// An Output is where telemetry is taken out: an inproc exporter. It keeps its collector; where that has ended, and every
// batch was taken, it answers [ErrClosed].
type Output struct {
	handle    C.uintptr_t
	collector *Collector
	cleanup   runtime.Cleanup
	// Held by the one who waits in C: a wake is then for nobody else, and no more than one thread is held.
	turn chan struct{}
}

// Next is the next batch, waiting for it as long as the context goes. It waits for [Batch.Ack] or [Batch.Reject]; one
// that nobody refers to any more is given again.
func (o *Output) Next(ctx context.Context) (*Batch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.turn == nil {
		return nil, &Error{Code: InvalidArgument, Message: "the output was not made by a collector"}
	}
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-o.turn }()
	stop := context.AfterFunc(ctx, func() {
		_ = failure(C.og_wake(o.handle))
		runtime.KeepAlive(o)
	})
	defer stop()
	for {
		r := C.og_next(o.handle, -1)
		if r.status == C.OTELCORE_OK {
			return newBatch(r.value), nil
		}
		err := failure(r)
		if r.status != C.OTELCORE_CANCELLED {
			return nil, err
		}
		// Where it was not this context, it was the one of a wait before that had just got its batch.
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// A Batch is telemetry on its way out.
type Batch struct {
	signal  Signal
	data    []byte
	handle  atomic.Uintptr
	cleanup runtime.Cleanup
}

func newBatch(handle C.uintptr_t) *Batch {
	b := &Batch{signal: Signal(C.og_batch_signal(handle)), data: copied(C.og_batch_data(handle))}
	b.handle.Store(uintptr(handle))
	b.cleanup = runtime.AddCleanup(b, func(handle C.uintptr_t) {
		_ = failure(C.og_batch_finish(handle, C.OTELCORE_UNAVAILABLE))
	}, handle)
	return b
}

// Signal is what it carries.
func (b *Batch) Signal() Signal { return b.signal }

// Data is the request in protobuf. It is the caller's own.
func (b *Batch) Data() []byte { return b.data }

// Ack says that it is done with.
func (b *Batch) Ack() error {
	return b.finish(func(handle C.uintptr_t) C.og_result { return C.og_batch_finish(handle, C.OTELCORE_OK) })
}

// Reject says that it was not taken: one that is retryable is given again after a pause, any other is dropped, and
// reported.
func (b *Batch) Reject(retryable bool) error {
	status := C.otelcore_status(C.OTELCORE_INVALID_DATA)
	if retryable {
		status = C.OTELCORE_UNAVAILABLE
	}
	return b.finish(func(handle C.uintptr_t) C.og_result { return C.og_batch_finish(handle, status) })
}

// RetryAfter has it given again, no sooner than after this pause.
func (b *Batch) RetryAfter(after time.Duration) error {
	millis := C.uint64_t(max(after, 0).Milliseconds())
	return b.finish(func(handle C.uintptr_t) C.og_result { return C.og_batch_retry_after(handle, millis) })
}

func (b *Batch) finish(call func(C.uintptr_t) C.og_result) error {
	handle := b.handle.Swap(0)
	if handle == 0 {
		return &Error{Code: Closed, Message: "the batch is finished"}
	}
	b.cleanup.Stop()
	return failure(call(C.uintptr_t(handle)))
}
