package otelcore

// #include <stdlib.h>
// #include "shim.h"
// #cgo noescape og_new
// #cgo nocallback og_new
// #cgo noescape og_input
// #cgo nocallback og_input
// #cgo noescape og_output
// #cgo nocallback og_output
// #cgo noescape og_processor
// #cgo nocallback og_processor
// #cgo nocallback og_start
// #cgo nocallback og_begin_flush
// #cgo nocallback og_is_flushed
// #cgo noescape og_reload
// #cgo nocallback og_reload
// #cgo nocallback og_begin_shutdown
// #cgo nocallback og_shutdown
// #cgo nocallback og_state
// #cgo nocallback og_free
// #cgo nocallback og_health
// #cgo nocallback og_component_statuses
// #cgo nocallback og_snapshot
// #cgo nocallback og_watch
// #cgo nocallback og_metrics
// #cgo nocallback og_buffer_data
// #cgo nocallback og_buffer_free
import "C"

import (
	"context"
	"encoding/json"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// A State is the state of a collector.
type State int32

// The states, in the order in which a collector has them.
const (
	Created  State = C.OTELCORE_STATE_CREATED  // checked, and nothing open
	Starting State = C.OTELCORE_STATE_STARTING // opening what the configuration names
	Running  State = C.OTELCORE_STATE_RUNNING  // listening, and taking what is submitted
	Stopping State = C.OTELCORE_STATE_STOPPING // draining
	Stopped  State = C.OTELCORE_STATE_STOPPED  // ended by a shutdown
	Failed   State = C.OTELCORE_STATE_FAILED   // ended by a failed start or an error of the library
	// Gone is the state of a collector that was closed.
	Gone State = C.OTELCORE_STATE_NONE
)

// String is "created", "running" and so on.
func (s State) String() string {
	names := [...]string{"created", "starting", "running", "stopping", "stopped", "failed"}
	if s < 0 || int(s) >= len(names) {
		return "closed"
	}
	return names[s]
}

// Version is the version of the library.
func Version() string { return C.GoString(C.otelcore_version()) }

// A Config has what New needs to create a collector.
type Config struct {
	// YAML is the configuration, as the Go collector takes it; ${env:NAME} is the process's environment.
	YAML string
	// Data is a configuration as a map, a struct or anything else that encoding/json writes as an object. It is merged over
	// YAML: maps key by key, everything else by the value in Data. Without YAML it is the whole configuration. Messages call it
	// "data", with the path of the key.
	Data any
	// Name is what messages call the configuration; empty is "config.yaml".
	Name string
	// Log gets the collector's own log, at the levels that it is enabled for. It is called in its own goroutine;
	// records that come faster than it takes them are dropped, and a later record has their count. Nil means no log.
	Log *slog.Logger
}

// A Collector is a collector in this process. Call [Collector.Close] in the end. One that was started and not shut down
// stays alive even if nothing refers to it.
type Collector struct {
	handle C.uintptr_t
	log    *logPipe
	closed atomic.Bool
	// What messages call the configuration; nil is the default.
	name *C.char
	// Closed by Close.
	ended chan struct{}
	// A lock of capacity one, held while the state changes: who has sent into the channel holds it.
	life    chan struct{}
	cleanup runtime.Cleanup

	mu         sync.Mutex
	inputs     map[string]*Input
	outputs    map[string]*Output
	processors map[string]*Processor
}

// Collectors that were started and have not ended.
var running sync.Map

// New reads and checks a configuration. Nothing is opened.
func New(config Config) (*Collector, error) {
	if abi := C.otelcore_abi_version(); abi != C.OTELCORE_ABI_VERSION {
		return nil, &Error{Code: InvalidState, Message: "libotelcore has another ABI than its header"}
	}
	name, err := cText(config.Name, "the configuration's name")
	if err != nil {
		return nil, err
	}
	if config.Name == "" {
		name = nil
	}
	data, err := config.data()
	if err != nil {
		return nil, err
	}
	pipe, err := newLogPipe(config.Log)
	if err != nil {
		return nil, err
	}
	var sink *C.og_sink
	var level C.otelcore_log_level
	if pipe != nil {
		sink, level = pipe.sink, pipe.level
	}
	yaml := unsafe.StringData(config.YAML)
	r := C.og_new((*C.char)(unsafe.Pointer(yaml)), C.size_t(len(config.YAML)), name,
		(*C.char)(unsafe.Pointer(unsafe.SliceData(data))), C.size_t(len(data)), level, sink)
	runtime.KeepAlive(config.YAML)
	runtime.KeepAlive(data)
	runtime.KeepAlive(name)
	if err := failure(r); err != nil {
		return nil, err
	}
	c := &Collector{
		handle:     r.value,
		log:        pipe,
		name:       name,
		ended:      make(chan struct{}),
		life:       make(chan struct{}, 1),
		inputs:     map[string]*Input{},
		outputs:    map[string]*Output{},
		processors: map[string]*Processor{},
	}
	// Freeing joins a thread, which must not block the goroutine that runs all cleanups.
	c.cleanup = runtime.AddCleanup(c, func(handle C.uintptr_t) { go C.og_free(handle) }, c.handle)
	return c, nil
}

// data is Data as JSON, with a line for each key, so that the line numbers in messages are useful.
func (c Config) data() ([]byte, error) {
	if c.Data == nil {
		return nil, nil
	}
	data, err := json.MarshalIndent(c.Data, "", "  ")
	if err != nil {
		return nil, &Error{Code: InvalidConfig, Message: "Config.Data can't be written as JSON: " + err.Error(), cause: err}
	}
	return data, nil
}

// cText is a NUL-terminated text in Go's memory.
func cText(text, what string) (*C.char, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, &Error{Code: InvalidArgument, Message: what + " has a NUL in it"}
	}
	return (*C.char)(unsafe.Pointer(unsafe.SliceData(append([]byte(text), 0)))), nil
}

// enter waits until no other call changes the state.
func (c *Collector) enter(ctx context.Context) error {
	if c.life == nil {
		return &Error{Code: InvalidArgument, Message: "the collector was not made by New"}
	}
	select {
	case c.life <- struct{}{}:
		return nil
	default:
	}
	select {
	case c.life <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave lets the next call enter, and removes a collector that has ended from the set of running ones.
func (c *Collector) leave() {
	if state := c.State(); state < Starting || state > Stopping {
		running.Delete(c)
	}
	<-c.life
}

// State is its state.
func (c *Collector) State() State {
	state := State(C.og_state(c.handle))
	runtime.KeepAlive(c)
	return state
}

// Start starts it, and returns when everything listens. A start whose context ends meanwhile ends the collector.
func (c *Collector) Start(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.enter(ctx); err != nil {
		return err
	}
	running.Store(c, nil)
	started := make(chan error, 1)
	go func() { started <- failure(C.og_start(c.handle)) }()
	select {
	case err := <-started:
		c.leave()
		return err
	case <-ctx.Done():
		go func() {
			if <-started == nil {
				_ = failure(C.og_shutdown(c.handle, 0))
			}
			c.leave()
		}()
		return ctx.Err()
	}
}

// The pause between two checks: short at first, so that a quick operation is noticed quickly.
type pause struct{ next time.Duration }

const (
	shortest = 50 * time.Microsecond
	longest  = 5 * time.Millisecond
)

// wait returns false when the context is done.
func (p *pause) wait(ctx context.Context) bool {
	p.next = min(max(2*p.next, shortest), longest)
	timer := time.NewTimer(p.next)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ended returns the error of a wait that was ended by its context.
func ended(ctx context.Context, message string) error {
	if ctx.Err() == context.DeadlineExceeded {
		return &Error{Code: Timeout, Message: message, Retryable: true, cause: ctx.Err()}
	}
	return ctx.Err()
}

// Flush waits until all that was accepted before this call is delivered, or reported as lost.
func (c *Collector) Flush(ctx context.Context) error {
	defer runtime.KeepAlive(c)
	begun := C.og_begin_flush(c.handle)
	if err := failure(begun); err != nil {
		return err
	}
	mark := C.uint64_t(begun.value)
	for p := (pause{}); !bool(C.og_is_flushed(c.handle, mark)); {
		if !p.wait(ctx) {
			return ended(ctx, "not everything was delivered in time")
		}
		// Data of a flushed batch may wait again in a later batch processor. The collector may also end between two checks.
		err := failure(C.og_begin_flush(c.handle))
		if state := c.State(); state == Failed || state == Gone {
			return err
		} else if state == Stopped {
			return nil
		}
	}
	return nil
}

// Reload changes a collector that runs to another configuration in YAML. Components whose configuration is the same go on
// with their state, and their inputs and outputs stay valid; those that end have until the context's deadline for what
// they hold (30 seconds where it has none), while the new ones run. Where it returns an error, the collector goes on as
// before: [ErrInvalidConfig] has all mistakes, [ErrIO] says what can't start, and [ErrInvalidState] that only a new
// collector can have this configuration, or that this one does not run. Once begun, it is not cancelled.
func (c *Collector) Reload(ctx context.Context, yaml string) error {
	return c.ReloadConfig(ctx, Config{YAML: yaml})
}

// ReloadConfig is Reload with data: YAML and Data of the configuration are those of [New]; its Name and Log are not used.
func (c *Collector) ReloadConfig(ctx context.Context, config Config) error {
	changes, err := config.data()
	if err != nil {
		return err
	}
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer c.leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	ms := grace(ctx)
	if ms < 0 {
		ms = C.int64_t(untold.Milliseconds())
	}
	result := C.og_reload(c.handle, (*C.char)(unsafe.Pointer(unsafe.StringData(config.YAML))), C.size_t(len(config.YAML)), c.name,
		(*C.char)(unsafe.Pointer(unsafe.SliceData(changes))), C.size_t(len(changes)), ms)
	runtime.KeepAlive(config.YAML)
	runtime.KeepAlive(changes)
	return failure(result)
}

const (
	// How long a shutdown may take whose context can be cancelled but has no deadline.
	untold = 30 * time.Second
	// How much later than its deadline the collector may end before the wait for it is given up.
	slack = time.Second
)

// grace is how long a shutdown may take, in milliseconds; -1 means no limit.
func grace(ctx context.Context) C.int64_t {
	if at, ok := ctx.Deadline(); ok {
		return C.int64_t(max(time.Until(at), 0).Milliseconds())
	}
	if ctx.Err() != nil {
		return 0
	}
	if ctx.Done() == nil {
		return -1
	}
	return C.int64_t(untold.Milliseconds())
}

// Shutdown takes nothing new, delivers what it holds, and ends, by the context's deadline (within 30 seconds where it has
// none and may be cancelled). [ErrTimeout] says what was not delivered; the collector has ended all the same. One that
// was never started, or has ended before, is no error. Where the context is cancelled, Shutdown returns early, and the
// collector ends without it.
func (c *Collector) Shutdown(ctx context.Context) error {
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer c.leave()
	if failure(C.og_begin_shutdown(c.handle, grace(ctx))) == nil && !c.drained(ctx) {
		return ctx.Err()
	}
	err := failure(C.og_shutdown(c.handle, 0))
	if typed, ok := err.(*Error); ok && typed.Code == Timeout {
		typed.cause = ctx.Err()
	}
	return err
}

// drained waits for the end. It returns false when the context was cancelled and the collector has not ended at once.
func (c *Collector) drained(ctx context.Context) bool {
	for p := (pause{}); c.State() < Stopped && c.State() != Gone; {
		if p.wait(ctx) {
			continue
		}
		// Its deadline is the context's; a cancelled context means an immediate end.
		_ = failure(C.og_begin_shutdown(c.handle, 0))
		atOnce, cancel := context.WithTimeout(context.Background(), slack)
		defer cancel()
		for p := (pause{}); c.State() < Stopped && c.State() != Gone; {
			if !p.wait(atOnce) || ctx.Err() == context.Canceled && p.next == longest {
				return false
			}
		}
	}
	return true
}

// Close ends it, and frees it. What it still holds is lost; a [Collector.Shutdown] before delivers it. A second
// Close does nothing. The logger has had every record when it returns, if it takes them within a second.
func (c *Collector) Close() error {
	if c.life == nil || c.closed.Swap(true) {
		return nil
	}
	c.cleanup.Stop()
	close(c.ended)
	C.og_free(c.handle)
	running.Delete(c)
	// They refer to objects of the collector, so they are freed before it.
	c.mu.Lock()
	for _, input := range c.inputs {
		input.cleanup.Stop()
		C.og_input_free(input.handle)
	}
	for _, output := range c.outputs {
		output.cleanup.Stop()
		C.og_output_free(output.handle)
	}
	c.mu.Unlock()
	if c.log != nil {
		select {
		case <-c.log.done:
		case <-time.After(slack):
		}
	}
	return nil
}

// A Health is the health of a collector.
type Health struct {
	// State is the name of its state.
	State string `json:"state"`
	// Error is why it has failed.
	Error string `json:"error,omitempty"`
	// HeldBytes is the size of the data that it has accepted and not yet delivered.
	HeldBytes uint64 `json:"held_bytes"`
}

// Health returns its health.
func (c *Collector) Health() (Health, error) {
	var health Health
	document, err := c.read(func(handle C.uintptr_t) C.og_result { return C.og_health(handle) })
	if err == nil {
		err = json.Unmarshal(document, &health)
	}
	return health, err
}

// A ComponentStatus is the status of a component.
type ComponentStatus struct {
	// Kind is receiver, processor, exporter, connector or extension.
	Kind string `json:"kind"`
	// ID is its id, as the configuration writes it.
	ID string `json:"id"`
	// Instance is the pipeline of a processor, the signals of a connector, and otherwise empty.
	Instance string `json:"instance"`
	// Status is none, starting, ok, recoverable_error, permanent_error, stopping or stopped.
	Status string `json:"status"`
	// Message is the last error, while the status is an error.
	Message string `json:"message"`
	// ChangedAt is when the status changed last.
	ChangedAt time.Time `json:"changed_at"`
	// LastError is the last error that it reported, if any; it stays when the component works again.
	LastError *LastError `json:"last_error"`
	// Addresses are where it listens; for a configured port 0 with the port that it got.
	Addresses []string `json:"addresses"`
}

// A LastError is an error of a component.
type LastError struct {
	// Message is its text.
	Message string `json:"message"`
	// At is when it was reported last.
	At time.Time `json:"at"`
	// Count is how often it was reported in a row.
	Count uint64 `json:"count"`
}

// ComponentStatuses are the statuses of all components since the start.
func (c *Collector) ComponentStatuses() ([]ComponentStatus, error) {
	var statuses []ComponentStatus
	document, err := c.read(func(handle C.uintptr_t) C.og_result { return C.og_component_statuses(handle) })
	if err == nil {
		err = json.Unmarshal(document, &statuses)
	}
	return statuses, err
}

// Metrics are its own metrics, as a page in Prometheus' text format.
func (c *Collector) Metrics() ([]byte, error) {
	return c.read(func(handle C.uintptr_t) C.og_result { return C.og_metrics(handle) })
}

func (c *Collector) read(call func(C.uintptr_t) C.og_result) ([]byte, error) {
	defer runtime.KeepAlive(c)
	r := call(c.handle)
	if err := failure(r); err != nil {
		return nil, err
	}
	bytes := copied(C.og_buffer_data(r.value))
	C.og_buffer_free(r.value)
	return bytes, nil
}

// copied returns a copy in Go's memory of bytes that belong to C.
func copied(lent C.og_bytes) []byte {
	return append([]byte{}, unsafe.Slice((*byte)(lent.data), int(lent.len))...)
}

// handleOf returns what the program has of an id, or opens it; made makes it of the library's handle.
func handleOf[T any](c *Collector, known map[string]*T, id string, open func(name *C.char) C.og_result, made func(C.uintptr_t) *T) (*T, error) {
	name, err := cText(id, "the id")
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if value, ok := known[id]; ok && !c.closed.Load() {
		return value, nil
	}
	r := open(name)
	runtime.KeepAlive(name)
	if err := failure(r); err != nil {
		return nil, err
	}
	value := made(r.value)
	known[id] = value
	return value, nil
}

// Input is the input of the inproc receiver of this id, "inproc/app" for one; the same id gives the same input.
func (c *Collector) Input(id string) (*Input, error) {
	open := func(name *C.char) C.og_result { return C.og_input(c.handle, name) }
	return handleOf(c, c.inputs, id, open, func(handle C.uintptr_t) *Input {
		input := &Input{handle: handle, collector: c}
		input.cleanup = runtime.AddCleanup(input, func(handle C.uintptr_t) { C.og_input_free(handle) }, handle)
		return input
	})
}

// Output is the output of the inproc exporter of this id, "inproc/app" for one; the same id gives the same output.
func (c *Collector) Output(id string) (*Output, error) {
	open := func(name *C.char) C.og_result { return C.og_output(c.handle, name) }
	return handleOf(c, c.outputs, id, open, func(handle C.uintptr_t) *Output {
		output := &Output{handle: handle, collector: c, turn: make(chan struct{}, 1)}
		output.cleanup = runtime.AddCleanup(output, func(handle C.uintptr_t) { C.og_output_free(handle) }, handle)
		return output
	})
}

// Processor is the program's side of the inproc processors of this id, "inproc/enrich" for one; the same id gives the same
// processor. A program that asks for it has to process what it gets, by [Processor.Run] or [Processor.Next]; a collector with a
// processor that the program has not asked for does not start.
func (c *Collector) Processor(id string) (*Processor, error) {
	open := func(name *C.char) C.og_result { return C.og_processor(c.handle, name) }
	return handleOf(c, c.processors, id, open, func(handle C.uintptr_t) *Processor {
		processor := &Processor{handle: handle, collector: c, turn: make(chan struct{}, 1)}
		processor.cleanup = runtime.AddCleanup(processor, func(handle C.uintptr_t) { C.og_processor_free(handle) }, handle)
		return processor
	})
}
