/* State as data: components, queues, memory and metrics in structs, a callback for changed statuses, merged configurations. */
#include "test_support.h"

static int changes, freed;
static otelcore_collector *c;

static void on_status(void *user, const otelcore_component_status *status) {
    CHECK(user == &changes && status->struct_size == sizeof *status && status->changed_at_ns > 0);
    FAILS(OTELCORE_REENTRANT, "callback", otelcore_collector_flush(c, 10, &err));
    changes++;
}

static void on_free(void *user) {
    CHECK(user == &changes);
    freed++;
}

static const char base[] =
    "receivers: {inproc/app: , otlp: {protocols: {http: {endpoint: 127.0.0.1:0}}}}\n"
    "exporters: {inproc/out: , otlp_http: {endpoint: http://127.0.0.1:1}}\n"
    "service:\n"
    "  pipelines: {traces: {receivers: [inproc/app, otlp], exporters: [inproc/out, otlp_http]}}\n";
static const char data[] = "{\"exporters\": {\"inproc/out\": {\"sending_queue\": {\"queue_size\": 7}}}}";

static otelcore_component_status component(otelcore_snapshot *snapshot, const char *id) {
    otelcore_component_status status = OTELCORE_COMPONENT_STATUS_INIT;
    for (size_t i = 0; otelcore_snapshot_get_component(snapshot, i, &status, NULL) == OTELCORE_OK; i++)
        if (strcmp(status.id, id) == 0) return status;
    CHECK(!"no such component");
    return status;
}

static void state_is_in_structs(void) {
    otelcore_config documents[] = {{"base.yaml", base, sizeof base - 1}, {"data", data, sizeof data - 1}};
    otelcore_snapshot *snapshot = NULL;
    OK(otelcore_collector_new_merged(documents, 2, NULL, &c, &err));
    OK(otelcore_collector_set_status_callback(c, on_status, &changes, on_free, &err));
    FAILS(OTELCORE_INVALID_STATE, "status callback", otelcore_collector_set_status_callback(c, on_status, NULL, NULL, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "NULL", otelcore_collector_set_status_callback(c, NULL, NULL, NULL, &err));
    OK(otelcore_collector_snapshot(c, &snapshot, &err));
    CHECK(otelcore_snapshot_state(snapshot) == OTELCORE_STATE_CREATED);
    otelcore_snapshot_free(snapshot);
    OK(otelcore_collector_start(c, &err));
    otelcore_input *in = input_of(c);
    otelcore_output *out = output_of(c);
    otelcore_batch *batch = NULL;
    OK(submit(in, 3, &err));
    OK(otelcore_output_next(out, 20000, &batch, &err));
    for (int i = 0; i < 400; i++) { /* until the other exporter has failed */
        OK(otelcore_collector_snapshot(c, &snapshot, &err));
        if (component(snapshot, "otlp_http").status == OTELCORE_COMPONENT_RECOVERABLE_ERROR) break;
        otelcore_snapshot_free(snapshot);
        sleep_ms(20);
    }
    otelcore_component_status failed = component(snapshot, "otlp_http"), listens = component(snapshot, "otlp");
    CHECK(failed.last_error != NULL && failed.last_error_count >= 1 && failed.last_error_at_ns > 0 && *failed.message);
    CHECK(listens.status == OTELCORE_COMPONENT_OK && listens.last_error == NULL && listens.address_count == 1);
    CHECK(strncmp(listens.addresses[0], "127.0.0.1:", 10) == 0);
    otelcore_queue_status queue = OTELCORE_QUEUE_STATUS_INIT;
    size_t exporters = 0, own = 0;
    for (size_t i = 0; otelcore_snapshot_get_queue(snapshot, i, &queue, NULL) == OTELCORE_OK; i++) {
        if (strcmp(queue.kind, "exporter") == 0) {
            CHECK(queue.signal == OTELCORE_TRACES && queue.size == 1 && queue.oldest_age_ms >= 0 && !queue.is_on_disk);
            CHECK(queue.capacity == (strcmp(queue.id, "inproc/out") == 0 ? 7 : 1000) && queue.unit == OTELCORE_UNIT_REQUESTS);
            exporters++;
        } else {
            CHECK(strcmp(queue.kind, "receiver") == 0 && queue.signal == -1 && queue.capacity == 64 << 20);
            CHECK(queue.oldest_age_ms == -1 && queue.unit == OTELCORE_UNIT_BYTES);
            own++;
        }
    }
    CHECK(exporters == 2 && own == 1);
    otelcore_memory_status memory = OTELCORE_MEMORY_STATUS_INIT;
    OK(otelcore_snapshot_get_memory(snapshot, &memory, &err));
    CHECK(memory.held_bytes > 0 && memory.limit_bytes == 0 && memory.resident_bytes > 1 << 20);
    otelcore_metric_series series = OTELCORE_METRIC_SERIES_INIT;
    bool has_sizes = false;
    for (size_t i = 0; otelcore_snapshot_get_series(snapshot, i, &series, NULL) == OTELCORE_OK; i++) {
        if (strcmp(series.name, "otelcol_exporter_queue_size") != 0) continue;
        CHECK(series.kind == OTELCORE_METRIC_GAUGE && series.value == 1 && series.label_count == 2 && series.bound_count == 0);
        CHECK(strcmp(series.labels[0].name, "data_type") == 0 && strcmp(series.labels[0].value, "traces") == 0);
        has_sizes = true;
    }
    CHECK(has_sizes);
    otelcore_buffer *json = NULL;
    size_t len = 0;
    OK(otelcore_snapshot_json(snapshot, &json, &err));
    CHECK(strstr((const char *)otelcore_buffer_data(json, &len), "{\"state\":\"running\",\"error\":null,\"memory\":{") != NULL);
    otelcore_buffer_free(json);
    /* What a program of an earlier version knows is what is written. */
    struct {
        size_t struct_size;
        uint64_t held, untouched;
    } small = {16, 0, 77};
    OK(otelcore_snapshot_get_memory(snapshot, (otelcore_memory_status *)&small, &err));
    CHECK(small.struct_size == 16 && small.held == memory.held_bytes && small.untouched == 77);
    small.struct_size = 3;
    FAILS(OTELCORE_INVALID_ARGUMENT, "_INIT", otelcore_snapshot_get_memory(snapshot, (otelcore_memory_status *)&small, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "no place", otelcore_snapshot_get_memory(snapshot, NULL, &err));
    FAILS(OTELCORE_NOT_FOUND, "no more", otelcore_snapshot_get_queue(snapshot, 99, &queue, &err));
    otelcore_snapshot_free(snapshot);
    otelcore_snapshot_free(snapshot);
    FAILS(OTELCORE_CLOSED, "freed", otelcore_snapshot_get_queue(snapshot, 0, &queue, &err));
    CHECK(otelcore_snapshot_state(snapshot) == OTELCORE_STATE_NONE);
    FAILS(OTELCORE_INVALID_ARGUMENT, "no snapshot", otelcore_snapshot_json((otelcore_snapshot *)&queue, &json, &err));
    OK(otelcore_batch_finish(batch, OTELCORE_OK, &err));
    (void)otelcore_collector_shutdown(c, 100, NULL);
    CHECK(changes >= 9 && freed == 0);
    otelcore_input_free(in);
    otelcore_output_free(out);
    otelcore_collector_free(c);
    CHECK(freed == 1);
}

static void merged_configurations(void) {
    static const char mistake[] = "{\n \"exporters\": {\"inproc/out\": {\"tmeout\": 1}}\n}";
    otelcore_config documents[] = {{"base.yaml", base, sizeof base - 1}, {"data", mistake, sizeof mistake - 1}};
    otelcore_collector *collector = NULL;
    FAILS(OTELCORE_INVALID_CONFIG, "data:2:31  (exporters::inproc/out::tmeout)",
          otelcore_collector_new_merged(documents, 2, NULL, &collector, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "documents", otelcore_collector_new_merged(NULL, 0, NULL, &collector, &err));
    documents[1] = documents[0];
    FAILS(OTELCORE_INVALID_CONFIG, "base.yaml", otelcore_collector_new_merged(documents, 2, NULL, &collector, &err));
    documents[1] = (otelcore_config){NULL, data, sizeof data - 1};
    FAILS(OTELCORE_INVALID_ARGUMENT, "name is NULL", otelcore_collector_new_merged(documents, 2, NULL, &collector, &err));
}

static void json_is_submitted(void) {
    static const char request[] = "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":\"a\"},{}]}]}]}";
    otelcore_batch *batch = NULL;
    size_t len = 0;
    otelcore_collector *collector = through("1ms", "", NULL);
    OK(otelcore_collector_start(collector, &err));
    otelcore_input *in = input_of(collector);
    otelcore_output *out = output_of(collector);
    OK(otelcore_input_submit_json(in, OTELCORE_TRACES, request, sizeof request - 1, &err));
    FAILS(OTELCORE_INVALID_DATA, "resourceSpans", otelcore_input_submit_json(in, OTELCORE_TRACES, "{\"resourceSpans\":1}", 19, &err));
    OK(otelcore_output_next(out, 20000, &batch, &err));
    const uint8_t *otlp = otelcore_batch_data(batch, &len);
    CHECK(spans_in(otlp, len) == 2);
    OK(otelcore_batch_finish(batch, OTELCORE_OK, &err));
    OK(otelcore_collector_shutdown(collector, 20000, &err));
    otelcore_input_free(in);
    otelcore_output_free(out);
    otelcore_collector_free(collector);
}

int main(void) {
    state_is_in_structs();
    merged_configurations();
    json_is_submitted();
    return 0;
}
