/* Processors of the host program: callbacks and payloads that it takes, edits, misuse, calls from inside, a shutdown during a
 * callback, a fork in a callback. */
#include "test_support.h"
#include <pthread.h>
#include <sys/wait.h>

static otelcore_collector *with_processor(const char *settings) {
    char yaml[1024];
    otelcore_collector *collector = NULL;
    snprintf(yaml, sizeof yaml,
             "receivers: {inproc/app: }\n"
             "processors: {inproc/change: {%s}}\n"
             "exporters: {inproc/out: }\n"
             "service:\n"
             "  pipelines: {traces: {receivers: [inproc/app], processors: [inproc/change], exporters: [inproc/out]}}\n",
             settings);
    OK(otelcore_collector_new(yaml, strlen(yaml), NULL, &collector, &err));
    return collector;
}

static otelcore_processor *processor_of(otelcore_collector *collector) {
    otelcore_processor *processor = NULL;
    OK(otelcore_collector_processor(collector, "inproc/change", &processor, &err));
    return processor;
}

/* Finishes the next batch; returns the number of its spans. */
static size_t next_spans(otelcore_output *out) {
    otelcore_batch *batch = NULL;
    size_t len = 0;
    OK(otelcore_output_next(out, 20000, &batch, &err));
    const uint8_t *data = otelcore_batch_data(batch, &len);
    size_t found = spans_in(data, len);
    OK(otelcore_batch_finish(batch, OTELCORE_OK, &err));
    return found;
}

static void frees(otelcore_collector *c, otelcore_processor *p, otelcore_input *in, otelcore_output *out) {
    otelcore_collector_free(c);
    otelcore_processor_free(p);
    otelcore_input_free(in);
    otelcore_output_free(out);
}

/* ---- edits ---- */

static int spans_seen, freed;
static otelcore_item *kept_item;
static otelcore_payload *kept_payload;

static void on_free(void *user) {
    (void)user;
    __atomic_add_fetch(&freed, 1, __ATOMIC_SEQ_CST);
}

/* Numbers spans in an attribute, and drops every second one. */
static otelcore_keep visits(void *user, otelcore_item *item) {
    CHECK(user == &spans_seen);
    otelcore_value value = {OTELCORE_VALUE_STRING, 0, 0, (const uint8_t *)"shop", 4}, read;
    size_t len = 0;
    kept_item = item;
    switch (otelcore_item_get_kind(item)) {
    case OTELCORE_ITEM_RESOURCE:
        OK(otelcore_item_set_attribute(item, "service.name", &value, &err));
        FAILS(OTELCORE_NOT_FOUND, "a resource has no name", otelcore_item_set_name(item, "x", &err));
        CHECK(otelcore_item_get_name(item, &len) == NULL && len == 0);
        return OTELCORE_KEEP;
    case OTELCORE_ITEM_SPAN:
        break;
    default:
        return OTELCORE_KEEP;
    }
    FAILS(OTELCORE_REENTRANT, "edited", otelcore_payload_edit(kept_payload, visits, user, &err));
    FAILS(OTELCORE_REENTRANT, "edited", otelcore_payload_finish(kept_payload, OTELCORE_OK, &err));
    CHECK(otelcore_payload_data(kept_payload, &len) == NULL);
    OK(otelcore_item_get_resource_attribute(item, "service.name", &read, &err));
    CHECK(read.value_type == OTELCORE_VALUE_STRING && read.len == 4 && memcmp(read.data, "shop", 4) == 0);
    FAILS(OTELCORE_NOT_FOUND, "", otelcore_item_get_attribute(item, "number", &read, &err));
    value = (otelcore_value){OTELCORE_VALUE_INT, ++spans_seen, 0, NULL, 0};
    OK(otelcore_item_set_attribute(item, "number", &value, &err));
    OK(otelcore_item_get_attribute(item, "number", &read, &err));
    CHECK(read.value_type == OTELCORE_VALUE_INT && read.integer == spans_seen);
    OK(otelcore_item_remove_attribute(item, "number", &err));
    OK(otelcore_item_remove_attribute(item, "number", &err));
    OK(otelcore_item_set_name(item, "renamed", &err));
    const char *name = otelcore_item_get_name(item, &len);
    CHECK(len == 7 && memcmp(name, "renamed", len) == 0);
    FAILS(OTELCORE_NOT_FOUND, "a span has no body", otelcore_item_set_body(item, &value, &err));
    value.value_type = 8;
    FAILS(OTELCORE_INVALID_ARGUMENT, "can't be set", otelcore_item_set_attribute(item, "a", &value, &err));
    /* ["x"], and {"k": "x"} */
    static const uint8_t list[] = {0x0a, 3, 0x0a, 1, 'x'}, map[] = {0x0a, 8, 0x0a, 1, 'k', 0x12, 3, 0x0a, 1, 'x'};
    value = (otelcore_value){OTELCORE_VALUE_ARRAY, 0, 0, list, sizeof list};
    OK(otelcore_item_set_attribute(item, "list", &value, &err));
    OK(otelcore_item_get_attribute(item, "list", &read, &err));
    CHECK(read.value_type == OTELCORE_VALUE_ARRAY && read.len == sizeof list && memcmp(read.data, list, read.len) == 0);
    value = (otelcore_value){OTELCORE_VALUE_MAP, 0, 0, map, sizeof map};
    OK(otelcore_item_set_attribute(item, "list", &value, &err));
    OK(otelcore_item_get_attribute(item, "list", &read, &err));
    CHECK(read.value_type == OTELCORE_VALUE_MAP && read.len == sizeof map && memcmp(read.data, map, read.len) == 0);
    value.len--;
    FAILS(OTELCORE_INVALID_DATA, "no KeyValueList", otelcore_item_set_attribute(item, "list", &value, &err));
    OK(otelcore_item_remove_attribute(item, "list", &err));
    value = (otelcore_value){OTELCORE_VALUE_STRING, 0, 0, (const uint8_t *)"\xff", 1};
    FAILS(OTELCORE_INVALID_ARGUMENT, "UTF-8", otelcore_item_set_attribute(item, "a", &value, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "NULL", otelcore_item_set_attribute(item, "a", NULL, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "no item", otelcore_item_set_name(NULL, "a", &err));
    return spans_seen % 2 ? OTELCORE_KEEP : OTELCORE_DROP;
}

static otelcore_keep answers_nonsense(void *user, otelcore_item *item) {
    (void)user, (void)item;
    return 77;
}

static otelcore_status edits(void *user, otelcore_payload *payload) {
    CHECK(otelcore_payload_signal(payload) == OTELCORE_TRACES);
    kept_payload = payload;
    OK(otelcore_payload_edit(payload, visits, user, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "OTELCORE_KEEP", otelcore_payload_edit(payload, answers_nonsense, user, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "NULL", otelcore_payload_edit(payload, NULL, user, &err));
    CHECK(otelcore_item_get_kind(kept_item) == -1); /* it was valid in its call only */
    size_t len = 0;
    const uint8_t *data = otelcore_payload_data(payload, &len);
    CHECK(spans_in(data, len) == 2);
    FAILS(OTELCORE_INVALID_DATA, "", otelcore_payload_replace(payload, (const uint8_t *)"\x0a\xff", 2, &err));
    return OTELCORE_OK;
}

static void a_callback_edits_payloads(void) {
    otelcore_collector *c = with_processor("");
    otelcore_processor *p = processor_of(c);
    otelcore_output *out = output_of(c);
    otelcore_input *in = input_of(c);
    FAILS(OTELCORE_NOT_FOUND, "inproc/change", otelcore_collector_processor(c, "inproc/none", &p, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "NULL", otelcore_processor_set_callback(p, NULL, NULL, NULL, &err));
    OK(otelcore_processor_set_callback(p, edits, &spans_seen, on_free, &err));
    FAILS(OTELCORE_INVALID_STATE, "", otelcore_processor_set_callback(p, edits, &spans_seen, on_free, &err));
    OK(otelcore_collector_start(c, &err));
    OK(submit(in, 4, &err));
    CHECK(next_spans(out) == 2 && spans_seen == 4);
    CHECK(__atomic_load_n(&freed, __ATOMIC_SEQ_CST) == 0);
    OK(otelcore_collector_shutdown(c, 5000, &err));
    CHECK(__atomic_load_n(&freed, __ATOMIC_SEQ_CST) == 1);
    size_t len = 1;
    CHECK(otelcore_payload_data(kept_payload, &len) == NULL && len == 0); /* finished with its call */
    FAILS(OTELCORE_CLOSED, "freed", otelcore_payload_finish(kept_payload, OTELCORE_OK, &err));
    frees(c, p, in, out);
    CHECK(__atomic_load_n(&freed, __ATOMIC_SEQ_CST) == 1);
}

/* ---- results ---- */

static int calls;

static otelcore_status answers(void *user, otelcore_payload *payload) {
    uint8_t body[256];
    (void)user;
    switch (calls++) {
    case 0: return OTELCORE_UNAVAILABLE; /* its sender sends it again */
    case 1: return OTELCORE_INVALID_DATA;
    default: OK(otelcore_payload_replace(payload, body, spans(body, 9), &err)); return OTELCORE_OK;
    }
}

static void every_answer_has_its_outcome(void) {
    otelcore_collector *c = with_processor("");
    otelcore_processor *p = processor_of(c);
    otelcore_output *out = output_of(c);
    otelcore_input *in = input_of(c);
    OK(otelcore_processor_set_callback(p, answers, NULL, NULL, &err));
    OK(otelcore_collector_start(c, &err));
    OK(submit(in, 1, &err));
    OK(otelcore_collector_flush(c, 20000, &err));
    CHECK(__atomic_load_n(&calls, __ATOMIC_SEQ_CST) == 2);
    OK(submit(in, 2, &err));
    CHECK(next_spans(out) == 9);
    OK(otelcore_collector_shutdown(c, 5000, &err));
    frees(c, p, in, out);
}

/* ---- taken by the host's threads ---- */

static void payloads_are_taken(void) {
    otelcore_collector *c = with_processor("timeout: 0");
    otelcore_payload *payload = NULL;
    FAILS(OTELCORE_IO, "give it a callback", otelcore_collector_start(c, &err));
    otelcore_collector_free(c);
    c = with_processor("timeout: 0");
    otelcore_processor *p = processor_of(c);
    otelcore_output *out = output_of(c);
    otelcore_input *in = input_of(c);
    OK(otelcore_collector_start(c, &err));
    FAILS(OTELCORE_TIMEOUT, "", otelcore_processor_next(p, 0, &payload, &err));
    OK(otelcore_processor_wake(p, &err));
    FAILS(OTELCORE_CANCELLED, "", otelcore_processor_next(p, -1, &payload, &err));
    OK(submit(in, 3, &err));
    OK(otelcore_processor_next(p, 20000, &payload, &err));
    OK(otelcore_payload_retry_after(payload, 1, &err));
    OK(otelcore_processor_next(p, 20000, &payload, &err));
    OK(otelcore_payload_finish(payload, OTELCORE_OK, &err));
    FAILS(OTELCORE_CLOSED, "", otelcore_payload_finish(payload, OTELCORE_OK, &err));
    CHECK(next_spans(out) == 3);
    FAILS(OTELCORE_INVALID_ARGUMENT, "no payload", otelcore_payload_finish((otelcore_payload *)p, OTELCORE_OK, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "no place", otelcore_processor_next(p, 0, NULL, &err));
    OK(otelcore_collector_shutdown(c, 5000, &err));
    FAILS(OTELCORE_CLOSED, "", otelcore_processor_next(p, -1, &payload, &err));
    frees(c, p, in, out);
    CHECK(otelcore_payload_signal(NULL) == -1);
}

/* ---- calls from inside, and a callback that holds ---- */

static int held = 1, entered;

static otelcore_status holds(void *user, otelcore_payload *payload) {
    otelcore_collector *c = user;
    (void)payload;
    FAILS(OTELCORE_REENTRANT, "", otelcore_collector_flush(c, -1, &err));
    FAILS(OTELCORE_REENTRANT, "", otelcore_collector_shutdown(c, -1, &err));
    CHECK(otelcore_collector_state(c) >= OTELCORE_STATE_RUNNING);
    __atomic_store_n(&entered, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&held, __ATOMIC_SEQ_CST)) sleep_ms(1);
    return OTELCORE_OK;
}

static void a_callback_that_holds_does_not_hold_the_collector(void) {
    otelcore_collector *c = with_processor("timeout: 0");
    otelcore_processor *p = processor_of(c);
    otelcore_output *out = output_of(c);
    otelcore_input *in = input_of(c);
    OK(otelcore_processor_set_callback(p, holds, c, NULL, &err));
    OK(otelcore_collector_start(c, &err));
    OK(submit(in, 7, &err));
    while (!__atomic_load_n(&entered, __ATOMIC_SEQ_CST)) sleep_ms(1);
    FAILS(OTELCORE_TIMEOUT, "7 ", otelcore_collector_shutdown(c, 50, &err));
    CHECK(otelcore_collector_state(c) == OTELCORE_STATE_STOPPED);
    __atomic_store_n(&held, 0, __ATOMIC_SEQ_CST);
    frees(c, p, in, out);
    sleep_ms(50);
}

/* ---- fork ---- */

static int has_forked;

static otelcore_status forks(void *user, otelcore_payload *payload) {
    (void)user;
    if (has_forked++) return OTELCORE_OK;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(20);
        size_t len = 1;
        CHECK(otelcore_payload_data(payload, &len) == NULL && len == 0);
        FAILS(OTELCORE_FORKED, "forked", otelcore_payload_finish(payload, OTELCORE_OK, &err));
        _exit(0);
    }
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return OTELCORE_OK;
}

static void a_callback_may_fork(void) {
    otelcore_collector *c = with_processor("timeout: 0");
    otelcore_processor *p = processor_of(c);
    otelcore_output *out = output_of(c);
    otelcore_input *in = input_of(c);
    OK(otelcore_processor_set_callback(p, forks, NULL, NULL, &err));
    OK(otelcore_collector_start(c, &err));
    OK(submit(in, 5, &err));
    CHECK(next_spans(out) == 5);
    OK(otelcore_collector_shutdown(c, 5000, &err));
    frees(c, p, in, out);
}

int main(void) {
    a_callback_edits_payloads();
    every_answer_has_its_outcome();
    payloads_are_taken();
    a_callback_that_holds_does_not_hold_the_collector();
    a_callback_may_fork();
    return 0;
}
