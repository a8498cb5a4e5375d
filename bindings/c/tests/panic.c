/* A panic is returned as a status and does not end the host. Needs the library with the feature `test-panic`. */
#include "test_support.h"

otelcore_status otelcore__test_panic(otelcore_error **err);

int main(void) {
    CHECK(otelcore__test_panic(NULL) == OTELCORE_PANIC);
    FAILS(OTELCORE_PANIC, "on request", otelcore__test_panic(&err));
    /* Other calls still work. */
    otelcore_collector *c = through("1ms", "", NULL);
    OK(otelcore_collector_start(c, &err));
    OK(otelcore_collector_shutdown(c, 1000, &err));
    otelcore_collector_free(c);
    return 0;
}
