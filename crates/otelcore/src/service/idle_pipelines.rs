//! Says once in the log which pipelines nothing has reached in the first minute: the receiver may listen at another address than the
//! clients use.
//!
//! Reads the own metrics at that moment; before and after it nothing is done. Without own metrics it says nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use otelcore_pipeline::{CollectorView, Cx, Event, Extension, LogField, Logger, MetricFamily, SeriesValue, StartError};

/// When the pipelines are looked at.
const DELAY: Duration = Duration::from_mins(1);
const TIMER_KEY: u64 = 0;

/// The part of the service that looks.
pub(crate) struct IdlePipelines {
    view: CollectorView,
    log: Logger,
}

impl IdlePipelines {
    pub(crate) fn new(view: CollectorView, log: Logger) -> Self {
        Self { view, log }
    }

    fn report(&self) {
        let (_, description) = self.view.description();
        let reached = Reached::read(&self.view.telemetry().collect());
        if !reached.is_counted {
            return;
        }
        for pipeline in &description.pipelines {
            let signal = pipeline.signal.name();
            let has = |kind, id: String| reached.components.contains(&(kind, id, signal.to_owned()));
            let is_reached = pipeline.receivers.iter().any(|id| has("receiver", id.to_string()))
                || pipeline.source_connectors.iter().any(|id| has("connector", id.to_string()));
            if is_reached {
                continue;
            }
            let receivers: Vec<String> = pipeline.receivers.iter().map(ToString::to_string).collect();
            let (id, receivers) = (pipeline.id.to_string(), receivers.join(", "));
            let fields = [("pipeline", LogField::Str(&id)), ("receivers", LogField::Str(&receivers))];
            self.log.info(
                "Nothing has reached this pipeline in the first minute. Check the address that the clients use: `otelcore send` tries it.",
                &fields,
            );
        }
    }
}

impl Extension for IdlePipelines {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        cx.set_timer(TIMER_KEY, cx.now() + DELAY);
        Ok(())
    }

    fn handle_event(&mut self, _: &mut Cx<'_>, _: u64, _: Event<'_>) {
        self.report();
    }
}

/// The components that items have come out of.
#[derive(Default)]
struct Reached {
    /// Whether items are counted.
    is_counted: bool,
    /// Kind, id and signal.
    components: BTreeSet<(&'static str, String, String)>,
}

impl Reached {
    fn read(families: &[MetricFamily]) -> Self {
        let mut reached = Self::default();
        for family in families {
            let kind = match family.name {
                "otelcol_receiver_incoming_items" => "receiver",
                "otelcol_connector_outgoing_items" => "connector",
                _ => continue,
            };
            reached.is_counted = true;
            for sample in &family.samples {
                let label = |name| sample.labels.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
                if let (SeriesValue::Number(count), Some(id), Some(signal)) =
                    (&sample.value, label(kind), label("otel_signal"))
                    && *count > 0.0
                {
                    reached.components.insert((kind, id, signal));
                }
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use otelcore_pdata::Signal;
    use otelcore_pipeline::{ItemFlow, MetricsLevel, Telemetry};

    use super::*;

    #[test]
    fn components_that_items_have_come_out_of_are_found_by_signal() {
        let telemetry = Telemetry::new(MetricsLevel::Basic);
        let flow = |kind, id, signal| ItemFlow::new(&telemetry, kind, id, signal);
        flow("receiver", "otlp", Signal::Traces).record_incoming(3);
        let _idle = flow("receiver", "otlp", Signal::Logs);
        flow("connector", "count", Signal::Metrics).record_outgoing(1);
        let reached = Reached::read(&telemetry.collect());
        let expected = [("connector", "count", "metrics"), ("receiver", "otlp", "traces")];
        let expected = expected.map(|(kind, id, signal)| (kind, id.to_owned(), signal.to_owned()));
        assert!(reached.is_counted && reached.components.iter().eq(expected.iter()), "{:?}", reached.components);
        assert!(!Reached::read(&Telemetry::new(MetricsLevel::None).collect()).is_counted);
    }
}
