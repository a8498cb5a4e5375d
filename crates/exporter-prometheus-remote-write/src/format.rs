//! What requests look like: the parts of the configuration that the translation reads.

use otelcore_config::config_enum;
use otelcore_prometheus_translation::{LabelNaming, TranslationStrategy};

config_enum! {
    /// The message that is sent.
    #[config(
        unknown = "unknown type for remote write protobuf message {word}, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request",
        hint = ""
    )]
    pub enum ProtobufMessage {
        /// Remote write 1.0.
        Version1 = "prometheus.WriteRequest",
        /// Remote write 2.0.
        Version2 = "io.prometheus.write.v2.Request",
    }
}

/// Which attributes of a resource become labels of every series.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ResourceLabels {
    /// None but those of `job` and `instance`.
    #[default]
    None,
    /// All.
    All,
    /// All but those of `job` and `instance`.
    AllButService,
}

/// Names and values of labels that are added.
pub(crate) type ExternalLabels = Vec<(Vec<u8>, Vec<u8>)>;

/// How metrics are translated.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RemoteWriteFormat {
    /// The version of the protocol.
    pub message: ProtobufMessage,
    /// Prefix of every name.
    pub namespace: String,
    /// Labels of every series that does not have them, by translated name.
    pub external_labels: ExternalLabels,
    /// How names are made.
    pub strategy: TranslationStrategy,
    /// Whether there is a series `target_info` for each resource.
    pub target_info: bool,
    /// Whether series have the labels `otel_scope_*`.
    pub scope_labels: bool,
    /// Whether requests of version 1 have the metadata of their metrics.
    pub metadata: bool,
    /// Which attributes of a resource become labels.
    pub resource_labels: ResourceLabels,
}

impl RemoteWriteFormat {
    pub(crate) fn is_version_2(&self) -> bool {
        self.message == ProtobufMessage::Version2
    }

    /// How the labels of series are named.
    pub(crate) fn naming(&self) -> LabelNaming {
        let keeps_utf8 = self.strategy.keeps_utf8();
        LabelNaming { keeps_utf8, joins_underscores: true, prefixes_underscore: true }
    }

    /// How the labels of `target_info` are named: in version 1 the Go collector does it otherwise.
    pub(crate) fn target_naming(&self) -> LabelNaming {
        if self.is_version_2() { self.naming() } else { LabelNaming::default() }
    }
}
