/* A fork in the middle of a load: the child hears FORKED and disturbs nothing, the parent loses nothing. */
#include "story.h"
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

enum { THREADS = 4, CHILDREN = 12, SPANS = 2 };

static size_t submitted, seen;
static int done, freed;
static otelcore_collector *c;
static otelcore_input *in;
static otelcore_output *out;

static otelcore_status takes(void *user, otelcore_signal signal, const uint8_t *otlp, size_t len) {
    (void)user, (void)signal;
    __atomic_add_fetch(&seen, spans_in(otlp, len), __ATOMIC_SEQ_CST);
    return OTELCORE_OK;
}

static void on_free(void *user) {
    (void)user;
    freed++;
}

static void *loads(void *arg) {
    (void)arg;
    while (!__atomic_load_n(&done, __ATOMIC_SEQ_CST)) {
        otelcore_error *error = NULL;
        otelcore_status status = submit(in, SPANS, &error);
        CHECK(status == OTELCORE_OK || status == OTELCORE_OVERLOADED);
        if (status == OTELCORE_OK) __atomic_add_fetch(&submitted, SPANS, __ATOMIC_SEQ_CST);
        otelcore_error_free(error);
    }
    return NULL;
}

static void child(void) {
    otelcore_collector *other = NULL;
    otelcore_batch *batch = NULL;
    otelcore_buffer *buffer = NULL;
    alarm(20); /* one that hangs has failed */
    FAILS(OTELCORE_FORKED, "forked", submit(in, 1, &err));
    FAILS(OTELCORE_FORKED, "forked", otelcore_collector_flush(c, 1000, &err));
    FAILS(OTELCORE_FORKED, "forked", otelcore_collector_shutdown(c, 1000, &err));
    FAILS(OTELCORE_FORKED, "forked", otelcore_collector_start(c, &err));
    FAILS(OTELCORE_FORKED, "forked", otelcore_collector_drive_turn(c, NULL, &err));
    FAILS(OTELCORE_FORKED, "forked", otelcore_collector_health(c, &buffer, &err));
    FAILS(OTELCORE_FORKED, "forked", otelcore_output_next(out, 1000, &batch, &err));
    FAILS(OTELCORE_FORKED, "forked", otelcore_collector_new("", 0, NULL, &other, &err));
    CHECK(otelcore_collector_state(c) == OTELCORE_STATE_NONE);
    CHECK(submit(in, 1, NULL) == OTELCORE_FORKED);
    otelcore_collector_free(c);
    otelcore_input_free(in);
    otelcore_output_free(out);
    CHECK(freed == 0);
    exit(0); /* with everything that an orderly exit runs */
}

static void in_a_load(void) {
    c = through("2ms", "", NULL);
    out = output_of(c);
    in = input_of(c);
    OK(otelcore_output_set_callback(out, takes, NULL, on_free, &err));
    OK(otelcore_collector_start(c, &err));
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, loads, NULL) == 0);
    for (int i = 0; i < CHILDREN; i++) {
        sleep_ms(5);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) child();
        int status = 0;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    __atomic_store_n(&done, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    OK(otelcore_collector_flush(c, 20000, &err));
    CHECK(submitted > 0 && seen == submitted);
    OK(otelcore_collector_shutdown(c, 5000, &err));
    CHECK(freed == 1);
    otelcore_collector_free(c);
    otelcore_input_free(in);
    otelcore_output_free(out);
}

/* The thread that forks is the one that drives: the child has it too, and must not turn. */
static void while_driving(void) {
    bool running = true;
    c = through("2ms", "", NULL);
    out = output_of(c);
    in = input_of(c);
    freed = 0;
    seen = submitted = 0;
    OK(otelcore_output_set_callback(out, takes, NULL, on_free, &err));
    OK(otelcore_collector_drive_start(c, &err));
    OK(submit(in, 3, &err));
    OK(otelcore_collector_drive_turn(c, &running, &err));
    pid_t pid = fork();
    if (pid == 0) child();
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(submit(in, 4, &err));
    OK(otelcore_collector_flush(c, 5000, &err));
    CHECK(seen == 7);
    OK(otelcore_collector_shutdown(c, 5000, &err));
    otelcore_collector_free(c);
    otelcore_input_free(in);
    otelcore_output_free(out);
    CHECK(freed == 1);
}

/* Where nothing was made before the fork, the child is as good as any process. */
static void a_child_of_nothing_has_one_of_its_own(void) {
    pid_t pid = fork();
    if (pid == 0) {
        otelcore_collector *own = through("1ms", "", NULL);
        OK(otelcore_collector_start(own, &err));
        OK(otelcore_collector_shutdown(own, 1000, &err));
        otelcore_collector_free(own);
        exit(0);
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
    a_child_of_nothing_has_one_of_its_own();
    in_a_load();
    while_driving();
    return 0;
}
