// Passes the collector's log to Go: each record is one message in a socket, so that no thread of the collector ever
// enters Go or waits for it. A record for which the socket is full is counted; the count is sent with the next record.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shim.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

// How much of each text is kept; log.go has room for three of them and the head.
enum { LONGEST = 16384 };

struct og_sink {
  int fd;
  atomic_uint_fast64_t dropped;
};

typedef struct {
  uint64_t dropped;
  int32_t level;
  uint32_t component;
  uint32_t message;
  uint32_t fields;
} head;

static void send_record(og_sink *to, otelcore_log_level level, const char *component, const char *message, const char *fields) {
  uint64_t dropped = atomic_exchange(&to->dropped, 0);
  head h = {dropped, level, (uint32_t)strnlen(component, LONGEST), (uint32_t)strnlen(message, LONGEST),
            (uint32_t)strnlen(fields, LONGEST)};
  struct iovec parts[] = {{&h, sizeof h},
                          {(void *)(uintptr_t)component, h.component},
                          {(void *)(uintptr_t)message, h.message},
                          {(void *)(uintptr_t)fields, h.fields}};
  struct msghdr m = {0};
  m.msg_iov = parts;
  m.msg_iovlen = sizeof parts / sizeof *parts;
  if (sendmsg(to->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
    atomic_fetch_add(&to->dropped, dropped + 1);
  }
}

static void on_record(void *user, otelcore_log_level level, const char *component, const char *message, const char *fields) {
  send_record(user, level, component, message, fields);
}

static void on_free(void *user) {
  og_sink *to = user;
  close(to->fd);
}

og_sink *og_sink_new(int fd) {
  og_sink *to = malloc(sizeof *to);
  if (to != NULL) {
    to->fd = fd;
    atomic_init(&to->dropped, 0);
  }
  return to;
}

uint64_t og_sink_end(og_sink *to) {
  uint64_t dropped = atomic_load(&to->dropped);
  free(to);
  return dropped;
}

og_result og_new(const char *yaml, size_t yaml_len, const char *name, const char *data, size_t data_len,
                 otelcore_log_level level, og_sink *log) {
  og_config config = og_config_of(yaml, yaml_len, name, data, data_len);
  otelcore_options options = OTELCORE_OPTIONS_INIT;
  otelcore_collector *out = NULL;
  otelcore_error *err = NULL;
  if (log != NULL) {
    options.log_level = level;
    options.log = on_record;
    options.log_user = log;
    options.log_free = on_free;
  }
  otelcore_status status = otelcore_collector_new_merged(config.documents, config.count, &options, &out, &err);
  if (status != OTELCORE_OK && log != NULL) {
    on_free(log);
  }
  return (og_result){status, (uintptr_t)out, (uintptr_t)err};
}

// A full socket has a byte already.
static void on_status(void *user, const otelcore_component_status *status) {
  (void)status;
  (void)!send((int)(intptr_t)user, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void on_watch_free(void *user) { close((int)(intptr_t)user); }

og_result og_watch(uintptr_t c, int fd) {
  otelcore_error *err = NULL;
  otelcore_status status = otelcore_collector_set_status_callback((otelcore_collector *)c, on_status, (void *)(intptr_t)fd,
                                                                  on_watch_free, &err);
  return (og_result){status, 0, (uintptr_t)err};
}
