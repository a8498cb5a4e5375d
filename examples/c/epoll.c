/* A collector in the program's own epoll loop, beside a timer of the program's: no thread is started. The program is
 * also where the telemetry goes. */
#include "otlp.h"
#include <otelcore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

static const char yaml[] =
    "receivers: {inproc/app: }\n"
    "processors: {batch: {timeout: 50ms}}\n"
    "exporters: {inproc/out: }\n"
    "service:\n"
    "  pipelines: {traces: {receivers: [inproc/app], processors: [batch], exporters: [inproc/out]}}\n";

static void fail(const char *what, otelcore_error *err) {
    fprintf(stderr, "%s: %s\n", what, otelcore_error_message(err));
    otelcore_error_free(err);
    exit(1);
}

static size_t taken;

/* Called in a turn of the loop below. Each of our requests is an entry of the batch. */
static otelcore_status take(void *user, otelcore_signal signal, const uint8_t *data, size_t len) {
    (void)user, (void)signal;
    for (size_t at = 0; at < len; taken++) {
        size_t size = 0, shift = 0;
        at++; /* the tag of ResourceSpans */
        do size |= (size_t)(data[at] & 0x7f) << shift, shift += 7;
        while (data[at++] & 0x80);
        at += size;
    }
    return OTELCORE_OK;
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

int main(void) {
    otelcore_error *err = NULL;
    otelcore_collector *collector = NULL;
    otelcore_input *input = NULL;
    otelcore_output *output = NULL;
    if (otelcore_collector_new(yaml, sizeof yaml - 1, NULL, &collector, &err)) fail("configuration", err);
    if (otelcore_collector_input(collector, "inproc/app", &input, &err)) fail("input", err);
    if (otelcore_collector_output(collector, "inproc/out", &output, &err)) fail("output", err);
    if (otelcore_output_set_callback(output, take, NULL, NULL, &err)) fail("callback", err);
    if (otelcore_collector_drive_start(collector, &err)) fail("start", err);

    int epoll = epoll_create1(EPOLL_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    struct itimerspec often = {{0, 2000000}, {0, 2000000}};
    timerfd_settime(timer, 0, &often, NULL);
    watch(epoll, timer);
    watch(epoll, otelcore_collector_drive_fd(collector));

    bool running = true;
    for (unsigned submitted = 0; running;) {
        struct epoll_event events[8];
        int ready = epoll_wait(epoll, events, 8, (int)otelcore_collector_drive_deadline_ms(collector));
        for (int i = 0; i < ready; i++) {
            uint64_t ticks;
            if (events[i].data.fd != timer || read(timer, &ticks, sizeof ticks) != sizeof ticks) continue;
            /* The program's own work. */
            if (submitted < 50) {
                otlp request = {.len = 0};
                otlp_span(&request, "loop", "tick", submitted++, 1);
                if (otelcore_input_submit(input, OTELCORE_TRACES, request.data, request.len, &err)) fail("submit", err);
            } else if (otelcore_collector_state(collector) == OTELCORE_STATE_RUNNING) {
                if (otelcore_collector_begin_shutdown(collector, 5000, &err)) fail("shutdown", err);
            }
        }
        if (otelcore_collector_drive_turn(collector, &running, &err)) fail("turn", err);
    }
    /* It has ended: this says whether anything was left. */
    if (otelcore_collector_shutdown(collector, 0, &err)) fail("shutdown", err);
    printf("took %zu spans\nstopped\n", taken);
    otelcore_input_free(input);
    otelcore_output_free(output);
    otelcore_collector_free(collector);
    close(timer);
    close(epoll);
    return 0;
}
