/* Just enough protobuf to write OTLP by hand. Programs that have an SDK or generated code do not need it. */
#ifndef OTLP_H
#define OTLP_H

#include <stdint.h>
#include <string.h>
#include <time.h>

typedef struct {
    uint8_t data[4096];
    size_t len;
} otlp;

static inline void otlp_varint(otlp *to, uint64_t value) {
    for (; value >= 0x80; value >>= 7) to->data[to->len++] = (uint8_t)(value | 0x80);
    to->data[to->len++] = (uint8_t)value;
}

static inline void otlp_number(otlp *to, unsigned field, uint64_t value) {
    otlp_varint(to, (uint64_t)field << 3);
    otlp_varint(to, value);
}

static inline void otlp_fixed64(otlp *to, unsigned field, uint64_t value) {
    otlp_varint(to, (uint64_t)field << 3 | 1);
    for (int i = 0; i < 8; i++) to->data[to->len++] = (uint8_t)(value >> (8 * i));
}

static inline void otlp_bytes(otlp *to, unsigned field, const void *data, size_t len) {
    otlp_varint(to, (uint64_t)field << 3 | 2);
    otlp_varint(to, len);
    memcpy(to->data + to->len, data, len);
    to->len += len;
}

static inline void otlp_text(otlp *to, unsigned field, const char *text) { otlp_bytes(to, field, text, strlen(text)); }

static inline void otlp_message(otlp *to, unsigned field, const otlp *message) {
    otlp_bytes(to, field, message->data, message->len);
}

static inline void otlp_attribute(otlp *to, unsigned field, const char *key, const char *value) {
    otlp any = {.len = 0}, pair = {.len = 0};
    otlp_text(&any, 1, value); /* AnyValue.string_value */
    otlp_text(&pair, 1, key);
    otlp_message(&pair, 2, &any);
    otlp_message(to, field, &pair);
}

static inline uint64_t otlp_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* What each request begins with: the resource, and around it and the scope a message. */
static inline void otlp_request(otlp *to, const char *service, const otlp *scope) {
    otlp resource = {.len = 0}, entry = {.len = 0};
    otlp_attribute(&resource, 1, "service.name", service);
    otlp_message(&entry, 1, &resource);
    otlp_message(&entry, 2, scope);
    otlp_message(to, 1, &entry);
}

/* An ExportTraceServiceRequest with one span, `ms` long. */
static inline void otlp_span(otlp *to, const char *service, const char *name, unsigned number, unsigned ms) {
    otlp span = {.len = 0}, scope = {.len = 0};
    uint64_t now = otlp_now();
    uint8_t trace_id[16] = {1}, span_id[8] = {1};
    memcpy(trace_id + 8, &now, 8);
    memcpy(trace_id + 1, &number, 4);
    memcpy(span_id + 4, &number, 4);
    otlp_bytes(&span, 1, trace_id, 16);
    otlp_bytes(&span, 2, span_id, 8);
    otlp_text(&span, 5, name);
    otlp_number(&span, 6, 2); /* SPAN_KIND_SERVER */
    otlp_fixed64(&span, 7, now - (uint64_t)ms * 1000000);
    otlp_fixed64(&span, 8, now);
    otlp_message(&scope, 2, &span);
    otlp_request(to, service, &scope);
}

/* An ExportMetricsServiceRequest with one counter. */
static inline void otlp_counter(otlp *to, const char *service, const char *name, uint64_t since, uint64_t value) {
    otlp point = {.len = 0}, sum = {.len = 0}, metric = {.len = 0}, scope = {.len = 0};
    otlp_fixed64(&point, 2, since);
    otlp_fixed64(&point, 3, otlp_now());
    otlp_fixed64(&point, 6, value); /* as_int */
    otlp_message(&sum, 1, &point);
    otlp_number(&sum, 2, 2); /* AGGREGATION_TEMPORALITY_CUMULATIVE */
    otlp_number(&sum, 3, 1); /* is_monotonic */
    otlp_text(&metric, 1, name);
    otlp_message(&metric, 7, &sum);
    otlp_message(&scope, 2, &metric);
    otlp_request(to, service, &scope);
}

#endif
