//! The contexts of the processors, and which functions each has.

use std::sync::LazyLock;

use otelcore_ottl::Functions;
use otelcore_ottl::contexts::{self, ContextType};
use otelcore_pdata::Signal;

use crate::ottl_functions;

/// A context in which a group runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ContextKind {
    Resource,
    Scope,
    Span,
    SpanEvent,
    Metric,
    DataPoint,
    Log,
}

impl ContextKind {
    /// Those of a signal, in the order in which the Go collector lists them.
    pub(crate) fn of_signal(signal: Signal) -> &'static [Self] {
        match signal {
            Signal::Traces => &[Self::Resource, Self::Scope, Self::Span, Self::SpanEvent],
            Signal::Metrics => &[Self::Resource, Self::Scope, Self::Metric, Self::DataPoint],
            Signal::Logs => &[Self::Resource, Self::Scope, Self::Log],
        }
    }

    pub(crate) fn context_type(self) -> ContextType {
        match self {
            Self::Resource => contexts::RESOURCE,
            Self::Scope => contexts::SCOPE,
            Self::Span => contexts::SPAN,
            Self::SpanEvent => contexts::SPAN_EVENT,
            Self::Metric => contexts::METRIC,
            Self::DataPoint => contexts::DATA_POINT,
            Self::Log => contexts::LOG,
        }
    }

    /// By the name in a configuration, in any case; also of `profile`, which has no data here.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        const ALL: [ContextKind; 7] = [
            ContextKind::Resource,
            ContextKind::Scope,
            ContextKind::Span,
            ContextKind::SpanEvent,
            ContextKind::Metric,
            ContextKind::DataPoint,
            ContextKind::Log,
        ];
        ALL.into_iter().find(|kind| kind.context_type().name == name.to_lowercase())
    }
}

/// The functions of each context.
#[derive(Debug)]
pub(crate) struct ContextFunctions {
    span: Functions,
    metric: Functions,
    data_point: Functions,
    log: Functions,
    others: Functions,
}

impl ContextFunctions {
    pub(crate) fn of(&self, kind: ContextKind) -> &Functions {
        match kind {
            ContextKind::Span => &self.span,
            ContextKind::Metric => &self.metric,
            ContextKind::DataPoint => &self.data_point,
            ContextKind::Log => &self.log,
            ContextKind::Resource | ContextKind::Scope | ContextKind::SpanEvent => &self.others,
        }
    }
}

/// What conditions may call.
pub(crate) fn condition_functions() -> &'static ContextFunctions {
    static FUNCTIONS: LazyLock<ContextFunctions> = LazyLock::new(|| {
        let standard = Functions::standard_converters();
        ContextFunctions {
            span: standard.clone().with(otelcore_ottl::functions::SPAN_CONDITIONS),
            metric: standard.clone().with(otelcore_ottl::functions::METRIC_CONDITIONS),
            data_point: standard.clone(),
            log: standard.clone(),
            others: standard,
        }
    });
    &FUNCTIONS
}

/// What the statements of `transform` may call.
#[cfg(feature = "transform")]
pub(crate) fn statement_functions() -> &'static ContextFunctions {
    static FUNCTIONS: LazyLock<ContextFunctions> = LazyLock::new(|| {
        let standard = Functions::standard();
        ContextFunctions {
            span: standard
                .clone()
                .with(otelcore_ottl::functions::SPAN_CONDITIONS)
                .with(ottl_functions::SPAN_STATEMENTS),
            metric: standard.clone().with(ottl_functions::METRIC_STATEMENTS),
            data_point: standard.clone().with(ottl_functions::DATA_POINT_STATEMENTS),
            log: standard.clone().with(ottl_functions::LOG_STATEMENTS),
            others: standard,
        }
    });
    &FUNCTIONS
}
