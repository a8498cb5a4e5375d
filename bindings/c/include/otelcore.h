/* libotelcore: an OpenTelemetry Collector as a library. SPDX-License-Identifier: Apache-2.0
 *
 * Generated from the Rust sources by cbindgen; do not edit.
 *
 * Errors. A function that can fail returns a status, 0 for success. Its last argument may be NULL; otherwise, where it
 * fails, it gets an error that otelcore_error_free() frees. Other out-parameters are written only on success.
 *
 * Ownership. What a function puts into an out-parameter is the caller's, and has a function that frees it. Freeing NULL
 * is fine. What a `const` pointer to bytes or text points at is borrowed: until the call returns for an argument, until
 * the function returns for a callback, until the object is freed for a result.
 *
 * Handles. The pointers to these types point at nothing. NULL, a handle that was freed, one of another kind, and a
 * pointer to something else are recognised, and the call returns a status. They never crash.
 *
 * Threads. Every function may be called from any thread at any time, except those that drive a collector: they belong
 * to the thread that called otelcore_collector_drive_start(). The texts and bytes of an object must not be read while
 * another thread frees it.
 *
 * Callbacks run in the collector's own thread, or in a turn of the host's. From there everything may be called that does
 * not wait: submit, state, wake, begin_flush, begin_shutdown. Calls that wait return OTELCORE_REENTRANT. Callbacks must not leave
 * by an exception or longjmp.
 *
 * Fork. A forked child does not have its parent's collectors: their sockets are closed in it, by a handler that the
 * library gives to pthread_atfork() with the first collector, and no connection or port of the parent's is disturbed. A
 * function that gets a handle of the parent returns OTELCORE_FORKED and has no effect. The child makes, uses and
 * frees collectors of its own as any process does; one that listens on the parent's ports has to wait until the parent is
 * done with them. A child that was made inside a callback must not return from it: its thread ends there.
 *
 * Ports. Only those that the configuration names are opened: own metrics are in otelcore_collector_metrics(), and on a
 * port where it has a `pull` reader.
 *
 * Host. The library installs no signal handlers and takes no signals; a write to a closed socket raises no SIGPIPE. It
 * starts threads in otelcore_collector_start() only (and helpers when there is something for them to do), and prints
 * nothing but what the configuration asks for (`debug`, `output_paths` of its log). A signal that ends the process loses
 * what a collector holds: handle it, and shut the collector down.
 */


#ifndef OTELCORE_H
#define OTELCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The version of this header. */
#define OTELCORE_VERSION "0.1.0"

/** An initialiser for otelcore_options: no log, and every default. */
#define OTELCORE_OPTIONS_INIT {sizeof(otelcore_options), NULL, OTELCORE_LOG_INFO, NULL, NULL, NULL}


/**
 * The ABI of this header. A library that says another number must not be used with it; the name for the loader
 * (`libotelcore.so.0`) sees to that.
 */
#define OTELCORE_ABI_VERSION 0

/**
 * A batch of telemetry from an output. otelcore_batch_finish() ends it.
 */
typedef struct otelcore_batch otelcore_batch;

/**
 * Bytes that the library owns until the caller frees the buffer.
 */
typedef struct otelcore_buffer otelcore_buffer;

/**
 * A collector. Any thread may use it; otelcore_collector_free() is the last call.
 */
typedef struct otelcore_collector otelcore_collector;

/**
 * Why a call failed. The caller frees it.
 */
typedef struct otelcore_error otelcore_error;

/**
 * The input of an `inproc` receiver. Any thread may use it. It may outlive its collector; calls then return
 * OTELCORE_CLOSED.
 */
typedef struct otelcore_input otelcore_input;

/**
 * The output of an `inproc` exporter. Any thread may use it. It may outlive its collector; calls then return
 * OTELCORE_CLOSED.
 */
typedef struct otelcore_output otelcore_output;

/**
 * The result of a call. Values are added, never changed.
 */
typedef int32_t otelcore_status;

/**
 * How urgent a record of the collector's own log is.
 */
typedef int32_t otelcore_log_level;

/**
 * Takes a record of the log. The texts are valid until it returns: the component ("exporter inproc/out"; empty for
 * the collector itself), the message, and its fields as a JSON object. Any thread may call it, and calls may
 * overlap.
 */
typedef void (*otelcore_log_fn)(void *user,
                                otelcore_log_level level,
                                const char *component,
                                const char *message,
                                const char *fields_json);

/**
 * Frees a callback's `user`: called once, after the last call of that callback.
 */
typedef void (*otelcore_free_fn)(void *user);

/**
 * What a host decides about a collector. Begin with OTELCORE_OPTIONS_INIT: what is added later is then there.
 */
typedef struct otelcore_options {
    /**
     * sizeof(otelcore_options).
     */
    size_t struct_size;
    /**
     * How messages call the configuration; NULL is "config.yaml".
     */
    const char *config_name;
    /**
     * The least urgent records that `log` gets.
     */
    otelcore_log_level log_level;
    /**
     * Gets the collector's own log; NULL for none. Called from otelcore_collector_new() on.
     */
    otelcore_log_fn log;
    /**
     * Handed to `log`.
     */
    void *log_user;
    /**
     * Frees `log_user` after the last record. NULL for nothing. Not called where otelcore_collector_new() fails.
     */
    otelcore_free_fn log_free;
} otelcore_options;

/**
 * The state of a collector.
 */
typedef int32_t otelcore_state;

/**
 * A kind of telemetry.
 */
typedef int32_t otelcore_signal;

/**
 * Takes a batch from an output: an `Export*ServiceRequest` in protobuf, valid until it returns. It returns
 * OTELCORE_OK when the batch is delivered; OTELCORE_UNAVAILABLE, OTELCORE_OVERLOADED or OTELCORE_TIMEOUT to get it
 * again after a pause; anything else to have it dropped, and reported. Calls of one output never overlap. It must
 * neither wait for the collector nor leave by an exception or longjmp.
 */
typedef otelcore_status (*otelcore_export_fn)(void *user,
                                              otelcore_signal signal,
                                              const uint8_t *otlp,
                                              size_t len);

/**
 * A form of the collector's own metrics.
 */
typedef int32_t otelcore_format;

/**
 * Success.
 */
#define OTELCORE_OK 0

/**
 * An argument is NULL, foreign, or out of its range.
 */
#define OTELCORE_INVALID_ARGUMENT 1

/**
 * The configuration has mistakes; the message has all of them, with their places.
 */
#define OTELCORE_INVALID_CONFIG 2

/**
 * The bytes are no request of this signal. The same bytes never will be.
 */
#define OTELCORE_INVALID_DATA 3

/**
 * The configuration names nothing of this id, or no pipeline for this signal.
 */
#define OTELCORE_NOT_FOUND 4

/**
 * Not in this state of the collector, or not on this thread.
 */
#define OTELCORE_INVALID_STATE 5

/**
 * The collector holds too much data. The same call may succeed later.
 */
#define OTELCORE_OVERLOADED 6

/**
 * The time is up. For a shutdown: the message says what was not delivered.
 */
#define OTELCORE_TIMEOUT 7

/**
 * The collector has stopped, or the handle was freed.
 */
#define OTELCORE_CLOSED 8

/**
 * The system refused something: a port that is in use, for one.
 */
#define OTELCORE_IO 9

/**
 * Not now. A callback returns this to get its batch again.
 */
#define OTELCORE_UNAVAILABLE 10

/**
 * Not from inside a callback: it would wait for itself.
 */
#define OTELCORE_REENTRANT 11

/**
 * The argument belongs to the parent process, and this one is a forked child of it. The call had no effect.
 */
#define OTELCORE_FORKED 12

/**
 * An error in the library. The collector's state is not known; free it.
 */
#define OTELCORE_PANIC 13

/**
 * otelcore_output_wake() ended the wait.
 */
#define OTELCORE_CANCELLED 14

/**
 * Spans: an `ExportTraceServiceRequest`.
 */
#define OTELCORE_TRACES 0

/**
 * Metrics: an `ExportMetricsServiceRequest`.
 */
#define OTELCORE_METRICS 1

/**
 * Log records: an `ExportLogsServiceRequest`.
 */
#define OTELCORE_LOGS 2

/**
 * No collector, or the parent's in a forked child.
 */
#define OTELCORE_STATE_NONE -1

/**
 * The configuration is checked, and nothing is open.
 */
#define OTELCORE_STATE_CREATED 0

/**
 * Opening what the configuration names.
 */
#define OTELCORE_STATE_STARTING 1

/**
 * Listening, and taking what is submitted.
 */
#define OTELCORE_STATE_RUNNING 2

/**
 * Draining.
 */
#define OTELCORE_STATE_STOPPING 3

/**
 * Ended by a shutdown.
 */
#define OTELCORE_STATE_STOPPED 4

/**
 * Ended by a failed start or an error of the library.
 */
#define OTELCORE_STATE_FAILED 5

/**
 * For developers.
 */
#define OTELCORE_LOG_DEBUG 0

/**
 * Normal operation.
 */
#define OTELCORE_LOG_INFO 1

/**
 * Something that a person should look at.
 */
#define OTELCORE_LOG_WARN 2

/**
 * Something failed.
 */
#define OTELCORE_LOG_ERROR 3

/**
 * A page in Prometheus' text format.
 */
#define OTELCORE_FORMAT_PROMETHEUS 0

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library that is loaded: "0.1.0".
 */
const char *otelcore_version(void);

/**
 * The ABI of the library that is loaded, to be compared with OTELCORE_ABI_VERSION.
 */
uint32_t otelcore_abi_version(void);

/**
 * Reads and checks a configuration, `yaml_len` bytes of YAML as the Go collector takes it, and opens nothing.
 * `options` may be NULL. The collector is the caller's to free.
 */
otelcore_status otelcore_collector_new(const char *yaml,
                                       size_t yaml_len,
                                       const struct otelcore_options *options,
                                       struct otelcore_collector **out,
                                       struct otelcore_error **err);

/**
 * Starts the collector on a thread of its own, and returns when everything listens.
 */
otelcore_status otelcore_collector_start(struct otelcore_collector *collector, struct otelcore_error **err);

/**
 * Starts the collector in the caller's own loop: nothing happens but in otelcore_collector_drive_turn(). Wait until
 * otelcore_collector_drive_fd() is readable or otelcore_collector_drive_deadline_ms() have passed, then turn. All of
 * that on this thread.
 */
otelcore_status otelcore_collector_drive_start(struct otelcore_collector *collector,
                                               struct otelcore_error **err);

/**
 * The descriptor that becomes readable when a turn has something to do, for poll, epoll and the like. Do not read,
 * write or close it: it is the collector's, and stays open until the collector is freed. -1 where nothing drives it.
 */
int otelcore_collector_drive_fd(const struct otelcore_collector *collector);

/**
 * After how many milliseconds a turn is due even if the descriptor is not readable: 0 is now, -1 never. Changes with
 * each turn.
 */
int64_t otelcore_collector_drive_deadline_ms(const struct otelcore_collector *collector);

/**
 * Does what there is to do, without waiting. `running`, which may be NULL, becomes false when the collector has
 * ended.
 */
otelcore_status otelcore_collector_drive_turn(struct otelcore_collector *collector,
                                              bool *running,
                                              struct otelcore_error **err);

/**
 * Waits until all that was accepted before this call is delivered, or reported as lost. On the thread that drives the
 * collector it turns it meanwhile. A negative timeout means no limit.
 */
otelcore_status otelcore_collector_flush(struct otelcore_collector *collector,
                                         int64_t timeout_ms,
                                         struct otelcore_error **err);

/**
 * Begins a flush without waiting for it; `mark` is for otelcore_collector_is_flushed(). Callbacks may do this.
 */
otelcore_status otelcore_collector_begin_flush(struct otelcore_collector *collector,
                                               uint64_t *mark,
                                               struct otelcore_error **err);

/**
 * Whether all that was accepted before the flush of this mark is delivered, or reported as lost. What comes out of one
 * batch may be held back in the next: where there are several, begin again until it is.
 */
bool otelcore_collector_is_flushed(const struct otelcore_collector *collector,
                                   uint64_t mark);

/**
 * Takes nothing new, delivers what it holds, and ends within `timeout_ms`; negative is however long it takes. Returns
 * when it has ended. OTELCORE_TIMEOUT says that something was not delivered; the message says what, and the collector
 * has ended all the same. One that has never been started, or has ended before, is no error. On the thread that drives
 * the collector it turns it meanwhile.
 */
otelcore_status otelcore_collector_shutdown(struct otelcore_collector *collector,
                                            int64_t timeout_ms,
                                            struct otelcore_error **err);

/**
 * Begins a shutdown without waiting for it: turn until the end, or poll otelcore_collector_state(). A call of
 * otelcore_collector_shutdown() afterwards reports what was not delivered. Callbacks may do this.
 */
otelcore_status otelcore_collector_begin_shutdown(struct otelcore_collector *collector,
                                                  int64_t timeout_ms,
                                                  struct otelcore_error **err);

/**
 * The state of the collector.
 */
otelcore_state otelcore_collector_state(const struct otelcore_collector *collector);

/**
 * Frees a collector; one that still runs is ended at once, and what it holds is lost. NULL is fine. Callbacks may be
 * called until this returns. Its inputs, outputs and batches stay valid, and return OTELCORE_CLOSED. In a
 * callback the collector ends by itself, and its memory is freed in a later call of this or otelcore_collector_new().
 * One that is driven is freed on the thread that drives it: from another, what its loop holds stays.
 */
void otelcore_collector_free(struct otelcore_collector *collector);

/**
 * The input of the `inproc` receiver of this id, "inproc/app" for one. The input is the caller's to free.
 */
otelcore_status otelcore_collector_input(const struct otelcore_collector *collector,
                                         const char *id,
                                         struct otelcore_input **out,
                                         struct otelcore_error **err);

/**
 * Copies `len` bytes of `otlp`, an `Export*ServiceRequest` in protobuf. Never waits. Accepted data is in the
 * collector's custody: delivered, or reported as lost. OTELCORE_OVERLOADED: the same bytes may be accepted later.
 */
otelcore_status otelcore_input_submit(const struct otelcore_input *input,
                                      otelcore_signal signal,
                                      const uint8_t *otlp,
                                      size_t len,
                                      struct otelcore_error **err);

/**
 * Whether a pipeline takes this signal from the input; may be called before the start. OTELCORE_NOT_FOUND where none
 * does; the message names the signals that are taken.
 */
otelcore_status otelcore_input_accepts(const struct otelcore_input *input,
                                       otelcore_signal signal,
                                       struct otelcore_error **err);

/**
 * Frees an input. NULL is fine.
 */
void otelcore_input_free(struct otelcore_input *input);

/**
 * The output of the `inproc` exporter of this id, "inproc/app" for one. The output is the caller's to free.
 */
otelcore_status otelcore_collector_output(const struct otelcore_collector *collector,
                                          const char *id,
                                          struct otelcore_output **out,
                                          struct otelcore_error **err);

/**
 * Passes every batch to `call` in the thread of the collector's loop, instead of otelcore_output_next(). Before the
 * start, and once for each output. `free_user`, which may be NULL, is called with `user` after the last call: in
 * otelcore_collector_shutdown() or otelcore_collector_free(). Where this function fails, `user` stays the caller's.
 */
otelcore_status otelcore_output_set_callback(struct otelcore_output *output,
                                             otelcore_export_fn call,
                                             void *user,
                                             otelcore_free_fn free_user,
                                             struct otelcore_error **err);

/**
 * The next batch, waiting for it until `timeout_ms` have passed: 0 does not wait, negative is however long it takes.
 * Finish it with otelcore_batch_finish(). OTELCORE_CLOSED says that there will never be one again.
 */
otelcore_status otelcore_output_next(const struct otelcore_output *output,
                                     int64_t timeout_ms,
                                     struct otelcore_batch **out,
                                     struct otelcore_error **err);

/**
 * Makes all calls that wait in otelcore_output_next() return OTELCORE_CANCELLED; if there are none, the next call that
 * would wait.
 */
otelcore_status otelcore_output_wake(const struct otelcore_output *output,
                                     struct otelcore_error **err);

/**
 * Frees an output. NULL is fine. Its batches and its callback stay.
 */
void otelcore_output_free(struct otelcore_output *output);

/**
 * The signal of a batch; -1 for an invalid handle.
 */
otelcore_signal otelcore_batch_signal(const struct otelcore_batch *batch);

/**
 * The bytes of a batch, an `Export*ServiceRequest` in protobuf, and how many they are. They stay until it is finished.
 * NULL where it is no batch.
 */
const uint8_t *otelcore_batch_data(const struct otelcore_batch *batch,
                                   size_t *len);

/**
 * Reports the result of a batch, and frees it. The status is as a callback's: OTELCORE_OK when it is delivered;
 * OTELCORE_UNAVAILABLE, OTELCORE_OVERLOADED or OTELCORE_TIMEOUT to have it given again after a pause; anything else to
 * have it dropped, and reported.
 */
otelcore_status otelcore_batch_finish(struct otelcore_batch *batch,
                                      otelcore_status status,
                                      struct otelcore_error **err);

/**
 * Asks for another delivery of a batch, not before this pause is over, and frees it.
 */
otelcore_status otelcore_batch_retry_after(struct otelcore_batch *batch,
                                           uint64_t after_ms,
                                           struct otelcore_error **err);

/**
 * The code of an error; OTELCORE_INVALID_ARGUMENT for an invalid handle.
 */
otelcore_status otelcore_error_code(const struct otelcore_error *error);

/**
 * What went wrong, for people: UTF-8, with all mistakes and their places where a configuration has some. The text
 * stays until the error is freed. Never NULL.
 */
const char *otelcore_error_message(const struct otelcore_error *error);

/**
 * Whether the same call may succeed later.
 */
bool otelcore_error_is_retryable(const struct otelcore_error *error);

/**
 * After how many milliseconds a retry is useful; 0 where that is not known.
 */
uint64_t otelcore_error_retry_after_ms(const struct otelcore_error *error);

/**
 * Frees an error. NULL is fine.
 */
void otelcore_error_free(struct otelcore_error *error);

/**
 * The collector's health as JSON: `{"state":"running","held_bytes":0}`, with an `"error"` where it has failed.
 */
otelcore_status otelcore_collector_health(const struct otelcore_collector *collector,
                                          struct otelcore_buffer **out,
                                          struct otelcore_error **err);

/**
 * The status of each component as a JSON array, from the start on; later versions may add keys. For example
 * `[{"kind":"exporter","id":"otlp_grpc","instance":"","status":"recoverable_error","message":"no such host",
 * "changed_at":"2025-11-29T20:00:00Z"}]`. The status is `none`, `starting`, `ok`, `recoverable_error`,
 * `permanent_error`, `stopping` or `stopped`.
 */
otelcore_status otelcore_collector_component_statuses(const struct otelcore_collector *collector,
                                                      struct otelcore_buffer **out,
                                                      struct otelcore_error **err);

/**
 * The collector's own metrics up to the configured level, as OTELCORE_FORMAT_PROMETHEUS, whether a port serves them or
 * not.
 */
otelcore_status otelcore_collector_metrics(const struct otelcore_collector *collector,
                                           otelcore_format format,
                                           struct otelcore_buffer **out,
                                           struct otelcore_error **err);

/**
 * The bytes of a buffer, and how many they are; a NUL that is not counted follows them. They stay until it is freed.
 * NULL where it is no buffer.
 */
const uint8_t *otelcore_buffer_data(const struct otelcore_buffer *buffer,
                                    size_t *len);

/**
 * Frees a buffer. NULL is fine.
 */
void otelcore_buffer_free(struct otelcore_buffer *buffer);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* OTELCORE_H */
