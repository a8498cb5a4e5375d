package otelcore

// #include "shim.h"
// #cgo noescape og_payload_replace
// #cgo nocallback og_payload_replace
// #cgo nocallback og_processor_next
// #cgo nocallback og_processor_wake
// #cgo nocallback og_processor_free
// #cgo nocallback og_payload_signal
// #cgo nocallback og_payload_data
// #cgo nocallback og_payload_finish
// #cgo nocallback og_payload_retry_after
import "C"

import (
	"context"
	"errors"
	"runtime"
	"runtime/cgo"
	"sync/atomic"
	"time"
	"unsafe"
)

// A Processor is the program's side of the inproc processors of one id: it takes payloads out of the pipeline, changes them and
// gives them back. The collector never waits for it: a payload that is not finished within the processor's timeout is
// refused, so that its sender may send it again, and what is said of it later is ignored. It keeps its collector alive; after
// the collector's end, calls return [ErrClosed].
type Processor struct {
	handle    C.uintptr_t
	collector *Collector
	cleanup   runtime.Cleanup
	// Held by the call that waits in C, as in Output.
	turn chan struct{}
}

// Run calls process for each payload, one after another, until the context is done or the collector has ended; the latter
// is no error. Where process returns nil, the payload is passed on as it is then; one without any item is dropped. At an
// error with Retryable (see [Error]) it is refused, and its sender may send it again; at any other error, and where process
// panics, it is refused permanently, and reported. Several goroutines may run; they share the payloads.
func (p *Processor) Run(ctx context.Context, process func(context.Context, *Payload) error) error {
	for {
		payload, err := p.Next(ctx)
		if errors.Is(err, ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		payload.end(ctx, process)
	}
}

// Next returns the next payload; it waits until the context is done. End the payload with [Payload.Pass], [Payload.Drop],
// [Payload.Reject] or [Payload.RetryAfter]; one that is garbage-collected without any of them is refused, so that its sender
// may send it again.
func (p *Processor) Next(ctx context.Context) (*Payload, error) {
	defer runtime.KeepAlive(p)
	wake := func() C.og_result {
		defer runtime.KeepAlive(p)
		return C.og_processor_wake(p.handle)
	}
	take := func() C.og_result { return C.og_processor_next(p.handle, -1) }
	return waitForNext(ctx, p.turn, "the processor", wake, take, newPayload)
}

// A Payload is a request in a pipeline. One goroutine at a time may use it.
type Payload struct {
	signal  Signal
	handle  atomic.Uintptr
	cleanup runtime.Cleanup
}

func newPayload(handle C.uintptr_t) *Payload {
	p := &Payload{signal: Signal(C.og_payload_signal(handle))}
	p.handle.Store(uintptr(handle))
	p.cleanup = runtime.AddCleanup(p, func(handle C.uintptr_t) {
		_ = failure(C.og_payload_finish(handle, C.OTELCORE_UNAVAILABLE))
	}, handle)
	return p
}

// Signal is the signal of its items.
func (p *Payload) Signal() Signal { return p.signal }

// Data is a copy of the request in protobuf as it is now; nil after the end.
func (p *Payload) Data() []byte {
	handle := p.handle.Load()
	if handle == 0 {
		return nil
	}
	data := copied(C.og_payload_data(C.uintptr_t(handle)))
	runtime.KeepAlive(p)
	return data
}

// Replace replaces the request by a copy of otlp, a request of the same signal. At [ErrInvalidData] the payload is as it was.
func (p *Payload) Replace(otlp []byte) error {
	handle := p.handle.Load()
	if handle == 0 {
		return errFinished()
	}
	data := (*C.uint8_t)(unsafe.SliceData(otlp))
	r := C.og_payload_replace(C.uintptr_t(handle), data, C.size_t(len(otlp)))
	runtime.KeepAlive(otlp)
	runtime.KeepAlive(p)
	return failure(r)
}

// Edit calls visit for each resource, scope, span, event, link, metric, data point and log record, from the outside to the
// inside. In it an item can be read and changed; what it returns says whether the item stays. A panic of visit goes on
// after the pass. At [ErrInvalidData] the result would be larger than four times the payload and 1 MiB, and it is as it was.
func (p *Payload) Edit(visit func(*Item) Keep) error {
	handle := p.handle.Load()
	if handle == 0 {
		return errFinished()
	}
	v := &visitor{visit: visit}
	visitor := cgo.NewHandle(v)
	defer visitor.Delete()
	err := failure(C.og_payload_edit(C.uintptr_t(handle), C.uintptr_t(visitor)))
	runtime.KeepAlive(p)
	if v.panicked {
		panic(v.panic)
	}
	return err
}

// Pass passes it on as it is now; without any item it is dropped.
func (p *Payload) Pass() error { return p.finishWith(C.OTELCORE_OK) }

// Drop drops it: its sender takes it as delivered.
func (p *Payload) Drop() error {
	if err := p.Replace(nil); err != nil {
		return err
	}
	return p.finishWith(C.OTELCORE_OK)
}

// Reject refuses it: where that is retryable its sender may send it again, otherwise it is refused permanently, and reported.
func (p *Payload) Reject(retryable bool) error {
	if retryable {
		return p.finishWith(C.OTELCORE_UNAVAILABLE)
	}
	return p.finishWith(C.OTELCORE_INVALID_DATA)
}

// RetryAfter refuses it, so that its sender may send it again, not before this pause is over.
func (p *Payload) RetryAfter(after time.Duration) error {
	millis := C.uint64_t(max(after, 0).Milliseconds())
	return p.finish(func(handle C.uintptr_t) C.og_result { return C.og_payload_retry_after(handle, millis) })
}

func (p *Payload) finishWith(status C.otelcore_status) error {
	return p.finish(func(handle C.uintptr_t) C.og_result { return C.og_payload_finish(handle, status) })
}

// finish ends it by a call of the library. That refuses to end a payload that is being edited: it can then be ended later.
func (p *Payload) finish(call func(C.uintptr_t) C.og_result) error {
	handle := p.handle.Load()
	if handle == 0 {
		return errFinished()
	}
	r := call(C.uintptr_t(handle))
	if r.status != C.OTELCORE_REENTRANT {
		p.handle.Store(0)
		p.cleanup.Stop()
	}
	runtime.KeepAlive(p)
	return failure(r)
}

func errFinished() error { return &Error{Code: Closed, Message: "the payload is finished"} }

// end calls the program's function, and ends the payload by its result unless the function has ended it.
func (p *Payload) end(ctx context.Context, process func(context.Context, *Payload) error) {
	retryable := false
	passed := false
	defer func() {
		_ = recover()
		if passed {
			_ = p.Pass()
		} else {
			_ = p.Reject(retryable)
		}
	}()
	err := process(ctx, p)
	var details *Error
	retryable = errors.As(err, &details) && (details.Retryable || details.Code == Unavailable || details.Code == Overloaded)
	passed = err == nil
}

// A Keep says what is done with an item.
type Keep int32

// What is done with an item.
const (
	KeepItem Keep = C.OTELCORE_KEEP // it stays, and what it contains is visited
	SkipItem Keep = C.OTELCORE_SKIP // it stays, and what it contains stays as it is
	DropItem Keep = C.OTELCORE_DROP // it is dropped, with what it contains
)

// An ItemKind says what an item is.
type ItemKind int32

// The kinds of items.
const (
	ResourceItem ItemKind = C.OTELCORE_ITEM_RESOURCE // a resource, also one that is absent
	ScopeItem    ItemKind = C.OTELCORE_ITEM_SCOPE    // an instrumentation scope, also one that is absent
	SpanItem     ItemKind = C.OTELCORE_ITEM_SPAN     // a span
	EventItem    ItemKind = C.OTELCORE_ITEM_EVENT    // an event of a span
	LinkItem     ItemKind = C.OTELCORE_ITEM_LINK     // a link of a span
	MetricItem   ItemKind = C.OTELCORE_ITEM_METRIC   // a metric
	PointItem    ItemKind = C.OTELCORE_ITEM_POINT    // a data point
	LogItem      ItemKind = C.OTELCORE_ITEM_LOG      // a log record
)

// An Item is an item of a payload in [Payload.Edit]. It is valid in the call that got it, and in its goroutine.
type Item struct {
	handle C.uintptr_t
}

// Kind says what it is.
func (i *Item) Kind() ItemKind { return ItemKind(C.og_item_kind(i.handle)) }

// Name is the name of a scope, span, event or metric, and the event name of a log record; empty for others.
func (i *Item) Name() string { return string(copied(C.og_item_name(i.handle))) }

// SetName sets the name; [ErrNotFound] for an item that has none.
func (i *Item) SetName(name string) error {
	text, err := cText(name, "the name")
	if err != nil {
		return err
	}
	r := C.og_item_set_name(i.handle, text)
	runtime.KeepAlive(text)
	return failure(r)
}

// Attribute is the value of an attribute: a string, bool, int64, float64, []byte, []any or map[string]any, or nil for an
// empty value. Elements of lists and values of maps are of these types too.
func (i *Item) Attribute(key string) (value any, ok bool) { return i.get(C.OG_ATTRIBUTE, key) }

// ResourceAttribute is the value of an attribute of the resource that it belongs to.
func (i *Item) ResourceAttribute(key string) (value any, ok bool) {
	return i.get(C.OG_RESOURCE_ATTRIBUTE, key)
}

// Body is the body of a log record.
func (i *Item) Body() (value any, ok bool) { return i.get(C.OG_BODY, "") }

// SetAttribute sets an attribute to a string, bool, int, int64, float64, []byte, []any, map[string]any or nil.
// [ErrNotFound]: a metric has no attributes; its points have.
func (i *Item) SetAttribute(key string, value any) error { return i.set(C.OG_ATTRIBUTE, key, value) }

// SetBody sets the body of a log record; [ErrNotFound] for other items.
func (i *Item) SetBody(value any) error { return i.set(C.OG_BODY, "", value) }

// RemoveAttribute removes an attribute; it is no error if the item does not have it.
func (i *Item) RemoveAttribute(key string) error {
	text, err := cText(key, "the key")
	if err != nil {
		return err
	}
	r := C.og_item_remove(i.handle, text)
	runtime.KeepAlive(text)
	return failure(r)
}

func (i *Item) get(place C.og_place, key string) (any, bool) {
	text, err := cText(key, "the key")
	if err != nil {
		return nil, false
	}
	got := C.og_item_get(i.handle, place, text)
	runtime.KeepAlive(text)
	if got.status != C.OTELCORE_OK {
		return nil, false
	}
	switch bytes := (C.og_bytes{got.value.data, got.value.len}); got.value.value_type {
	case C.OTELCORE_VALUE_EMPTY:
		return nil, true
	case C.OTELCORE_VALUE_STRING:
		return string(copied(bytes)), true
	case C.OTELCORE_VALUE_BOOL:
		return got.value.integer != 0, true
	case C.OTELCORE_VALUE_INT:
		return int64(got.value.integer), true
	case C.OTELCORE_VALUE_DOUBLE:
		return float64(got.value.number), true
	case C.OTELCORE_VALUE_ARRAY:
		return readList(copied(bytes)), true
	case C.OTELCORE_VALUE_MAP:
		return readMap(copied(bytes)), true
	default:
		return copied(bytes), true
	}
}

func (i *Item) set(place C.og_place, key string, value any) error {
	text, err := cText(key, "the key")
	if err != nil {
		return err
	}
	var (
		kind    C.otelcore_value_type
		integer int64
		number  float64
		data    []byte
	)
	switch value := value.(type) {
	case nil:
		kind = C.OTELCORE_VALUE_EMPTY
	case string:
		kind, data = C.OTELCORE_VALUE_STRING, []byte(value)
	case bool:
		kind = C.OTELCORE_VALUE_BOOL
		if value {
			integer = 1
		}
	case int:
		kind, integer = C.OTELCORE_VALUE_INT, int64(value)
	case int64:
		kind, integer = C.OTELCORE_VALUE_INT, value
	case float64:
		kind, number = C.OTELCORE_VALUE_DOUBLE, value
	case []byte:
		kind, data = C.OTELCORE_VALUE_BYTES, value
	case []any:
		kind = C.OTELCORE_VALUE_ARRAY
		data, err = appendList(nil, value, 1)
	case map[string]any:
		kind = C.OTELCORE_VALUE_MAP
		data, err = appendMap(nil, value, 1)
	default:
		err = noValue(value)
	}
	if err != nil {
		return err
	}
	bytes := (*C.uint8_t)(unsafe.SliceData(data))
	r := C.og_item_set(i.handle, place, text, kind, C.int64_t(integer), C.double(number), bytes, C.size_t(len(data)))
	runtime.KeepAlive(text)
	runtime.KeepAlive(data)
	return failure(r)
}

// A visitor is the function of an edit, and how it ended.
type visitor struct {
	visit    func(*Item) Keep
	panicked bool
	panic    any
}

// call calls the function. No panic may unwind the frames of C above it: it is kept, and the rest stays as it is.
func (v *visitor) call(item uintptr) (keep Keep) {
	if v.panicked {
		return SkipItem
	}
	returned := false
	defer func() {
		if !returned {
			v.panicked, v.panic, keep = true, recover(), SkipItem
		}
	}()
	keep = v.visit(&Item{handle: C.uintptr_t(item)})
	returned = true
	return keep
}
