//! Ports that the manifests refer to, and sockets that no client can reach.

use std::collections::BTreeMap;

use otelcore_config::{ConfigNode, SourceLocation};

use super::CheckContext;
use crate::cluster::{Cluster, Object, find_named, list, map, string, whole_number};
use crate::config_effects::{ConfigEffects, ListenSocket, ServedProtocol};
use crate::environment::NODE_IP;
use crate::quantity;
use crate::volumes::MAX_NAMES_SHOWN;

/// The references in the manifests to ports on which the collector listens.
#[derive(Debug, Default)]
pub(super) struct PortReferences {
    references: Vec<PortReference>,
    /// Indices in `references`, by port and whether it is UDP.
    by_port: BTreeMap<(u16, bool), Vec<usize>>,
}

#[derive(Debug)]
struct PortReference {
    port: u16,
    udp: bool,
    referrer: String,
    origin: SourceLocation,
    /// Whether clients connect from outside of the pod. A container port alone does not show that.
    is_external: bool,
    is_service: bool,
}

impl PortReferences {
    fn add(&mut self, reference: PortReference) {
        self.by_port.entry((reference.port, reference.udp)).or_default().push(self.references.len());
        self.references.push(reference);
    }

    fn to_socket<'s>(
        &'s self,
        context: &'s CheckContext<'_>,
        listen: &ListenSocket,
    ) -> impl Iterator<Item = &'s PortReference> {
        let places = self.by_port.get(&(listen.port, listen.udp)).into_iter().flatten();
        places.take_while(|_| context.count_steps(1)).filter_map(|at| self.references.get(*at))
    }
}

/// A reference to a port, before it is known whether something listens on it.
struct PortRequest<'a> {
    port: u16,
    udp: bool,
    referrer: String,
    origin: &'a SourceLocation,
    /// The key to change: `targetPort`.
    field: &'static str,
    /// Words that show what the port is meant for.
    hint: String,
    is_error: bool,
    is_external: bool,
    is_service: bool,
}

impl<'a> CheckContext<'a> {
    /// The sockets of the collector. The iterator ends when the limit of steps is exceeded.
    fn listens(&self) -> impl Iterator<Item = &'a ListenSocket> + Clone + use<'_, 'a> {
        let listens: &'a [ListenSocket] = &self.effects.listens;
        listens.iter().take_while(|_| self.count_steps(1))
    }

    fn containers(&self) -> impl Iterator<Item = &'a ConfigNode> + use<'a> {
        let is_sidecar = |c: &&ConfigNode| string(c, "restartPolicy") == Some("Always");
        let spec = self.pod.spec;
        list(spec, "containers").iter().chain(list(spec, "initContainers").iter().filter(is_sidecar))
    }

    /// Every other container of the pod.
    pub(super) fn others(&self) -> impl Iterator<Item = &'a ConfigNode> + use<'a> {
        let own = &self.pod.container.origin;
        self.containers().filter(move |c| c.origin != *own)
    }

    pub(super) fn is_only_container(&self) -> bool {
        let sidecar = self.pod.by_operator && string(self.pod.spec, "mode") == Some("sidecar");
        !sidecar && self.others().next().is_none() && list(self.pod.spec, "additionalContainers").is_empty()
    }

    /// Whether another container declares the port.
    fn is_declared_elsewhere(&self, port: u16) -> bool {
        let has = |c: &ConfigNode| {
            let mut ports = list(c, "ports").iter().take_while(|_| self.count_steps(1));
            ports.any(|p| whole_number(p.get_path("containerPort")) == Some(port.into()))
        };
        self.others().take_while(|_| self.count_steps(1)).any(has)
    }

    /// The number of a port that is given by number or by name. `Err` with a name that no container has.
    fn port_number(&self, node: &ConfigNode) -> Result<Option<u16>, String> {
        let text = quantity::scalar_text(node).unwrap_or_default();
        if let Ok(number) = text.parse::<u16>() {
            return Ok(Some(number));
        }
        let declared_number = |c: &ConfigNode| {
            let ports = list(c, "ports");
            let port = if self.count_steps(ports.len()) { find_named(ports, &text) } else { None };
            port.and_then(|p| whole_number(p.get_path("containerPort")))
        };
        match declared_number(self.pod.container).or_else(|| self.others().find_map(declared_number)) {
            Some(number) => Ok(u16::try_from(number).ok()),
            // The operator chooses the port names of its container.
            None if self.pod.by_operator => Ok(None),
            None => Err(text),
        }
    }

    /// Whether a map of labels selects the pod.
    pub(super) fn is_selected_by(&self, selector: &ConfigNode) -> bool {
        let labels = self.pod.labels.and_then(ConfigNode::as_map);
        let is_same = |key: &str, node: &ConfigNode| {
            labels
                .and_then(|l| l.get(key))
                .is_some_and(|e| quantity::scalar_text(&e.node) == quantity::scalar_text(node))
        };
        selector.as_map().is_some_and(|map| map.iter().all(|e| self.count_steps(1) && is_same(&e.key, &e.node)))
    }

    /// The Services that select the pod.
    fn services(&self) -> impl Iterator<Item = &'a Object> {
        let (cluster, owner) = (self.collector.cluster, self.collector.owner);
        let selects_pod = move |o: &&Object| {
            let selector = o.node.get_path("spec::selector").filter(|n| n.as_map().is_some_and(|m| !m.is_empty()));
            o.may_share_namespace(owner) && selector.is_some_and(|s| self.is_selected_by(s))
        };
        cluster.of_kind("Service").filter(selects_pod)
    }

    /// The names that Services and annotations give to a port.
    fn port_names(&self, port: u16) -> String {
        let leads_to_port = |p: &&ConfigNode| {
            let target = p.get_path("targetPort").or_else(|| p.get_path("port"));
            target.and_then(|n| self.port_number(n).ok().flatten()) == Some(port)
        };
        let ports = self.services().flat_map(|s| list(&s.node, "spec::ports")).take_while(|_| self.count_steps(1));
        let services = ports.filter(leads_to_port);
        let mut names: Vec<&str> = services.filter_map(|p| string(p, "name")).collect();
        let scraped = self.pod.annotations.and_then(ConfigNode::as_map).and_then(|m| m.get("prometheus.io/port"));
        if scraped.and_then(|e| quantity::scalar_text(&e.node)) == Some(port.to_string()) {
            names.push("scrape");
        }
        names.join(" ")
    }

    /// Records a reference to a port, or reports that nothing listens on the port.
    fn add_reference(&self, references: &mut PortReferences, request: PortRequest<'_>) {
        let PortRequest { port, udp, referrer: who, origin, .. } = &request;
        let mut sockets_on_port = self.listens().filter(|l| l.port == *port);
        if sockets_on_port.clone().any(|l| l.udp == *udp) {
            let PortRequest { port, udp, referrer: who, origin, is_external: firm, is_service: service, .. } = request;
            references.add(PortReference {
                port,
                udp,
                referrer: who,
                origin: origin.clone(),
                is_external: firm,
                is_service: service,
            });
            return;
        }
        if self.is_declared_elsewhere(*port) {
            return;
        }
        let transport = |udp: bool| if udp { "UDP" } else { "TCP" };
        let (message, help) = match sockets_on_port.next() {
            Some(listen) => {
                let message = format!("{who}: {} listens there with {}", listen.component, transport(listen.udp));
                (message, format!("write `protocol: {}`", transport(listen.udp)))
            }
            None => (format!("{who}: nothing listens on {port}"), self.port_help(&request)),
        };
        // A container that declares no port may still listen on one.
        let is_certain = request.is_error && self.others().all(|c| !list(c, "ports").is_empty());
        let draft = if is_certain { self.error(origin, "", message) } else { self.warn(origin, "", message) };
        drop(draft.help(help));
    }

    /// What to write for a port that nothing listens on.
    fn port_help(&self, request: &PortRequest<'_>) -> String {
        let hint = request.hint.to_ascii_lowercase();
        let hint_contains = |words: &[&str]| words.iter().any(|word| hint.contains(word));
        let wanted: &[ServedProtocol] = match () {
            // Ports of other protocols can have similar names, such as `jaeger-grpc`.
            () if hint_contains(&["jaeger", "zipkin", "loki", "thrift", "skywalking"]) => &[],
            () if hint_contains(&["metric", "prom", "scrape"]) => {
                &[ServedProtocol::Metrics, ServedProtocol::OwnMetrics]
            }
            () if hint_contains(&["health", "probe", "13133"]) => &[ServedProtocol::Health],
            () if hint_contains(&["grpc"]) => &[ServedProtocol::Grpc],
            () if hint_contains(&["http"]) => &[ServedProtocol::Http],
            () if hint_contains(&["otlp"]) => &[ServedProtocol::Grpc, ServedProtocol::Http],
            () => &[],
        };
        let port = request.port;
        let found = wanted.iter().find_map(|s| self.listens().find(|l| l.protocol == *s));
        match found {
            Some(listen) => {
                let ListenSocket { component: what, port: at, origin, .. } = listen;
                let (field, address) = (request.field, address_help(listen, port));
                let quote = if field.contains('/') { "\"" } else { "" };
                format!("{what} listens on {at}: write `{field}: {quote}{at}{quote}` here, or {address} at {origin}")
            }
            None if wanted == [ServedProtocol::Health] => {
                let endpoint = format!("health_check: {{endpoint: \"0.0.0.0:{port}\"}}");
                format!("write `{endpoint}` under `extensions:` and `extensions: [health_check]` under `service:`")
            }
            None => {
                let mut ports: Vec<_> = self.listens().map(|l| l.port).collect();
                ports.sort_unstable();
                ports.dedup();
                let ports: Vec<_> = ports.iter().take(MAX_NAMES_SHOWN).map(u16::to_string).collect();
                format!(
                    "leave the port out, or configure what should listen there; the collector listens on {}",
                    ports.join(", ")
                )
            }
        }
    }
}

/// How to write an address that other pods can reach.
fn address_help(listen: &ListenSocket, port: u16) -> String {
    match listen.protocol {
        ServedProtocol::OwnMetrics => format!("`host: 0.0.0.0` and `port: {port}`"),
        _ => format!("`endpoint: \"0.0.0.0:{port}\"`"),
    }
}

fn is_udp(port: &ConfigNode) -> bool {
    string(port, "protocol").is_some_and(|p| p.eq_ignore_ascii_case("UDP"))
}

/// Two sockets on one port.
pub(super) fn check_duplicate_sockets(effects: &ConfigEffects, cluster: &Cluster, d: &otelcore_config::Diagnostics) {
    let is_wildcard = |l: &ListenSocket| matches!(l.host.as_str(), "" | "0.0.0.0" | "::");
    let mut earlier: BTreeMap<(u16, bool), Vec<&ListenSocket>> = BTreeMap::new();
    for second in effects.listens.iter().filter(|l| l.port != 0) {
        let conflicts = |first: &&ListenSocket| {
            let same = first.host == second.host || (first.is_loopback() && second.is_loopback());
            same || is_wildcard(first) || is_wildcard(second)
        };
        let others = earlier.entry((second.port, second.udp)).or_default();
        if let Some(first) = others.iter().copied().take_while(|_| cluster.count_steps(1)).find(conflicts) {
            let message = format!("{} and {} both listen on port {}", first.component, second.component, second.port);
            d.error(&second.origin, &second.config_path, message)
                .kind(otelcore_config::DiagnosticKind::Deployment)
                .related(&first.origin, "the first of them")
                .help("give one of them another port");
        }
        others.push(second);
    }
}

/// Each port of each Service that selects the pod; for the operator's resource, the ports that it adds to its Service.
pub(super) fn check_services(context: &CheckContext<'_>, references: &mut PortReferences) {
    if context.pod.by_operator {
        for port in list(context.pod.spec, "ports") {
            check_service_port(context, references, port, "the Service of the operator");
        }
    }
    for service in context.services() {
        for port in list(&service.node, "spec::ports") {
            check_service_port(context, references, port, &service.title());
        }
    }
    check_selectors(context);
}

fn check_service_port(context: &CheckContext<'_>, references: &mut PortReferences, port: &ConfigNode, title: &str) {
    let target = port.get_path("targetPort").filter(|n| quantity::scalar_text(n).is_some_and(|t| t != "0"));
    let Some(node) = target.or_else(|| port.get_path("port")) else { return };
    let number = match context.port_number(node) {
        Ok(Some(number)) => number,
        Ok(None) => return,
        Err(name) => {
            let names = context.containers().flat_map(|c| list(c, "ports")).filter_map(|p| string(p, "name"));
            let near = context.diagnostics.nearest_name(&name, names);
            let message = format!("{title}: no container of the pod has a port named {name:?}");
            let hint = near.map_or_else(|| "write the number".to_owned(), |n| format!("did you mean `{n}`?"));
            context.error(&node.origin, "", message).help(hint);
            return;
        }
    };
    let name = string(port, "name").unwrap_or_default();
    let shown_port = port.get_path("port").and_then(quantity::scalar_text).unwrap_or_default();
    let referrer = if name.is_empty() {
        format!("{title}, port {shown_port}")
    } else {
        format!("{title}, port {shown_port} ({name})")
    };
    let request = PortRequest {
        port: number,
        udp: is_udp(port),
        referrer,
        origin: &node.origin,
        field: "targetPort",
        hint: name.to_owned(),
        is_error: true,
        is_external: true,
        is_service: true,
    };
    context.add_reference(references, request);
}

/// Services whose selector differs from the labels of the pod in one label, and that select no other pod of the files.
fn check_selectors(context: &CheckContext<'_>) {
    let (cluster, owner) = (context.collector.cluster, context.collector.owner);
    for service in cluster.of_kind("Service").filter(|s| s.may_share_namespace(owner)) {
        let Some(selector) = service.node.get_path("spec::selector").filter(|s| !context.is_selected_by(s)) else {
            continue;
        };
        let labels = context.pod.labels.and_then(ConfigNode::as_map);
        let is_same =
            |key: &str, node: &ConfigNode| labels.and_then(|l| l.get(key)).is_some_and(|e| e.node.value == node.value);
        let Some(map) = selector.as_map() else { continue };
        let wrong: Vec<_> = map.iter().filter(|e| !is_same(&e.key, &e.node)).collect();
        let has_own_port = list(&service.node, "spec::ports").iter().any(|port| {
            let target = port.get_path("targetPort").or_else(|| port.get_path("port"));
            let number = target.and_then(|n| context.port_number(n).ok().flatten());
            number.is_some_and(|n| context.listens().any(|l| l.port == n))
        });
        let [wrong] = wrong.as_slice() else { continue };
        if has_own_port && map.len() > 1 && !selects_any_pod(context, service, selector) {
            let message = format!("{} leads to no pod of these files", service.title());
            let help = match labels.and_then(|l| l.get(&wrong.key)) {
                Some(label) => format!(
                    "the pod of {} has `{}: {}`",
                    owner.title(),
                    wrong.key,
                    quantity::scalar_text(&label.node).unwrap_or_default()
                ),
                None => format!("the pod of {} has no label `{}`", owner.title(), wrong.key),
            };
            context.warn(&wrong.node.origin, "", message).help(help);
        }
    }
}

fn selects_any_pod(context: &CheckContext<'_>, service: &Object, selector: &ConfigNode) -> bool {
    let objects = context.collector.cluster.objects().take_while(|_| context.count_steps(1));
    objects.filter(|o| o.may_share_namespace(service)).any(|object| {
        let labels = object.node.get_path("spec::template::metadata::labels");
        let labels = if object.kind == "Pod" { object.node.get_path("metadata::labels") } else { labels };
        let labels = labels.and_then(ConfigNode::as_map);
        let has =
            |key: &str, node: &ConfigNode| labels.and_then(|l| l.get(key)).is_some_and(|e| e.node.value == node.value);
        selector.as_map().is_some_and(|map| map.iter().all(|e| has(&e.key, &e.node)))
    })
}

/// Each port that the collector's container declares.
pub(super) fn check_container_ports(context: &CheckContext<'_>, references: &mut PortReferences) {
    if context.pod.by_operator {
        return;
    }
    for port in list(context.pod.container, "ports") {
        let Some(node) = port.get_path("containerPort") else { continue };
        let Some(number) = whole_number(Some(node)).and_then(|n| u16::try_from(n).ok()) else { continue };
        let on_host = port.get_path("hostPort").is_some();
        let request = PortRequest {
            port: number,
            udp: is_udp(port),
            referrer: format!("container port {number}"),
            origin: &node.origin,
            field: "containerPort",
            hint: format!("{} {}", string(port, "name").unwrap_or_default(), context.port_names(number)),
            is_error: on_host,
            is_external: on_host,
            is_service: false,
        };
        context.add_reference(references, request);
    }
}

/// `prometheus.io/*` of the pod and of the Services that select it.
pub(super) fn check_scrape_annotations(context: &CheckContext<'_>, references: &mut PortReferences) {
    let services = context.services().filter_map(|s| s.node.get_path("metadata::annotations"));
    for annotations in context.pod.annotations.into_iter().chain(services) {
        let get =
            |key: &str| annotations.as_map().and_then(|m| m.get(&format!("prometheus.io/{key}"))).map(|e| &e.node);
        let is_enabled = quantity::is_true(get("scrape"));
        if let Some(node) = get("port").filter(|_| is_enabled) {
            check_scrape_annotation(context, references, node, get("path"));
        }
    }
    check_operator_annotation(context, references);
}

fn check_scrape_annotation(
    context: &CheckContext<'_>,
    references: &mut PortReferences,
    port: &ConfigNode,
    path: Option<&ConfigNode>,
) {
    let Some(number) = quantity::scalar_text(port).and_then(|t| t.parse::<u16>().ok()) else { return };
    if context.is_declared_elsewhere(number) {
        return;
    }
    let referrer = format!("annotation prometheus.io/port: \"{number}\"");
    let pages = || context.listens().filter(|l| l.is_metrics());
    match (pages().find(|l| l.port == number), context.listens().find(|l| l.port == number)) {
        (Some(page), _) => {
            let reference = PortReference {
                port: number,
                udp: false,
                referrer,
                origin: port.origin.clone(),
                is_external: true,
                is_service: false,
            };
            references.add(reference);
            let annotated_path = path.and_then(ConfigNode::as_str).unwrap_or("/metrics");
            if annotated_path != page.path {
                let at = path.unwrap_or(port);
                let message =
                    format!("annotation prometheus.io/path: {} has its page at {}", page.component, page.path);
                context.error(&at.origin, "", message).help(format!("write `prometheus.io/path: {}`", page.path));
            }
        }
        (None, Some(other)) => {
            let message = format!("{referrer}: {} listens there, which is no Prometheus page", other.component);
            let help = pages().next().map(|page| format!("{} listens on {}", page.component, page.port));
            context.error(&port.origin, "", message).maybe_help(help);
        }
        (None, None) => context.add_reference(
            references,
            PortRequest {
                port: number,
                udp: false,
                referrer,
                origin: &port.origin,
                field: "prometheus.io/port",
                hint: "scrape".to_owned(),
                is_error: true,
                is_external: true,
                is_service: false,
            },
        ),
    }
}

/// The operator annotates port 8888, even if the readers have another one.
fn check_operator_annotation(context: &CheckContext<'_>, references: &mut PortReferences) {
    let spec = context.pod.spec;
    let is_annotated =
        context.pod.annotations.and_then(ConfigNode::as_map).is_some_and(|m| m.get("prometheus.io/port").is_some());
    let is_disabled = quantity::is_true(spec.get_path("observability::metrics::disablePrometheusAnnotations"));
    if !context.pod.by_operator || is_annotated || is_disabled {
        return;
    }
    if let Some(page) = context.effects.listens.iter().find(|l| l.is_metrics() && l.port == 8888) {
        let referrer = "the operator's annotation prometheus.io/port: \"8888\"".to_owned();
        references.add(PortReference {
            port: 8888,
            udp: false,
            referrer,
            origin: page.origin.clone(),
            is_external: true,
            is_service: false,
        });
    } else if let Some(page) = context.effects.listens.iter().find(|l| l.is_metrics()) {
        let message = "the operator annotates the pod with prometheus.io/port: \"8888\", where nothing listens";
        context
            .warn(&page.origin, &page.config_path, message.to_owned())
            .help(format!("write `podAnnotations: {{prometheus.io/port: \"{}\"}}` under `spec:`", page.port));
    }
}

/// Probes of the collector's container.
pub(super) fn check_probes(context: &CheckContext<'_>, references: &mut PortReferences) {
    if context.pod.by_operator {
        add_operator_probes(context, references);
        return;
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = context.pod.container.get_path(name) else { continue };
        for probe_kind in ["httpGet", "grpc", "tcpSocket"] {
            if let Some(target) = probe.get_path(probe_kind).filter(|t| t.get_path("host").is_none()) {
                check_probe(context, references, name, probe_kind, target);
            }
        }
    }
}

/// The operator creates probes for `health_check`.
fn add_operator_probes(context: &CheckContext<'_>, references: &mut PortReferences) {
    if let Some(health) = context.effects.listens.iter().find(|l| l.protocol == ServedProtocol::Health) {
        let (port, origin) = (health.port, health.origin.clone());
        let referrer = "the probes that the operator makes".to_owned();
        references.add(PortReference { port, udp: false, referrer, origin, is_external: true, is_service: false });
    }
}

fn check_probe(
    context: &CheckContext<'_>,
    references: &mut PortReferences,
    name: &str,
    probe_kind: &str,
    target: &ConfigNode,
) {
    let Some(node) = target.get_path("port") else { return };
    let number = match context.port_number(node) {
        Ok(Some(number)) => number,
        Ok(None) => return,
        Err(port) => {
            let message = format!("{name}: the container has no port named {port:?}");
            context.error(&node.origin, "", message).help("name a port of the container, or write the number");
            return;
        }
    };
    let request = PortRequest {
        port: number,
        udp: false,
        referrer: name.to_owned(),
        origin: &node.origin,
        field: "port",
        hint: "health".to_owned(),
        is_error: true,
        is_external: true,
        is_service: false,
    };
    context.add_reference(references, request);
    let Some(listen) = context.effects.listens.iter().find(|l| l.port == number && !l.udp) else { return };
    let health = context.effects.listens.iter().find(|l| l.protocol == ServedProtocol::Health);
    let help = match health {
        Some(health) => format!("{} listens on {}", health.component, health.port),
        None => "`health_check` under `extensions:` answers probes".to_owned(),
    };
    let path = target.get_path("path").and_then(quantity::scalar_text).unwrap_or_default();
    let path = if path.is_empty() { "/".to_owned() } else { path };
    match (probe_kind, listen.protocol) {
        ("tcpSocket", _) | ("httpGet", ServedProtocol::Other) => {}
        ("grpc", _) => {
            let message = format!("{name}: {} does not answer gRPC health checks", listen.component);
            context.error(&target.origin, "", message).help(format!("write `httpGet:`; {help}"));
        }
        (_, ServedProtocol::Health | ServedProtocol::Metrics | ServedProtocol::OwnMetrics) => {
            let is_any_path = listen.protocol == ServedProtocol::Health && matches!(listen.path.as_str(), "" | "/");
            if !is_any_path && path.split('?').next() != Some(&listen.path) {
                let message = format!("{name}: {} answers on {} alone, not on {path}", listen.component, listen.path);
                let at = target.get_path("path").unwrap_or(target);
                context.error(&at.origin, "", message).help(format!("write `path: {}`", listen.path));
            }
        }
        _ => {
            let message = format!("{name}: {} does not answer probes", listen.component);
            context.error(&node.origin, "", message).help(help);
        }
    }
}

/// Sockets on localhost that the manifests refer to from outside of the pod, and receivers on localhost in a pod that
/// has no other container.
pub(super) fn check_loopback_sockets(context: &CheckContext<'_>, references: &PortReferences) {
    let host_network = quantity::is_true(context.pod.spec.get_path("hostNetwork"));
    for listen in context.effects.listens.iter().filter(|l| l.is_loopback()) {
        let reference = references
            .to_socket(context, listen)
            .find(|ask| ask.is_external || (context.is_only_container() && !host_network));
        let ListenSocket { component: what, host, port, origin, config_path: key, .. } = listen;
        let message = format!("{what} listens on {host}:{port}, which nothing outside of the pod reaches");
        let help = match listen.protocol {
            ServedProtocol::OwnMetrics => {
                let page = format!("prometheus: {{host: 0.0.0.0, port: {port}}}");
                format!(
                    "write `service: {{telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{{page}}}}}}}]}}}}}}`"
                )
            }
            _ => format!(
                "write {}, or the address of the pod from a variable: `${{env:MY_POD_IP}}:{port}`",
                address_help(listen, *port)
            ),
        };
        if let Some(ask) = reference {
            let draft = context.error(origin, key, message).help(help);
            let draft = if ask.origin == *origin {
                draft.note(ask.referrer.clone())
            } else {
                draft.related(&ask.origin, ask.referrer.clone())
            };
            drop(draft);
        } else if matches!(listen.protocol, ServedProtocol::Grpc | ServedProtocol::Http)
            && context.is_only_container()
            && !host_network
        {
            let note = "the pod has no other container that could send to it";
            context.error(origin, key, message).help(help).note(note);
        }
    }
}

/// Sockets on an address that is not the pod's: a Service's name, or the node's address.
pub(super) fn check_foreign_addresses(context: &CheckContext<'_>) {
    let host_network = quantity::is_true(context.pod.spec.get_path("hostNetwork"));
    for listen in &context.effects.listens {
        let ListenSocket { component: what, host, port, origin, config_path: key, .. } = listen;
        let name = host.split('.').next().unwrap_or_default();
        let service = !name.is_empty() && context.collector.cluster.of_kind("Service").any(|s| s.name == name);
        let address_owner = match () {
            () if service || host.contains(".svc") => format!("the address of the Service {name}"),
            () if host == NODE_IP && !host_network => "the address of the node".to_owned(),
            () => continue,
        };
        let message = format!("{what} listens on {address_owner}, which the pod does not have");
        context.error(origin, key, message).help(format!("write {}", address_help(listen, *port)));
    }
}

/// Receivers on a port that no Service and no container port has, if a Service selects the pod.
pub(super) fn check_unexposed_ports(context: &CheckContext<'_>, references: &PortReferences) {
    let Some(service) = context.services().next() else { return };
    for listen in
        context.effects.listens.iter().filter(|l| matches!(l.protocol, ServedProtocol::Grpc | ServedProtocol::Http))
    {
        if !listen.is_loopback() && listen.port != 0 && references.to_socket(context, listen).next().is_none() {
            let message =
                format!("{} listens on {}, which no Service and no container port has", listen.component, listen.port);
            let ports = service.node.nearest_origin("spec::ports");
            context
                .warn(&listen.origin, &listen.config_path, message)
                .related(ports, format!("the ports of {}", service.title()))
                .help(format!("add the port {} to the Service, or leave the protocol out", listen.port));
        }
    }
}

/// Ports of Services to which the NetworkPolicies allow no connection.
pub(super) fn check_network_policies(context: &CheckContext<'_>, references: &PortReferences) {
    let (cluster, owner) = (context.collector.cluster, context.collector.owner);
    let selects = |o: &&Object| {
        let selector = o.node.get_path("spec::podSelector");
        let expressions = selector.and_then(|s| s.get_path("matchExpressions")).is_some();
        let labels = selector.and_then(|s| s.get_path("matchLabels"));
        let types = list(&o.node, "spec::policyTypes");
        let ingress = types.is_empty() || types.iter().any(|t| t.as_str() == Some("Ingress"));
        o.may_share_namespace(owner) && !expressions && ingress && labels.is_none_or(|l| context.is_selected_by(l))
    };
    let policies: Vec<_> = cluster.of_kind("NetworkPolicy").filter(selects).collect();
    let Some(first) = policies.first() else { return };
    let rules: Vec<&ConfigNode> = policies.iter().flat_map(|p| list(&p.node, "spec::ingress")).collect();
    let is_allowed = |ask: &PortReference| {
        rules.iter().take_while(|_| context.count_steps(1)).any(|rule| {
            list(rule, "ports").is_empty() || list(rule, "ports").iter().any(|p| rule_allows(context, p, ask))
        })
    };
    for ask in references.references.iter().filter(|ask| ask.is_service && !is_allowed(ask)) {
        let ports =
            map(&first.node, "spec").and_then(|s| s.get("ingress")).map_or(&first.node.origin, |e| &e.key_origin);
        let transport = if ask.udp { "UDP" } else { "TCP" };
        let message = format!("{}: {} lets nothing in to port {} ({transport})", ask.referrer, first.title(), ask.port);
        context
            .warn(&ask.origin, "", message)
            .related(ports, "what it lets in")
            .help(format!("add `- {{port: {}, protocol: {transport}}}` to its ports", ask.port));
    }
}

fn rule_allows(context: &CheckContext<'_>, rule: &ConfigNode, reference: &PortReference) -> bool {
    if !context.count_steps(1) || is_udp(rule) != reference.udp {
        return false;
    }
    let Some(node) = rule.get_path("port") else { return true };
    let Ok(Some(port)) = context.port_number(node) else { return true };
    let end = whole_number(rule.get_path("endPort")).unwrap_or_else(|| port.into());
    reference.port >= port && u64::from(reference.port) <= end
}
