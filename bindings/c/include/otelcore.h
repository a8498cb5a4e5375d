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
 * Callbacks run in the collector's own thread, or in a turn of the host's; those of processors in a thread of each
 * processor. From there everything may be called that does
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

/** Initialisers for the structs that snapshots are read into. */
#define OTELCORE_COMPONENT_STATUS_INIT {sizeof(otelcore_component_status), NULL, NULL, NULL, 0, NULL, 0, NULL, 0, 0, NULL, 0}
#define OTELCORE_QUEUE_STATUS_INIT {sizeof(otelcore_queue_status), NULL, NULL, 0, 0, 0, 0, 0, false}
#define OTELCORE_MEMORY_STATUS_INIT {sizeof(otelcore_memory_status), 0, 0, 0, 0}
#define OTELCORE_METRIC_SERIES_INIT {sizeof(otelcore_metric_series), NULL, NULL, NULL, 0, NULL, 0, 0, NULL, NULL, 0}


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
 * An item of a payload in otelcore_payload_edit(). It is valid in the call that got it, on the thread of that call.
 */
typedef struct otelcore_item otelcore_item;

/**
 * The output of an `inproc` exporter. Any thread may use it. It may outlive its collector; calls then return
 * OTELCORE_CLOSED.
 */
typedef struct otelcore_output otelcore_output;

/**
 * A payload that the host program processes: a request in a pipeline.
 */
typedef struct otelcore_payload otelcore_payload;

/**
 * The host program's side of the `inproc` processors of one id. Any thread may use it. It may outlive its collector;
 * calls then return OTELCORE_CLOSED.
 */
typedef struct otelcore_processor otelcore_processor;

/**
 * A collector at a moment. The caller frees it, and with it every text in its structs.
 */
typedef struct otelcore_snapshot otelcore_snapshot;

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
 * A part of a configuration: YAML or JSON, which is YAML too.
 */
typedef struct otelcore_config {
    /**
     * How messages call it.
     */
    const char *name;
    /**
     * Its text, `len` bytes.
     */
    const char *text;
    /**
     * The bytes of `text`.
     */
    size_t len;
} otelcore_config;

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
 * What an item is.
 */
typedef int32_t otelcore_item_kind;

/**
 * The type of a value.
 */
typedef int32_t otelcore_value_type;

/**
 * A value of an attribute, or a body. `data` of a value that was read stays until the item changes.
 */
typedef struct otelcore_value {
    /**
     * Which of the fields below has the value.
     */
    otelcore_value_type value_type;
    /**
     * OTELCORE_VALUE_BOOL and OTELCORE_VALUE_INT.
     */
    int64_t integer;
    /**
     * OTELCORE_VALUE_DOUBLE.
     */
    double number;
    /**
     * All others; NULL is fine if `len` is 0.
     */
    const uint8_t *data;
    /**
     * The bytes of `data`.
     */
    size_t len;
} otelcore_value;

/**
 * A form of the collector's own metrics.
 */
typedef int32_t otelcore_format;

/**
 * Processes a payload, which is valid until it returns. It returns OTELCORE_OK to have the payload passed on as it is
 * then, changed or not (one without any item is dropped); OTELCORE_UNAVAILABLE, OTELCORE_OVERLOADED or OTELCORE_TIMEOUT
 * to have it refused, so that its sender may send it again; anything else to have it refused permanently, and reported.
 * Calls of one processor never overlap. They are made in a thread of this processor, so that the collector does not wait
 * for them. A call that takes longer than `timeout` of the processor's configuration: the payload is refused, its sender
 * may send it again, and what the call returns later is ignored. It must not leave by an exception or longjmp.
 */
typedef otelcore_status (*otelcore_process_fn)(void *user, struct otelcore_payload *payload);

/**
 * What is done with an item.
 */
typedef int32_t otelcore_keep;

/**
 * Visits an item, and returns what is done with it: OTELCORE_KEEP, OTELCORE_SKIP or OTELCORE_DROP. It must not leave by an
 * exception or longjmp.
 */
typedef otelcore_keep (*otelcore_visit_fn)(void *user, struct otelcore_item *item);

/**
 * The status of a component.
 */
typedef int32_t otelcore_component_state;

/**
 * The status of a component. Begin with OTELCORE_COMPONENT_STATUS_INIT: what is added later is then not written.
 */
typedef struct otelcore_component_status {
    /**
     * sizeof(otelcore_component_status).
     */
    size_t struct_size;
    /**
     * "receiver", "processor", "exporter", "connector" or "extension".
     */
    const char *kind;
    /**
     * Its id.
     */
    const char *id;
    /**
     * The pipeline of a processor, the signals of a connector, and otherwise empty.
     */
    const char *instance;
    /**
     * Its status.
     */
    otelcore_component_state status;
    /**
     * The last error, while the status is an error; otherwise empty.
     */
    const char *message;
    /**
     * When the status changed last, in nanoseconds since 1970.
     */
    uint64_t changed_at_ns;
    /**
     * The last error that it reported; it stays when the component works again. NULL where there is none.
     */
    const char *last_error;
    /**
     * When it was reported last, in nanoseconds since 1970.
     */
    uint64_t last_error_at_ns;
    /**
     * How often in a row it was reported.
     */
    uint64_t last_error_count;
    /**
     * Where it listens, `address_count` texts; for a configured port 0 with the port that it got.
     */
    const char *const *addresses;
    /**
     * How many addresses there are.
     */
    size_t address_count;
} otelcore_component_status;

/**
 * The unit of a queue.
 */
typedef int32_t otelcore_queue_unit;

/**
 * A queue: of an exporter, or of an input or a processor of the program. Begin with OTELCORE_QUEUE_STATUS_INIT.
 */
typedef struct otelcore_queue_status {
    /**
     * sizeof(otelcore_queue_status).
     */
    size_t struct_size;
    /**
     * "exporter", "receiver" or "processor".
     */
    const char *kind;
    /**
     * The id of the component.
     */
    const char *id;
    /**
     * What it carries; -1 is every signal.
     */
    otelcore_signal signal;
    /**
     * The unit of `size` and `capacity`.
     */
    otelcore_queue_unit unit;
    /**
     * How much it holds, what is being sent included.
     */
    uint64_t size;
    /**
     * The bound of `size`.
     */
    uint64_t capacity;
    /**
     * For how many milliseconds it has held its oldest payload. -1: it holds none, or it is the queue of an input or a processor of
     * the program.
     */
    int64_t oldest_age_ms;
    /**
     * It is on disk.
     */
    bool is_on_disk;
} otelcore_queue_status;

/**
 * Memory, in bytes. Begin with OTELCORE_MEMORY_STATUS_INIT.
 */
typedef struct otelcore_memory_status {
    /**
     * sizeof(otelcore_memory_status).
     */
    size_t struct_size;
    /**
     * Telemetry that the collector holds, counted exactly.
     */
    uint64_t held_bytes;
    /**
     * State that components keep, such as series.
     */
    uint64_t kept_bytes;
    /**
     * The limit of a `memory_limiter`; 0 where there is none.
     */
    uint64_t limit_bytes;
    /**
     * Resident memory of the whole process.
     */
    uint64_t resident_bytes;
} otelcore_memory_status;

/**
 * The kind of a metric.
 */
typedef int32_t otelcore_metric_kind;

/**
 * A label of a series.
 */
typedef struct otelcore_label {
    /**
     * Its name.
     */
    const char *name;
    /**
     * Its value.
     */
    const char *value;
} otelcore_label;

/**
 * A series of a metric of the collector's own. Begin with OTELCORE_METRIC_SERIES_INIT.
 */
typedef struct otelcore_metric_series {
    /**
     * sizeof(otelcore_metric_series).
     */
    size_t struct_size;
    /**
     * The metric's name.
     */
    const char *name;
    /**
     * Its description.
     */
    const char *help;
    /**
     * Its unit in UCUM; may be empty.
     */
    const char *unit;
    /**
     * Its kind.
     */
    otelcore_metric_kind kind;
    /**
     * `label_count` labels, sorted by name.
     */
    const struct otelcore_label *labels;
    /**
     * How many labels there are.
     */
    size_t label_count;
    /**
     * The value of a counter or gauge; the sum of a histogram's observations.
     */
    double value;
    /**
     * A histogram's upper bounds, ascending, without infinity: `bound_count` of them.
     */
    const double *bounds;
    /**
     * A histogram's counts by bucket, not cumulative: one more than there are bounds.
     */
    const uint64_t *counts;
    /**
     * How many bounds there are.
     */
    size_t bound_count;
} otelcore_metric_series;

/**
 * Gets a component when its status has changed. The struct and its texts are valid until it returns.
 */
typedef void (*otelcore_status_fn)(void *user, const struct otelcore_component_status *status);

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

/**
 * A resource, also one that is absent.
 */
#define OTELCORE_ITEM_RESOURCE 0

/**
 * An instrumentation scope, also one that is absent.
 */
#define OTELCORE_ITEM_SCOPE 1

/**
 * A span.
 */
#define OTELCORE_ITEM_SPAN 2

/**
 * An event of a span.
 */
#define OTELCORE_ITEM_EVENT 3

/**
 * A link of a span.
 */
#define OTELCORE_ITEM_LINK 4

/**
 * A metric.
 */
#define OTELCORE_ITEM_METRIC 5

/**
 * A data point.
 */
#define OTELCORE_ITEM_POINT 6

/**
 * A log record.
 */
#define OTELCORE_ITEM_LOG 7

/**
 * It stays, and what it contains is visited.
 */
#define OTELCORE_KEEP 0

/**
 * It stays, and what it contains stays as it is.
 */
#define OTELCORE_SKIP 1

/**
 * It is dropped, with what it contains.
 */
#define OTELCORE_DROP 2

/**
 * No value.
 */
#define OTELCORE_VALUE_EMPTY 0

/**
 * A text: `data`, `len` bytes of UTF-8.
 */
#define OTELCORE_VALUE_STRING 1

/**
 * `integer` is 0 or 1.
 */
#define OTELCORE_VALUE_BOOL 2

/**
 * `integer`.
 */
#define OTELCORE_VALUE_INT 3

/**
 * `number`.
 */
#define OTELCORE_VALUE_DOUBLE 4

/**
 * `data`, `len` bytes.
 */
#define OTELCORE_VALUE_BYTES 5

/**
 * A list: `data` is an `ArrayValue` in protobuf.
 */
#define OTELCORE_VALUE_ARRAY 6

/**
 * A map: `data` is a `KeyValueList` in protobuf.
 */
#define OTELCORE_VALUE_MAP 7

/**
 * Not started yet.
 */
#define OTELCORE_COMPONENT_NONE 0

/**
 * It is being started.
 */
#define OTELCORE_COMPONENT_STARTING 1

/**
 * It runs without errors.
 */
#define OTELCORE_COMPONENT_OK 2

/**
 * It has failed, and may succeed without a change.
 */
#define OTELCORE_COMPONENT_RECOVERABLE_ERROR 3

/**
 * It has failed, and a person has to change something.
 */
#define OTELCORE_COMPONENT_PERMANENT_ERROR 4

/**
 * A shutdown has begun.
 */
#define OTELCORE_COMPONENT_STOPPING 6

/**
 * It has ended.
 */
#define OTELCORE_COMPONENT_STOPPED 7

/**
 * Requests.
 */
#define OTELCORE_UNIT_REQUESTS 0

/**
 * Spans, data points, log records.
 */
#define OTELCORE_UNIT_ITEMS 1

/**
 * Bytes.
 */
#define OTELCORE_UNIT_BYTES 2

/**
 * It only grows.
 */
#define OTELCORE_METRIC_COUNTER 0

/**
 * It goes up and down.
 */
#define OTELCORE_METRIC_GAUGE 1

/**
 * Counts by bounds.
 */
#define OTELCORE_METRIC_HISTOGRAM 2

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
 * The same for `count` documents, which are merged in their order: maps key by key, everything else by the last value. So data of
 * the program as JSON changes a configuration in YAML. Messages have the name of the document that a mistake is in, and its path
 * in it; `config_name` of the options is not used.
 */
otelcore_status otelcore_collector_new_merged(const struct otelcore_config *configs,
                                              size_t count,
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
 * Changes a collector that runs to another configuration, `yaml_len` bytes of YAML. Components whose configuration is the same go
 * on with their state, and inputs and outputs of theirs stay valid; those that end have `grace_ms` for what they hold, while the new
 * ones run. Where it fails the collector goes on as before: OTELCORE_INVALID_CONFIG has all mistakes, OTELCORE_IO says what can't
 * start, and OTELCORE_INVALID_STATE that only a new collector can have this configuration, or that this one does not run. A callback
 * of a new output or processor is set after a call that has failed for the lack of it. On the thread that drives the collector it
 * turns it meanwhile.
 */
otelcore_status otelcore_collector_reload(struct otelcore_collector *collector,
                                          const char *yaml,
                                          size_t yaml_len,
                                          int64_t grace_ms,
                                          struct otelcore_error **err);

/**
 * The same for `count` documents, as otelcore_collector_new_merged() takes them.
 */
otelcore_status otelcore_collector_reload_merged(struct otelcore_collector *collector,
                                                 const struct otelcore_config *configs,
                                                 size_t count,
                                                 int64_t grace_ms,
                                                 struct otelcore_error **err);

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
 * With `wait_for_result: true` in the configuration of the input it waits for the outcome: where the pipelines lead to a
 * queue on disk, accepted data is on disk. OTELCORE_TIMEOUT: there is none in time, and the data may be delivered or not.
 */
otelcore_status otelcore_input_submit(const struct otelcore_input *input,
                                      otelcore_signal signal,
                                      const uint8_t *otlp,
                                      size_t len,
                                      struct otelcore_error **err);

/**
 * The same for `len` bytes of `json`, a request in OTLP/JSON: it is converted in this call.
 */
otelcore_status otelcore_input_submit_json(const struct otelcore_input *input,
                                           otelcore_signal signal,
                                           const char *json,
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
 * The next batch, waiting for it until `timeout_ms` have passed: 0 does not wait, negative has no limit.
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
 * What an item is; -1 for an invalid handle.
 */
otelcore_item_kind otelcore_item_get_kind(const struct otelcore_item *item);

/**
 * The name of a scope, span, event or metric, or the event name of a log record, and how many bytes it has; it does not
 * end with a NUL. It stays until the item changes. NULL for other kinds, and for an invalid handle.
 */
const char *otelcore_item_get_name(const struct otelcore_item *item,
                                   size_t *len);

/**
 * Sets the name. OTELCORE_NOT_FOUND: this kind of item has none.
 */
otelcore_status otelcore_item_set_name(struct otelcore_item *item,
                                       const char *name,
                                       struct otelcore_error **err);

/**
 * The value of an attribute. OTELCORE_NOT_FOUND: there is none of this key.
 */
otelcore_status otelcore_item_get_attribute(const struct otelcore_item *item,
                                            const char *key,
                                            struct otelcore_value *out,
                                            struct otelcore_error **err);

/**
 * The value of an attribute of the resource that the item belongs to. OTELCORE_NOT_FOUND: there is none of this key.
 */
otelcore_status otelcore_item_get_resource_attribute(const struct otelcore_item *item,
                                                     const char *key,
                                                     struct otelcore_value *out,
                                                     struct otelcore_error **err);

/**
 * Sets an attribute, whether or not the item has it. OTELCORE_NOT_FOUND: a metric has no attributes; its points have.
 * OTELCORE_INVALID_DATA: `data` of a list or map is not valid.
 */
otelcore_status otelcore_item_set_attribute(struct otelcore_item *item,
                                            const char *key,
                                            const struct otelcore_value *value,
                                            struct otelcore_error **err);

/**
 * Removes an attribute; it is no error if the item does not have it.
 */
otelcore_status otelcore_item_remove_attribute(struct otelcore_item *item,
                                               const char *key,
                                               struct otelcore_error **err);

/**
 * The body of a log record. OTELCORE_NOT_FOUND for other items.
 */
otelcore_status otelcore_item_get_body(const struct otelcore_item *item,
                                       struct otelcore_value *out,
                                       struct otelcore_error **err);

/**
 * Sets the body of a log record. OTELCORE_NOT_FOUND for other items.
 */
otelcore_status otelcore_item_set_body(struct otelcore_item *item,
                                       const struct otelcore_value *value,
                                       struct otelcore_error **err);

/**
 * The collector's health as JSON: `{"state":"running","held_bytes":0}`, with an `"error"` where it has failed.
 */
otelcore_status otelcore_collector_health(const struct otelcore_collector *collector,
                                          struct otelcore_buffer **out,
                                          struct otelcore_error **err);

/**
 * The status of each component as a JSON array, from the start on; later versions may add keys. For example
 * `[{"kind":"exporter","id":"otlp_grpc","instance":"","status":"recoverable_error","message":"no such host",
 * "changed_at":"2025-11-29T20:00:00Z","last_error":{"message":"no such host","at":"2025-11-29T20:00:05Z","count":6},
 * "addresses":[]}]`. The last error, or null, stays when the component works again. A receiver's addresses are where it listens:
 * `"addresses":["127.0.0.1:4317"]`, for a configured port 0 with the port that it got. The status is `none`,
 * `starting`, `ok`, `recoverable_error`, `permanent_error`, `stopping` or `stopped`.
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

/**
 * The processor of this id, "inproc/enrich" for one. The processor is the caller's to free. A collector with a processor
 * that the program has not asked for does not start.
 */
otelcore_status otelcore_collector_processor(const struct otelcore_collector *collector,
                                             const char *id,
                                             struct otelcore_processor **out,
                                             struct otelcore_error **err);

/**
 * Has `call` called for each payload, instead of otelcore_processor_next(). Before the start, and once for each
 * processor. `free_user`, which may be NULL, is called with `user` after the last call, in the thread of the processor.
 * Where this function fails, `user` stays the caller's. From inside the callback everything may be called that does not
 * wait; calls that wait return OTELCORE_REENTRANT.
 */
otelcore_status otelcore_processor_set_callback(struct otelcore_processor *processor,
                                                otelcore_process_fn call,
                                                void *user,
                                                otelcore_free_fn free_user,
                                                struct otelcore_error **err);

/**
 * The next payload, waiting for it until `timeout_ms` have passed: 0 does not wait, negative has no limit.
 * Finish it with otelcore_payload_finish(), within `timeout` of the processor's configuration. OTELCORE_CLOSED says that
 * there will never be one again.
 */
otelcore_status otelcore_processor_next(const struct otelcore_processor *processor,
                                        int64_t timeout_ms,
                                        struct otelcore_payload **out,
                                        struct otelcore_error **err);

/**
 * Makes all calls that wait in otelcore_processor_next() return OTELCORE_CANCELLED; if there are none, the next call
 * that would wait.
 */
otelcore_status otelcore_processor_wake(const struct otelcore_processor *processor,
                                        struct otelcore_error **err);

/**
 * Frees a processor. NULL is fine. Its payloads and its callback stay.
 */
void otelcore_processor_free(struct otelcore_processor *processor);

/**
 * The signal of a payload; -1 for an invalid handle.
 */
otelcore_signal otelcore_payload_signal(const struct otelcore_payload *payload);

/**
 * The bytes of a payload, an `Export*ServiceRequest` in protobuf, and how many they are. They stay until it is replaced,
 * edited or finished. NULL where it is no payload, or is being edited.
 */
const uint8_t *otelcore_payload_data(const struct otelcore_payload *payload,
                                     size_t *len);

/**
 * Replaces a payload by a copy of `len` bytes of `otlp`, a request of the same signal. OTELCORE_INVALID_DATA: they are
 * none; the payload is then as it was.
 */
otelcore_status otelcore_payload_replace(struct otelcore_payload *payload,
                                         const uint8_t *otlp,
                                         size_t len,
                                         struct otelcore_error **err);

/**
 * Calls `visit` for each resource, scope, span, event, link, metric, data point and log record of a payload, from the
 * outside to the inside. In it an item can be read and changed, and its return value says whether the item stays.
 * Bytes of the payload that were read before are invalid afterwards. OTELCORE_INVALID_DATA: the result would be larger
 * than four times the payload and 1 MiB; the payload is then as it was.
 */
otelcore_status otelcore_payload_edit(struct otelcore_payload *payload,
                                      otelcore_visit_fn visit,
                                      void *user,
                                      struct otelcore_error **err);

/**
 * Reports what is to be done with a payload, and frees it. The status is as a callback's. Not inside a callback for its
 * own payload: there the return value decides.
 */
otelcore_status otelcore_payload_finish(struct otelcore_payload *payload,
                                        otelcore_status status,
                                        struct otelcore_error **err);

/**
 * Refuses a payload, so that its sender may send it again, not before this pause is over, and frees it.
 */
otelcore_status otelcore_payload_retry_after(struct otelcore_payload *payload,
                                             uint64_t after_ms,
                                             struct otelcore_error **err);

/**
 * Takes a snapshot of a collector, in any of its states. The snapshot is the caller's to free.
 */
otelcore_status otelcore_collector_snapshot(const struct otelcore_collector *collector,
                                            struct otelcore_snapshot **out,
                                            struct otelcore_error **err);

/**
 * The state of the collector; OTELCORE_STATE_NONE for an invalid handle.
 */
otelcore_state otelcore_snapshot_state(const struct otelcore_snapshot *snapshot);

/**
 * The component at this place, from 0 on. OTELCORE_NOT_FOUND: there are no more. Its texts stay until the snapshot is freed.
 */
otelcore_status otelcore_snapshot_get_component(const struct otelcore_snapshot *snapshot,
                                                size_t index,
                                                struct otelcore_component_status *out,
                                                struct otelcore_error **err);

/**
 * The queue at this place, from 0 on. OTELCORE_NOT_FOUND: there are no more. Its texts stay until the snapshot is freed.
 */
otelcore_status otelcore_snapshot_get_queue(const struct otelcore_snapshot *snapshot,
                                            size_t index,
                                            struct otelcore_queue_status *out,
                                            struct otelcore_error **err);

/**
 * The memory.
 */
otelcore_status otelcore_snapshot_get_memory(const struct otelcore_snapshot *snapshot,
                                             struct otelcore_memory_status *out,
                                             struct otelcore_error **err);

/**
 * The series of an own metric at this place, from 0 on; those of one metric follow each other. OTELCORE_NOT_FOUND: there are no
 * more. Its texts and numbers stay until the snapshot is freed.
 */
otelcore_status otelcore_snapshot_get_series(const struct otelcore_snapshot *snapshot,
                                             size_t index,
                                             struct otelcore_metric_series *out,
                                             struct otelcore_error **err);

/**
 * The whole snapshot as a JSON object: `state`, `error` (why it has failed, or null), `memory`, `components` as in
 * otelcore_collector_component_statuses(), `queues` and `metrics`; later versions may add keys.
 */
otelcore_status otelcore_snapshot_json(const struct otelcore_snapshot *snapshot,
                                       struct otelcore_buffer **out,
                                       struct otelcore_error **err);

/**
 * Frees a snapshot. NULL is fine.
 */
void otelcore_snapshot_free(struct otelcore_snapshot *snapshot);

/**
 * Has `call` called with each component whose status has changed, in the collector's thread, or in a turn of the host's. Once for
 * each collector, and best before the start. It must neither wait for the collector nor leave by an exception or longjmp.
 * `free_user`, which may be NULL, is called with `user` after the last call. Where this function fails, `user` stays the caller's.
 */
otelcore_status otelcore_collector_set_status_callback(struct otelcore_collector *collector,
                                                       otelcore_status_fn call,
                                                       void *user,
                                                       otelcore_free_fn free_user,
                                                       struct otelcore_error **err);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* OTELCORE_H */
