package otelcore

// #include "shim.h"
// #cgo noescape og_error_read
// #cgo nocallback og_error_read
// #cgo nocallback og_error_free
import "C"

import (
	"fmt"
	"time"
)

// A Code is the kind of an error.
type Code int32

// The codes of the library.
const (
	InvalidArgument Code = C.OTELCORE_INVALID_ARGUMENT
	InvalidConfig   Code = C.OTELCORE_INVALID_CONFIG
	InvalidData     Code = C.OTELCORE_INVALID_DATA
	NotFound        Code = C.OTELCORE_NOT_FOUND
	InvalidState    Code = C.OTELCORE_INVALID_STATE
	Overloaded      Code = C.OTELCORE_OVERLOADED
	Timeout         Code = C.OTELCORE_TIMEOUT
	Closed          Code = C.OTELCORE_CLOSED
	IO              Code = C.OTELCORE_IO
	Unavailable     Code = C.OTELCORE_UNAVAILABLE
	Forked          Code = C.OTELCORE_FORKED
	Panic           Code = C.OTELCORE_PANIC
)

var codes = map[Code]string{
	InvalidArgument: "invalid argument",
	InvalidConfig:   "invalid configuration",
	InvalidData:     "invalid data",
	NotFound:        "not found",
	InvalidState:    "not in this state",
	Overloaded:      "overloaded",
	Timeout:         "not in time",
	Closed:          "closed",
	IO:              "refused by the system",
	Unavailable:     "unavailable",
	Forked:          "a forked child",
	Panic:           "a fault in libotelcore",
}

// String returns a short text for the code.
func (c Code) String() string {
	if text, ok := codes[c]; ok {
		return text
	}
	return fmt.Sprintf("code %d", int32(c))
}

// Errors to compare with, by [errors.Is].
var (
	// ErrInvalidArgument: an argument is out of its range.
	ErrInvalidArgument error = &Error{Code: InvalidArgument}
	// ErrInvalidConfig: the configuration has mistakes; the message has all of them, each with its place.
	ErrInvalidConfig error = &Error{Code: InvalidConfig}
	// ErrInvalidData: the bytes are no request of this signal, and never will be.
	ErrInvalidData error = &Error{Code: InvalidData}
	// ErrNotFound: the configuration uses nothing of this id, or has no pipeline for this signal.
	ErrNotFound error = &Error{Code: NotFound}
	// ErrInvalidState: the call is not possible in this state of the collector, for example before its start.
	ErrInvalidState error = &Error{Code: InvalidState}
	// ErrOverloaded: the collector holds too much data; the same call may succeed later.
	ErrOverloaded error = &Error{Code: Overloaded}
	// ErrTimeout: the time is up. After a shutdown the message names what was not delivered.
	ErrTimeout error = &Error{Code: Timeout}
	// ErrClosed: the collector has stopped, or what was used has been closed.
	ErrClosed error = &Error{Code: Closed}
	// ErrIO: the system refused something, for example a port that is in use.
	ErrIO error = &Error{Code: IO}
	// ErrPanic: an error in the library. Close the collector.
	ErrPanic error = &Error{Code: Panic}
)

// An Error says why a call failed.
type Error struct {
	Code    Code
	Message string
	// Retryable: the same call may succeed later.
	Retryable bool
	// RetryAfter is the pause after which a retry is useful; 0 where that is not known.
	RetryAfter time.Duration

	cause error
}

// Error returns the text of the code and the message.
func (e *Error) Error() string {
	if e.Message == "" {
		return "otelcore: " + e.Code.String()
	}
	return "otelcore: " + e.Message
}

// Is reports whether the target is the sentinel of the same code.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Message == "" && other.Code == e.Code
}

// Unwrap returns the context's error where a context has ended the call.
func (e *Error) Unwrap() error { return e.cause }

// failure makes a Go error of a result, and frees the C error.
func failure(r C.og_result) error {
	if r.status == C.OTELCORE_OK {
		return nil
	}
	details := C.og_error_read(r.error)
	err := &Error{
		Code:       Code(r.status),
		Message:    C.GoString(details.message),
		Retryable:  bool(details.retryable),
		RetryAfter: time.Duration(details.retry_after_ms) * time.Millisecond,
	}
	C.og_error_free(r.error)
	return err
}
