/* Linked with another Rust archive: each archive catches its own panic. Needs the feature `test-panic`. */
#include "test_support.h"

otelcore_status otelcore__test_panic(otelcore_error **err);
int other_panics(void);
bool other_starts_a_program(void);

int main(void) {
    otelcore_collector *c = through("1ms", "", NULL);
    OK(otelcore_collector_start(c, &err));
    CHECK(other_panics() == 42);
    FAILS(OTELCORE_PANIC, "on request", otelcore__test_panic(&err));
    CHECK(other_panics() == 42);
    CHECK(other_starts_a_program());
    OK(otelcore_collector_shutdown(c, 1000, &err));
    otelcore_collector_free(c);
    return 0;
}
