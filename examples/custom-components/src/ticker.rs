//! The `ticker` receiver: one log record each interval.
//!
//! A receiver gets what it needs (here a timer) from its context, and sends payloads through its [`PipelineInput`]. The
//! outcome of each payload is reported through `settled`.

use std::time::Duration;

use otelcore::config::{ComponentId, GoDuration, Section};
use otelcore::pdata::wire_format::{put_bytes_field, put_fixed64_field};
use otelcore::pdata::{Rope, Signal};
use otelcore::pipeline::{
    BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, Cx, Event, Factory, LogField, Logger,
    MonotonicTime, Outcome, Payload, PipelineInput, Receiver, StartError, TimerId,
};

/// The section of a `ticker`.
#[derive(Clone, Debug)]
pub struct TickerConfig {
    interval: Duration,
    text: String,
}

/// Makes `ticker` receivers.
#[derive(Debug)]
pub struct TickerFactory;

impl Factory for TickerFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Receiver,
            type_name: "ticker",
            aliases: &[],
            signals: &[Signal::Logs],
            stability: "Development",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        let interval = s.duration("interval", GoDuration::from_secs(1));
        if interval <= GoDuration::ZERO {
            s.error("interval", "'interval' must be greater than zero").help("write `interval: 1s`");
        }
        let text = s.str("text", "tick");
        // A key that no reader has read is a mistake in the configuration, and reported as such.
        s.finish();
        Some(Box::new(TickerConfig { interval: Duration::from_nanos(interval.nanos_or_zero()), text }))
    }
}

impl ComponentConfig for TickerConfig {
    fn create(&self, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let ticker = Ticker { config: self.clone(), log: context.log.clone(), timer: None, ticks: 0, unsettled: 0 };
        Ok(Component::Receiver(Box::new(ticker)))
    }
}

struct Ticker {
    config: TickerConfig,
    log: Logger,
    timer: Option<TimerId>,
    ticks: u64,
    /// The number of payloads that were sent and are not settled yet.
    unsettled: u64,
}

impl Ticker {
    fn set_timer(&mut self, cx: &mut Cx<'_>) {
        let deadline = cx.now() + self.config.interval;
        self.timer = Some(cx.set_timer(0, deadline));
    }

    /// An `ExportLogsServiceRequest` with one record, written from the innermost message outwards.
    fn body(&self, now: u64) -> Vec<u8> {
        let wrap = |number: u32, content: &[u8]| {
            let mut out = Vec::new();
            put_bytes_field(&mut out, number, content);
            out
        };
        let mut record = Vec::new();
        put_fixed64_field(&mut record, 1, now); // time_unix_nano
        put_bytes_field(&mut record, 5, &wrap(1, self.config.text.as_bytes())); // body: AnyValue.string_value
        // LogsRequest.resource_logs = 1, ResourceLogs.scope_logs = 2, ScopeLogs.log_records = 2.
        wrap(1, &wrap(2, &wrap(2, &record)))
    }
}

impl Receiver for Ticker {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.set_timer(cx);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, _: u64, event: Event<'_>, input: &mut PipelineInput<'_>) {
        if !matches!(event, Event::Timer) {
            return;
        }
        let body = self.body(cx.wall_time().0);
        // The bytes count against the memory limiter until the payload is dropped.
        let held = input.budget().hold(body.len() as u64);
        let payload = Payload { signal: Signal::Logs, body: Rope::new(body.into(), 1), metadata: None, held };
        self.unsettled += 1;
        input.send(cx, self.ticks, payload);
        self.ticks += 1;
        self.set_timer(cx);
    }

    fn settled(&mut self, _: &mut Cx<'_>, tick: u64, outcome: Outcome) {
        self.unsettled -= 1;
        if outcome != Outcome::Delivered {
            self.log.warn("A tick was refused.", &[("tick", LogField::Uint(tick))]);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        if let Some(timer) = self.timer.take() {
            cx.cancel_timer(timer);
        }
    }

    fn is_closed(&self) -> bool {
        self.unsettled == 0
    }
}
