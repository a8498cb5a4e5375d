//! The `error_logs` connector: makes a log record of each span whose status is an error.
//!
//! A connector is the end of some pipelines and the beginning of others, whose signal may be another. It settles the ack
//! of a payload, or passes it on with the payload that it makes: the sender then gets the outcome of that.

use otelcore::config::config_struct;
use otelcore::pdata::views::{AnyValue, ResourceSpans, resource_entries};
use otelcore::pdata::{Signal, build};
use otelcore::pipeline::{
    Ack, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Connector, ConnectorOutput, Cx, Outcome,
    Payload, StartError,
};

/// `STATUS_CODE_ERROR` of a span, and `SEVERITY_NUMBER_ERROR` of a log record.
const STATUS_ERROR: i32 = 2;
const SEVERITY_ERROR: i32 = 17;

config_struct! {
    /// Makes a log record of each span whose status is an error.
    pub struct ErrorLogsConfig {
        /// The beginning of each record's text.
        pub prefix: String = "failed: ".to_owned(),
    }
}

/// Makes `error_logs` connectors.
#[derive(Clone, Copy, Debug)]
pub struct ErrorLogsFactory;

impl ComponentType for ErrorLogsFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Connector,
        type_name: "error_logs",
        aliases: &[],
        signals: &[Signal::Traces],
        stability: "Development",
    };
    const SIGNAL_PAIRS: &'static [(Signal, Signal)] = &[(Signal::Traces, Signal::Logs)];
    type Config = ErrorLogsConfig;

    fn create(&self, config: &ErrorLogsConfig, _: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Connector(Box::new(ErrorLogs { prefix: config.prefix.clone() })))
    }
}

struct ErrorLogs {
    prefix: String,
}

impl Connector for ErrorLogs {
    fn process(&mut self, _: &mut Cx<'_>, payload: Payload, ack: Ack, output: &mut ConnectorOutput) {
        let mut logs = build::Body::new();
        for entry in resource_entries::<ResourceSpans<'_>>(&payload.body) {
            let spans = entry.scope_spans().flat_map(|scope| scope.spans());
            let mut failed = spans.filter(|span| span.status.code == STATUS_ERROR).peekable();
            if failed.peek().is_none() {
                continue;
            }
            let mut resource = logs.resource_logs();
            let mut scope = resource.scope_logs();
            for span in failed {
                let text = [self.prefix.as_bytes(), span.name].concat();
                let mut record = scope.log_record();
                record.time_unix_nano(span.end_time_unix_nano).severity_number(SEVERITY_ERROR);
                record.body(AnyValue::String(&text));
            }
        }
        // The spans end here; what is made of them are other items.
        output.record_dropped("read", u64::from(payload.items()));
        output.record_created("of_spans", u64::from(logs.items()));
        if logs.items() == 0 {
            return ack.settle(Outcome::Delivered);
        }
        let body = logs.finish();
        // Charged by itself: the spans are released when this returns.
        let held = payload.held.hold_derived(body.len() as u64);
        output.send(Payload { signal: Signal::Logs, body, metadata: payload.metadata, held }, ack);
    }
}
