/* From a configuration to the end: what each state allows, what is logged, and what is freed. */
#include "test_support.h"
#include <pthread.h>

static int records, freed;
static char log_text[4096];

static void on_log(void *user, otelcore_log_level level, const char *component, const char *message,
                   const char *fields) {
    CHECK(user == &records && level >= OTELCORE_LOG_INFO && level <= OTELCORE_LOG_ERROR);
    CHECK(fields[0] == '{' && fields[strlen(fields) - 1] == '}');
    __atomic_add_fetch(&records, 1, __ATOMIC_SEQ_CST);
    size_t at = strlen(log_text);
    snprintf(log_text + at, sizeof log_text - at, "[%s] %s %s\n", component, message, fields);
}

static void on_free(void *user) {
    CHECK(user == &records);
    freed++;
}

static void mistakes_are_told_with_their_places(void) {
    const char yaml[] = "receivers: {inproc: {max_queue: 1}}\n";
    otelcore_collector *collector = (otelcore_collector *)&freed;
    otelcore_options options = OTELCORE_OPTIONS_INIT;
    options.config_name = "mine.yaml";
    options.log = on_log;
    options.log_user = &records;
    options.log_free = on_free;
    FAILS(OTELCORE_INVALID_CONFIG, "mine.yaml:1:22",
          otelcore_collector_new(yaml, strlen(yaml), &options, &collector, &err));
    CHECK(collector == (otelcore_collector *)&freed); /* written on success only */
    CHECK(freed == 0);                                /* and the host keeps the user */
    FAILS(OTELCORE_INVALID_CONFIG, "UTF-8", otelcore_collector_new("\xff", 1, NULL, &collector, &err));
    FAILS(OTELCORE_INVALID_CONFIG, "", otelcore_collector_new(NULL, 0, NULL, &collector, &err));
}

static void *drain(void *arg) {
    otelcore_output *output = arg;
    otelcore_batch *batch = NULL;
    OK(otelcore_output_next(output, 10000, &batch, &err));
    size_t len = 0;
    const uint8_t *data = otelcore_batch_data(batch, &len);
    CHECK(otelcore_batch_signal(batch) == OTELCORE_TRACES && spans_in(data, len) == 7);
    sleep_ms(30);
    OK(otelcore_batch_finish(batch, OTELCORE_OK, &err));
    CHECK(otelcore_batch_data(batch, &len) == NULL && len == 0);
    return NULL;
}

static void a_life(void) {
    otelcore_options options = OTELCORE_OPTIONS_INIT;
    options.log = on_log;
    options.log_user = &records;
    options.log_free = on_free;
    otelcore_collector *collector = through("10s", "", &options);
    CHECK(otelcore_collector_state(collector) == OTELCORE_STATE_CREATED);
    otelcore_input *input = input_of(collector);
    otelcore_output *output = output_of(collector);
    FAILS(OTELCORE_INVALID_STATE, "not been started", submit(input, 1, &err));
    FAILS(OTELCORE_INVALID_STATE, "created", otelcore_collector_flush(collector, 10, &err));
    otelcore_input *other = NULL;
    FAILS(OTELCORE_NOT_FOUND, "it has inproc/app", otelcore_collector_input(collector, "inproc/x", &other, &err));
    OK(otelcore_collector_start(collector, &err));
    CHECK(otelcore_collector_state(collector) == OTELCORE_STATE_RUNNING);
    FAILS(OTELCORE_INVALID_STATE, "running", otelcore_collector_start(collector, &err));

    OK(submit(input, 3, &err));
    OK(submit(input, 4, &err));
    OK(otelcore_input_submit(input, OTELCORE_TRACES, NULL, 0, &err)); /* an empty request is valid */
    FAILS(OTELCORE_NOT_FOUND, "receivers", otelcore_input_submit(input, OTELCORE_LOGS, NULL, 0, &err));
    FAILS(OTELCORE_INVALID_DATA, "", otelcore_input_submit(input, OTELCORE_TRACES, (const uint8_t *)"\x0a\xff", 2, &err));

    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, drain, output) == 0);
    OK(otelcore_collector_flush(collector, 8000, &err)); /* does not wait for the batch's ten seconds */
    pthread_join(thread, NULL);

    otelcore_buffer *buffer = NULL;
    size_t len = 0;
    OK(otelcore_collector_health(collector, &buffer, &err));
    const char *text = (const char *)otelcore_buffer_data(buffer, &len);
    CHECK(len == strlen(text) && strstr(text, "\"state\":\"running\""));
    otelcore_buffer_free(buffer);
    OK(otelcore_collector_component_statuses(collector, &buffer, &err));
    text = (const char *)otelcore_buffer_data(buffer, &len);
    CHECK(len == strlen(text) && text[0] == '[' && text[len - 1] == ']');
    CHECK(strstr(text, "{\"kind\":\"receiver\",\"id\":\"inproc/app\",\"instance\":\"\",\"status\":\"ok\""));
    CHECK(strstr(text, "\"addresses\":[]"));
    otelcore_buffer_free(buffer);
    OK(otelcore_collector_metrics(collector, OTELCORE_FORMAT_PROMETHEUS, &buffer, &err));
    text = (const char *)otelcore_buffer_data(buffer, NULL);
    CHECK(strstr(text, "otelcol_receiver_accepted_spans") && strstr(text, "receiver=\"inproc/app\""));
    otelcore_buffer_free(buffer);
    FAILS(OTELCORE_INVALID_ARGUMENT, "format", otelcore_collector_metrics(collector, 7, &buffer, &err));

    OK(otelcore_collector_shutdown(collector, 5000, &err));
    CHECK(otelcore_collector_state(collector) == OTELCORE_STATE_STOPPED);
    OK(otelcore_collector_shutdown(collector, 5000, &err)); /* a second shutdown is no error */
    FAILS(OTELCORE_CLOSED, "closed", submit(input, 1, &err));
    otelcore_batch *batch = NULL;
    FAILS(OTELCORE_CLOSED, "closed", otelcore_output_next(output, -1, &batch, &err));
    FAILS(OTELCORE_CLOSED, "stopped", otelcore_collector_start(collector, &err));
    CHECK(freed == 0);
    otelcore_collector_free(collector);
    CHECK(freed == 1 && records > 0);
    FAILS(OTELCORE_CLOSED, "closed", submit(input, 1, &err)); /* inputs and outputs outlive it */
    otelcore_input_free(input);
    otelcore_output_free(output);
}

static void a_shutdown_tells_what_was_left(void) {
    otelcore_collector *collector = through("10s", "", NULL);
    otelcore_input *input = input_of(collector);
    OK(otelcore_collector_start(collector, &err));
    OK(submit(input, 6, &err));
    FAILS(OTELCORE_TIMEOUT, "6 in exporter inproc/out", otelcore_collector_shutdown(collector, 200, &err));
    CHECK(otelcore_collector_state(collector) == OTELCORE_STATE_STOPPED);
    otelcore_input_free(input);
    otelcore_collector_free(collector);
}

static otelcore_status reload(otelcore_collector *collector, const char *timeout, const char *settings, otelcore_error **error) {
    char yaml[YAML_BYTES];
    write_through(yaml, timeout, settings);
    return otelcore_collector_reload(collector, yaml, strlen(yaml), 5000, error);
}

static void a_reload_keeps_handles_and_an_error_changes_nothing(void) {
    otelcore_collector *collector = through("10s", "", NULL);
    otelcore_input *input = input_of(collector);
    otelcore_output *output = output_of(collector);
    FAILS(OTELCORE_INVALID_STATE, "created", reload(collector, "10s", "", &err));
    OK(otelcore_collector_start(collector, &err));
    OK(submit(input, 2, &err));
    OK(reload(collector, "10s", "timeout: 9s", &err)); /* the batch goes on, the exporter is another one */
    OK(submit(input, 3, &err));
    FAILS(OTELCORE_INVALID_CONFIG, "timeoot", reload(collector, "10s", "timeoot: 9s", &err));
    const char *other = "receivers: {inproc/app: }\nexporters: {nop: }\n"
                        "service: {telemetry: {metrics: {level: none}}, pipelines: {traces: {receivers: [inproc/app], exporters: [nop]}}}\n";
    FAILS(OTELCORE_INVALID_STATE, "without a restart",
          otelcore_collector_reload(collector, other, strlen(other), 100, &err));
    FAILS(OTELCORE_INVALID_ARGUMENT, "", otelcore_collector_reload(NULL, other, strlen(other), 100, &err));
    OK(reload(collector, "1ms", "timeout: 9s", &err)); /* the old batch is passed on at once */
    otelcore_batch *batch = NULL;
    OK(otelcore_output_next(output, 10000, &batch, &err));
    size_t len = 0;
    const uint8_t *data = otelcore_batch_data(batch, &len);
    CHECK(spans_in(data, len) == 5);
    OK(otelcore_batch_finish(batch, OTELCORE_OK, &err));
    OK(otelcore_collector_shutdown(collector, 5000, &err));
    FAILS(OTELCORE_CLOSED, "stopped", reload(collector, "1ms", "", &err));
    otelcore_collector_free(collector);
    otelcore_input_free(input);
    otelcore_output_free(output);
}

static void a_port_in_use_is_told(void) {
    const char *yaml = "receivers: {otlp: {protocols: {grpc: {endpoint: '256.0.0.1:1'}}}}\n"
                       "exporters: {nop: }\n"
                       "service:\n"
                       "  telemetry: {metrics: {level: none}}\n"
                       "  pipelines: {traces: {receivers: [otlp], exporters: [nop]}}\n";
    otelcore_collector *collector = NULL;
    OK(otelcore_collector_new(yaml, strlen(yaml), NULL, &collector, &err));
    FAILS(OTELCORE_IO, "256.0.0.1", otelcore_collector_start(collector, &err));
    CHECK(otelcore_collector_state(collector) == OTELCORE_STATE_FAILED);
    OK(otelcore_collector_shutdown(collector, 100, &err));
    otelcore_buffer *buffer = NULL;
    OK(otelcore_collector_health(collector, &buffer, &err));
    CHECK(strstr((const char *)otelcore_buffer_data(buffer, NULL), "\"error\":"));
    otelcore_buffer_free(buffer);
    otelcore_collector_free(collector);
}

static void one_that_was_never_started_ends_its_waiters(void) {
    otelcore_collector *collector = through("1s", "", NULL);
    otelcore_input *input = input_of(collector);
    otelcore_output *output = output_of(collector);
    otelcore_batch *batch = NULL;
    FAILS(OTELCORE_TIMEOUT, "", otelcore_output_next(output, 20, &batch, &err));
    otelcore_collector_free(collector);
    FAILS(OTELCORE_CLOSED, "closed", otelcore_output_next(output, -1, &batch, &err));
    FAILS(OTELCORE_CLOSED, "closed", submit(input, 1, &err));
    otelcore_input_free(input);
    otelcore_output_free(output);
}

int main(void) {
    CHECK(strcmp(otelcore_version(), OTELCORE_VERSION) == 0);
    CHECK(otelcore_abi_version() == OTELCORE_ABI_VERSION);
    mistakes_are_told_with_their_places();
    a_life();
    a_shutdown_tells_what_was_left();
    a_reload_keeps_handles_and_an_error_changes_nothing();
    a_port_in_use_is_told();
    one_that_was_never_started_ends_its_waiters();
    return 0;
}
