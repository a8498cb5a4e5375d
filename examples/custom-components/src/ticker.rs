//! The `ticker` receiver: one log record each interval.
//!
//! A receiver gets what it needs (here a timer) from its context, and sends payloads through its [`PipelineInput`]. The
//! outcome of each payload is reported through `settled`.

use std::time::Duration;

use otelcore::config::{GoDuration, config_struct};
use otelcore::pdata::wire_format::{put_bytes_field, put_fixed64_field};
use otelcore::pdata::{Rope, Signal};
use otelcore::pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Event, LogField, Logger, MonotonicTime,
    Outcome, Payload, PipelineInput, Receiver, StartError, TimerId,
};

config_struct! {
    /// Makes one log record each interval.
    pub struct TickerConfig {
        /// The time between two records.
        #[config(above(GoDuration::ZERO, "'interval' must be greater than zero", "write `interval: 1s`"))]
        pub interval: Duration = Duration::from_secs(1),
        /// The text of the records.
        pub text: String = "tick".to_owned(),
    }
}

/// The `ticker` receiver.
#[derive(Clone, Copy, Debug)]
pub struct TickerFactory;

impl ComponentType for TickerFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "ticker",
        aliases: &[],
        signals: &[Signal::Logs],
        stability: "Development",
    };
    type Config = TickerConfig;

    fn create(&self, config: &TickerConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let ticker = Ticker { config: config.clone(), log: context.log.clone(), timer: None, ticks: 0, unsettled: 0 };
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
