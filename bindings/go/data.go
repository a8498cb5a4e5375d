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
// #cgo noescape og_submit_json
// #cgo nocallback og_submit_json
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

// An Input is the input of an inproc receiver. It keeps its collector alive; after the collector's end, calls return
// [ErrClosed].
type Input struct {
	handle    C.uintptr_t
	collector *Collector
	cleanup   runtime.Cleanup
}

// Submit takes a copy of otlp, a request of the signal in protobuf. It never waits. Accepted data is in the collector's
// custody: delivered, or reported as lost. [ErrOverloaded] means that the same bytes may be accepted later.
//
// With wait_for_result of the receiver it waits for the outcome: where the pipelines lead to a queue on disk, accepted data is on disk.
// [ErrTimeout] means that there is none in time, and that the data may be delivered or not.
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

// SubmitJSON is Submit for a request in OTLP/JSON: it is converted in this call.
func (i *Input) SubmitJSON(ctx context.Context, signal Signal, document []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	data := (*C.char)(unsafe.Pointer(unsafe.SliceData(document)))
	r := C.og_submit_json(i.handle, C.otelcore_signal(signal), data, C.size_t(len(document)))
	runtime.KeepAlive(document)
	runtime.KeepAlive(i)
	return failure(r)
}

// Accepts returns nil where a pipeline takes this signal from the input, and [ErrNotFound] with the others where none does.
// It may be called before the start.
func (i *Input) Accepts(signal Signal) error {
	r := C.og_accepts(i.handle, C.otelcore_signal(signal))
	runtime.KeepAlive(i)
	return failure(r)
}

// An Output is the output of an inproc exporter. It keeps its collector alive; after the collector's end, and when every
// batch was taken, calls return [ErrClosed].
type Output struct {
	handle    C.uintptr_t
	collector *Collector
	cleanup   runtime.Cleanup
	// Held by the call that waits in C: a wake then ends no other wait, and at most one thread is blocked.
	turn chan struct{}
}

// Next returns the next batch; it waits until the context is done. End the batch with [Batch.Ack] or [Batch.Reject]; one
// that is garbage-collected without either is delivered again.
func (o *Output) Next(ctx context.Context) (*Batch, error) {
	defer runtime.KeepAlive(o)
	wake := func() C.og_result {
		defer runtime.KeepAlive(o)
		return C.og_wake(o.handle)
	}
	take := func() C.og_result { return C.og_next(o.handle, -1) }
	return waitForNext(ctx, o.turn, "the output", wake, take, newBatch)
}

// Batches is Next as a channel: it is closed when the context is done, or when the collector has ended and every batch was taken.
// A batch that is taken out of the output and that nobody receives is delivered again.
func (o *Output) Batches(ctx context.Context) <-chan *Batch {
	batches := make(chan *Batch)
	go func() {
		defer close(batches)
		for {
			batch, err := o.Next(ctx)
			if err != nil {
				return
			}
			select {
			case batches <- batch:
			case <-ctx.Done():
				_ = batch.Reject(true)
				return
			}
		}
	}()
	return batches
}

// waitForNext waits in C for the next value until the context is done. Only the call that has put its token into turn waits
// there; of is what gives the values, in messages.
func waitForNext[T any](ctx context.Context, turn chan struct{}, of string, wake, take func() C.og_result, made func(C.uintptr_t) *T) (*T, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if turn == nil {
		return nil, &Error{Code: InvalidArgument, Message: of + " was not made by a collector"}
	}
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-turn }()
	stop := context.AfterFunc(ctx, func() { _ = failure(wake()) })
	defer stop()
	for {
		r := take()
		if r.status == C.OTELCORE_OK {
			return made(r.value), nil
		}
		err := failure(r)
		if r.status != C.OTELCORE_CANCELLED {
			return nil, err
		}
		// If this context is not done, the wake was meant for an earlier wait that had just got its value.
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// A Batch is a batch of telemetry from an output.
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

// Signal is the signal of its items.
func (b *Batch) Signal() Signal { return b.signal }

// Data is the request in protobuf. The caller may change it.
func (b *Batch) Data() []byte { return b.data }

// Ack reports that it is delivered.
func (b *Batch) Ack() error {
	return b.finish(func(handle C.uintptr_t) C.og_result { return C.og_batch_finish(handle, C.OTELCORE_OK) })
}

// Reject reports that it is not delivered: a retryable one is delivered again after a pause, any other is dropped, and
// reported.
func (b *Batch) Reject(retryable bool) error {
	status := C.otelcore_status(C.OTELCORE_INVALID_DATA)
	if retryable {
		status = C.OTELCORE_UNAVAILABLE
	}
	return b.finish(func(handle C.uintptr_t) C.og_result { return C.og_batch_finish(handle, status) })
}

// RetryAfter asks for another delivery, not before this pause is over.
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
