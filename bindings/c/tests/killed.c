/* A host program with a queue on disk that is killed at random moments: what otelcore_input_submit has acknowledged is
   delivered. The process that is killed is this program with arguments. */
#include "test_support.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { MAX_SPANS = 1 << 20, KILLS = 3 };

/* Instead of the number of the first span: nothing is submitted. */
static const uint64_t NOTHING = UINT64_MAX;

static char directory[256];
static unsigned char delivered[MAX_SPANS]; /* by number, how often */

/* A request of one span, whose id is its number. */
static size_t request(uint8_t *out, uint64_t number) {
    static const uint8_t head[] = {0x0a, 0x0e, 0x12, 0x0c, 0x12, 0x0a, 0x12, 0x08};
    memcpy(out, head, sizeof head);
    memcpy(out + sizeof head, &number, 8);
    return sizeof head + 8;
}

static otelcore_collector *started(const char *yaml) {
    otelcore_collector *collector = NULL;
    OK(otelcore_collector_new(yaml, strlen(yaml), NULL, &collector, &err));
    OK(otelcore_collector_start(collector, &err));
    return collector;
}

/* Submits until it is killed, and writes the number of each span that is acknowledged to a file. */
static int run_child(const char *port, uint64_t number) {
    char yaml[1024], name[300];
    snprintf(yaml, sizeof yaml,
             "receivers: {inproc: {wait_for_result: true}}\n"
             "exporters:\n"
             "  otlp_grpc:\n"
             "    endpoint: 127.0.0.1:%s\n"
             "    tls: {insecure: true}\n"
             "    sending_queue: {storage: file_storage}\n"
             "    retry_on_failure: {initial_interval: 50ms, max_interval: 200ms}\n"
             "extensions: {file_storage: {directory: %s/data, create_directory: true}}\n"
             "service:\n"
             "  extensions: [file_storage]\n"
             "  telemetry: {metrics: {level: none}}\n"
             "  pipelines: {traces: {receivers: [inproc], exporters: [otlp_grpc]}}\n",
             port, directory);
    snprintf(name, sizeof name, "%s/acknowledged", directory);
    int file = open(name, O_WRONLY | O_APPEND | O_CREAT, 0600);
    CHECK(file >= 0);
    otelcore_input *input = NULL;
    OK(otelcore_collector_input(started(yaml), "inproc", &input, &err));
    while (number == NOTHING) pause();
    for (;; number++) {
        uint8_t body[32];
        OK(otelcore_input_submit(input, OTELCORE_TRACES, body, request(body, number), &err));
        CHECK(write(file, &number, sizeof number) == sizeof number);
    }
}

static pid_t start_child(const char *port, uint64_t first) {
    char number[32];
    snprintf(number, sizeof number, "%llu", (unsigned long long)first);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        execl("/proc/self/exe", "killed", directory, port, number, (char *)NULL);
        _exit(127);
    }
    return child;
}

/* Takes what comes, up to a pause or a number of batches; counts how often each span has come. */
static void take(otelcore_output *output, int millis) {
    enum { MAX_BATCHES = 500 };
    otelcore_batch *batch = NULL;
    otelcore_error *err = NULL;
    for (int i = 0; i < MAX_BATCHES; i++) {
        if (otelcore_output_next(output, millis, &batch, &err) != OTELCORE_OK) break;
        size_t len = 0;
        const uint8_t *data = otelcore_batch_data(batch, &len);
        for (size_t at = 0; at + 12 <= len; at++) {
            uint64_t number;
            if (memcmp(data + at, "\x12\x0a\x12\x08", 4) != 0) continue;
            memcpy(&number, data + at + 4, 8);
            if (number < MAX_SPANS && delivered[number] < 255) delivered[number]++;
        }
        OK(otelcore_batch_finish(batch, OTELCORE_OK, &err));
    }
    otelcore_error_free(err);
}

/* How many spans are acknowledged; `missing` of them have not come. */
static size_t acknowledged(size_t *missing) {
    char name[300];
    snprintf(name, sizeof name, "%s/acknowledged", directory);
    FILE *file = fopen(name, "r");
    size_t all = 0;
    uint64_t number;
    *missing = 0;
    while (file && fread(&number, sizeof number, 1, file) == 1) {
        CHECK(number < MAX_SPANS);
        all++;
        if (!delivered[number]) ++*missing;
    }
    if (file) fclose(file);
    return all;
}

int main(int argc, char **argv) {
    if (argc == 4) {
        snprintf(directory, sizeof directory, "%s", argv[1]);
        return run_child(argv[2], strtoull(argv[3], NULL, 10));
    }
    CHECK(argc == 2); /* the port of the destination */
    snprintf(directory, sizeof directory, "/tmp/otelcore-killed-XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    char yaml[512];
    snprintf(yaml, sizeof yaml,
             "receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:%s'}}}}\n"
             "exporters: {inproc: }\n"
             "service:\n"
             "  telemetry: {metrics: {level: none}}\n"
             "  pipelines: {traces: {receivers: [otlp], exporters: [inproc]}}\n",
             argv[1]);
    otelcore_collector *destination = started(yaml);
    otelcore_output *output = NULL;
    OK(otelcore_collector_output(destination, "inproc", &output, &err));
    srand((unsigned)getpid());
    size_t missing = 0, all = 0;
    for (uint64_t round = 0; round <= KILLS; round++) {
        /* The last process only sends what is left. */
        pid_t child = start_child(argv[1], round < KILLS ? round * (MAX_SPANS / KILLS) : NOTHING);
        /* The moment of a kill is counted from the first acknowledgement. */
        size_t before = acknowledged(&missing);
        for (int i = 0; i < 400; i++) {
            take(output, 50);
            all = acknowledged(&missing);
            if (round < KILLS ? all > before : missing == 0) break;
        }
        if (round < KILLS) sleep_ms(rand() % 200);
        CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    }
    CHECK(all > KILLS);
    CHECK(missing == 0);
    size_t twice = 0;
    for (size_t i = 0; i < MAX_SPANS; i++) twice += delivered[i] > 1;
    printf("%d kills: %zu acknowledged, none is missing, %zu twice\n", KILLS, all, twice);
    char command[320];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    CHECK(system(command) == 0);
    return 0;
}
