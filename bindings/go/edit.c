// Calls the Go function of an edit for each item of a payload, on the thread that called otelcore_payload_edit().
#include "shim.h"

extern int32_t ogVisit(uintptr_t visitor, uintptr_t item);

static otelcore_keep visit(void *user, otelcore_item *item) { return ogVisit((uintptr_t)user, (uintptr_t)item); }

og_result og_payload_edit(uintptr_t payload, uintptr_t visitor) {
  OG_CALL(void, otelcore_payload_edit((otelcore_payload *)payload, visit, (void *)visitor, &err));
}
