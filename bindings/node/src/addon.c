/* The native half of the Node.js package: libotelcore by Node-API, and the collector in libuv's loop.
 *
 * Owns handles of libotelcore in externals, whose finalizers free them, and the poll and timer handles of each collector that
 * runs. A collector makes its turns when its descriptor is readable or its deadline has passed, on the thread of its
 * environment; JavaScript hears of a turn only while it asks for it. Calls nothing of JavaScript from inside a turn: records
 * of the log, which any thread may write, pass a bounded queue. Waits, promises and classes are in lib/index.js. */
#define NAPI_VERSION 8
#include <node_api.h>
#include <otelcore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* Records of the log that wait for JavaScript; what comes faster is counted. */
enum { MAX_LOG_RECORDS = 1024 };

typedef struct {
    napi_ref error_class;
} instance;

/* A pipe of the log: freed by the library after the last record. */
typedef struct {
    napi_threadsafe_function call;
    uint64_t dropped;
} log_pipe;

typedef struct {
    otelcore_log_level level;
    uint64_t dropped; /* before this record */
    char *component, *message, *fields;
} log_record;

typedef struct {
    napi_env env;
    otelcore_collector *collector;
    uv_poll_t poll;
    uv_timer_t timer;
    int open_handles;
    /* The external, and the handles while they are open: the last one frees it. */
    int users;
    bool is_driven, is_ended, wants_turns, watches_statuses, has_status_changes;
    /* The external, so that it stays while the collector runs. */
    napi_ref self;
    napi_ref on_turn;
    napi_async_context context;
    napi_async_cleanup_hook_handle cleanup;
} driver;

/* ---- values ---- */

#define MAX_ARGUMENTS 6

typedef struct {
    napi_env env;
    napi_value values[MAX_ARGUMENTS];
} arguments;

static arguments arguments_of(napi_env env, napi_callback_info info) {
    arguments all = {.env = env};
    size_t count = MAX_ARGUMENTS;
    napi_get_cb_info(env, info, &count, all.values, NULL, NULL);
    return all;
}

/* What an external holds; NULL for anything else, which libotelcore reports as an invalid argument. */
static void *external_at(const arguments *all, int index) {
    void *data = NULL;
    return napi_get_value_external(all->env, all->values[index], &data) == napi_ok ? data : NULL;
}

/* A copy of a text, ended by a NUL; NULL where it is no text, or there is no memory. The caller frees it. */
static char *text_at(const arguments *all, int index, size_t *len) {
    size_t bytes = 0;
    if (napi_get_value_string_utf8(all->env, all->values[index], NULL, 0, &bytes) != napi_ok) return NULL;
    char *text = malloc(bytes + 1);
    if (text == NULL) return NULL;
    napi_get_value_string_utf8(all->env, all->values[index], text, bytes + 1, &bytes);
    if (len != NULL) *len = bytes;
    return text;
}

static int64_t number_at(const arguments *all, int index) {
    int64_t number = 0;
    napi_get_value_int64(all->env, all->values[index], &number);
    return number;
}

static bool boolean_at(const arguments *all, int index) {
    bool value = false;
    napi_get_value_bool(all->env, all->values[index], &value);
    return value;
}

static napi_value undefined(napi_env env) {
    napi_value value = NULL;
    napi_get_undefined(env, &value);
    return value;
}

static napi_value number(napi_env env, int64_t value) {
    napi_value out = NULL;
    napi_create_int64(env, value, &out);
    return out;
}

static napi_value boolean(napi_env env, bool value) {
    napi_value out = NULL;
    napi_get_boolean(env, value, &out);
    return out;
}

static napi_value text(napi_env env, const char *data, size_t len) {
    napi_value out = NULL;
    napi_create_string_utf8(env, data, len, &out);
    return out;
}

static napi_value buffer(napi_env env, const uint8_t *data, size_t len) {
    napi_value out = NULL;
    if (napi_create_buffer_copy(env, len, len == 0 ? (const uint8_t *)"" : data, NULL, &out) != napi_ok) return undefined(env);
    return out;
}

static napi_value type_error(napi_env env, const char *message) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message);
    return NULL;
}

/* Throws the error of a call, and frees it. */
static napi_value fails(napi_env env, otelcore_status status, otelcore_error *error) {
    instance *own = NULL;
    napi_value error_class = NULL, thrown = NULL;
    const char *message = otelcore_error_message(error);
    napi_value values[] = {
        number(env, status),
        text(env, message, strlen(message)),
        boolean(env, otelcore_error_is_retryable(error)),
        number(env, (int64_t)otelcore_error_retry_after_ms(error)),
    };
    otelcore_error_free(error);
    napi_get_instance_data(env, (void **)&own);
    napi_get_reference_value(env, own->error_class, &error_class);
    if (napi_new_instance(env, error_class, 4, values, &thrown) == napi_ok) napi_throw(env, thrown);
    return NULL;
}

static napi_value result(napi_env env, otelcore_status status, otelcore_error *error) {
    return status == OTELCORE_OK ? undefined(env) : fails(env, status, error);
}

/* ---- the log ---- */

static void free_record(log_record *record) {
    free(record->component);
    free(record->message);
    free(record->fields);
    free(record);
}

static char *copied(const char *from) {
    size_t len = strlen(from) + 1;
    char *to = malloc(len);
    return to == NULL ? NULL : memcpy(to, from, len);
}

/* Any thread of the library. */
static void on_log(void *user, otelcore_log_level level, const char *component, const char *message, const char *fields) {
    log_pipe *pipe = user;
    log_record *record = calloc(1, sizeof *record);
    if (record == NULL) return;
    record->level = level;
    record->component = copied(component);
    record->message = copied(message);
    record->fields = copied(fields);
    record->dropped = __atomic_exchange_n(&pipe->dropped, 0, __ATOMIC_RELAXED);
    if (record->component == NULL || record->message == NULL || record->fields == NULL ||
        napi_call_threadsafe_function(pipe->call, record, napi_tsfn_nonblocking) != napi_ok) {
        __atomic_add_fetch(&pipe->dropped, record->dropped + 1, __ATOMIC_RELAXED);
        free_record(record);
    }
}

static void free_log(void *user) {
    log_pipe *pipe = user;
    napi_release_threadsafe_function(pipe->call, napi_tsfn_release);
    free(pipe);
}

/* The environment's thread; without `env` it ends. */
static void pass_record(napi_env env, napi_value function, void *context, void *data) {
    (void)context;
    log_record *record = data;
    if (env != NULL && function != NULL) {
        napi_value values[] = {
            number(env, record->level),
            text(env, record->component, NAPI_AUTO_LENGTH),
            text(env, record->message, NAPI_AUTO_LENGTH),
            text(env, record->fields, NAPI_AUTO_LENGTH),
            number(env, (int64_t)record->dropped),
        };
        /* What it throws is that of a callback without a caller: Node reports it. */
        napi_call_function(env, undefined(env), function, 5, values, NULL);
    }
    free_record(record);
}

/* ---- configurations ---- */

enum { MAX_DOCUMENTS = 64 };

typedef struct {
    otelcore_config documents[MAX_DOCUMENTS];
    size_t count;
} configuration;

static void free_configuration(configuration *config) {
    for (size_t i = 0; i < config->count; i++) {
        free((char *)(uintptr_t)config->documents[i].name);
        free((char *)(uintptr_t)config->documents[i].text);
    }
}

/* An array of texts, each followed by its name. The caller frees it, also where it is none. */
static bool configuration_at(const arguments *all, int index, configuration *config) {
    uint32_t len = 0;
    config->count = 0;
    if (napi_get_array_length(all->env, all->values[index], &len) != napi_ok || len / 2 > MAX_DOCUMENTS) return false;
    for (uint32_t i = 0; i + 1 < len; i += 2) {
        arguments pair = {.env = all->env};
        otelcore_config *document = &config->documents[config->count];
        napi_get_element(all->env, all->values[index], i, &pair.values[0]);
        napi_get_element(all->env, all->values[index], i + 1, &pair.values[1]);
        document->text = text_at(&pair, 0, &document->len);
        document->name = text_at(&pair, 1, NULL);
        config->count++;
        if (document->text == NULL || document->name == NULL) return false;
    }
    return config->count > 0;
}

/* ---- the loop ---- */

static void release(driver *d) {
    if (--d->users == 0) free(d);
}

static void on_closed(uv_handle_t *handle) {
    driver *d = handle->data;
    if (--d->open_handles > 0) return;
    if (d->cleanup != NULL) {
        napi_async_cleanup_hook_handle cleanup = d->cleanup;
        d->cleanup = NULL;
        napi_remove_async_cleanup_hook(cleanup);
    }
    release(d);
}

/* Takes the collector out of the loop. */
static void leave_loop(driver *d) {
    if (!d->is_driven) return;
    d->is_driven = false;
    uv_close((uv_handle_t *)&d->poll, on_closed);
    uv_close((uv_handle_t *)&d->timer, on_closed);
    if (d->self != NULL) {
        napi_delete_reference(d->env, d->self);
        d->self = NULL;
    }
}

static void turn(driver *d);

static void on_timer(uv_timer_t *timer) { turn(timer->data); }

static void on_readable(uv_poll_t *poll, int status, int events) {
    (void)status, (void)events;
    turn(poll->data);
}

static void set_timer(driver *d) {
    int64_t deadline = otelcore_collector_drive_deadline_ms(d->collector);
    if (deadline < 0) {
        uv_timer_stop(&d->timer);
        return;
    }
    uv_update_time(d->timer.loop);
    uv_timer_start(&d->timer, on_timer, (uint64_t)deadline, 0);
}

/* What was asked for after the last turn may have no event of the descriptor. */
static void turn_soon(driver *d) {
    if (d->is_driven) uv_timer_start(&d->timer, on_timer, 0, 0);
}

static void turn(driver *d) {
    bool is_running = false;
    /* Where a turn fails the collector has ended, and its shutdown says why. */
    otelcore_collector_drive_turn(d->collector, &is_running, NULL);
    d->is_ended = !is_running;
    if (is_running) set_timer(d);
    bool has_changes = d->has_status_changes;
    d->has_status_changes = false;
    if (!is_running || d->wants_turns || has_changes) {
        napi_handle_scope scope;
        napi_value function = NULL, receiver = NULL;
        napi_open_handle_scope(d->env, &scope);
        napi_get_reference_value(d->env, d->on_turn, &function);
        napi_get_global(d->env, &receiver);
        /* A reference of its own: what it calls may free the collector. */
        d->users++;
        if (!is_running) leave_loop(d);
        if (function != NULL &&
            napi_make_callback(d->env, d->context, receiver, function, 0, NULL, NULL) == napi_pending_exception) {
            napi_value thrown = NULL;
            napi_get_and_clear_last_exception(d->env, &thrown);
            napi_fatal_exception(d->env, thrown);
        }
        napi_close_handle_scope(d->env, scope);
        release(d);
    }
}

/* Ends the collector at once. */
static void free_collector(driver *d) {
    otelcore_collector *collector = d->collector;
    d->collector = NULL;
    leave_loop(d);
    otelcore_collector_free(collector);
}

/* The environment ends, by its process or as a worker. */
static void on_environment_end(napi_async_cleanup_hook_handle handle, void *data) {
    driver *d = data;
    bool is_open = d->open_handles > 0;
    free_collector(d);
    if (!is_open) {
        d->cleanup = NULL;
        napi_remove_async_cleanup_hook(handle);
    }
}

static void finalize_driver(napi_env env, void *data, void *hint) {
    (void)hint;
    driver *d = data;
    free_collector(d);
    if (d->cleanup != NULL && d->open_handles == 0) {
        napi_remove_async_cleanup_hook(d->cleanup);
        d->cleanup = NULL;
    }
    napi_delete_reference(env, d->on_turn);
    d->on_turn = NULL;
    napi_async_destroy(env, d->context);
    release(d);
}

/* In a turn: JavaScript is told after it. */
static void on_status(void *user, const otelcore_component_status *status) {
    (void)status;
    ((driver *)user)->has_status_changes = true;
}

/* create(documents, logLevel, log or undefined, onTurn) */
static napi_value create(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    configuration config;
    driver *d = calloc(1, sizeof *d);
    log_pipe *pipe = NULL;
    napi_valuetype log_type = napi_undefined;
    otelcore_options options = OTELCORE_OPTIONS_INIT;
    otelcore_error *error = NULL;
    napi_value external = NULL, label = text(env, "otelcore", NAPI_AUTO_LENGTH);
    if (!configuration_at(&all, 0, &config) || d == NULL) {
        free_configuration(&config);
        free(d);
        return type_error(env, "the configuration has to be 1 to 64 texts with their names");
    }
    napi_typeof(env, all.values[2], &log_type);
    if (log_type == napi_function && (pipe = calloc(1, sizeof *pipe)) != NULL) {
        if (napi_create_threadsafe_function(env, all.values[2], NULL, label, MAX_LOG_RECORDS, 1, NULL, NULL, NULL, pass_record,
                                            &pipe->call) == napi_ok) {
            napi_unref_threadsafe_function(env, pipe->call);
            options.log = on_log;
            options.log_user = pipe;
            options.log_free = free_log;
        } else {
            free(pipe);
            pipe = NULL;
        }
    }
    options.log_level = (otelcore_log_level)number_at(&all, 1);
    otelcore_status status = otelcore_collector_new_merged(config.documents, config.count, &options, &d->collector, &error);
    free_configuration(&config);
    if (status != OTELCORE_OK) {
        if (pipe != NULL) free_log(pipe);
        free(d);
        return fails(env, status, error);
    }
    d->env = env;
    d->users = 1;
    napi_create_reference(env, all.values[3], 1, &d->on_turn);
    napi_async_init(env, NULL, label, &d->context);
    napi_add_async_cleanup_hook(env, on_environment_end, d, &d->cleanup);
    napi_create_external(env, d, finalize_driver, NULL, &external);
    return external;
}

static driver *driver_at(const arguments *all) {
    driver *d = external_at(all, 0);
    if (d == NULL) napi_throw_type_error(all->env, "ERR_INVALID_ARG_TYPE", "this is no collector");
    return d;
}

/* start(collector, isReferenced) */
static napi_value start(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    driver *d = driver_at(&all);
    otelcore_error *error = NULL;
    uv_loop_t *loop = NULL;
    if (d == NULL) return NULL;
    otelcore_status status = otelcore_collector_drive_start(d->collector, &error);
    if (status != OTELCORE_OK) return fails(env, status, error);
    napi_get_uv_event_loop(env, &loop);
    uv_timer_init(loop, &d->timer);
    if (uv_poll_init(loop, &d->poll, otelcore_collector_drive_fd(d->collector)) != 0) {
        d->timer.data = d;
        d->open_handles = 1;
        d->users++;
        uv_close((uv_handle_t *)&d->timer, on_closed);
        free_collector(d);
        napi_throw_error(env, "EIO", "libuv can't wait for the collector's descriptor");
        return NULL;
    }
    d->poll.data = d->timer.data = d;
    d->open_handles = 2;
    d->users++;
    d->is_driven = true;
    napi_create_reference(env, all.values[0], 1, &d->self);
    uv_poll_start(&d->poll, UV_READABLE, on_readable);
    set_timer(d);
    if (!boolean_at(&all, 1)) {
        uv_unref((uv_handle_t *)&d->poll);
        uv_unref((uv_handle_t *)&d->timer);
    }
    return undefined(env);
}

/* setReferenced(collector, isReferenced): whether it keeps the process alive. */
static napi_value set_referenced(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    driver *d = driver_at(&all);
    if (d == NULL) return NULL;
    if (d->is_driven) {
        void (*set)(uv_handle_t *) = boolean_at(&all, 1) ? uv_ref : uv_unref;
        set((uv_handle_t *)&d->poll);
        set((uv_handle_t *)&d->timer);
    }
    return undefined(env);
}

/* setWantsTurns(collector, wants): whether onTurn is called after each turn, and not only after the last one. */
static napi_value set_wants_turns(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    driver *d = driver_at(&all);
    if (d == NULL) return NULL;
    d->wants_turns = boolean_at(&all, 1);
    return undefined(env);
}

static napi_value state(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    driver *d = driver_at(&all);
    return d == NULL ? NULL : number(env, otelcore_collector_state(d->collector));
}

static napi_value begin_flush(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    driver *d = driver_at(&all);
    uint64_t mark = 0;
    otelcore_error *error = NULL;
    napi_value out = NULL;
    if (d == NULL) return NULL;
    otelcore_status status = otelcore_collector_begin_flush(d->collector, &mark, &error);
    if (status != OTELCORE_OK) return fails(env, status, error);
    turn_soon(d);
    napi_create_bigint_uint64(env, mark, &out);
    return out;
}

static napi_value is_flushed(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    driver *d = driver_at(&all);
    uint64_t mark = 0;
    bool is_lossless = false;
    if (d == NULL) return NULL;
    napi_get_value_bigint_uint64(env, all.values[1], &mark, &is_lossless);
    return boolean(env, otelcore_collector_is_flushed(d->collector, mark));
}

static napi_value reload(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    driver *d = driver_at(&all);
    configuration config;
    if (d == NULL) return NULL;
    if (!configuration_at(&all, 1, &config)) {
        free_configuration(&config);
        return type_error(env, "the configuration has to be 1 to 64 texts with their names");
    }
    otelcore_error *error = NULL;
    otelcore_status status =
        otelcore_collector_reload_merged(d->collector, config.documents, config.count, number_at(&all, 2), &error);
    free_configuration(&config);
    if (d->is_driven) set_timer(d);
    return result(env, status, error);
}

static napi_value begin_shutdown(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    driver *d = driver_at(&all);
    otelcore_error *error = NULL;
    if (d == NULL) return NULL;
    otelcore_status status = otelcore_collector_begin_shutdown(d->collector, number_at(&all, 1), &error);
    turn_soon(d);
    return result(env, status, error);
}

/* Waits for the end, and makes the turns meanwhile: what is not delivered is in the error. */
static napi_value finish_shutdown(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    driver *d = driver_at(&all);
    otelcore_error *error = NULL;
    if (d == NULL) return NULL;
    otelcore_status status = otelcore_collector_shutdown(d->collector, number_at(&all, 1), &error);
    leave_loop(d);
    return result(env, status, error);
}

static napi_value free_now(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    driver *d = driver_at(&all);
    if (d == NULL) return NULL;
    free_collector(d);
    return undefined(env);
}

/* watchStatuses(collector): onTurn is called after each turn in which a status has changed. */
static napi_value watch_statuses(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    driver *d = driver_at(&all);
    otelcore_error *error = NULL;
    if (d == NULL) return NULL;
    if (d->watches_statuses) return undefined(env);
    otelcore_status status = otelcore_collector_set_status_callback(d->collector, on_status, d, NULL, &error);
    d->watches_statuses = status == OTELCORE_OK;
    return result(env, status, error);
}

static otelcore_status snapshot_json(otelcore_collector *collector, otelcore_buffer **out, otelcore_error **error) {
    otelcore_snapshot *snapshot = NULL;
    otelcore_status status = otelcore_collector_snapshot(collector, &snapshot, error);
    if (status == OTELCORE_OK) status = otelcore_snapshot_json(snapshot, out, error);
    otelcore_snapshot_free(snapshot);
    return status;
}

/* read(collector, which): 0 health, 1 statuses of components, 2 metrics, 3 a snapshot */
static napi_value read_document(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    driver *d = driver_at(&all);
    otelcore_buffer *document = NULL;
    otelcore_error *error = NULL;
    otelcore_status status;
    if (d == NULL) return NULL;
    switch (number_at(&all, 1)) {
    case 0: status = otelcore_collector_health(d->collector, &document, &error); break;
    case 1: status = otelcore_collector_component_statuses(d->collector, &document, &error); break;
    case 3: status = snapshot_json(d->collector, &document, &error); break;
    default: status = otelcore_collector_metrics(d->collector, OTELCORE_FORMAT_PROMETHEUS, &document, &error); break;
    }
    if (status != OTELCORE_OK) return fails(env, status, error);
    size_t len = 0;
    const uint8_t *data = otelcore_buffer_data(document, &len);
    napi_value out = text(env, (const char *)data, len);
    otelcore_buffer_free(document);
    return out;
}

/* ---- inputs and outputs ---- */

static void finalize_input(napi_env env, void *data, void *hint) {
    (void)env, (void)hint;
    otelcore_input_free(data);
}

static void finalize_output(napi_env env, void *data, void *hint) {
    (void)env, (void)hint;
    otelcore_output_free(data);
}

static void finalize_processor(napi_env env, void *data, void *hint) {
    (void)env, (void)hint;
    otelcore_processor_free(data);
}

/* One that was not finished is given again; one that was is no longer known. */
static void finalize_batch(napi_env env, void *data, void *hint) {
    (void)env, (void)hint;
    otelcore_batch_finish(data, OTELCORE_UNAVAILABLE, NULL);
}

static void finalize_payload(napi_env env, void *data, void *hint) {
    (void)env, (void)hint;
    otelcore_payload_finish(data, OTELCORE_UNAVAILABLE, NULL);
}

static napi_value owned(napi_env env, void *handle, napi_finalize finalize) {
    napi_value out = NULL;
    napi_create_external(env, handle, finalize, NULL, &out);
    return out;
}

#define FIND(name, type, find, finalize)                                        \
    static napi_value name(napi_env env, napi_callback_info info) {             \
        arguments all = arguments_of(env, info);                                \
        driver *d = driver_at(&all);                                            \
        type *found = NULL;                                                     \
        otelcore_error *error = NULL;                                           \
        if (d == NULL) return NULL;                                             \
        char *id = text_at(&all, 1, NULL);                                      \
        if (id == NULL) return type_error(env, "the id has to be a text");      \
        otelcore_status status = find(d->collector, id, &found, &error);        \
        free(id);                                                               \
        return status == OTELCORE_OK ? owned(env, found, finalize) : fails(env, status, error); \
    }

FIND(input, otelcore_input, otelcore_collector_input, finalize_input)
FIND(output, otelcore_output, otelcore_collector_output, finalize_output)
FIND(processor, otelcore_processor, otelcore_collector_processor, finalize_processor)

/* The bytes of a typed array, a DataView or an ArrayBuffer. */
static bool bytes_of(napi_env env, napi_value value, const uint8_t **data, size_t *len) {
    bool is = false;
    void *start = NULL;
    napi_typedarray_type type;
    if (napi_is_buffer(env, value, &is) == napi_ok && is) {
        /* A Buffer is a Uint8Array; Node takes any view here, with its length in bytes. */
        if (napi_get_buffer_info(env, value, &start, len) != napi_ok) return false;
    } else if (napi_is_typedarray(env, value, &is) == napi_ok && is) {
        if (napi_get_typedarray_info(env, value, &type, len, &start, NULL, NULL) != napi_ok || type != napi_uint8_array) return false;
    } else if (napi_is_arraybuffer(env, value, &is) == napi_ok && is) {
        if (napi_get_arraybuffer_info(env, value, &start, len) != napi_ok) return false;
    } else {
        return false;
    }
    *data = start;
    return true;
}

static const char NO_BYTES[] = "the request has to be a Buffer or a Uint8Array";

/* submit(input, signal, bytes) */
static napi_value submit(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    const uint8_t *data = NULL;
    size_t len = 0;
    otelcore_error *error = NULL;
    if (!bytes_of(env, all.values[2], &data, &len)) return type_error(env, NO_BYTES);
    otelcore_status status =
        otelcore_input_submit(external_at(&all, 0), (otelcore_signal)number_at(&all, 1), data, len, &error);
    return result(env, status, error);
}

/* submitJson(input, signal, text or bytes) */
static napi_value submit_json(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    const uint8_t *data = NULL;
    size_t len = 0;
    otelcore_error *error = NULL;
    char *json = text_at(&all, 2, &len);
    if (json == NULL && !bytes_of(env, all.values[2], &data, &len)) return type_error(env, "the request has to be a text or a Buffer");
    otelcore_status status = otelcore_input_submit_json(external_at(&all, 0), (otelcore_signal)number_at(&all, 1),
                                                        json == NULL ? (const char *)data : json, len, &error);
    free(json);
    return result(env, status, error);
}

/* accepts(input, signal) */
static napi_value accepts(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    otelcore_error *error = NULL;
    otelcore_status status = otelcore_input_accepts(external_at(&all, 0), (otelcore_signal)number_at(&all, 1), &error);
    if (status != OTELCORE_OK && status != OTELCORE_NOT_FOUND) return fails(env, status, error);
    otelcore_error_free(error);
    return boolean(env, status == OTELCORE_OK);
}

/* [handle, signal, bytes] */
static napi_value taken(napi_env env, napi_value handle, otelcore_signal signal, const uint8_t *data, size_t len) {
    napi_value out = NULL;
    napi_create_array_with_length(env, 3, &out);
    napi_set_element(env, out, 0, handle);
    napi_set_element(env, out, 1, number(env, signal));
    napi_set_element(env, out, 2, buffer(env, data, len));
    return out;
}

/* Undefined: there is none now. It never waits: the turns are made by this thread. */
static napi_value nothing_taken(napi_env env, otelcore_status status, otelcore_error *error) {
    if (status != OTELCORE_TIMEOUT && status != OTELCORE_CANCELLED) return fails(env, status, error);
    otelcore_error_free(error);
    return undefined(env);
}

/* nextBatch(output) */
static napi_value next_batch(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    otelcore_batch *batch = NULL;
    otelcore_error *error = NULL;
    otelcore_status status = otelcore_output_next(external_at(&all, 0), 0, &batch, &error);
    if (status != OTELCORE_OK) return nothing_taken(env, status, error);
    size_t len = 0;
    const uint8_t *data = otelcore_batch_data(batch, &len);
    return taken(env, owned(env, batch, finalize_batch), otelcore_batch_signal(batch), data, len);
}

/* nextPayload(processor) */
static napi_value next_payload(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    otelcore_payload *payload = NULL;
    otelcore_error *error = NULL;
    otelcore_status status = otelcore_processor_next(external_at(&all, 0), 0, &payload, &error);
    if (status != OTELCORE_OK) return nothing_taken(env, status, error);
    size_t len = 0;
    const uint8_t *data = otelcore_payload_data(payload, &len);
    return taken(env, owned(env, payload, finalize_payload), otelcore_payload_signal(payload), data, len);
}

/* What ends a batch or a payload: (handle, status), and (handle, ms) for another attempt. */
#define END(name, end, type)                                                              \
    static napi_value name(napi_env env, napi_callback_info info) {                       \
        arguments all = arguments_of(env, info);                                          \
        otelcore_error *error = NULL;                                                     \
        otelcore_status status = end(external_at(&all, 0), (type)number_at(&all, 1), &error); \
        return result(env, status, error);                                                \
    }

END(finish_batch, otelcore_batch_finish, otelcore_status)
END(retry_batch, otelcore_batch_retry_after, uint64_t)
END(finish_payload, otelcore_payload_finish, otelcore_status)
END(retry_payload, otelcore_payload_retry_after, uint64_t)

/* ---- payloads and items ---- */

static napi_value payload_data(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    size_t len = 0;
    const uint8_t *data = otelcore_payload_data(external_at(&all, 0), &len);
    return data == NULL && len == 0 ? buffer(env, NULL, 0) : buffer(env, data, len);
}

/* replacePayload(payload, bytes) */
static napi_value replace_payload(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    const uint8_t *data = NULL;
    size_t len = 0;
    otelcore_error *error = NULL;
    if (!bytes_of(env, all.values[1], &data, &len)) return type_error(env, NO_BYTES);
    otelcore_status status = otelcore_payload_replace(external_at(&all, 0), data, len, &error);
    return result(env, status, error);
}

typedef struct {
    napi_env env;
    napi_value function;
    bool has_thrown;
} visits;

static otelcore_keep visit(void *user, otelcore_item *item) {
    visits *all = user;
    napi_handle_scope scope;
    napi_value external = NULL, returned = NULL;
    int32_t keep = OTELCORE_KEEP;
    if (all->has_thrown) return OTELCORE_SKIP;
    napi_open_handle_scope(all->env, &scope);
    napi_create_external(all->env, item, NULL, NULL, &external);
    napi_value values[] = {external, number(all->env, otelcore_item_get_kind(item))};
    if (napi_call_function(all->env, undefined(all->env), all->function, 2, values, &returned) != napi_ok) {
        /* The exception stays pending, and is thrown when the pass is over. */
        all->has_thrown = true;
        keep = OTELCORE_SKIP;
    } else {
        napi_get_value_int32(all->env, returned, &keep);
    }
    napi_close_handle_scope(all->env, scope);
    return keep;
}

/* editPayload(payload, visit): visit(item, kind) returns a number of otelcore_keep */
static napi_value edit_payload(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    visits pass = {env, all.values[1], false};
    otelcore_error *error = NULL;
    otelcore_status status = otelcore_payload_edit(external_at(&all, 0), visit, &pass, &error);
    if (pass.has_thrown) {
        otelcore_error_free(error);
        return NULL;
    }
    return result(env, status, error);
}

static napi_value item_name(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    size_t len = 0;
    const char *name = otelcore_item_get_name(external_at(&all, 0), &len);
    return name == NULL ? undefined(env) : text(env, name, len);
}

static napi_value set_item_name(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    otelcore_error *error = NULL;
    char *name = text_at(&all, 1, NULL);
    if (name == NULL) return type_error(env, "the name has to be a text");
    otelcore_status status = otelcore_item_set_name(external_at(&all, 0), name, &error);
    free(name);
    return result(env, status, error);
}

/* [type, bytes] for lists and maps, which stay encoded. */
static napi_value encoded(napi_env env, const otelcore_value *value) {
    napi_value out = NULL;
    napi_create_array_with_length(env, 2, &out);
    napi_set_element(env, out, 0, number(env, value->value_type));
    napi_set_element(env, out, 1, buffer(env, value->data, value->len));
    return out;
}

static napi_value from_value(napi_env env, const otelcore_value *value) {
    napi_value out = NULL;
    switch (value->value_type) {
    case OTELCORE_VALUE_STRING: return text(env, (const char *)value->data, value->len);
    case OTELCORE_VALUE_BOOL: return boolean(env, value->integer != 0);
    case OTELCORE_VALUE_INT:
        /* One that a number of JavaScript can't hold exactly is a BigInt. */
        if (value->integer > 9007199254740991 || value->integer < -9007199254740991) {
            napi_create_bigint_int64(env, value->integer, &out);
            return out;
        }
        return number(env, value->integer);
    case OTELCORE_VALUE_DOUBLE: napi_create_double(env, value->number, &out); return out;
    case OTELCORE_VALUE_BYTES: return buffer(env, value->data, value->len);
    case OTELCORE_VALUE_ARRAY:
    case OTELCORE_VALUE_MAP: return encoded(env, value);
    default: napi_get_null(env, &out); return out;
    }
}

/* A value of JavaScript: null, a text, boolean, number, BigInt, bytes, or [type, bytes]. `keeps` is what the caller frees. */
static bool to_value(napi_env env, napi_value from, otelcore_value *value, char **keeps) {
    napi_valuetype type = napi_undefined;
    bool is = false;
    const uint8_t *data = NULL;
    napi_value part = NULL;
    arguments all = {.env = env, .values = {from}};
    memset(value, 0, sizeof *value);
    napi_typeof(env, from, &type);
    switch (type) {
    case napi_null: value->value_type = OTELCORE_VALUE_EMPTY; return true;
    case napi_string:
        value->value_type = OTELCORE_VALUE_STRING;
        *keeps = text_at(&all, 0, &value->len);
        value->data = (const uint8_t *)*keeps;
        return *keeps != NULL;
    case napi_boolean:
        value->value_type = OTELCORE_VALUE_BOOL;
        value->integer = boolean_at(&all, 0);
        return true;
    case napi_number:
        napi_get_value_double(env, from, &value->number);
        value->value_type = OTELCORE_VALUE_DOUBLE;
        /* A whole number is an integer. */
        if (value->number >= -9007199254740991 && value->number <= 9007199254740991 &&
            (double)(int64_t)value->number == value->number) {
            value->value_type = OTELCORE_VALUE_INT;
            value->integer = (int64_t)value->number;
        }
        return true;
    case napi_bigint:
        value->value_type = OTELCORE_VALUE_INT;
        return napi_get_value_bigint_int64(env, from, &value->integer, &is) == napi_ok && is;
    default: break;
    }
    if (bytes_of(env, from, &data, &value->len)) {
        value->value_type = OTELCORE_VALUE_BYTES;
        value->data = data;
        return true;
    }
    int32_t number_of_type = 0;
    if (napi_is_array(env, from, &is) != napi_ok || !is || napi_get_element(env, from, 0, &part) != napi_ok ||
        napi_get_value_int32(env, part, &number_of_type) != napi_ok || napi_get_element(env, from, 1, &part) != napi_ok ||
        !bytes_of(env, part, &data, &value->len))
        return false;
    value->value_type = number_of_type;
    value->data = data;
    return true;
}

static const char NO_VALUE[] =
    "the value has to be null, a text, boolean, number, BigInt of 64 bits, Buffer, or an encoded list or map";

/* itemAttribute(item, key, ofResource) */
static napi_value item_attribute(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    otelcore_value value = {0};
    otelcore_error *error = NULL;
    char *key = text_at(&all, 1, NULL);
    if (key == NULL) return type_error(env, "the key has to be a text");
    otelcore_item *item = external_at(&all, 0);
    otelcore_status status = boolean_at(&all, 2) ? otelcore_item_get_resource_attribute(item, key, &value, &error)
                                                 : otelcore_item_get_attribute(item, key, &value, &error);
    free(key);
    if (status == OTELCORE_OK) return from_value(env, &value);
    if (status != OTELCORE_NOT_FOUND) return fails(env, status, error);
    otelcore_error_free(error);
    return undefined(env);
}

/* setItemAttribute(item, key, value) */
static napi_value set_item_attribute(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    otelcore_value value;
    otelcore_error *error = NULL;
    char *kept = NULL, *key = text_at(&all, 1, NULL);
    if (key == NULL) return type_error(env, "the key has to be a text");
    bool is_value = to_value(env, all.values[2], &value, &kept);
    otelcore_status status =
        is_value ? otelcore_item_set_attribute(external_at(&all, 0), key, &value, &error) : OTELCORE_INVALID_ARGUMENT;
    free(key), free(kept);
    return is_value ? result(env, status, error) : type_error(env, NO_VALUE);
}

static napi_value remove_item_attribute(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    otelcore_error *error = NULL;
    char *key = text_at(&all, 1, NULL);
    if (key == NULL) return type_error(env, "the key has to be a text");
    otelcore_status status = otelcore_item_remove_attribute(external_at(&all, 0), key, &error);
    free(key);
    return result(env, status, error);
}

static napi_value item_body(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    otelcore_value value = {0};
    otelcore_error *error = NULL;
    otelcore_status status = otelcore_item_get_body(external_at(&all, 0), &value, &error);
    if (status == OTELCORE_OK) return from_value(env, &value);
    if (status != OTELCORE_NOT_FOUND) return fails(env, status, error);
    otelcore_error_free(error);
    return undefined(env);
}

static napi_value set_item_body(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    otelcore_value value;
    otelcore_error *error = NULL;
    char *kept = NULL;
    if (!to_value(env, all.values[1], &value, &kept)) return type_error(env, NO_VALUE);
    otelcore_status status = otelcore_item_set_body(external_at(&all, 0), &value, &error);
    free(kept);
    return result(env, status, error);
}

/* ---- the module ---- */

/* setErrorClass(class): called with (status, message, isRetryable, retryAfterMs) for each error. */
static napi_value set_error_class(napi_env env, napi_callback_info info) {
    arguments all = arguments_of(env, info);
    instance *own = NULL;
    napi_get_instance_data(env, (void **)&own);
    if (own->error_class != NULL) napi_delete_reference(env, own->error_class);
    napi_create_reference(env, all.values[0], 1, &own->error_class);
    return undefined(env);
}

static void finalize_instance(napi_env env, void *data, void *hint) {
    (void)env, (void)hint;
    free(data);
}

NAPI_MODULE_INIT() {
    static const struct {
        const char *name;
        napi_callback call;
    } functions[] = {
        {"setErrorClass", set_error_class},
        {"create", create},
        {"start", start},
        {"setReferenced", set_referenced},
        {"setWantsTurns", set_wants_turns},
        {"state", state},
        {"beginFlush", begin_flush},
        {"isFlushed", is_flushed},
        {"reload", reload},
        {"beginShutdown", begin_shutdown},
        {"finishShutdown", finish_shutdown},
        {"free", free_now},
        {"read", read_document},
        {"input", input},
        {"output", output},
        {"processor", processor},
        {"submit", submit},
        {"submitJson", submit_json},
        {"watchStatuses", watch_statuses},
        {"accepts", accepts},
        {"nextBatch", next_batch},
        {"finishBatch", finish_batch},
        {"retryBatch", retry_batch},
        {"nextPayload", next_payload},
        {"payloadData", payload_data},
        {"replacePayload", replace_payload},
        {"finishPayload", finish_payload},
        {"retryPayload", retry_payload},
        {"editPayload", edit_payload},
        {"itemName", item_name},
        {"setItemName", set_item_name},
        {"itemAttribute", item_attribute},
        {"setItemAttribute", set_item_attribute},
        {"removeItemAttribute", remove_item_attribute},
        {"itemBody", item_body},
        {"setItemBody", set_item_body},
    };
    instance *own = calloc(1, sizeof *own);
    if (own == NULL || otelcore_abi_version() != OTELCORE_ABI_VERSION ||
        napi_set_instance_data(env, own, finalize_instance, NULL) != napi_ok) {
        free(own);
        napi_throw_error(env, NULL, "otelcore: the native library does not fit this package");
        return NULL;
    }
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        napi_value function = NULL;
        napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, NULL, &function);
        napi_set_named_property(env, exports, functions[i].name, function);
    }
    const char *version = otelcore_version();
    napi_set_named_property(env, exports, "version", text(env, version, strlen(version)));
    return exports;
}
