//! The event of the entity `host`, as a log record.

use std::time::Duration;

use otelcore_pdata::build::Body;

/// The event at a time in nanoseconds since the epoch. It is repeated after `interval`, unless that is zero.
pub(crate) fn host_entity_event(now: u64, interval: Duration) -> Body {
    let mut body = Body::new();
    {
        let mut entry = body.resource_logs();
        entry.resource();
        let mut scope = entry.scope_logs();
        scope.scope().attributes().bool(b"otel.entity.event_as_log", true);
        let mut record = scope.log_record();
        record.time_unix_nano(now);
        let mut attributes = record.attributes();
        attributes.string(b"otel.entity.event.type", b"entity_state").string(b"otel.entity.type", b"host");
        if !interval.is_zero() {
            attributes.int(b"otel.entity.interval", i64::try_from(interval.as_millis()).unwrap_or(i64::MAX));
        }
    }
    body
}
