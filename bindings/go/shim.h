// Wrappers of otelcore.h for cgo: handles are numbers in Go (they point at nothing, so the garbage collector
// must not treat them as pointers), and each result is one value, so that no pointer of Go escapes into C.
#ifndef OTELCORE_GO_SHIM_H
#define OTELCORE_GO_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "otelcore.h"

// A status, the result of the call, and the error where it failed.
typedef struct {
  otelcore_status status;
  uintptr_t value;
  uintptr_t error;
} og_result;

typedef struct {
  const char *message;
  uint64_t retry_after_ms;
  bool retryable;
} og_error;

// In log.c: where a collector's records become messages in the socket `fd`, which is closed after the last one. Only then
// may og_sink_end() be called; it returns how many were dropped that no record has counted.
typedef struct og_sink og_sink;
og_sink *og_sink_new(int fd);
uint64_t og_sink_end(og_sink *to);

// The documents of a configuration: YAML under its name, and data as JSON that is merged over it; either may have no bytes.
typedef struct {
  otelcore_config documents[2];
  size_t count;
} og_config;

static inline og_config og_config_of(const char *yaml, size_t yaml_len, const char *name, const char *data, size_t data_len) {
  og_config config = {{{name == NULL ? "config.yaml" : name, yaml, yaml_len}, {"data", data, data_len}}, 2};
  if (data_len == 0) {
    config.count = 1;
  } else if (yaml_len == 0) {
    config.documents[0] = config.documents[1];
    config.count = 1;
  }
  return config;
}

// `log` may be NULL.
og_result og_new(const char *yaml, size_t yaml_len, const char *name, const char *data, size_t data_len,
                 otelcore_log_level level, og_sink *log);

// In log.c: has a byte written to the socket `fd` at each change of a status; it is closed with the collector.
og_result og_watch(uintptr_t c, int fd);

#define OG_CALL(type, call)                                                                                            \
  type *out = NULL;                                                                                                    \
  otelcore_error *err = NULL;                                                                                          \
  otelcore_status status = (call);                                                                                     \
  return (og_result){status, (uintptr_t)out, (uintptr_t)err}

static inline og_result og_start(uintptr_t c) { OG_CALL(void, otelcore_collector_start((otelcore_collector *)c, &err)); }

static inline og_result og_begin_flush(uintptr_t c) {
  uint64_t mark = 0;
  otelcore_error *err = NULL;
  otelcore_status status = otelcore_collector_begin_flush((otelcore_collector *)c, &mark, &err);
  return (og_result){status, (uintptr_t)mark, (uintptr_t)err};
}

static inline bool og_is_flushed(uintptr_t c, uint64_t mark) {
  return otelcore_collector_is_flushed((const otelcore_collector *)c, mark);
}

static inline og_result og_reload(uintptr_t c, const char *yaml, size_t yaml_len, const char *name, const char *data,
                                  size_t data_len, int64_t grace_ms) {
  og_config config = og_config_of(yaml, yaml_len, name, data, data_len);
  OG_CALL(void, otelcore_collector_reload_merged((otelcore_collector *)c, config.documents, config.count, grace_ms, &err));
}

// A snapshot as JSON.
static inline og_result og_snapshot(uintptr_t c) {
  otelcore_snapshot *snapshot = NULL;
  otelcore_buffer *out = NULL;
  otelcore_error *err = NULL;
  otelcore_status status = otelcore_collector_snapshot((const otelcore_collector *)c, &snapshot, &err);
  if (status == OTELCORE_OK) status = otelcore_snapshot_json(snapshot, &out, &err);
  otelcore_snapshot_free(snapshot);
  return (og_result){status, (uintptr_t)out, (uintptr_t)err};
}

static inline og_result og_begin_shutdown(uintptr_t c, int64_t ms) {
  OG_CALL(void, otelcore_collector_begin_shutdown((otelcore_collector *)c, ms, &err));
}

static inline og_result og_shutdown(uintptr_t c, int64_t ms) {
  OG_CALL(void, otelcore_collector_shutdown((otelcore_collector *)c, ms, &err));
}

static inline otelcore_state og_state(uintptr_t c) { return otelcore_collector_state((const otelcore_collector *)c); }

static inline void og_free(uintptr_t c) { otelcore_collector_free((otelcore_collector *)c); }

static inline og_result og_health(uintptr_t c) {
  OG_CALL(otelcore_buffer, otelcore_collector_health((const otelcore_collector *)c, &out, &err));
}

static inline og_result og_component_statuses(uintptr_t c) {
  OG_CALL(otelcore_buffer, otelcore_collector_component_statuses((const otelcore_collector *)c, &out, &err));
}

static inline og_result og_metrics(uintptr_t c) {
  OG_CALL(otelcore_buffer, otelcore_collector_metrics((const otelcore_collector *)c, OTELCORE_FORMAT_PROMETHEUS, &out, &err));
}

static inline og_result og_input(uintptr_t c, const char *id) {
  OG_CALL(otelcore_input, otelcore_collector_input((const otelcore_collector *)c, id, &out, &err));
}

static inline og_result og_output(uintptr_t c, const char *id) {
  OG_CALL(otelcore_output, otelcore_collector_output((const otelcore_collector *)c, id, &out, &err));
}

static inline og_result og_submit(uintptr_t in, otelcore_signal signal, const uint8_t *otlp, size_t len) {
  OG_CALL(void, otelcore_input_submit((const otelcore_input *)in, signal, otlp, len, &err));
}

static inline og_result og_submit_json(uintptr_t in, otelcore_signal signal, const char *json, size_t len) {
  OG_CALL(void, otelcore_input_submit_json((const otelcore_input *)in, signal, json, len, &err));
}

static inline og_result og_accepts(uintptr_t in, otelcore_signal signal) {
  OG_CALL(void, otelcore_input_accepts((const otelcore_input *)in, signal, &err));
}

static inline void og_input_free(uintptr_t in) { otelcore_input_free((otelcore_input *)in); }

static inline og_result og_next(uintptr_t output, int64_t ms) {
  OG_CALL(otelcore_batch, otelcore_output_next((const otelcore_output *)output, ms, &out, &err));
}

static inline og_result og_wake(uintptr_t output) { OG_CALL(void, otelcore_output_wake((const otelcore_output *)output, &err)); }

static inline void og_output_free(uintptr_t output) { otelcore_output_free((otelcore_output *)output); }

static inline otelcore_signal og_batch_signal(uintptr_t b) { return otelcore_batch_signal((const otelcore_batch *)b); }

typedef struct {
  const uint8_t *data;
  size_t len;
} og_bytes;

static inline og_bytes og_batch_data(uintptr_t b) {
  og_bytes bytes = {NULL, 0};
  bytes.data = otelcore_batch_data((const otelcore_batch *)b, &bytes.len);
  return bytes;
}

static inline og_result og_batch_finish(uintptr_t b, otelcore_status status_) {
  OG_CALL(void, otelcore_batch_finish((otelcore_batch *)b, status_, &err));
}

static inline og_result og_batch_retry_after(uintptr_t b, uint64_t ms) {
  OG_CALL(void, otelcore_batch_retry_after((otelcore_batch *)b, ms, &err));
}

static inline og_result og_processor(uintptr_t c, const char *id) {
  OG_CALL(otelcore_processor, otelcore_collector_processor((const otelcore_collector *)c, id, &out, &err));
}

static inline og_result og_processor_next(uintptr_t p, int64_t ms) {
  OG_CALL(otelcore_payload, otelcore_processor_next((const otelcore_processor *)p, ms, &out, &err));
}

static inline og_result og_processor_wake(uintptr_t p) {
  OG_CALL(void, otelcore_processor_wake((const otelcore_processor *)p, &err));
}

static inline void og_processor_free(uintptr_t p) { otelcore_processor_free((otelcore_processor *)p); }

static inline otelcore_signal og_payload_signal(uintptr_t p) { return otelcore_payload_signal((const otelcore_payload *)p); }

static inline og_bytes og_payload_data(uintptr_t p) {
  og_bytes bytes = {NULL, 0};
  bytes.data = otelcore_payload_data((const otelcore_payload *)p, &bytes.len);
  return bytes;
}

static inline og_result og_payload_replace(uintptr_t p, const uint8_t *otlp, size_t len) {
  OG_CALL(void, otelcore_payload_replace((otelcore_payload *)p, otlp, len, &err));
}

static inline og_result og_payload_finish(uintptr_t p, otelcore_status status_) {
  OG_CALL(void, otelcore_payload_finish((otelcore_payload *)p, status_, &err));
}

static inline og_result og_payload_retry_after(uintptr_t p, uint64_t ms) {
  OG_CALL(void, otelcore_payload_retry_after((otelcore_payload *)p, ms, &err));
}

// In edit.c: it calls Go.
og_result og_payload_edit(uintptr_t payload, uintptr_t visitor);

static inline otelcore_item_kind og_item_kind(uintptr_t i) { return otelcore_item_get_kind((const otelcore_item *)i); }

static inline og_bytes og_item_name(uintptr_t i) {
  og_bytes bytes = {NULL, 0};
  bytes.data = (const uint8_t *)otelcore_item_get_name((const otelcore_item *)i, &bytes.len);
  return bytes;
}

static inline og_result og_item_set_name(uintptr_t i, const char *name) {
  OG_CALL(void, otelcore_item_set_name((otelcore_item *)i, name, &err));
}

// Where a value of an item is.
typedef enum { OG_ATTRIBUTE, OG_RESOURCE_ATTRIBUTE, OG_BODY } og_place;

typedef struct {
  otelcore_status status;
  otelcore_value value;
} og_value;

static inline og_value og_item_get(uintptr_t i, og_place place, const char *key) {
  og_value got = {OTELCORE_OK, {OTELCORE_VALUE_EMPTY, 0, 0, NULL, 0}};
  const otelcore_item *item = (const otelcore_item *)i;
  switch (place) {
  case OG_ATTRIBUTE: got.status = otelcore_item_get_attribute(item, key, &got.value, NULL); break;
  case OG_RESOURCE_ATTRIBUTE: got.status = otelcore_item_get_resource_attribute(item, key, &got.value, NULL); break;
  case OG_BODY: got.status = otelcore_item_get_body(item, &got.value, NULL); break;
  }
  return got;
}

static inline og_result og_item_set(uintptr_t i, og_place place, const char *key, otelcore_value_type type, int64_t integer,
                                    double number, const uint8_t *data, size_t len) {
  otelcore_value value = {type, integer, number, data, len};
  OG_CALL(void, place == OG_BODY ? otelcore_item_set_body((otelcore_item *)i, &value, &err)
                                 : otelcore_item_set_attribute((otelcore_item *)i, key, &value, &err));
}

static inline og_result og_item_remove(uintptr_t i, const char *key) {
  OG_CALL(void, otelcore_item_remove_attribute((otelcore_item *)i, key, &err));
}

static inline og_bytes og_buffer_data(uintptr_t b) {
  og_bytes bytes = {NULL, 0};
  bytes.data = otelcore_buffer_data((const otelcore_buffer *)b, &bytes.len);
  return bytes;
}

static inline void og_buffer_free(uintptr_t b) { otelcore_buffer_free((otelcore_buffer *)b); }

static inline og_error og_error_read(uintptr_t e) {
  const otelcore_error *err = (const otelcore_error *)e;
  return (og_error){otelcore_error_message(err), otelcore_error_retry_after_ms(err), otelcore_error_is_retryable(err)};
}

static inline void og_error_free(uintptr_t e) { otelcore_error_free((otelcore_error *)e); }

#endif
