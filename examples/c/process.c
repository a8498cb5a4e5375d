/* A processor in C: a callback between a receiver and an exporter, in a thread of its own. It drops the spans of health checks
 * and says of all others where they are from. */
#include "otlp.h"
#include <otelcore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char yaml[] =
    "receivers: {inproc/app: }\n"
    "processors: {inproc/enrich: {timeout: 2s}}\n"
    "exporters: {debug: {verbosity: detailed}}\n"
    "service:\n"
    "  pipelines: {traces: {receivers: [inproc/app], processors: [inproc/enrich], exporters: [debug]}}\n";

static void fail(const char *what, otelcore_error *err) {
    fprintf(stderr, "%s: %s\n", what, otelcore_error_message(err));
    otelcore_error_free(err);
    exit(1);
}

/* The collector's log: here the exporter `debug` shows what was passed on. */
static void show(void *user, otelcore_log_level level, const char *component, const char *message, const char *fields) {
    (void)user, (void)level;
    fprintf(stderr, "[%s] %s %s\n", component, message, fields);
}

static size_t dropped;

static otelcore_keep visit(void *user, otelcore_item *item) {
    static const otelcore_value region = {OTELCORE_VALUE_STRING, 0, 0, (const uint8_t *)"eu-north-1", 10};
    otelcore_error *err = NULL;
    size_t len = 0;
    (void)user;
    switch (otelcore_item_get_kind(item)) {
    case OTELCORE_ITEM_RESOURCE:
        if (otelcore_item_set_attribute(item, "cloud.region", &region, &err)) fail("attribute", err);
        return OTELCORE_KEEP; /* and visit its spans */
    case OTELCORE_ITEM_SPAN: {
        const char *name = otelcore_item_get_name(item, &len);
        if (len == 6 && memcmp(name, "health", len) == 0) {
            dropped++;
            return OTELCORE_DROP;
        }
        return OTELCORE_SKIP; /* events and links stay as they are */
    }
    default:
        return OTELCORE_KEEP;
    }
}

/* What it returns decides about the payload: OTELCORE_OK passes it on as it is now. */
static otelcore_status process(void *user, otelcore_payload *payload) {
    otelcore_error *err = NULL;
    otelcore_status status = otelcore_payload_edit(payload, visit, user, &err);
    otelcore_error_free(err);
    return status;
}

int main(void) {
    otelcore_error *err = NULL;
    otelcore_collector *collector = NULL;
    otelcore_input *input = NULL;
    otelcore_processor *enrich = NULL;
    otelcore_options options = OTELCORE_OPTIONS_INIT;
    options.log = show;
    if (otelcore_collector_new(yaml, sizeof yaml - 1, &options, &collector, &err)) fail("configuration", err);
    if (otelcore_collector_input(collector, "inproc/app", &input, &err)) fail("input", err);
    if (otelcore_collector_processor(collector, "inproc/enrich", &enrich, &err)) fail("processor", err);
    if (otelcore_processor_set_callback(enrich, process, NULL, NULL, &err)) fail("callback", err);
    if (otelcore_collector_start(collector, &err)) fail("start", err);
    for (unsigned n = 0; n < 20; n++) {
        otlp request = {.len = 0};
        otlp_span(&request, "shop", n % 4 == 0 ? "health" : "order", n, 1);
        if (otelcore_input_submit(input, OTELCORE_TRACES, request.data, request.len, &err)) fail("submit", err);
    }
    if (otelcore_collector_shutdown(collector, 5000, &err)) fail("shutdown", err);
    printf("dropped %zu of 20 spans\nstopped\n", dropped);
    otelcore_input_free(input);
    otelcore_processor_free(enrich);
    otelcore_collector_free(collector);
    return 0;
}
