/* A fork under load: the child gets FORKED for inherited handles, uses its own collectors, and disturbs
 * nothing; the parent loses nothing, and keeps its ports and connections. */
#include "test_support.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
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

/* Runs a new collector of this process, from its input to its output. */
static void has_its_own(void) {
    otelcore_collector *own = through("1ms", "", NULL);
    OK(otelcore_collector_start(own, &err));
    otelcore_input *own_in = input_of(own);
    otelcore_output *own_out = output_of(own);
    otelcore_batch *batch = NULL;
    size_t len = 0;
    OK(submit(own_in, 5, &err));
    OK(otelcore_output_next(own_out, 10000, &batch, &err));
    const uint8_t *data = otelcore_batch_data(batch, &len);
    CHECK(spans_in(data, len) == 5);
    OK(otelcore_batch_finish(batch, OTELCORE_OK, &err));
    OK(otelcore_collector_flush(own, 10000, &err));
    FAILS(OTELCORE_NOT_FOUND, "inproc/none", otelcore_collector_input(own, "inproc/none", &own_in, &err));
    OK(otelcore_collector_shutdown(own, 5000, &err));
    otelcore_collector_free(own);
    otelcore_input_free(own_in);
    otelcore_output_free(own_out);
}

static void child(void) {
    otelcore_batch *batch = NULL;
    otelcore_buffer *buffer = NULL;
    alarm(20); /* a child that hangs has failed */
    FAILS(OTELCORE_FORKED, "forked", submit(in, 1, &err));
    FAILS(OTELCORE_FORKED, "forked", otelcore_collector_flush(c, 1000, &err));
    FAILS(OTELCORE_FORKED, "forked", otelcore_collector_shutdown(c, 1000, &err));
    FAILS(OTELCORE_FORKED, "forked", otelcore_collector_start(c, &err));
    FAILS(OTELCORE_FORKED, "forked", otelcore_collector_drive_turn(c, NULL, &err));
    FAILS(OTELCORE_FORKED, "forked", otelcore_collector_health(c, &buffer, &err));
    FAILS(OTELCORE_FORKED, "forked", otelcore_output_next(out, 1000, &batch, &err));
    has_its_own();
    CHECK(otelcore_collector_state(c) == OTELCORE_STATE_NONE);
    CHECK(submit(in, 1, NULL) == OTELCORE_FORKED);
    otelcore_collector_free(c);
    otelcore_input_free(in);
    otelcore_output_free(out);
    /* It makes as many handles as it has inherited: none is equal to one of the parent's. */
    otelcore_collector *own = through("1ms", "", NULL);
    otelcore_input *own_in = input_of(own);
    CHECK(own != c && own_in != in);
    otelcore_collector_free(c);
    otelcore_input_free(in);
    FAILS(OTELCORE_FORKED, "forked", submit(in, 1, &err));
    OK(otelcore_collector_start(own, &err));
    OK(submit(own_in, 1, &err));
    otelcore_collector_free(own);
    otelcore_input_free(own_in);
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

/* The thread that forks drives the collector: the child has this thread too, and must not run a turn. */
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

static size_t descriptors(void) {
    DIR *all = opendir("/proc/self/fd");
    size_t count = 0;
    while (readdir(all) != NULL) count++;
    closedir(all);
    return count;
}

static int connected(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(peer, (struct sockaddr *)&address, sizeof address) == 0) return peer;
    CHECK(errno == ECONNREFUSED);
    close(peer);
    return -1;
}

static int free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&address, size) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    close(listener);
    return ntohs(address.sin_port);
}

static otelcore_collector *listens(int port) {
    char yaml[512];
    otelcore_collector *collector = NULL;
    snprintf(yaml, sizeof yaml,
             "receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:%d'}}}}\n"
             "exporters: {inproc/out: }\n"
             "service:\n"
             "  telemetry: {metrics: {level: none}}\n"
             "  pipelines: {traces: {receivers: [otlp], exporters: [inproc/out]}}\n",
             port);
    OK(otelcore_collector_new(yaml, strlen(yaml), NULL, &collector, &err));
    return collector;
}

/* A child that goes on running keeps neither the port nor a connection of its parent's collector. */
static void a_child_keeps_no_socket(bool drives) {
    size_t before = descriptors();
    int port = free_port(), ends[2];
    otelcore_collector *server = listens(port);
    if (drives) OK(otelcore_collector_drive_start(server, &err)); else OK(otelcore_collector_start(server, &err));
    int peer = connected(port);
    CHECK(peer >= 0 && pipe(ends) == 0);
    sleep_ms(50);
    if (drives) OK(otelcore_collector_drive_turn(server, NULL, &err));
    pid_t pid = fork();
    if (pid == 0) {
        char end;
        alarm(60);
        close(ends[1]);
        /* The only new descriptors in it are the client's socket and the pipe's end. */
        CHECK(descriptors() == before + 2);
        (void)!read(ends[0], &end, 1); /* until the parent is done */
        _exit(0);
    }
    close(ends[0]);
    OK(otelcore_collector_shutdown(server, 5000, &err));
    otelcore_collector_free(server);
    /* The client sees the end of its connection, ... */
    struct pollfd quiet = {.fd = peer, .events = POLLIN};
    char byte;
    CHECK(poll(&quiet, 1, 10000) == 1 && read(peer, &byte, 1) == 0);
    close(peer);
    /* ... no process accepts another one, ... */
    CHECK(connected(port) < 0);
    /* ... and the port can be bound again. */
    server = listens(port);
    OK(otelcore_collector_start(server, &err));
    otelcore_collector_free(server);
    CHECK(waitpid(pid, NULL, WNOHANG) == 0);
    close(ends[1]);
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(descriptors() == before);
}

/* Children of children: each has its own collector, and none of its parents'. */
static void generations(int left) {
    otelcore_collector *own = through("1ms", "", NULL);
    otelcore_input *own_in = input_of(own);
    OK(otelcore_collector_start(own, &err));
    OK(submit(own_in, 1, &err));
    if (left > 0) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(20);
            FAILS(OTELCORE_FORKED, "forked", submit(own_in, 1, &err));
            has_its_own();
            generations(left - 1);
            exit(0);
        }
        int status = 0;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    OK(submit(own_in, 1, &err));
    otelcore_collector_free(own);
    otelcore_input_free(own_in);
}

/* A child that was forked in a callback, and returns from it, ends instead of running its parent's loop. */
static otelcore_status forks(void *user, otelcore_signal signal, const uint8_t *otlp, size_t len) {
    (void)signal, (void)otlp, (void)len;
    pid_t pid = fork();
    if (pid == 0) {
        alarm(20);
        return OTELCORE_OK;
    }
    *(pid_t *)user = pid;
    return OTELCORE_OK;
}

static void in_a_callback(void) {
    pid_t pid = 0;
    c = through("1ms", "", NULL);
    in = input_of(c);
    out = output_of(c);
    OK(otelcore_output_set_callback(out, forks, &pid, NULL, &err));
    OK(otelcore_collector_start(c, &err));
    OK(submit(in, 1, &err));
    OK(otelcore_collector_flush(c, 10000, &err));
    int status = 0;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(submit(in, 1, &err));
    OK(otelcore_collector_shutdown(c, 5000, &err));
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    otelcore_collector_free(c);
    otelcore_input_free(in);
    otelcore_output_free(out);
}

/* If nothing was created before the fork, the child can use the library like any process. */
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
    a_child_keeps_no_socket(false);
    a_child_keeps_no_socket(true);
    generations(3);
    in_a_callback();
    return 0;
}
