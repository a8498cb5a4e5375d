//! An application that creates spans, metric points and log records with the standard SDK and contains its collector.

use std::time::Duration;

use embedded_rust::InProcessExporter;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use otelcore::{EmbedOptions, EmbeddedCollector};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let collector = EmbeddedCollector::new(include_str!("../config.yaml"), EmbedOptions::default())?;
    let input = collector.input("inproc/app").ok_or("the configuration has no inproc/app")?;
    collector.start()?;

    let resource = Resource::builder().with_service_name("embedded-rust").build();
    let tracers = SdkTracerProvider::builder()
        .with_batch_exporter(InProcessExporter::new(input.clone()))
        .with_resource(resource.clone())
        .build();
    let meters = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(InProcessExporter::new(input.clone())).build())
        .with_resource(resource.clone())
        .build();
    let loggers =
        SdkLoggerProvider::builder().with_batch_exporter(InProcessExporter::new(input)).with_resource(resource).build();

    let tracer = tracers.tracer_with_scope(InstrumentationScope::builder("example").build());
    let orders = meters.meter("example").u64_counter("orders").build();
    let logger = loggers.logger("example");
    for number in 0..10 {
        let mut span = tracer.start(format!("order-{number}"));
        span.set_attribute(KeyValue::new("order.number", number));
        orders.add(1, &[KeyValue::new("kind", "book")]);
        let mut record = logger.create_log_record();
        record.set_severity_number(Severity::Info);
        record.set_body(AnyValue::from(format!("order {number} is taken")));
        logger.emit(record);
        span.end();
    }

    // The SDK exports the data that it holds; then the collector delivers the data that it holds.
    tracers.force_flush()?;
    meters.force_flush()?;
    loggers.force_flush()?;
    collector.flush(Duration::from_secs(10))?;
    if let Some(wait) = std::env::var("STAY").ok().and_then(|seconds| seconds.parse().ok()) {
        std::thread::sleep(Duration::from_secs(wait));
    }
    collector.shutdown(Duration::from_secs(10))?;
    println!("delivered");
    Ok(())
}
