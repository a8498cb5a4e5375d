/* From a submit to the callback, for the benches: a program with a collector inside that counts what it allocates.
 *
 *     c-submit thread|driven BODIES ITEMS REQUESTS
 *
 * BODIES is a file of requests, each after its length in four bytes, little endian. They go from an `inproc` receiver to
 * the callback of an `inproc` exporter, WINDOW of them in flight, on a thread of the collector's or in this program's
 * own loop. It prints the CPU seconds and the seconds that the requests took, and the calls of malloc and its kin.
 */
#include <errno.h>
#include <otelcore.h>
#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WINDOW = 16, MOST = 64 };

/* glibc's own, behind the names that this program takes for itself and for the library in it. */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_ulong allocations;

static void counts(void) { atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed); }

void *malloc(size_t size) { return counts(), __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return counts(), __libc_calloc(n, size); }
void *realloc(void *old, size_t size) { return counts(), __libc_realloc(old, size); }
void *aligned_alloc(size_t align, size_t size) { return counts(), __libc_memalign(align, size); }
void *memalign(size_t align, size_t size) { return counts(), __libc_memalign(align, size); }

int posix_memalign(void **out, size_t align, size_t size) {
    void *got = (counts(), __libc_memalign(align, size));
    if (got == NULL) return ENOMEM;
    *out = got;
    return 0;
}

static const char yaml[] =
    "receivers: {inproc/app: }\n"
    "exporters: {inproc/out: }\n"
    "service: {pipelines: {traces: {receivers: [inproc/app], exporters: [inproc/out]}}}\n";

static void fail(const char *what, otelcore_error *err) {
    fprintf(stderr, "c-submit: %s: %s\n", what, otelcore_error_message(err));
    exit(1);
}

static struct {
    uint8_t *data;
    size_t len;
} bodies[MOST];

static size_t read_bodies(const char *path) {
    FILE *file = fopen(path, "rb");
    size_t count = 0;
    uint8_t head[4];
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    while (count < MOST && fread(head, 1, 4, file) == 4) {
        size_t len = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        bodies[count].data = malloc(len);
        bodies[count].len = len;
        if (bodies[count].data == NULL || fread(bodies[count].data, 1, len, file) != len) {
            fprintf(stderr, "c-submit: %s is cut\n", path);
            exit(1);
        }
        count++;
    }
    fclose(file);
    if (count == 0) {
        fprintf(stderr, "c-submit: %s is empty\n", path);
        exit(1);
    }
    return count;
}

static atomic_ulong taken, taken_bytes;
static sem_t came;

static otelcore_status takes(void *user, otelcore_signal signal, const uint8_t *otlp, size_t len) {
    (void)user, (void)signal, (void)otlp;
    atomic_fetch_add_explicit(&taken_bytes, len, memory_order_relaxed);
    if ((atomic_fetch_add_explicit(&taken, 1, memory_order_release) + 1) % WINDOW == 0) sem_post(&came);
    return OTELCORE_OK;
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void turn(otelcore_collector *collector) {
    otelcore_error *err = NULL;
    int wait = (int)otelcore_collector_drive_deadline_ms(collector);
    struct pollfd fd = {.fd = otelcore_collector_drive_fd(collector), .events = POLLIN};
    poll(&fd, 1, wait);
    if (otelcore_collector_drive_turn(collector, NULL, &err)) fail("turn", err);
}

/* Submits `requests`, a multiple of WINDOW, and waits for each WINDOW of them. */
static void play(otelcore_collector *collector, otelcore_input *input, bool driven, size_t count, unsigned long requests) {
    otelcore_error *err = NULL;
    unsigned long from = atomic_load(&taken);
    for (unsigned long i = 0; i < requests;) {
        for (int in_flight = 0; in_flight < WINDOW; in_flight++, i++) {
            size_t at = i % count;
            if (otelcore_input_submit(input, OTELCORE_TRACES, bodies[at].data, bodies[at].len, &err)) fail("submit", err);
        }
        if (driven) {
            while (atomic_load_explicit(&taken, memory_order_acquire) < from + i) turn(collector);
        } else {
            while (sem_wait(&came) != 0) {}
        }
    }
}

int main(int argc, char **argv) {
    otelcore_error *err = NULL;
    otelcore_collector *collector = NULL;
    otelcore_input *input = NULL;
    otelcore_output *output = NULL;
    if (argc != 5) {
        fprintf(stderr, "c-submit thread|driven BODIES ITEMS REQUESTS\n");
        return 2;
    }
    bool driven = strcmp(argv[1], "driven") == 0;
    size_t count = read_bodies(argv[2]), expected = 0;
    unsigned long requests = (strtoul(argv[4], NULL, 10) + WINDOW - 1) / WINDOW * WINDOW;
    unsigned long warm = (requests / 10 + WINDOW) / WINDOW * WINDOW;
    sem_init(&came, 0, 0);
    if (otelcore_collector_new(yaml, sizeof yaml - 1, NULL, &collector, &err)) fail("configuration", err);
    if (otelcore_collector_input(collector, "inproc/app", &input, &err)) fail("input", err);
    if (otelcore_collector_output(collector, "inproc/out", &output, &err)) fail("output", err);
    if (otelcore_output_set_callback(output, takes, NULL, NULL, &err)) fail("callback", err);
    if ((driven ? otelcore_collector_drive_start : otelcore_collector_start)(collector, &err)) fail("start", err);

    play(collector, input, driven, count, warm);
    unsigned long bytes = atomic_load(&taken_bytes), mark = atomic_load(&allocations);
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
    play(collector, input, driven, count, requests);
    wall = seconds(CLOCK_MONOTONIC) - wall;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    mark = atomic_load(&allocations) - mark;
    for (unsigned long i = 0; i < requests; i++) expected += bodies[i % count].len;
    if (atomic_load(&taken_bytes) - bytes != expected) {
        fprintf(stderr, "c-submit: %lu bytes came of %zu\n", atomic_load(&taken_bytes) - bytes, expected);
        return 1;
    }
    double items = strtod(argv[3], NULL) * (double)requests;
    printf("%.9g %.9g %.9g\n", cpu / items * 1e6, items / wall, (double)mark / (double)requests);
    if (otelcore_collector_shutdown(collector, 10000, &err)) fail("shutdown", err);
    otelcore_input_free(input);
    otelcore_output_free(output);
    otelcore_collector_free(collector);
    return 0;
}
