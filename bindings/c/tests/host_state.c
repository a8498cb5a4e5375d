/* The library changes no state of its host: no SIGPIPE when a peer closes, no handlers, no signals in its threads. */
#include "test_support.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

static int closed;

/* Accepts connections, and closes each after its first byte, every second one with a reset. */
static void *slams(void *arg) {
    int listener = *(int *)arg;
    for (;;) {
        int peer = accept(listener, NULL, NULL);
        if (peer < 0) return NULL;
        char first[1];
        (void)!read(peer, first, 1);
        struct linger now = {1, 0};
        if (__atomic_load_n(&closed, __ATOMIC_SEQ_CST) % 2) setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(peer);
        __atomic_add_fetch(&closed, 1, __ATOMIC_SEQ_CST);
    }
}

static void a_peer_that_closes_kills_nobody(const char *exporter, int times) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 16) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, slams, &listener) == 0);

    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             "receivers: {inproc/app: }\n"
             "exporters: {%s: {endpoint: '%s127.0.0.1:%d', compression: none, tls: {insecure: true}, "
             "retry_on_failure: {initial_interval: 5ms, max_interval: 5ms}}}\n"
             "service:\n"
             "  telemetry: {metrics: {level: none}}\n"
             "  pipelines: {traces: {receivers: [inproc/app], exporters: [%s]}}\n",
             exporter, strcmp(exporter, "otlp_http") ? "" : "http://", ntohs(address.sin_port), exporter);
    otelcore_collector *c = NULL;
    OK(otelcore_collector_new(yaml, strlen(yaml), NULL, &c, &err));
    OK(otelcore_collector_start(c, &err));
    otelcore_input *in = input_of(c);
    __atomic_store_n(&closed, 0, __ATOMIC_SEQ_CST);
    for (int i = 0; __atomic_load_n(&closed, __ATOMIC_SEQ_CST) < times; i++) {
        CHECK(i < 20000);
        (void)submit(in, 30, NULL);
        sleep_ms(1);
    }
    FAILS(OTELCORE_TIMEOUT, exporter, otelcore_collector_shutdown(c, 50, &err));
    otelcore_collector_free(c);
    otelcore_input_free(in);
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
}

/* The mask of blocked signals of the thread of that name. */
static unsigned long long blocked_by(const char *name) {
    DIR *tasks = opendir("/proc/self/task");
    unsigned long long blocked = 0;
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char path[300], line[200], is[64] = "";
        unsigned long long mask;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *status = fopen(path, "r");
        if (status == NULL) continue;
        while (fgets(line, sizeof line, status)) {
            sscanf(line, "Name: %63s", is);
            if (sscanf(line, "SigBlk: %llx", &mask) == 1 && strcmp(is, name) == 0) blocked = mask;
        }
        fclose(status);
    }
    closedir(tasks);
    return blocked;
}

static void signals_are_the_hosts(void) {
    otelcore_collector *c = through("1ms", "", NULL);
    sigset_t before, after;
    struct sigaction handlers[32];
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    for (int signal = 1; signal < 32; signal++) CHECK(sigaction(signal, NULL, &handlers[signal]) == 0);
    OK(otelcore_collector_start(c, &err));
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    unsigned long long blocked = blocked_by("otelcore");
    for (int signal = 1; signal < 32; signal++) {
        struct sigaction action;
        CHECK(sigaction(signal, NULL, &action) == 0 && action.sa_handler == handlers[signal].sa_handler);
        CHECK(sigismember(&before, signal) == sigismember(&after, signal));
        bool own = signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL ||
                   signal == SIGTRAP || signal == SIGABRT || signal == SIGKILL || signal == SIGSTOP;
        CHECK((blocked >> (signal - 1) & 1) == !own);
    }
    otelcore_collector_free(c);
}

int main(void) {
    signals_are_the_hosts();
    a_peer_that_closes_kills_nobody("otlp_grpc", 3); /* a channel waits before it reconnects */
    a_peer_that_closes_kills_nobody("otlp_http", 20);
    return 0;
}
