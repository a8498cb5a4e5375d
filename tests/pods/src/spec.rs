//! A pod's specification as the kubelet reads it: environment, expansion, quantities, probes, users. This module starts
//! nothing and reads no file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::manifest::{at, entries, list, number, text};

/// What a container is started from.
#[derive(Clone, Debug)]
pub struct Image {
    /// The tree that is its root; `None` means the machine's own root, for peers and applications.
    pub root: Option<PathBuf>,
    /// The program that runs if a container has no `command`.
    pub entrypoint: Vec<String>,
    /// Its arguments if a container has neither `command` nor `args`.
    pub cmd: Vec<String>,
    /// User and group if the pod has none.
    pub user: (u64, u64),
}

impl Image {
    /// Programs of the machine itself.
    pub const fn host() -> Self {
        Self { root: None, entrypoint: Vec::new(), cmd: Vec::new(), user: (0, 0) }
    }
}

/// The address and names that a pod has been given: the data of the downward API.
#[derive(Clone, Debug)]
pub(crate) struct PodFacts {
    pub(crate) metadata: Value,
    pub(crate) node: String,
    pub(crate) pod_ip: String,
    pub(crate) host_ip: String,
    pub(crate) service_account: String,
}

/// ConfigMaps and Secrets by `kind/namespace/name`: their keys and values.
pub(crate) type Objects = BTreeMap<String, BTreeMap<String, String>>;

/// A container's parsed specification.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) init: bool,
    pub(crate) restart: RestartPolicy,
    pub(crate) read_only: bool,
    pub(crate) user: Option<(u64, u64)>,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) pre_stop: Duration,
    pub(crate) startup: Option<Probe>,
    pub(crate) liveness: Option<Probe>,
    pub(crate) readiness: Option<Probe>,
    pub(crate) raw: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl Container {
    /// The containers of a pod, those of `initContainers` first.
    pub(crate) fn all(spec: &Value) -> Vec<Self> {
        let of = |init: bool| {
            let path = if init { "initContainers" } else { "containers" };
            list(spec, path).iter().map(move |raw| Self::parse(spec, raw, init))
        };
        of(true).chain(of(false)).collect()
    }

    fn parse(spec: &Value, raw: &Value, init: bool) -> Self {
        let policy = |value: &str, or| match value {
            "Always" => RestartPolicy::Always,
            "OnFailure" => RestartPolicy::OnFailure,
            "Never" => RestartPolicy::Never,
            _ => or,
        };
        // A plain init container runs once; `restartPolicy: Always` makes it a sidecar.
        let restart = if init {
            policy(text(raw, "restartPolicy"), RestartPolicy::Never)
        } else {
            policy(text(spec, "restartPolicy"), RestartPolicy::Always)
        };
        let user_or_group = |key: &str| {
            let container_value = at(raw, &format!("securityContext.{key}")).as_u64();
            container_value.or_else(|| at(spec, &format!("securityContext.{key}")).as_u64())
        };
        let user = user_or_group("runAsUser").map(|uid| (uid, user_or_group("runAsGroup").unwrap_or(0)));
        let parse_probe = |name: &str| raw.get(name).filter(|p| p.is_object()).map(|p| Probe::parse(p, raw));
        Self {
            name: text(raw, "name").to_owned(),
            image: text(raw, "image").to_owned(),
            init,
            restart,
            read_only: at(raw, "securityContext.readOnlyRootFilesystem").as_bool().unwrap_or(false),
            user,
            memory_limit: resource_bytes(raw, "limits", "memory"),
            pre_stop: Duration::from_secs(number(raw, "lifecycle.preStop.sleep.seconds", 0)),
            startup: parse_probe("startupProbe"),
            liveness: parse_probe("livenessProbe"),
            readiness: parse_probe("readinessProbe"),
            raw: raw.clone(),
        }
    }

    /// A sidecar: started before the containers, and kept running.
    pub(crate) fn is_sidecar(&self) -> bool {
        self.init && self.restart == RestartPolicy::Always
    }

    /// The environment in order, as the kubelet makes it.
    ///
    /// # Errors
    /// An unresolved reference, with the kubelet's `CreateContainerConfigError` text.
    pub(crate) fn env(&self, facts: &PodFacts, objects: &Objects) -> Result<Vec<(String, String)>, String> {
        let ns = text(&facts.metadata, "namespace");
        let mut env: Vec<(String, String)> = Vec::new();
        for source in list(&self.raw, "envFrom") {
            for (kind, key) in [("ConfigMap", "configMapRef"), ("Secret", "secretRef")] {
                if let Some(name) = source.get(key).map(|r| text(r, "name")) {
                    let object = format!("{kind}/{ns}/{name}");
                    let data = objects.get(&object).ok_or_else(|| format!("{object} not found"))?;
                    let prefix = text(source, "prefix");
                    env.extend(data.iter().map(|(k, v)| (format!("{prefix}{k}"), v.clone())));
                }
            }
        }
        for variable in list(&self.raw, "env") {
            let name = text(variable, "name").to_owned();
            let value = match variable.get("valueFrom") {
                None => expand(text(variable, "value"), &env),
                Some(from) => match self.value_from(from, ns, facts, objects)? {
                    Some(value) => value,
                    None => continue,
                },
            };
            env.retain(|(n, _)| *n != name);
            env.push((name, value));
        }
        Ok(env)
    }

    fn value_from(
        &self,
        from: &Value,
        ns: &str,
        facts: &PodFacts,
        objects: &Objects,
    ) -> Result<Option<String>, String> {
        if let Some(field) = from.get("fieldRef") {
            return facts.field(text(field, "fieldPath")).map(Some);
        }
        if let Some(reference) = from.get("resourceFieldRef") {
            return self.resource_field(text(reference, "resource")).map(Some);
        }
        for (kind, key) in [("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")] {
            if let Some(reference) = from.get(key) {
                let object = format!("{kind}/{ns}/{}", text(reference, "name"));
                let found = objects.get(&object).and_then(|data| data.get(text(reference, "key")));
                return match found {
                    Some(value) => Ok(Some(value.clone())),
                    None if at(reference, "optional") == &Value::Bool(true) => Ok(None),
                    None => Err(format!("couldn't find key {} in {object}", text(reference, "key"))),
                };
            }
        }
        Err(format!("valueFrom: {from} is not known"))
    }

    /// Without a limit the kubelet gives the node's capacity. Divisor 0 means 1, and CPUs are rounded up.
    fn resource_field(&self, name: &str) -> Result<String, String> {
        let (group, resource_name) = name.split_once('.').ok_or_else(|| format!("resource {name}"))?;
        match resource_name {
            "memory" => Ok(resource_bytes(&self.raw, group, "memory").unwrap_or_else(machine_memory).to_string()),
            "cpu" => {
                let milli = at(&self.raw, &format!("resources.{group}")).get("cpu").map(|v| milli_cpus(&value_text(v)));
                let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
                Ok(milli.map_or(cpus, |m| m.div_ceil(1000)).to_string())
            }
            other => Err(format!("resource {other}")),
        }
    }

    /// The program and arguments: `command` and `args`, or those of the image.
    pub(crate) fn command(&self, image: &Image, env: &[(String, String)]) -> Vec<String> {
        let expanded_list = |key: &str| {
            self.raw.get(key).and_then(Value::as_array).map(|w| w.iter().map(|w| expand(&value_text(w), env)).collect())
        };
        let command: Option<Vec<String>> = expanded_list("command").filter(|w: &Vec<String>| !w.is_empty());
        let args: Option<Vec<String>> = expanded_list("args").filter(|w: &Vec<String>| !w.is_empty());
        match (command, args) {
            (Some(command), args) => command.into_iter().chain(args.unwrap_or_default()).collect(),
            (None, Some(args)) => image.entrypoint.iter().cloned().chain(args).collect(),
            (None, None) => image.entrypoint.iter().chain(&image.cmd).cloned().collect(),
        }
    }

    /// `hostPort`s over TCP and the container ports that they are relayed to.
    pub(crate) fn host_ports(&self) -> Vec<(u16, u16)> {
        let tcp = list(&self.raw, "ports").iter().filter(|p| text(p, "protocol") != "UDP");
        tcp.filter_map(|p| Some((port(p.get("hostPort")?)?, port(p.get("containerPort")?)?))).collect()
    }
}

impl PodFacts {
    fn field(&self, path: &str) -> Result<String, String> {
        Ok(match path {
            "metadata.name" | "metadata.namespace" | "metadata.uid" => {
                text(&self.metadata, path.trim_start_matches("metadata.")).to_owned()
            }
            "spec.nodeName" => self.node.clone(),
            "spec.serviceAccountName" => self.service_account.clone(),
            "status.podIP" | "status.podIPs" => self.pod_ip.clone(),
            "status.hostIP" | "status.hostIPs" => self.host_ip.clone(),
            _ => {
                let (map, key) = path
                    .strip_prefix("metadata.")
                    .and_then(|rest| rest.strip_suffix("']"))
                    .and_then(|rest| rest.split_once("['"))
                    .ok_or_else(|| format!("field label not supported: {path}"))?;
                let found = entries(&self.metadata, map).into_iter().find(|(k, _)| k == key);
                found.map(|(_, v)| v).unwrap_or_default()
            }
        })
    }
}

/// The target of a probe.
#[derive(Clone, Debug)]
pub(crate) enum ProbeTarget {
    Get { port: u16, path: String },
    Tcp { port: u16 },
}

/// A probe with its default values.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    pub(crate) target: ProbeTarget,
    pub(crate) delay: Duration,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) failures: u64,
    pub(crate) successes: u64,
}

impl Probe {
    fn parse(probe: &Value, container: &Value) -> Self {
        let named = |value: &Value| {
            port(value).or_else(|| {
                let name = value.as_str()?;
                let ports = list(container, "ports").iter();
                port(ports.into_iter().find(|p| text(p, "name") == name)?.get("containerPort")?)
            })
        };
        let look = if let Some(get) = probe.get("httpGet") {
            let path = if text(get, "path").is_empty() { "/" } else { text(get, "path") };
            ProbeTarget::Get { port: named(at(get, "port")).unwrap_or(0), path: path.to_owned() }
        } else if let Some(tcp) = probe.get("tcpSocket") {
            ProbeTarget::Tcp { port: named(at(tcp, "port")).unwrap_or(0) }
        } else {
            panic!("a probe that this runner does not know: {probe}")
        };
        let seconds = |key, or| Duration::from_secs(number(probe, key, or));
        Self {
            target: look,
            delay: seconds("initialDelaySeconds", 0),
            period: seconds("periodSeconds", 10),
            timeout: seconds("timeoutSeconds", 1),
            failures: number(probe, "failureThreshold", 3).max(1),
            successes: number(probe, "successThreshold", 1).max(1),
        }
    }
}

/// A port as a number, also in a string.
pub(crate) fn port(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|n| u16::try_from(n).ok()).or_else(|| value.as_str()?.parse().ok())
}

fn value_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn resource_bytes(container: &Value, group: &str, name: &str) -> Option<u64> {
    at(container, &format!("resources.{group}")).get(name).map(|v| quantity(&value_text(v)))
}

fn machine_memory() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    total.unwrap_or(0) * 1024
}

/// A quantity in bytes: `64Mi`, `1G`, `134217728`.
///
/// # Panics
/// If it is not a quantity.
pub fn quantity(text: &str) -> u64 {
    const UNITS: [(&str, u64); 9] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("", 1),
    ];
    let read = |(unit, factor): &(&str, u64)| {
        text.strip_suffix(unit)?.parse::<f64>().ok().map(|n| (n * *factor as f64) as u64)
    };
    UNITS.iter().find_map(read).unwrap_or_else(|| panic!("{text} is no quantity"))
}

/// CPUs in thousandths.
fn milli_cpus(text: &str) -> u64 {
    let parsed = match text.strip_suffix('m') {
        Some(milli) => milli.parse().ok(),
        None => text.parse::<f64>().ok().map(|cpus| (cpus * 1000.0) as u64),
    };
    parsed.unwrap_or_else(|| panic!("{text} is no number of CPUs"))
}

/// The kubelet's expansion: `$(NAME)` if the name is known, `$$` becomes `$`, all other text is unchanged.
pub fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|a| a.split_once(')')) {
            match env.iter().find(|(n, _)| n == name) {
                Some((_, value)) => out.push_str(value),
                None => out.push_str(&rest[dollar..dollar + name.len() + 3]),
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::yaml;

    #[test]
    fn variable_expansion_equals_the_kubelets() {
        let env = [("A".to_owned(), "1".to_owned())];
        for (from, to) in [
            ("$(A)-$(B)", "1-$(B)"),
            ("$$literal $${env:NO}", "$literal ${env:NO}"),
            ("${env:A}", "${env:A}"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(A", "$(A"),
            ("a$", "a$"),
        ] {
            assert_eq!(expand(from, &env), to, "{from}");
        }
    }

    #[test]
    fn variable_expands_only_earlier_variables() {
        let raw = yaml(
            "{name: c, resources: {limits: {cpu: 250m, memory: 64Mi}}, env: [{name: EARLY, value: $(NAME)}, {name: NAME, valueFrom: \
             {fieldRef: {fieldPath: metadata.name}}}, {name: LATE, value: pod=$(NAME)}, {name: GOMEMLIMIT, valueFrom: \
             {resourceFieldRef: {resource: limits.memory, divisor: '0'}}}, {name: GOMAXPROCS, valueFrom: \
             {resourceFieldRef: {resource: limits.cpu, divisor: '0'}}}]}",
        );
        let container = Container::parse(&Value::Null, &raw, false);
        let facts = PodFacts {
            metadata: yaml("{name: p, namespace: default}"),
            node: "node-0".into(),
            pod_ip: "10.0.0.1".into(),
            host_ip: "10.0.0.2".into(),
            service_account: "default".into(),
        };
        let env = container.env(&facts, &Objects::new()).unwrap();
        let of = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(of("EARLY"), Some("$(NAME)"));
        assert_eq!(of("LATE"), Some("pod=p"));
        assert_eq!(of("GOMEMLIMIT"), Some("67108864"));
        assert_eq!(of("GOMAXPROCS"), Some("1"));
    }
}
