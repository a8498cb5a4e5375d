//! `service::telemetry::traces`: whether the collector makes spans of its own, which of them, and where they are pushed.
//!
//! The keys are those of the Go library otelconf at 0.3.0. Opens nothing.

use otelcore_config::{DiagnosticKind, Section, config_struct};
use otelcore_pipeline::{MetricsLevel, Sampler};

use super::OwnMetricsLevel;
use super::push::OtlpPushConfig;

/// The error of a sampler that this collector does not have.
const PARENT_SAMPLER: &str = "samplers by the kind of parent are not supported; a span has the decision of its parent";

config_struct! {
    /// `service::telemetry::traces`.
    #[config(check = Self::check)]
    pub(crate) struct TracesConfig {
        /// `none` turns own spans off.
        pub(crate) level: OwnMetricsLevel = OwnMetricsLevel(MetricsLevel::Basic),
        /// Which header fields of requests name the span before: `tracecontext`. They are read where the receiver keeps
        /// metadata (`include_metadata`).
        pub(crate) propagators: Vec<String>,
        /// Where own spans are pushed. Without one, none are made.
        pub(crate) processors: Vec<SpanProcessorConfig>,
        /// Which traces are recorded; by default all that no span before has decided about.
        pub(crate) sampler: Option<SamplerConfig>,
        /// Limits of spans.
        #[config(ignored = "they have no effect, as in the Go collector")]
        pub(crate) limits: Option<SpanLimitsConfig>,
    }
}

impl TracesConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        for name in &self.propagators {
            match name.as_str() {
                "tracecontext" => {}
                "b3" if self.is_on() => {
                    s.warn("propagators", "the propagator `b3` has no effect: only `tracecontext` is read");
                }
                "b3" => {}
                _ => drop(s.error("propagators", format!("unsupported trace propagator: {name}"))),
            }
        }
    }

    /// Whether spans are made.
    pub(crate) fn is_on(&self) -> bool {
        self.level.0 != MetricsLevel::None && !self.processors.is_empty()
    }

    /// Whether the header field of W3C Trace Context is read.
    pub(crate) fn reads_traceparent(&self) -> bool {
        self.propagators.iter().any(|name| name == "tracecontext")
    }

    /// Which traces are recorded.
    pub(crate) fn sampler(&self) -> Sampler {
        self.sampler.as_ref().map_or_else(|| Sampler::ParentBased(Box::new(Sampler::AlwaysOn)), SamplerConfig::sampler)
    }
}

config_struct! {
    /// A sampler without keys.
    pub(crate) struct ConstantSamplerConfig {}
}

config_struct! {
    /// A part of the traces.
    #[config(check = Self::check)]
    pub(crate) struct RatioSamplerConfig {
        /// From 0 to 1.
        pub(crate) ratio: f64 = 1.0,
    }
}

impl RatioSamplerConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if !(0.0..=1.0).contains(&self.ratio) {
            s.error("ratio", format!("'ratio' must be from 0 to 1, got {}", self.ratio));
        }
    }
}

config_struct! {
    /// The sampler of traces that begin here.
    #[config(check = Self::check)]
    pub(crate) struct RootSamplerConfig {
        /// All.
        pub(crate) always_on: Option<ConstantSamplerConfig>,
        /// None.
        pub(crate) always_off: Option<ConstantSamplerConfig>,
        /// A part of them.
        pub(crate) trace_id_ratio_based: Option<RatioSamplerConfig>,
    }
}

impl RootSamplerConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.sampler().is_none() {
            s.error_for_keys(&["always_on"], "invalid sampler configuration")
                .kind(DiagnosticKind::Invalid)
                .help("write `trace_id_ratio_based: {ratio: 0.1}`, or another sampler with `{}` as its value");
        }
    }

    fn sampler(&self) -> Option<Sampler> {
        if self.always_off.is_some() {
            Some(Sampler::AlwaysOff)
        } else if self.always_on.is_some() {
            Some(Sampler::AlwaysOn)
        } else {
            self.trace_id_ratio_based.as_ref().map(|sampler| Sampler::Ratio(sampler.ratio))
        }
    }
}

config_struct! {
    /// As the span before; the root for traces that begin here.
    #[config(unsupported("remote_parent_sampled", PARENT_SAMPLER))]
    #[config(unsupported("remote_parent_not_sampled", PARENT_SAMPLER))]
    #[config(unsupported("local_parent_sampled", PARENT_SAMPLER))]
    #[config(unsupported("local_parent_not_sampled", PARENT_SAMPLER))]
    pub(crate) struct ParentSamplerConfig {
        /// The sampler of traces that begin here; by default all are recorded.
        pub(crate) root: Option<RootSamplerConfig>,
    }
}

config_struct! {
    /// Which traces are recorded: one of these.
    #[config(check = Self::check)]
    #[config(unsupported("jaeger_remote", "the sampler `jaeger_remote` is not supported"))]
    pub(crate) struct SamplerConfig {
        /// All.
        pub(crate) always_on: Option<ConstantSamplerConfig>,
        /// None.
        pub(crate) always_off: Option<ConstantSamplerConfig>,
        /// A part of them, by their ids.
        pub(crate) trace_id_ratio_based: Option<RatioSamplerConfig>,
        /// As the span before.
        pub(crate) parent_based: Option<ParentSamplerConfig>,
    }
}

impl SamplerConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let has_one = self.parent_based.is_some() || self.own().sampler().is_some();
        if !has_one && !s.contains_key("jaeger_remote") {
            s.error_for_keys(&["always_on"], "invalid sampler configuration")
                .kind(DiagnosticKind::Invalid)
                .help("write `parent_based: {root: {trace_id_ratio_based: {ratio: 0.1}}}`");
        }
    }

    fn own(&self) -> RootSamplerConfig {
        RootSamplerConfig {
            always_on: self.always_on.clone(),
            always_off: self.always_off.clone(),
            trace_id_ratio_based: self.trace_id_ratio_based.clone(),
        }
    }

    fn sampler(&self) -> Sampler {
        match &self.parent_based {
            Some(parent) => {
                let root = parent.root.as_ref().and_then(RootSamplerConfig::sampler);
                Sampler::ParentBased(Box::new(root.unwrap_or(Sampler::AlwaysOn)))
            }
            None => self.own().sampler().unwrap_or(Sampler::AlwaysOn),
        }
    }
}

config_struct! {
    /// Limits of spans.
    pub(crate) struct SpanLimitsConfig {
        /// Attributes of a span.
        pub(crate) attribute_count_limit: Option<i64>,
        /// The length of a value.
        pub(crate) attribute_value_length_limit: Option<i64>,
        /// Events of a span.
        pub(crate) event_count_limit: Option<i64>,
        /// Attributes of an event.
        pub(crate) event_attribute_count_limit: Option<i64>,
        /// Links of a span.
        pub(crate) link_count_limit: Option<i64>,
        /// Attributes of a link.
        pub(crate) link_attribute_count_limit: Option<i64>,
    }
}

config_struct! {
    /// `exporter` of a processor of own spans.
    #[config(check = Self::check)]
    #[config(unsupported("console", "own spans are not printed; write `otlp:`"))]
    #[config(unsupported("zipkin", "own spans are pushed over OTLP only; write `otlp:`"))]
    pub(crate) struct SpanExporterConfig {
        /// OTLP.
        pub(crate) otlp: Option<OtlpPushConfig>,
    }
}

impl SpanExporterConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let has_other = s.contains_key("console") || s.contains_key("zipkin");
        super::push::check_exporter(s, self.otlp.is_some() || has_other, "no valid span exporter");
    }
}

config_struct! {
    /// `batch`: pushes spans together.
    #[config(check = Self::check)]
    pub(crate) struct BatchSpanProcessorConfig {
        /// Where to.
        pub(crate) exporter: SpanExporterConfig,
        /// Time limit of one push with its further attempts; 30 seconds for zero.
        #[config(unit = "ms")]
        pub(crate) export_timeout: i64 = 30_000,
        /// The largest number of spans in one push; 512 for zero.
        pub(crate) max_export_batch_size: i64 = 512,
        /// The largest number of spans that wait; beyond it they are dropped. 2048 for zero.
        pub(crate) max_queue_size: i64 = 2048,
        /// How long spans wait for more; 5 seconds for zero.
        #[config(unit = "ms")]
        pub(crate) schedule_delay: i64 = 5000,
    }
}

impl BatchSpanProcessorConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        super::push::check_batch(
            s,
            self.export_timeout,
            self.max_export_batch_size,
            self.max_queue_size,
            self.schedule_delay,
        );
    }
}

config_struct! {
    /// `simple`: pushes spans at once.
    pub(crate) struct SimpleSpanProcessorConfig {
        /// Where to.
        pub(crate) exporter: SpanExporterConfig,
    }
}

config_struct! {
    /// One of `processors` of own spans.
    #[config(check = Self::check)]
    pub(crate) struct SpanProcessorConfig {
        /// Pushes spans together.
        pub(crate) batch: Option<BatchSpanProcessorConfig>,
        /// Pushes spans at once.
        pub(crate) simple: Option<SimpleSpanProcessorConfig>,
    }
}

impl SpanProcessorConfig {
    /// The peer, unless there is none, which is an error of the configuration.
    pub(crate) fn otlp(&self) -> Option<&OtlpPushConfig> {
        let exporter = self.batch.as_ref().map(|batch| &batch.exporter);
        exporter.or_else(|| Some(&self.simple.as_ref()?.exporter))?.otlp.as_ref()
    }

    fn check(&mut self, s: &mut Section<'_>) {
        super::push::check_processor(s, "span", self.batch.is_some(), self.simple.is_some());
    }
}
