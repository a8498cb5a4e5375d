/* Invalid arguments return an error: NULL, freed handles, foreign pointers, handles of another kind. */
#include "test_support.h"
#include <pthread.h>

static void every_handle_as(void *wrong, otelcore_status status) {
    otelcore_collector *c = wrong;
    otelcore_input *in = wrong, *in2;
    otelcore_output *o = wrong, *o2;
    otelcore_batch *b = wrong, *b2;
    otelcore_buffer *buffer;
    uint64_t mark;
    bool running;
    size_t len = 7;
    FAILS(status, "", otelcore_collector_start(c, &err));
    FAILS(status, "", otelcore_collector_drive_start(c, &err));
    FAILS(status, "", otelcore_collector_drive_turn(c, &running, &err));
    FAILS(status, "", otelcore_collector_flush(c, 0, &err));
    FAILS(status, "", otelcore_collector_begin_flush(c, &mark, &err));
    FAILS(status, "", otelcore_collector_shutdown(c, 0, &err));
    FAILS(status, "", otelcore_collector_begin_shutdown(c, 0, &err));
    FAILS(status, "", otelcore_collector_health(c, &buffer, &err));
    FAILS(status, "", otelcore_collector_metrics(c, 0, &buffer, &err));
    FAILS(status, "", otelcore_collector_input(c, "inproc/app", &in2, &err));
    FAILS(status, "", otelcore_collector_output(c, "inproc/out", &o2, &err));
    FAILS(status, "", otelcore_input_submit(in, OTELCORE_TRACES, NULL, 0, &err));
    FAILS(status, "", otelcore_output_next(o, 0, &b2, &err));
    FAILS(status, "", otelcore_output_wake(o, &err));
    FAILS(status, "", otelcore_output_set_callback(o, NULL, NULL, NULL, &err));
    FAILS(status, "", otelcore_batch_finish(b, OTELCORE_OK, &err));
    FAILS(status, "", otelcore_batch_retry_after(b, 1, &err));
    CHECK(otelcore_collector_state(c) == OTELCORE_STATE_NONE);
    CHECK(otelcore_collector_drive_fd(c) == -1 && otelcore_collector_drive_deadline_ms(c) == -1);
    CHECK(!otelcore_collector_is_flushed(c, 0));
    CHECK(otelcore_batch_signal(b) == -1 && otelcore_batch_data(b, &len) == NULL && len == 0);
    CHECK(otelcore_buffer_data(wrong, &len) == NULL && otelcore_buffer_data(wrong, NULL) == NULL);
    CHECK(otelcore_error_code(wrong) == OTELCORE_INVALID_ARGUMENT && otelcore_error_message(wrong) != NULL);
    CHECK(!otelcore_error_is_retryable(wrong) && otelcore_error_retry_after_ms(wrong) == 0);
    otelcore_collector_free(c);
    otelcore_input_free(in);
    otelcore_output_free(o);
    otelcore_buffer_free(wrong);
    otelcore_error_free(wrong);
    /* And with NULL for the error. */
    CHECK(otelcore_collector_start(c, NULL) == status && otelcore_input_submit(in, 0, NULL, 0, NULL) == status);
}

static void what_is_no_handle(void) {
    char mine[64] = "a text of the program's";
    every_handle_as(NULL, OTELCORE_INVALID_ARGUMENT);
    every_handle_as(mine, OTELCORE_INVALID_ARGUMENT);
    every_handle_as((void *)1, OTELCORE_INVALID_ARGUMENT);
    every_handle_as((void *)~(uintptr_t)0, OTELCORE_INVALID_ARGUMENT);
    CHECK(strcmp(mine, "a text of the program's") == 0);
}

static void what_was_freed_and_what_is_of_another_kind(void) {
    otelcore_collector *c = through("1ms", "", NULL);
    otelcore_input *in = input_of(c);
    otelcore_output *out = output_of(c);
    /* A collector is no input, and an input no collector. */
    FAILS(OTELCORE_INVALID_ARGUMENT, "this is no input", submit((otelcore_input *)c, 1, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "this is no collector", otelcore_collector_start((otelcore_collector *)in, &err));
    otelcore_collector_free((otelcore_collector *)out);
    OK(otelcore_collector_start(c, &err));
    OK(submit(in, 2, &err));
    otelcore_batch *batch = NULL;
    OK(otelcore_output_next(out, 10000, &batch, &err));
    OK(otelcore_batch_finish(batch, OTELCORE_OK, &err));
    FAILS(OTELCORE_CLOSED, "freed", otelcore_batch_finish(batch, OTELCORE_OK, &err));
    otelcore_input_free(in);
    FAILS(OTELCORE_CLOSED, "the input was freed", submit(in, 1, &err));
    otelcore_input_free(in);
    otelcore_input *again = input_of(c); /* uses the same slot, but is another handle */
    CHECK(again != in);
    FAILS(OTELCORE_CLOSED, "the input was freed", submit(in, 1, &err));
    otelcore_input_free(in);
    OK(submit(again, 1, &err));
    otelcore_collector_free(c); /* it runs, and is ended at once */
    FAILS(OTELCORE_CLOSED, "the collector was freed", otelcore_collector_start(c, &err));
    CHECK(otelcore_collector_state(c) == OTELCORE_STATE_NONE);
    otelcore_collector_free(c);
    FAILS(OTELCORE_CLOSED, "", submit(again, 1, &err));
    otelcore_input_free(again);
    otelcore_output_free(out);
    otelcore_output_free(out);

    otelcore_error *error = NULL;
    CHECK(otelcore_collector_start(c, &error) == OTELCORE_CLOSED && error != NULL);
    otelcore_error_free(error);
    otelcore_error_free(error);
    CHECK(otelcore_error_code(error) == OTELCORE_INVALID_ARGUMENT);
}

static void arguments(void) {
    otelcore_collector *c = NULL;
    otelcore_options options = OTELCORE_OPTIONS_INIT;
    FAILS(OTELCORE_INVALID_ARGUMENT, "NULL", otelcore_collector_new(NULL, 5, NULL, &c, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "no place", otelcore_collector_new("", 0, NULL, NULL, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "length", otelcore_collector_new("", SIZE_MAX, NULL, &c, &err));
    options.struct_size = 0;
    FAILS(OTELCORE_INVALID_ARGUMENT, "struct_size", otelcore_collector_new("", 0, &options, &c, &err));
    /* Options of a later version are accepted if all unknown bytes are zero. */
    struct { otelcore_options options; uint64_t later; } newer = {OTELCORE_OPTIONS_INIT, 1};
    newer.options.struct_size = sizeof newer;
    FAILS(OTELCORE_INVALID_ARGUMENT, "does not know", otelcore_collector_new("", 0, &newer.options, &c, &err));
    newer.later = 0;
    FAILS(OTELCORE_INVALID_CONFIG, "", otelcore_collector_new("", 0, &newer.options, &c, &err));

    c = through("1ms", "", NULL);
    otelcore_input *in = input_of(c), *in2 = NULL;
    otelcore_output *out = output_of(c);
    FAILS(OTELCORE_INVALID_ARGUMENT, "id is NULL", otelcore_collector_input(c, NULL, &in2, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "not UTF-8", otelcore_collector_input(c, "\xff", &in2, &err));
    FAILS(OTELCORE_NOT_FOUND, "", otelcore_collector_input(c, "", &in2, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "no place", otelcore_collector_input(c, "inproc/app", NULL, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "no place", otelcore_output_next(out, 0, NULL, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "callback is NULL", otelcore_output_set_callback(out, NULL, NULL, NULL, &err));
    FAILS(OTELCORE_INVALID_STATE, "not driven", otelcore_collector_drive_turn(c, NULL, &err));
    OK(otelcore_collector_start(c, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "signal", otelcore_input_submit(in, 3, NULL, 0, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "signal", otelcore_input_submit(in, -1, NULL, 0, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "NULL", otelcore_input_submit(in, OTELCORE_TRACES, NULL, 1, &err));
    FAILS(OTELCORE_INVALID_STATE, "not driven", otelcore_collector_drive_turn(c, NULL, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "no place", otelcore_collector_health(c, NULL, &err));
    OK(otelcore_collector_begin_flush(c, NULL, &err));
    otelcore_collector_free(c);
    otelcore_input_free(in);
    otelcore_output_free(out);
}

static otelcore_collector *inside;
static int calls, freed;

static otelcore_status waits(void *user, otelcore_signal signal, const uint8_t *otlp, size_t len) {
    otelcore_output *out = user;
    otelcore_batch *batch = NULL;
    CHECK(signal == OTELCORE_TRACES && spans_in(otlp, len) > 0);
    FAILS(OTELCORE_REENTRANT, "callback", otelcore_collector_flush(inside, 1000, &err));
    FAILS(OTELCORE_REENTRANT, "callback", otelcore_collector_shutdown(inside, 1000, &err));
    FAILS(OTELCORE_REENTRANT, "callback", otelcore_collector_start(inside, &err));
    FAILS(OTELCORE_REENTRANT, "callback", otelcore_collector_drive_start(inside, &err));
    FAILS(OTELCORE_REENTRANT, "callback", otelcore_collector_drive_turn(inside, NULL, &err));
    FAILS(OTELCORE_REENTRANT, "callback", otelcore_output_next(out, 1000, &batch, &err));
    CHECK(otelcore_collector_state(inside) == OTELCORE_STATE_RUNNING);
    uint64_t mark = 0;
    OK(otelcore_collector_begin_flush(inside, &mark, &err));
    OK(otelcore_output_wake(out, &err));
    if (__atomic_fetch_add(&calls, 1, __ATOMIC_SEQ_CST) == 0) {
        otelcore_input *in = input_of(inside);
        OK(submit(in, 1, &err)); /* calls that do not wait are allowed */
        otelcore_input_free(in);
    }
    return OTELCORE_OK;
}

static void on_free(void *user) {
    (void)user;
    freed++;
}

static void a_callback_must_not_wait(void) {
    inside = through("1ms", "", NULL);
    otelcore_output *out = output_of(inside);
    OK(otelcore_output_set_callback(out, waits, out, on_free, &err));
    FAILS(OTELCORE_INVALID_STATE, "has a callback", otelcore_output_set_callback(out, waits, out, on_free, &err));
    OK(otelcore_collector_start(inside, &err));
    otelcore_batch *batch = NULL;
    FAILS(OTELCORE_INVALID_STATE, "has a callback", otelcore_output_next(out, -1, &batch, &err));
    otelcore_input *in = input_of(inside);
    OK(submit(in, 2, &err));
    while (__atomic_load_n(&calls, __ATOMIC_SEQ_CST) < 2) sleep_ms(1);
    CHECK(freed == 0);
    OK(otelcore_collector_shutdown(inside, 5000, &err));
    CHECK(freed == 1 && calls == 2);
    otelcore_collector_free(inside);
    otelcore_input_free(in);
    otelcore_output_free(out);
    CHECK(freed == 1);
}

static otelcore_status frees(void *user, otelcore_signal signal, const uint8_t *otlp, size_t len) {
    (void)user, (void)signal, (void)otlp, (void)len;
    otelcore_collector_free(inside);
    return OTELCORE_OK;
}

static void freed_in_its_own_callback_it_ends_by_itself(void) {
    inside = through("1ms", "", NULL);
    otelcore_output *out = output_of(inside);
    OK(otelcore_output_set_callback(out, frees, NULL, on_free, &err));
    OK(otelcore_collector_start(inside, &err));
    otelcore_input *in = input_of(inside);
    OK(submit(in, 2, &err));
    for (int i = 0; submit(in, 1, NULL) != OTELCORE_CLOSED; i++) {
        CHECK(i < 10000);
        sleep_ms(1);
    }
    otelcore_input_free(in);
    otelcore_output_free(out);
    sleep_ms(50);
    otelcore_collector_free(NULL); /* frees collectors that have ended meanwhile */
    CHECK(freed == 2);
}

static void in_log(void *user, otelcore_log_level level, const char *component, const char *message,
                   const char *fields) {
    (void)user, (void)level, (void)component, (void)message, (void)fields;
    if (inside != NULL) {
        FAILS(OTELCORE_REENTRANT, "callback", otelcore_collector_shutdown(inside, 1000, &err));
        (void)otelcore_collector_state(inside);
    }
}

static void nor_must_a_log(void) {
    otelcore_options options = OTELCORE_OPTIONS_INIT;
    options.log = in_log;
    options.log_level = OTELCORE_LOG_DEBUG;
    inside = NULL;
    inside = through("1ms", "", &options);
    OK(otelcore_collector_start(inside, &err));
    OK(otelcore_collector_shutdown(inside, 1000, &err));
    otelcore_collector *done = inside;
    inside = NULL;
    otelcore_collector_free(done);
}

static otelcore_collector *racy;

static void *hammer(void *arg) {
    otelcore_input *in = arg;
    for (int i = 0; i < 300; i++) {
        otelcore_status s = submit(in, 1, NULL);
        CHECK(s == OTELCORE_OK || s == OTELCORE_CLOSED || s == OTELCORE_OVERLOADED || s == OTELCORE_INVALID_STATE);
        s = otelcore_collector_flush(racy, 1, NULL);
        CHECK(s == OTELCORE_OK || s == OTELCORE_CLOSED || s == OTELCORE_TIMEOUT || s == OTELCORE_INVALID_STATE);
        s = otelcore_collector_shutdown(racy, 1, NULL);
        CHECK(s == OTELCORE_OK || s == OTELCORE_CLOSED || s == OTELCORE_TIMEOUT);
    }
    return NULL;
}

static void everything_at_once_is_no_crash(void) {
    for (int round = 0; round < 10; round++) {
        racy = through("1ms", "", NULL);
        otelcore_input *in = input_of(racy);
        pthread_t threads[4];
        for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, hammer, in) == 0);
        (void)otelcore_collector_start(racy, NULL);
        sleep_ms(round);
        otelcore_collector_free(racy);
        otelcore_input_free(in);
        for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    }
}

int main(void) {
    what_is_no_handle();
    what_was_freed_and_what_is_of_another_kind();
    arguments();
    a_callback_must_not_wait();
    freed_in_its_own_callback_it_ends_by_itself();
    nor_must_a_log();
    everything_at_once_is_no_crash();
    return 0;
}
