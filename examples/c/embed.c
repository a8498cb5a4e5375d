/* A collector inside a program, on a thread of its own: what the program submits goes where the configuration says.
 *
 *     embed collector.yaml [stay]
 *
 * With `stay` it runs until its input ends, so that Prometheus finds the page.
 */
#include "otlp.h"
#include <otelcore.h>
#include <stdio.h>
#include <stdlib.h>

static void fail(const char *what, otelcore_error *err) {
    fprintf(stderr, "%s: %s\n", what, otelcore_error_message(err));
    otelcore_error_free(err);
    exit(1);
}

static void on_log(void *user, otelcore_log_level level, const char *component, const char *message,
                   const char *fields) {
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    (void)user;
    fprintf(stderr, "%s [%s] %s %s\n", levels[level], component, message, fields);
}

static char *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    char *text = malloc(1 << 20);
    if (file == NULL || text == NULL) {
        perror(path);
        exit(1);
    }
    *len = fread(text, 1, 1 << 20, file);
    fclose(file);
    return text;
}

int main(int argc, char **argv) {
    otelcore_error *err = NULL;
    otelcore_collector *collector = NULL;
    otelcore_input *input = NULL;
    otelcore_options options = OTELCORE_OPTIONS_INIT;
    size_t len = 0;
    options.config_name = argc > 1 ? argv[1] : "collector.yaml";
    options.log = on_log;

    char *yaml = read_file(options.config_name, &len);
    if (otelcore_collector_new(yaml, len, &options, &collector, &err)) fail("configuration", err);
    free(yaml);
    if (otelcore_collector_input(collector, "inproc/app", &input, &err)) fail("input", err);
    if (otelcore_collector_start(collector, &err)) fail("start", err);

    uint64_t since = otlp_now();
    for (unsigned i = 0; i < 100; i++) {
        otlp request = {.len = 0};
        otlp_span(&request, "shop", "checkout", i, 5);
        /* Never waits. A program that must not lose anything tries OTELCORE_OVERLOADED again later. */
        if (otelcore_input_submit(input, OTELCORE_TRACES, request.data, request.len, &err)) fail("submit", err);
    }
    otlp request = {.len = 0};
    otlp_counter(&request, "shop", "orders", since, 100);
    if (otelcore_input_submit(input, OTELCORE_METRICS, request.data, request.len, &err)) fail("submit", err);
    printf("100 spans and 1 metric submitted\n");

    /* All of it is delivered when this returns, or reported. */
    if (otelcore_collector_flush(collector, 10000, &err)) fail("flush", err);
    if (argc > 2) {
        fflush(stdout);
        while (getchar() != EOF) {}
    }
    /* Says what was left, if anything was. */
    if (otelcore_collector_shutdown(collector, 10000, &err)) fail("shutdown", err);
    printf("stopped\n");
    otelcore_input_free(input);
    otelcore_collector_free(collector);
    return 0;
}
