//! Which containers run a collector, and with which command line.
//!
//! A container runs a collector if the name of its program or image is one of a collector's, or if the file that its
//! `--config` names is a collector's configuration. The caller parses the rest of the command line.

use std::collections::BTreeSet;

use otelcore_config::{ConfigNode, Diagnostic, Diagnostics, EmbeddedSource, NestedSource, SourceLocation};

use crate::cluster::{Cluster, Object, list, map, string};
use crate::environment::{self, ContainerContext, Variable, Variables};
use crate::operator;
use crate::quantity;
use crate::volumes::{MountedFile, Mounts};

impl Cluster {
    /// Everything in the files that runs a collector, and configurations in ConfigMaps that nothing in the files runs.
    #[must_use]
    pub fn collectors(&self) -> Vec<Collector<'_>> {
        let objects = self.objects().take_while(|_| self.count_steps(1));
        let mut found: Vec<Collector<'_>> = objects.flat_map(|o| collectors_of(self, o)).collect();
        let used_locations: BTreeSet<_> = found.iter().flat_map(Collector::config_origins).collect();
        let unused: Vec<_> =
            self.of_kind("ConfigMap").flat_map(|o| unused_configurations(self, o, &used_locations)).collect();
        found.extend(unused);
        found
    }
}

/// One word of a command line.
#[derive(Clone, Debug)]
pub struct Argument {
    /// After the expansion of `$(VAR)`, as the kubelet does it.
    pub text: String,
    /// Where it is written.
    pub origin: SourceLocation,
}

/// A collector of the manifests.
#[derive(Clone, Debug)]
pub struct Collector<'c> {
    pub(crate) cluster: &'c Cluster,
    pub(crate) owner: &'c Object,
    /// `None` for a configuration that nothing in the files runs.
    pub(crate) pod: Option<Pod<'c>>,
    pub(crate) variables: Variables<'c>,
    /// The configuration that needs no mount: an operator's resource, or a ConfigMap alone.
    pub(crate) own_config: Option<EmbeddedSource>,
    args: Vec<Argument>,
    title: String,
}

/// The pod that a collector runs in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pod<'c> {
    pub(crate) spec: &'c ConfigNode,
    pub(crate) container: &'c ConfigNode,
    pub(crate) labels: Option<&'c ConfigNode>,
    pub(crate) annotations: Option<&'c ConfigNode>,
    /// Whether the object is an OpenTelemetryCollector, from which the operator creates the pod.
    pub(crate) by_operator: bool,
}

/// Where the operator puts the configuration; also the path used for one that no container reads.
const OPERATOR_CONFIG_PATH: &str = "/conf/collector.yaml";

/// The configuration files that images of collectors read without arguments.
const DEFAULT_CONFIG_PATHS: [&str; 5] = [
    "/etc/otelcol/config.yaml",
    "/etc/otelcol-contrib/config.yaml",
    "/etc/otelcol-k8s/config.yaml",
    "/etc/otelcol-otlp/config.yaml",
    "/etc/otelcore/config.yaml",
];

/// The collectors of one object.
pub(crate) fn collectors_of<'c>(cluster: &'c Cluster, owner: &'c Object) -> Vec<Collector<'c>> {
    let template = match owner.kind.as_str() {
        "OpenTelemetryCollector" => return collector_of_operator(cluster, owner).into_iter().collect(),
        "Pod" => Some(&owner.node),
        "CronJob" => owner.node.get_path("spec::jobTemplate::spec::template"),
        "Deployment" | "DaemonSet" | "StatefulSet" | "ReplicaSet" | "ReplicationController" | "Job" => {
            owner.node.get_path("spec::template")
        }
        _ => None,
    };
    let Some((template, spec)) = template.and_then(|t| Some((t, t.get_path("spec")?))) else { return Vec::new() };
    let containers = list(spec, "containers").iter().chain(list(spec, "initContainers"));
    containers.filter_map(|container| collector_of_container(cluster, owner, template, spec, container)).collect()
}

fn collector_of_container<'c>(
    cluster: &'c Cluster,
    owner: &'c Object,
    template: &'c ConfigNode,
    spec: &'c ConfigNode,
    container: &'c ConfigNode,
) -> Option<Collector<'c>> {
    let metadata = template.get_path("metadata");
    let variables = environment::variables_of(ContainerContext { cluster, owner, metadata, spec, container });
    let name = string(container, "name").unwrap_or_default();
    let label = |what| metadata.and_then(|m| m.get_path(what));
    let (labels, annotations) = (label("labels"), label("annotations"));
    let pod = Pod { spec, container, labels, annotations, by_operator: false };
    let mut arguments = arguments(container, &variables);
    let program = container.get_path("command").map(|_| arguments.remove_program());
    let mut collector = Collector {
        cluster,
        owner,
        pod: Some(pod),
        variables,
        own_config: None,
        args: arguments.0,
        title: format!("{}, container {name}", owner.title()),
    };
    let has_collector_name = match &program {
        Some(program) => is_collector_name(program.as_deref().unwrap_or_default()),
        None => is_collector_name(image_name(container)),
    };
    if collector.args.is_empty() && has_collector_name {
        let found =
            DEFAULT_CONFIG_PATHS.iter().find(|path| matches!(collector.find(path), Some(MountedFile::Text(_))))?;
        collector.args.push(Argument { text: format!("--config={found}"), origin: container.origin.clone() });
    }
    let uris: Vec<String> = collector.uris().into_iter().map(|w| w.text).collect();
    let reads_configuration = || uris.iter().any(|uri| collector.embedded(uri).is_some_and(|e| is_configuration(&e)));
    (!uris.is_empty() && (has_collector_name || reads_configuration())).then_some(collector)
}

/// The last part of the image's path, without tag and digest.
fn image_name(container: &ConfigNode) -> &str {
    let image = string(container, "image").unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split(['@', ':']).next().unwrap_or_default()
}

/// Whether the name of a program or an image is one of a collector's.
pub(crate) fn is_collector_name(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or_default();
    ["otelcol", "otelcore", "otelcontribcol", "opentelemetry-collector", "otel-collector"]
        .iter()
        .any(|n| name.contains(n))
}

/// The command line of a container.
struct Arguments(Vec<Argument>);

fn arguments(container: &ConfigNode, variables: &Variables<'_>) -> Arguments {
    let all = list(container, "command").iter().chain(list(container, "args"));
    let word = |node: &ConfigNode| {
        let text = environment::expand(&quantity::scalar_text(node)?, variables, environment::MAX_VARIABLE_BYTES)?;
        Some(Argument { text, origin: node.origin.clone() })
    };
    Arguments(all.filter_map(word).collect())
}

impl Arguments {
    fn remove_program(&mut self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.remove(0).text)
    }
}

/// Whether a text is a collector's configuration: it has pipelines, and receivers or exporters.
fn is_configuration(embedded: &EmbeddedSource) -> bool {
    let Some(root) = embedded.parse(&Diagnostics::new()) else { return false };
    let has = |key: &str| root.get_path(key).is_some();
    has("service::pipelines") && (has("receivers") || has("exporters"))
}

/// The configurations in a ConfigMap that no collector in the files reads.
pub(crate) fn unused_configurations<'c>(
    cluster: &'c Cluster,
    owner: &'c Object,
    used: &BTreeSet<LocationKey>,
) -> Vec<Collector<'c>> {
    let data = map(&owner.node, "data").into_iter().flatten();
    data.filter(|entry| !used.contains(&location_key(&entry.node.origin)))
        .filter_map(|entry| NestedSource::from_node(&entry.node).map(|nested| (entry, EmbeddedSource::Text(nested))))
        .filter(|(_, embedded)| is_configuration(embedded))
        .map(|(entry, embedded)| Collector {
            cluster,
            owner,
            pod: None,
            variables: Variables::new(),
            args: vec![Argument { text: format!("--config={OPERATOR_CONFIG_PATH}"), origin: entry.key_origin.clone() }],
            own_config: Some(embedded),
            title: format!("{}, key {}", owner.title(), entry.key),
        })
        .collect()
}

/// The collector that the operator creates from a resource.
fn collector_of_operator<'c>(cluster: &'c Cluster, owner: &'c Object) -> Option<Collector<'c>> {
    let spec = owner.node.get_path("spec")?;
    let written = spec.get_path("config")?;
    let embedded = match NestedSource::from_node(written) {
        Some(nested) => EmbeddedSource::Text(nested),
        None => EmbeddedSource::Tree(written.clone()),
    };
    // A text that is not YAML is kept unchanged, so that its error is reported when it is loaded.
    let own_config = match embedded.parse(&Diagnostics::new()) {
        Some(mut root) => {
            operator::add_defaults(&mut root);
            EmbeddedSource::Tree(root)
        }
        None => embedded,
    };
    let mut args = vec![Argument { text: format!("--config={OPERATOR_CONFIG_PATH}"), origin: written.origin.clone() }];
    for entry in map(spec, "args").into_iter().flatten().filter(|e| &*e.key != "config") {
        let value = quantity::scalar_text(&entry.node).unwrap_or_default();
        args.push(Argument { text: format!("--{}={value}", entry.key), origin: entry.node.origin.clone() });
    }
    let metadata = None;
    let mut variables = environment::variables_of(ContainerContext { cluster, owner, metadata, spec, container: spec });
    // The variables that the operator sets itself, unless the user sets them.
    for (name, value) in [("POD_NAME", owner.name.as_str()), ("K8S_NODE_NAME", "node")] {
        let value = Some(value.to_owned());
        variables.entry(name.to_owned()).or_insert_with(|| Variable { value, node: None, origin: &spec.origin });
    }
    let pod =
        Pod { spec, container: spec, labels: None, annotations: spec.get_path("podAnnotations"), by_operator: true };
    let title = owner.title();
    Some(Collector { cluster, owner, pod: Some(pod), variables, own_config: Some(own_config), args, title })
}

/// The variables that a line of a configuration refers to.
fn referenced_variables(line: &str) -> impl Iterator<Item = &str> {
    let names = line.split("${").skip(1).filter_map(|rest| rest.split(['}', '$', '{']).next());
    names.map(|inside| inside.strip_prefix("env:").unwrap_or(inside).split(':').next().unwrap_or_default())
}

/// How many bytes of a line are searched for references.
const MAX_LINE_BYTES: usize = 64 << 10;

/// A place that can be compared.
pub(crate) type LocationKey = (String, u32, u32);

pub(crate) fn location_key(origin: &SourceLocation) -> LocationKey {
    (origin.source.to_string(), origin.line, origin.column)
}

impl<'c> Collector<'c> {
    /// `Deployment otel-collector, container otel-collector`.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The object that it comes from.
    #[must_use]
    pub const fn owner(&self) -> &'c Object {
        self.owner
    }

    /// The command line, without the program.
    #[must_use]
    pub fn args(&self) -> &[Argument] {
        &self.args
    }

    /// Whether a name after `#` means this one: the object's name, `Kind/name`, or the container's name.
    #[must_use]
    pub fn matches_name(&self, name: &str) -> bool {
        let (kind, name) = name.split_once('/').map_or((None, name), |(kind, name)| (Some(kind), name));
        let container = self.pod.and_then(|p| string(p.container, "name"));
        let owner = kind.is_none_or(|k| k.eq_ignore_ascii_case(&self.owner.kind));
        owner && (self.owner.name == name || (kind.is_none() && container == Some(name)))
    }

    /// The sources that `--config` names, each where it is written.
    #[must_use]
    pub fn uris(&self) -> Vec<Argument> {
        let mut found = Vec::new();
        let mut arguments = self.args.iter();
        while let Some(word) = arguments.next() {
            let flag = word.text.trim_start_matches('-');
            if flag.len() == word.text.len() {
                continue;
            }
            if let Some(value) = flag.strip_prefix("config=") {
                found.push(Argument { text: value.to_owned(), origin: word.origin.clone() });
            } else if flag == "config" {
                found.extend(arguments.next().cloned());
            }
        }
        found
    }

    /// What is at a path in the container; `None` for a configuration that no container reads, at any path but its own.
    pub(crate) fn find(&self, path: &str) -> Option<MountedFile<'c>> {
        if let Some(own) = self.own_config.as_ref().filter(|_| path == OPERATOR_CONFIG_PATH) {
            return Some(MountedFile::Text(own.clone()));
        }
        Some(self.mounts()?.find(path))
    }

    pub(crate) fn mounts(&self) -> Option<Mounts<'c>> {
        let Pod { spec, container, .. } = self.pod?;
        Some(Mounts { cluster: self.cluster, owner: self.owner, spec, container })
    }

    /// The text in the manifests that a `--config` names, if there is one.
    pub(crate) fn embedded(&self, uri: &str) -> Option<EmbeddedSource> {
        match uri.split_once(':') {
            Some(("env", name)) => {
                let variable = self.variables.get(name)?;
                variable.nested_source(variable.value.as_deref()?).map(EmbeddedSource::Text)
            }
            Some(("file", path)) => self.embedded(path),
            Some(_) => None,
            None => match self.find(uri)? {
                MountedFile::Text(embedded) => Some(embedded),
                _ => None,
            },
        }
    }

    /// Adds to a mistake of the configuration the place of the variable that it refers to. `None` if its line refers to
    /// a variable in `unknown`: then these files do not show that it is a mistake.
    #[must_use]
    pub fn explain(&self, mut item: Diagnostic, unknown: &BTreeSet<String>) -> Option<Diagnostic> {
        let line =
            item.origin.as_ref().and_then(|o| o.text.rest_of_line(o.line, 1, MAX_LINE_BYTES)).unwrap_or_default();
        let names: Vec<String> = referenced_variables(line).map(str::to_owned).collect();
        if names.iter().any(|name| unknown.contains(name)) {
            return None;
        }
        let span = item.origin.as_ref().map(|o| {
            let number = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
            line.chars().skip(number(o.column).saturating_sub(1)).take(number(o.width)).collect::<String>()
        });
        let referenced: Vec<String> =
            referenced_variables(span.as_deref().unwrap_or_default()).map(str::to_owned).collect();
        let set = referenced.iter().find_map(|name| Some((self.variables.get(name)?.origin.clone(), name)));
        if let (Some((origin, name)), None) = (set, &item.related) {
            item.related = Some((origin, format!("the value of {name}")));
        }
        Some(item)
    }

    /// The places of the strings that contain its configuration.
    pub(crate) fn config_origins(&self) -> Vec<LocationKey> {
        let uris = self.uris();
        uris.iter().filter_map(|uri| self.embedded(&uri.text)).map(|e| location_key(e.origin())).collect()
    }
}
