/* A host with an epoll loop of its own runs the collector in it, with a timer and a pipe. */
#include "test_support.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

enum { COUNT = 400 };

static otelcore_collector *c;
static otelcore_input *in;
static size_t seen;
static pthread_t loop;
static int freed, pipes[2];
static bool gone;

static otelcore_status takes(void *user, otelcore_signal signal, const uint8_t *otlp, size_t len) {
    (void)user, (void)signal;
    CHECK(pthread_equal(pthread_self(), loop)); /* only in the host's own thread */
    if (!gone) {
        FAILS(OTELCORE_REENTRANT, "callback", otelcore_collector_drive_turn(c, NULL, &err));
        FAILS(OTELCORE_REENTRANT, "callback", otelcore_collector_flush(c, 10, &err));
        FAILS(OTELCORE_REENTRANT, "callback", otelcore_collector_reload(c, "", 0, 10, &err));
    }
    seen += spans_in(otlp, len);
    return OTELCORE_OK;
}

static void on_free(void *user) {
    (void)user;
    freed++;
}

static void *other(void *arg) {
    bool running = true;
    (void)arg;
    FAILS(OTELCORE_INVALID_STATE, "thread", otelcore_collector_drive_turn(c, &running, &err));
    CHECK(otelcore_collector_drive_deadline_ms(c) == -1);
    for (int i = 0; i < COUNT; i++) {
        OK(submit(in, 2, &err));
        if (i % 50 == 0) sleep_ms(1);
    }
    OK(otelcore_collector_flush(c, 20000, &err)); /* a thread that does not drive may wait */
    CHECK(__atomic_load_n(&seen, __ATOMIC_SEQ_CST) == 2 * COUNT);
    CHECK(write(pipes[1], "x", 1) == 1);
    return NULL;
}

static otelcore_collector *driven(void) {
    c = through("20ms", "", NULL);
    in = input_of(c);
    otelcore_output *out = output_of(c);
    OK(otelcore_output_set_callback(out, takes, NULL, on_free, &err));
    otelcore_output_free(out);
    loop = pthread_self();
    seen = 0;
    CHECK(otelcore_collector_drive_fd(c) == -1);
    OK(otelcore_collector_drive_start(c, &err));
    CHECK(otelcore_collector_state(c) == OTELCORE_STATE_RUNNING);
    FAILS(OTELCORE_INVALID_STATE, "running", otelcore_collector_start(c, &err));
    return c;
}

static void beside_other_things(void) {
    int epoll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec each = {{0, 5000000}, {0, 5000000}};
    CHECK(timerfd_settime(timer, 0, &each, NULL) == 0 && pipe(pipes) == 0);
    driven();
    const char *other_timeout = "receivers: {inproc/app: }\nprocessors: {batch: {timeout: 21ms}}\nexporters: {inproc/out: }\nservice:\n"
        "  pipelines: {traces: {receivers: [inproc/app], processors: [batch], exporters: [inproc/out]}}\n";
    OK(otelcore_collector_reload(c, other_timeout, strlen(other_timeout), 1000, &err)); /* turns it meanwhile */
    int fds[] = {otelcore_collector_drive_fd(c), timer, pipes[0]};
    CHECK(fds[0] >= 0);
    for (int i = 0; i < 3; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fds[i]}};
        CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event) == 0);
    }
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, other, NULL) == 0);
    bool running = true;
    int ticks = 0, turns = 0;
    while (running) {
        struct epoll_event events[4];
        int ready = epoll_wait(epoll, events, 4, (int)otelcore_collector_drive_deadline_ms(c));
        CHECK(ready >= 0);
        for (int i = 0; i < ready; i++) {
            uint64_t expired;
            char byte;
            if (events[i].data.fd == timer) ticks += read(timer, &expired, 8) == 8;
            if (events[i].data.fd == pipes[0]) {
                CHECK(read(pipes[0], &byte, 1) == 1);
                OK(otelcore_collector_begin_shutdown(c, 5000, &err));
            }
        }
        OK(otelcore_collector_drive_turn(c, &running, &err));
        turns++;
    }
    pthread_join(thread, NULL);
    CHECK(otelcore_collector_state(c) == OTELCORE_STATE_STOPPED);
    CHECK(ticks > 0 && seen == 2 * COUNT);
    CHECK(turns < 100 * COUNT); /* it waits, and does not poll in a busy loop */
    OK(otelcore_collector_drive_turn(c, &running, &err));
    CHECK(!running);
    OK(otelcore_collector_shutdown(c, 1000, &err)); /* reports the result */
    CHECK(freed == 1);
    otelcore_collector_free(c);
    otelcore_input_free(in);
    close(epoll);
    close(timer);
}

/* A program whose loop has ended: flush and shutdown run the turns themselves. */
static void at_the_end_of_a_program(void) {
    driven();
    OK(submit(in, 5, &err));
    OK(otelcore_collector_flush(c, 5000, &err));
    CHECK(seen == 5);
    uint64_t mark = 0;
    OK(submit(in, 6, &err));
    OK(otelcore_collector_begin_flush(c, &mark, &err));
    CHECK(!otelcore_collector_is_flushed(c, mark));
    OK(otelcore_collector_shutdown(c, 5000, &err));
    CHECK(otelcore_collector_is_flushed(c, mark));
    CHECK(seen == 11 && otelcore_collector_state(c) == OTELCORE_STATE_STOPPED);
    otelcore_collector_free(c);
    otelcore_input_free(in);
}

static void *ends(void *arg) {
    (void)arg;
    FAILS(OTELCORE_TIMEOUT, "did not turn", otelcore_collector_shutdown(c, 20, &err));
    return NULL;
}

/* No thread turns: a shutdown by another thread does not wait for ever. Data of a collector freed while it runs is lost. */
static void not_turned_and_freed(void) {
    driven();
    OK(submit(in, 5, &err));
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, ends, NULL) == 0);
    pthread_join(thread, NULL);
    gone = true;
    otelcore_collector_free(c);
    FAILS(OTELCORE_CLOSED, "", submit(in, 1, &err));
    otelcore_input_free(in);
}

int main(void) {
    beside_other_things();
    at_the_end_of_a_program();
    not_turned_and_freed();
    return 0;
}
