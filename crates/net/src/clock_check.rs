//! Whether the clocks of others agree with this machine's: that of a destination by the `Date` of its answers, that of a sender by
//! the times of its telemetry. What differs by minutes is in the log once.
//!
//! Looks at one answer a minute, and at one item of a short payload each ten seconds. Changes nothing of what happens with the data:
//! times in the past are not looked at, since telemetry may be old for good reasons.

use std::time::Duration;

use otelcore_http::date::parse_http_date;
use otelcore_pdata::views::{
    AnyValue, MetricData, Resource, ResourceLogs, ResourceMetrics, ResourceSpans, resource_entries,
};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{Cx, LogField, Logger, PeriodicCount};

use crate::{HttpResponse, Url};

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// A difference that no delay of an answer explains.
const MAX_DIFFERENCE_SECONDS: u64 = 300;
/// A machine whose clock is before 2020 was not told the time.
const FIRST_CREDIBLE_SECOND: u64 = 1_577_836_800;
/// A longer payload is not looked at: to find its first item takes time in proportion to its length.
const MAX_PAYLOAD_BYTES: usize = 64 << 10;

/// Compares the clock of a destination.
#[derive(Debug)]
pub(crate) struct DestinationClock {
    looks: PeriodicCount,
    is_logged: bool,
}

impl DestinationClock {
    pub(crate) fn new() -> Self {
        Self { looks: PeriodicCount::new(Duration::from_mins(1)), is_logged: false }
    }

    pub(crate) fn check(&mut self, cx: &Cx<'_>, response: &HttpResponse, url: &Url, log: &Logger) {
        if self.is_logged || self.looks.add(cx.now(), 1).is_none() {
            return;
        }
        let date = response.header("date").and_then(|date| std::str::from_utf8(date).ok());
        let Some((date, theirs)) = date.and_then(|text| Some((text, parse_http_date(text)?))) else { return };
        let ours = cx.wall_time().0 / NANOS_PER_SECOND;
        if ours.abs_diff(theirs) <= MAX_DIFFERENCE_SECONDS {
            return;
        }
        self.is_logged = true;
        let url = url.to_string();
        let fields = [
            ("url", LogField::Str(&url)),
            ("date", LogField::Str(date)),
            ("seconds", LogField::Float(ours as f64 - theirs as f64)),
        ];
        log.warn("The clocks of the destination and of this machine differ: set the one that is wrong.", &fields);
    }
}

/// Compares the clocks of senders.
#[derive(Debug)]
pub(crate) struct SenderClock {
    looks: PeriodicCount,
    is_logged: bool,
    log: Logger,
}

impl SenderClock {
    pub(crate) fn new(log: Logger) -> Self {
        Self { looks: PeriodicCount::new(Duration::from_secs(10)), is_logged: false, log }
    }

    pub(crate) fn check(&mut self, cx: &Cx<'_>, signal: Signal, body: &Rope) {
        if self.is_logged || body.len() > MAX_PAYLOAD_BYTES || self.looks.add(cx.now(), 1).is_none() {
            return;
        }
        let ours = cx.wall_time().0 / NANOS_PER_SECOND;
        let Some((resource, nanos)) = first_item(signal, body) else { return };
        let theirs = nanos / NANOS_PER_SECOND;
        if ours < FIRST_CREDIBLE_SECOND || theirs <= ours + MAX_DIFFERENCE_SECONDS {
            return;
        }
        self.is_logged = true;
        let service = resource.attributes().find(|attribute| attribute.key == b"service.name");
        let service = match service.map(|attribute| attribute.value) {
            Some(AnyValue::String(name)) => {
                String::from_utf8_lossy(name.get(..name.len().min(128)).unwrap_or_default())
            }
            _ => "".into(),
        };
        let fields = [
            ("service", LogField::Str(&service)),
            ("data_type", LogField::Str(signal.name())),
            ("seconds", LogField::Uint(theirs - ours)),
        ];
        self.log.warn(
            "Telemetry has a time in the future: the clock of the sender or of this machine is wrong; set it.",
            &fields,
        );
    }
}

/// The resource of the first item of a payload and the time of that item.
fn first_item(signal: Signal, body: &Rope) -> Option<(Resource<'_>, u64)> {
    match signal {
        Signal::Traces => {
            let entry = resource_entries::<ResourceSpans<'_>>(body).next()?;
            Some((entry.resource, entry.scope_spans().next()?.spans().next()?.end_time_unix_nano))
        }
        Signal::Logs => {
            let entry = resource_entries::<ResourceLogs<'_>>(body).next()?;
            Some((entry.resource, entry.scope_logs().next()?.log_records().next()?.time_unix_nano))
        }
        Signal::Metrics => {
            let entry = resource_entries::<ResourceMetrics<'_>>(body).next()?;
            let time = match entry.scope_metrics().next()?.metrics().next()?.data {
                MetricData::Gauge(gauge) => gauge.points().next()?.time_unix_nano,
                MetricData::Sum(sum) => sum.points().next()?.time_unix_nano,
                _ => return None,
            };
            Some((entry.resource, time))
        }
    }
}
