//! Exporters of the OpenTelemetry SDK that send everything to a collector in the same process.
//!
//! They use `otelcore::inproc::Input` and no network: a batch is encoded once and submitted without waiting. If the
//! collector can't accept a batch now, the SDK gets an error, which it counts and logs.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use otelcore::inproc::Input;
use otelcore::pdata::Signal;
use prost::Message;

/// An exporter of all signals into one input.
#[derive(Debug)]
pub struct InProcessExporter {
    input: Input,
    resource: ResourceAttributesWithSchema,
}

impl InProcessExporter {
    /// An exporter into `input`.
    pub fn new(input: Input) -> Self {
        Self { input, resource: ResourceAttributesWithSchema::default() }
    }

    fn submit(&self, signal: Signal, request: &impl Message) -> OTelSdkResult {
        self.input
            .submit_bytes(signal, request.encode_to_vec().into())
            .map_err(|refused| OTelSdkError::InternalFailure(refused.to_string()))
    }
}

impl SpanExporter for InProcessExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        self.submit(Signal::Traces, &ExportTraceServiceRequest { resource_spans })
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

impl LogExporter for InProcessExporter {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let resource_logs = group_logs_by_resource_and_scope(&batch, &self.resource);
        self.submit(Signal::Logs, &ExportLogsServiceRequest { resource_logs })
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

impl PushMetricExporter for InProcessExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.submit(Signal::Metrics, &ExportMetricsServiceRequest::from(metrics))
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}
