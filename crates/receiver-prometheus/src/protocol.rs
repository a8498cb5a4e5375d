//! The formats of pages that a target is asked for.
//!
//! Reads no page.

use otelcore_exposition::PageFormat;

/// The `Accept` header for these formats, most wanted first, with the escaping of names.
pub(crate) fn accept_header(protocols: &[ScrapeProtocol], escaping: &str) -> String {
    let mut text = String::new();
    let mut weight = ScrapeProtocol::ALL.len() + 1;
    for protocol in protocols {
        text.push_str(protocol.media_type());
        if protocol.has_escaping() {
            text.push_str(";escaping=");
            text.push_str(escaping);
        }
        text.push_str(&format!(";q=0.{weight},"));
        weight = weight.saturating_sub(1);
    }
    text.push_str(&format!("*/*;q=0.{weight}"));
    text
}

/// A format of `scrape_protocols`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ScrapeProtocol {
    OpenMetrics0,
    OpenMetrics1,
    Protobuf,
    Text0,
    Text1,
}

impl ScrapeProtocol {
    pub(crate) const ALL: [Self; 5] =
        [Self::OpenMetrics0, Self::OpenMetrics1, Self::Protobuf, Self::Text0, Self::Text1];
    /// The default.
    pub(crate) const TEXTS: [Self; 4] = [Self::OpenMetrics1, Self::OpenMetrics0, Self::Text1, Self::Text0];
    /// The default with native histograms.
    pub(crate) const PROTOBUF_FIRST: [Self; 5] =
        [Self::Protobuf, Self::OpenMetrics1, Self::OpenMetrics0, Self::Text1, Self::Text0];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OpenMetrics0 => "OpenMetricsText0.0.1",
            Self::OpenMetrics1 => "OpenMetricsText1.0.0",
            Self::Protobuf => "PrometheusProto",
            Self::Text0 => "PrometheusText0.0.4",
            Self::Text1 => "PrometheusText1.0.0",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics0 => "application/openmetrics-text;version=0.0.1",
            Self::OpenMetrics1 => "application/openmetrics-text;version=1.0.0",
            Self::Protobuf => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Self::Text0 => "text/plain;version=0.0.4",
            Self::Text1 => "text/plain;version=1.0.0",
        }
    }

    fn has_escaping(self) -> bool {
        matches!(self, Self::OpenMetrics1 | Self::Text1)
    }

    pub(crate) fn format(self) -> PageFormat {
        match self {
            Self::OpenMetrics0 | Self::OpenMetrics1 => PageFormat::OpenMetrics1,
            Self::Protobuf => PageFormat::Protobuf,
            Self::Text0 | Self::Text1 => PageFormat::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_header_is_that_of_prometheus() {
        assert_eq!(
            accept_header(&ScrapeProtocol::TEXTS, "allow-utf-8"),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
    }
}
