//! What a plan needs from its environment, for the checks against Kubernetes manifests.

use std::collections::BTreeSet;
use std::time::Duration;

use otelcore_config::{ComponentId, ConfigNode, EffectiveValue};
use otelcore_kubernetes::{
    ConfigEffects, ConfigFile, ListenSocket, MemoryLimiterLimit, ReadTopics, ServedProtocol, StorageDirectory,
    WrittenTopic,
};
use otelcore_pdata::Signal;
use otelcore_pipeline::{ComponentKind, Endpoint};

use super::{ComponentConfigs, Plan, section_name};

const LIMIT_MIB_KEY: &str = "limit_mib";
const PARTITION_BY_TRACE_KEY: &str = "partition_traces_by_id";
/// The processors that need all spans of a trace in one collector.
const WHOLE_TRACES_FOR: [&str; 2] = ["tail_sampling", "groupbytrace"];
const LIMIT_PERCENTAGE_KEY: &str = "limit_percentage";

impl Plan {
    /// Considers only components that run: those that a pipeline or the service names. `root` is the tree that the plan
    /// was read from, for the places.
    pub(crate) fn effects(&self, root: &ConfigNode, grace: Duration) -> ConfigEffects {
        let shutdown = u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX);
        let mut effects = ConfigEffects { shutdown_nanos: shutdown, ..ConfigEffects::default() };
        for kind in [
            ComponentKind::Extension,
            ComponentKind::Receiver,
            ComponentKind::Processor,
            ComponentKind::Exporter,
            ComponentKind::Connector,
        ] {
            for id in self.running_ids(kind) {
                self.add_component(kind, id, root, &mut effects);
            }
        }
        self.add_telemetry(root, &mut effects);
        self.add_storage(root, &mut effects);
        self.add_topics_written(root, &mut effects);
        self.add_topics_read(root, &mut effects);
        effects
    }

    /// The topics of the exporters `kafka`, but for those that attributes or metadata choose.
    fn add_topics_written(&self, root: &ConfigNode, effects: &mut ConfigEffects) {
        for id in self.running_ids(ComponentKind::Exporter).filter(|id| id.ty == "kafka") {
            let section = format!("{}::{id}", section_name(ComponentKind::Exporter));
            let Some(config) = value_at(&self.effective, &section) else { continue };
            let place = |key: &str| {
                let path = format!("{section}::{key}");
                (root.nearest_origin(&path).clone(), path)
            };
            let max_message_bytes = number_at(config, "producer::max_message_bytes");
            for signal in self.signals_of(ComponentKind::Exporter, id) {
                let Some(EffectiveValue::Str(topic)) = value_at(config, &format!("{}::topic", signal.name())) else {
                    continue;
                };
                let is_by_trace = value_at(config, PARTITION_BY_TRACE_KEY) == Some(&EffectiveValue::Bool(true));
                effects.topics_written.push(WrittenTopic {
                    topic: topic.clone(),
                    max_message_bytes,
                    max_message_origin: place("producer::max_message_bytes"),
                    not_by_trace: (signal == Signal::Traces && !is_by_trace).then(|| place(PARTITION_BY_TRACE_KEY)),
                });
            }
        }
    }

    /// The topics of the receivers `kafka`.
    fn add_topics_read(&self, root: &ConfigNode, effects: &mut ConfigEffects) {
        for id in self.running_ids(ComponentKind::Receiver).filter(|id| id.ty == "kafka") {
            let section = format!("{}::{id}", section_name(ComponentKind::Receiver));
            let Some(config) = value_at(&self.effective, &section) else { continue };
            let behind = self.pipelines_behind(|receiver| receiver == id);
            let behind =
                self.pipelines.iter().zip(behind).filter_map(|(pipeline, is_behind)| is_behind.then_some(pipeline));
            let mut processors = behind.flat_map(|pipeline| &pipeline.processors);
            let whole_traces_for = processors.find(|processor| WHOLE_TRACES_FOR.contains(&processor.ty.as_ref()));
            for signal in self.signals_of(ComponentKind::Receiver, id) {
                let key = format!("{}::topics", signal.name());
                let Some(EffectiveValue::List(topics)) = value_at(config, &key) else { continue };
                let topics: Vec<String> = topics
                    .iter()
                    .filter_map(|topic| match topic {
                        EffectiveValue::Str(topic) => Some(topic.clone()),
                        _ => None,
                    })
                    .collect();
                let has_patterns = topics.iter().any(|topic| topic.starts_with('^'));
                effects.topics_read.push(ReadTopics {
                    topics: if has_patterns { Vec::new() } else { topics },
                    origin: root.nearest_origin(&format!("{section}::{key}")).clone(),
                    whole_traces_for: whole_traces_for.filter(|_| signal == Signal::Traces).map(ToString::to_string),
                });
            }
        }
    }

    /// The directories of `file_storage`, with the queues in them.
    fn add_storage(&self, root: &ConfigNode, effects: &mut ConfigEffects) {
        for id in self.running_ids(ComponentKind::Extension).filter(|id| id.ty == "file_storage") {
            let key = format!("{}::{id}::directory", section_name(ComponentKind::Extension));
            let Some(EffectiveValue::Str(path)) = value_at(&self.effective, &key) else { continue };
            let file = ConfigFile { path: path.clone(), origin: root.nearest_origin(&key).clone(), config_path: key };
            let mut queues = Vec::new();
            for exporter in self.running_ids(ComponentKind::Exporter) {
                let section = format!("{}::{exporter}::sending_queue", section_name(ComponentKind::Exporter));
                let Some(queue) = value_at(&self.effective, &section) else { continue };
                let is_text =
                    |key: &str, text: &str| matches!(value_at(queue, key), Some(EffectiveValue::Str(v)) if v == text);
                if !is_text("storage", &id.to_string()) {
                    continue;
                }
                // How many bytes there are of another unit is not known.
                let bytes = if is_text("sizer", "bytes") { number_at(queue, "queue_size") } else { 0 };
                queues.extend(self.signals_of(ComponentKind::Exporter, exporter).iter().map(|_| bytes));
            }
            effects.storage.push(StorageDirectory { file, queues });
        }
    }

    fn configs_of(&self, kind: ComponentKind) -> &ComponentConfigs {
        match kind {
            ComponentKind::Receiver => &self.receivers,
            ComponentKind::Processor => &self.processors,
            ComponentKind::Exporter => &self.exporters,
            ComponentKind::Connector => &self.connectors,
            ComponentKind::Extension => &self.extensions,
        }
    }

    fn running_ids(&self, kind: ComponentKind) -> impl Iterator<Item = &ComponentId> {
        let started: BTreeSet<&ComponentId> = self.started_extensions.iter().collect();
        let is_running = move |id: &&ComponentId| match kind {
            ComponentKind::Extension => started.contains(id),
            _ => !self.signals_of(kind, id).is_empty(),
        };
        self.configs_of(kind).keys().filter(is_running)
    }

    fn add_component(&self, kind: ComponentKind, id: &ComponentId, root: &ConfigNode, effects: &mut ConfigEffects) {
        let section = format!("{}::{id}", section_name(kind));
        for listens in self.configs_of(kind).get(id).map(|s| s.listen_addresses()).unwrap_or_default() {
            let Endpoint::Tcp { host, port } = listens.endpoint else { continue };
            let protocol = protocol_of(listens.protocol);
            let suffix = match protocol {
                ServedProtocol::Grpc => " (gRPC)",
                ServedProtocol::Http => " (HTTP)",
                _ => "",
            };
            let key = format!("{section}::{}", listens.config_key);
            effects.listens.push(ListenSocket {
                component: format!("the {} `{id}`{suffix}", kind.name()),
                host,
                port,
                udp: listens.protocol == otelcore_pipeline::ServedProtocol::Datagrams,
                protocol,
                path: listens.path,
                origin: root.nearest_origin(&key).clone(),
                config_path: key,
            });
        }
        let Some(effective) = value_at(&self.effective, &section) else { return };
        if kind == ComponentKind::Processor && id.ty == "memory_limiter" {
            let mib = Some(number_at(effective, LIMIT_MIB_KEY)).filter(|v| *v > 0);
            let key = format!("{section}::{}", if mib.is_some() { LIMIT_MIB_KEY } else { LIMIT_PERCENTAGE_KEY });
            let origin = root.nearest_origin(&key).clone();
            effects.memory_limiters.push(MemoryLimiterLimit {
                mib,
                percentage: number_at(effective, LIMIT_PERCENTAGE_KEY),
                origin,
                config_path: key,
            });
        }
        if let (ComponentKind::Exporter, Some(EffectiveValue::Duration(timeout))) =
            (kind, value_at(effective, "timeout"))
        {
            let longest = effects.longest_attempt.as_ref().map_or(0, |(nanos, _)| *nanos);
            if timeout.nanos_or_zero() > longest && !timeout.is_negative() {
                effects.longest_attempt = Some((timeout.nanos_or_zero(), id.to_string()));
            }
        }
        collect_files(effective, &section, root, &mut effects.files_read);
    }

    fn add_telemetry(&self, root: &ConfigNode, effects: &mut ConfigEffects) {
        const METRICS: &str = "service::telemetry::metrics";
        for (index, page) in self.telemetry.metrics.pages.iter().enumerate() {
            let reader = root.get_path(&format!("{METRICS}::readers")).and_then(|n| n.items().get(index));
            let key = if root.get_path(&format!("{METRICS}::address")).is_some() { "address" } else { "readers" };
            let key = format!("{METRICS}::{key}");
            let origin = reader
                .map_or_else(|| root.nearest_origin(&key), |r| r.nearest_origin("pull::exporter::prometheus::host"));
            effects.listens.push(ListenSocket {
                component: "the page of the collector's own metrics".to_owned(),
                host: page.host.clone(),
                port: page.port,
                udp: false,
                protocol: ServedProtocol::OwnMetrics,
                path: "/metrics".to_owned(),
                origin: origin.clone(),
                config_path: key,
            });
        }
        let key = "service::telemetry::logs::output_paths";
        for path in self.telemetry.logs.output_paths.iter().filter(|p| p.starts_with('/')) {
            let origin = root.nearest_origin(key).clone();
            effects.files_written.push(ConfigFile { path: path.clone(), origin, config_path: key.to_owned() });
        }
    }
}

fn protocol_of(protocol: otelcore_pipeline::ServedProtocol) -> ServedProtocol {
    match protocol {
        otelcore_pipeline::ServedProtocol::Grpc => ServedProtocol::Grpc,
        otelcore_pipeline::ServedProtocol::Http => ServedProtocol::Http,
        otelcore_pipeline::ServedProtocol::Health => ServedProtocol::Health,
        otelcore_pipeline::ServedProtocol::Metrics => ServedProtocol::Metrics,
        otelcore_pipeline::ServedProtocol::Datagrams | otelcore_pipeline::ServedProtocol::Other => {
            ServedProtocol::Other
        }
    }
}

fn value_at<'e>(effective: &'e EffectiveValue, path: &str) -> Option<&'e EffectiveValue> {
    path.split("::").try_fold(effective, |value, key| match value {
        EffectiveValue::Map(map) => map.get(key),
        _ => None,
    })
}

/// The number at a path; zero if there is none, or a negative one.
fn number_at(effective: &EffectiveValue, path: &str) -> u64 {
    match value_at(effective, path) {
        Some(EffectiveValue::Int(v)) => u64::try_from(*v).unwrap_or(0),
        _ => 0,
    }
}

/// Finds files by the names of their keys, which are the same in all components: `cert_file`, `ca_file`,
/// `htpasswd::file`, `filename`.
fn collect_files(effective: &EffectiveValue, path: &str, root: &ConfigNode, found: &mut Vec<ConfigFile>) {
    let EffectiveValue::Map(map) = effective else { return };
    for (key, value) in map {
        let path = format!("{path}::{key}");
        match value {
            EffectiveValue::Str(file)
                if (key.ends_with("_file") || key == "file" || key == "filename") && !file.is_empty() =>
            {
                let origin = root.nearest_origin(&path).clone();
                found.push(ConfigFile { path: file.clone(), origin, config_path: path });
            }
            _ => collect_files(value, &path, root, found),
        }
    }
}
