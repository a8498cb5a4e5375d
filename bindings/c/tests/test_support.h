/* Helpers of the test programs: checks that end the program, requests of spans, and their count. */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <otelcore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                              \
        }                                                                         \
    } while (0)

/* The call succeeds. It has an argument `&err`. */
#define OK(call)                                                                                         \
    do {                                                                                                 \
        otelcore_error *err = NULL;                                                                      \
        otelcore_status status_ = (call);                                                                \
        if (status_ != OTELCORE_OK) {                                                                    \
            fprintf(stderr, "%s:%d: %d: %s\n", __FILE__, __LINE__, status_, otelcore_error_message(err)); \
            exit(1);                                                                                     \
        }                                                                                                \
        CHECK(err == NULL);                                                                              \
    } while (0)

/* The call fails with this status, and its error has the status and contains the text. */
#define FAILS(status, text, call)                                                                         \
    do {                                                                                                  \
        otelcore_error *err = NULL;                                                                       \
        otelcore_status status_ = (call);                                                                 \
        if (status_ != (status) || otelcore_error_code(err) != (status) ||                                \
            strstr(otelcore_error_message(err), text) == NULL) {                                          \
            fprintf(stderr, "%s:%d: %d: %s\n", __FILE__, __LINE__, status_, otelcore_error_message(err)); \
            exit(1);                                                                                      \
        }                                                                                                 \
        otelcore_error_free(err);                                                                         \
    } while (0)

/* A request of `n` spans, 30 at most. Returns its length. */
static inline size_t spans(uint8_t *out, size_t n) {
    size_t len = 0;
    out[len++] = 0x0a;
    out[len++] = (uint8_t)(4 * n + 2);
    out[len++] = 0x12;
    out[len++] = (uint8_t)(4 * n);
    for (size_t i = 0; i < n; i++) {
        memcpy(out + len, "\x12\x02\x30\x01", 4);
        len += 4;
    }
    return len;
}

static inline otelcore_status submit(const otelcore_input *input, size_t n, otelcore_error **err) {
    uint8_t body[256];
    return otelcore_input_submit(input, OTELCORE_TRACES, body, spans(body, n), err);
}

/* How many fields of the path end in this message: `path` is field numbers, 0 at its end. */
static inline size_t count(const uint8_t *data, size_t len, const int *path) {
    size_t at = 0, found = 0;
    while (at < len) {
        uint64_t head[2] = {0, 0}; /* the tag, and the length or value */
        int wire = 0;
        for (int i = 0; i < 2; i++) {
            for (int shift = 0;; shift += 7) {
                CHECK(at < len && shift < 64);
                head[i] |= (uint64_t)(data[at] & 0x7f) << shift;
                if (!(data[at++] & 0x80)) break;
            }
            wire = (int)(head[0] & 7);
            if (i == 0 && wire != 0 && wire != 2) { at += wire == 1 ? 8 : 4; break; }
        }
        if (wire != 2) continue;
        CHECK(head[1] <= len - at);
        if ((int)(head[0] >> 3) == path[0])
            found += path[1] ? count(data + at, (size_t)head[1], path + 1) : 1;
        at += (size_t)head[1];
    }
    return found;
}

static inline size_t spans_in(const uint8_t *data, size_t len) {
    static const int path[] = {1, 2, 2, 0};
    return count(data, len, path);
}

#define YAML_BYTES 1024

/* Writes a configuration with inproc/app, a batch processor with this timeout, and inproc/out with these settings. */
static inline void write_through(char yaml[YAML_BYTES], const char *timeout, const char *settings) {
    snprintf(yaml, YAML_BYTES,
             "receivers: {inproc/app: }\n"
             "processors: {batch: {timeout: %s}}\n"
             "exporters: {inproc/out: {%s}}\n"
             "service:\n"
             "  pipelines: {traces: {receivers: [inproc/app], processors: [batch], exporters: [inproc/out]}}\n",
             timeout, settings);
}

/* A collector with this configuration. */
static inline otelcore_collector *through(const char *timeout, const char *settings, const otelcore_options *options) {
    char yaml[YAML_BYTES];
    otelcore_collector *collector = NULL;
    write_through(yaml, timeout, settings);
    OK(otelcore_collector_new(yaml, strlen(yaml), options, &collector, &err));
    CHECK(collector != NULL);
    return collector;
}

static inline otelcore_input *input_of(otelcore_collector *collector) {
    otelcore_input *input = NULL;
    OK(otelcore_collector_input(collector, "inproc/app", &input, &err));
    return input;
}

static inline otelcore_output *output_of(otelcore_collector *collector) {
    otelcore_output *output = NULL;
    OK(otelcore_collector_output(collector, "inproc/out", &output, &err));
    return output;
}

static inline void sleep_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&t, &t) != 0) {}
}

#endif
