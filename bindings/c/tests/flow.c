/* Telemetry by callback and by otelcore_output_next(): many threads, a retry, a permanent error, a wake. */
#include "test_support.h"
#include <pthread.h>

enum { THREADS = 8, EACH = 500, SPANS = 3 };

static size_t seen;
static int calls, freed, in_call;

static otelcore_status takes(void *user, otelcore_signal signal, const uint8_t *otlp, size_t len) {
    CHECK(user == &seen && signal == OTELCORE_TRACES);
    CHECK(__atomic_add_fetch(&in_call, 1, __ATOMIC_SEQ_CST) == 1); /* calls never overlap */
    otelcore_status answer = OTELCORE_OK;
    switch (calls++) {
    case 0: answer = OTELCORE_UNAVAILABLE; break;
    case 1: answer = OTELCORE_OVERLOADED; break;
    default: seen += spans_in(otlp, len);
    }
    __atomic_sub_fetch(&in_call, 1, __ATOMIC_SEQ_CST);
    return answer;
}

static void on_free(void *user) {
    CHECK(user == &seen);
    freed++;
}

static void *submits(void *arg) {
    for (int i = 0; i < EACH; i++) {
        otelcore_error *error = NULL;
        otelcore_status status;
        while ((status = submit(arg, SPANS, &error)) == OTELCORE_OVERLOADED) {
            CHECK(otelcore_error_is_retryable(error) && otelcore_error_retry_after_ms(error) > 0);
            otelcore_error_free(error);
            error = NULL;
            sleep_ms(1);
        }
        CHECK(status == OTELCORE_OK);
    }
    return NULL;
}

static void many_threads_and_one_callback(void) {
    otelcore_collector *c = through("5ms", "retry_on_failure: {initial_interval: 10ms}", NULL);
    otelcore_output *out = output_of(c);
    OK(otelcore_output_set_callback(out, takes, &seen, on_free, &err));
    OK(otelcore_collector_start(c, &err));
    FAILS(OTELCORE_INVALID_STATE, "", otelcore_output_set_callback(out, takes, &seen, on_free, &err));
    otelcore_input *in = input_of(c);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, submits, in) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    OK(otelcore_collector_flush(c, 20000, &err));
    CHECK(__atomic_load_n(&seen, __ATOMIC_SEQ_CST) == THREADS * EACH * SPANS && calls > 2);
    CHECK(freed == 0);
    OK(otelcore_collector_shutdown(c, 5000, &err));
    CHECK(freed == 1);
    otelcore_collector_free(c);
    otelcore_output_free(out);
    otelcore_input_free(in);
    CHECK(freed == 1);
}

static char log_text[1024];

static void on_log(void *user, otelcore_log_level level, const char *component, const char *message,
                   const char *fields) {
    (void)user;
    if (level == OTELCORE_LOG_ERROR) snprintf(log_text, sizeof log_text, "[%s] %s %s", component, message, fields);
}

static void pulled(void) {
    otelcore_options options = OTELCORE_OPTIONS_INIT;
    options.log = on_log;
    otelcore_collector *c = through("1ms", "retry_on_failure: {initial_interval: 10ms}", &options);
    otelcore_output *out = output_of(c);
    otelcore_input *in = input_of(c);
    otelcore_batch *batch = NULL;
    OK(otelcore_collector_start(c, &err));
    FAILS(OTELCORE_TIMEOUT, "", otelcore_output_next(out, 0, &batch, &err));
    OK(submit(in, 5, &err));
    /* Two retryable results, and then delivered. */
    OK(otelcore_output_next(out, 10000, &batch, &err));
    OK(otelcore_batch_finish(batch, OTELCORE_UNAVAILABLE, &err));
    OK(otelcore_output_next(out, 10000, &batch, &err));
    OK(otelcore_batch_retry_after(batch, 20, &err));
    OK(otelcore_output_next(out, 10000, &batch, &err));
    size_t len = 0;
    const uint8_t *data = otelcore_batch_data(batch, &len);
    CHECK(spans_in(data, len) == 5);
    OK(otelcore_batch_finish(batch, OTELCORE_OK, &err));
    /* A permanent error: the batch is dropped, and the log reports it. */
    OK(submit(in, 4, &err));
    OK(otelcore_output_next(out, 10000, &batch, &err));
    OK(otelcore_batch_finish(batch, OTELCORE_INVALID_DATA, &err));
    OK(otelcore_collector_flush(c, 5000, &err));
    FAILS(OTELCORE_TIMEOUT, "", otelcore_output_next(out, 50, &batch, &err));
    OK(otelcore_collector_shutdown(c, 5000, &err));
    CHECK(strstr(log_text, "exporter inproc/out") && strstr(log_text, "status 3"));
    otelcore_collector_free(c);
    otelcore_output_free(out);
    otelcore_input_free(in);
}

static void *waits(void *arg) {
    otelcore_batch *batch = NULL;
    FAILS(OTELCORE_CANCELLED, "cancelled", otelcore_output_next(arg, -1, &batch, &err));
    return NULL;
}

static void *waits_for_the_end(void *arg) {
    otelcore_batch *batch = NULL;
    FAILS(OTELCORE_CLOSED, "closed", otelcore_output_next(arg, -1, &batch, &err));
    return NULL;
}

static void a_waiter_can_be_woken(void) {
    otelcore_collector *c = through("1ms", "", NULL);
    otelcore_output *out = output_of(c);
    pthread_t thread;
    OK(otelcore_collector_start(c, &err));
    CHECK(pthread_create(&thread, NULL, waits, out) == 0);
    sleep_ms(300);
    OK(otelcore_output_wake(out, &err));
    pthread_join(thread, NULL);
    CHECK(pthread_create(&thread, NULL, waits_for_the_end, out) == 0);
    sleep_ms(20);
    OK(otelcore_collector_shutdown(c, 1000, &err));
    pthread_join(thread, NULL);
    otelcore_collector_free(c);
    otelcore_output_free(out);
}

/* A batch that outlives its collector: its result has no effect. */
static void a_batch_may_outlive_its_collector(void) {
    otelcore_collector *c = through("1ms", "", NULL);
    otelcore_output *out = output_of(c);
    otelcore_input *in = input_of(c);
    otelcore_batch *batch = NULL;
    OK(otelcore_collector_start(c, &err));
    OK(submit(in, 9, &err));
    OK(otelcore_output_next(out, 10000, &batch, &err));
    FAILS(OTELCORE_TIMEOUT, "9 ", otelcore_collector_shutdown(c, 50, &err));
    otelcore_collector_free(c);
    size_t len = 0;
    const uint8_t *data = otelcore_batch_data(batch, &len);
    CHECK(spans_in(data, len) == 9);
    OK(otelcore_batch_finish(batch, OTELCORE_OK, &err));
    otelcore_output_free(out);
    otelcore_input_free(in);
}

static int held = 1;

static otelcore_status holds(void *user, otelcore_signal signal, const uint8_t *otlp, size_t len) {
    (void)user, (void)signal, (void)otlp, (void)len;
    while (__atomic_load_n(&held, __ATOMIC_SEQ_CST)) sleep_ms(1);
    return OTELCORE_OK;
}

static void a_callback_that_holds_the_loop_does_not_hold_the_deadline(void) {
    otelcore_collector *c = through("1ms", "", NULL);
    otelcore_output *out = output_of(c);
    otelcore_input *in = input_of(c);
    OK(otelcore_output_set_callback(out, holds, NULL, NULL, &err));
    OK(otelcore_collector_start(c, &err));
    OK(submit(in, 1, &err));
    sleep_ms(50);
    FAILS(OTELCORE_TIMEOUT, "a callback holds it", otelcore_collector_shutdown(c, 10, &err));
    __atomic_store_n(&held, 0, __ATOMIC_SEQ_CST);
    (void)otelcore_collector_shutdown(c, 1000, NULL);
    CHECK(otelcore_collector_state(c) == OTELCORE_STATE_STOPPED);
    otelcore_collector_free(c);
    otelcore_output_free(out);
    otelcore_input_free(in);
}

static void an_input_says_what_it_accepts(void) {
    otelcore_collector *c = through("1ms", "", NULL);
    otelcore_input *in = input_of(c);
    OK(otelcore_input_accepts(in, OTELCORE_TRACES, &err));
    FAILS(OTELCORE_NOT_FOUND, "no pipeline takes logs from the input \"inproc/app\"; they take traces",
          otelcore_input_accepts(in, OTELCORE_LOGS, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "no such signal", otelcore_input_accepts(in, 7, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "NULL", otelcore_input_accepts(NULL, OTELCORE_TRACES, &err));
    otelcore_collector_free(c);
    otelcore_input_free(in);
}

int main(void) {
    an_input_says_what_it_accepts();
    many_threads_and_one_callback();
    pulled();
    a_waiter_can_be_woken();
    a_batch_may_outlive_its_collector();
    a_callback_that_holds_the_loop_does_not_hold_the_deadline();
    return 0;
}
