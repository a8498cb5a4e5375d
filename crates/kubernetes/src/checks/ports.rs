//! Ports that the manifests refer to, and sockets that no client can reach.

use std::collections::BTreeMap;

use otelcore_config::{Node, Origin};

use super::Check;
use crate::cluster::{Cluster, Object, list, map, named, number, string};
use crate::facts::{Facts, Listen, Serves};
use crate::inside::NODE_IP;
use crate::quantity;
use crate::volumes::MOST_NAMES;

/// The references in the manifests to ports on which the collector listens.
#[derive(Debug, Default)]
pub(super) struct Asked {
    all: Vec<Ask>,
    /// Indices in `all`, by port and whether it is UDP.
    ports: BTreeMap<(u16, bool), Vec<usize>>,
}

#[derive(Debug)]
struct Ask {
    port: u16,
    udp: bool,
    who: String,
    origin: Origin,
    /// Whether clients connect from outside of the pod. A container port alone does not show that.
    firm: bool,
    service: bool,
}

impl Asked {
    fn add(&mut self, ask: Ask) {
        self.ports.entry((ask.port, ask.udp)).or_default().push(self.all.len());
        self.all.push(ask);
    }

    fn of<'s>(&'s self, check: &'s Check<'_>, listen: &Listen) -> impl Iterator<Item = &'s Ask> {
        let places = self.ports.get(&(listen.port, listen.udp)).into_iter().flatten();
        places.take_while(|_| check.spend(1)).filter_map(|at| self.all.get(*at))
    }
}

/// A reference to a port, before it is known whether something listens on it.
struct Request<'a> {
    port: u16,
    udp: bool,
    who: String,
    origin: &'a Origin,
    /// The key to change: `targetPort`.
    field: &'static str,
    /// Words that show what the port is meant for.
    hint: String,
    severe: bool,
    firm: bool,
    service: bool,
}

impl<'a> Check<'a> {
    /// The sockets of the collector. The iterator ends when the limit of steps is exceeded.
    fn listens(&self) -> impl Iterator<Item = &'a Listen> + Clone + use<'_, 'a> {
        let listens: &'a [Listen] = &self.facts.listens;
        listens.iter().take_while(|_| self.spend(1))
    }

    fn containers(&self) -> impl Iterator<Item = &'a Node> + use<'a> {
        let lasting = |c: &&Node| string(c, "restartPolicy") == Some("Always");
        let spec = self.pod.spec;
        list(spec, "containers").iter().chain(list(spec, "initContainers").iter().filter(lasting))
    }

    /// Every other container of the pod.
    pub(super) fn others(&self) -> impl Iterator<Item = &'a Node> + use<'a> {
        let own = &self.pod.container.origin;
        self.containers().filter(move |c| c.origin != *own)
    }

    pub(super) fn alone(&self) -> bool {
        let sidecar = self.pod.operated && string(self.pod.spec, "mode") == Some("sidecar");
        !sidecar && self.others().next().is_none() && list(self.pod.spec, "additionalContainers").is_empty()
    }

    /// Whether another container declares the port.
    fn elsewhere(&self, port: u16) -> bool {
        let has = |c: &Node| {
            let mut ports = list(c, "ports").iter().take_while(|_| self.spend(1));
            ports.any(|p| number(p.at("containerPort")) == Some(port.into()))
        };
        self.others().take_while(|_| self.spend(1)).any(has)
    }

    /// The number of a port that is given by number or by name. `Err` with a name that no container has.
    fn number(&self, node: &Node) -> Result<Option<u16>, String> {
        let text = quantity::text(node).unwrap_or_default();
        if let Ok(number) = text.parse::<u16>() {
            return Ok(Some(number));
        }
        let of = |c: &Node| {
            let ports = list(c, "ports");
            let port = if self.spend(ports.len()) { named(ports, &text) } else { None };
            port.and_then(|p| number(p.at("containerPort")))
        };
        match of(self.pod.container).or_else(|| self.others().find_map(of)) {
            Some(number) => Ok(u16::try_from(number).ok()),
            // The operator chooses the port names of its container.
            None if self.pod.operated => Ok(None),
            None => Err(text),
        }
    }

    /// Whether a map of labels selects the pod.
    pub(super) fn selected(&self, selector: &Node) -> bool {
        let labels = self.pod.labels.and_then(Node::as_map);
        let same = |key: &str, node: &Node| {
            labels.and_then(|l| l.get(key)).is_some_and(|e| quantity::text(&e.node) == quantity::text(node))
        };
        selector.as_map().is_some_and(|map| map.iter().all(|e| self.spend(1) && same(&e.key, &e.node)))
    }

    /// The Services that select the pod.
    fn services(&self) -> impl Iterator<Item = &'a Object> {
        let (cluster, owner) = (self.collector.cluster, self.collector.owner);
        let leads = move |o: &&Object| {
            let selector = o.node.at("spec::selector").filter(|n| n.as_map().is_some_and(|m| !m.is_empty()));
            o.together(owner) && selector.is_some_and(|s| self.selected(s))
        };
        cluster.of_kind("Service").filter(leads)
    }

    /// The names that Services and annotations give to a port.
    fn meant(&self, port: u16) -> String {
        let leads = |p: &&Node| {
            let target = p.at("targetPort").or_else(|| p.at("port"));
            target.and_then(|n| self.number(n).ok().flatten()) == Some(port)
        };
        let ports = self.services().flat_map(|s| list(&s.node, "spec::ports")).take_while(|_| self.spend(1));
        let services = ports.filter(leads);
        let mut names: Vec<&str> = services.filter_map(|p| string(p, "name")).collect();
        let scraped = self.pod.annotations.and_then(Node::as_map).and_then(|m| m.get("prometheus.io/port"));
        if scraped.and_then(|e| quantity::text(&e.node)) == Some(port.to_string()) {
            names.push("scrape");
        }
        names.join(" ")
    }

    /// Records a reference to a port, or reports that nothing listens on the port.
    fn ask(&self, asked: &mut Asked, request: Request<'_>) {
        let Request { port, udp, who, origin, .. } = &request;
        let mut there = self.listens().filter(|l| l.port == *port);
        if there.clone().any(|l| l.udp == *udp) {
            let Request { port, udp, who, origin, firm, service, .. } = request;
            asked.add(Ask { port, udp, who, origin: origin.clone(), firm, service });
            return;
        }
        if self.elsewhere(*port) {
            return;
        }
        let transport = |udp: bool| if udp { "UDP" } else { "TCP" };
        let (message, help) = match there.next() {
            Some(listen) => {
                let message = format!("{who}: {} listens there with {}", listen.what, transport(listen.udp));
                (message, format!("write `protocol: {}`", transport(listen.udp)))
            }
            None => (format!("{who}: nothing listens on {port}"), self.instead(&request)),
        };
        // A container that declares no port may still listen on one.
        let certain = request.severe && self.others().all(|c| !list(c, "ports").is_empty());
        let draft = if certain { self.error(origin, "", message) } else { self.warn(origin, "", message) };
        drop(draft.hint(help));
    }

    /// What to write for a port that nothing listens on.
    fn instead(&self, request: &Request<'_>) -> String {
        let hint = request.hint.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| hint.contains(word));
        let wanted: &[Serves] = match () {
            // Ports of other protocols can have similar names, such as `jaeger-grpc`.
            () if says(&["jaeger", "zipkin", "loki", "thrift", "skywalking"]) => &[],
            () if says(&["metric", "prom", "scrape"]) => &[Serves::Metrics, Serves::OwnMetrics],
            () if says(&["health", "probe", "13133"]) => &[Serves::Health],
            () if says(&["grpc"]) => &[Serves::Grpc],
            () if says(&["http"]) => &[Serves::Http],
            () if says(&["otlp"]) => &[Serves::Grpc, Serves::Http],
            () => &[],
        };
        let port = request.port;
        let found = wanted.iter().find_map(|s| self.listens().find(|l| l.serves == *s));
        match found {
            Some(listen) => {
                let Listen { what, port: at, origin, .. } = listen;
                let (field, address) = (request.field, address(listen, port));
                let quote = if field.contains('/') { "\"" } else { "" };
                format!("{what} listens on {at}: write `{field}: {quote}{at}{quote}` here, or {address} at {origin}")
            }
            None if wanted == [Serves::Health] => {
                let endpoint = format!("health_check: {{endpoint: \"0.0.0.0:{port}\"}}");
                format!("write `{endpoint}` under `extensions:` and `extensions: [health_check]` under `service:`")
            }
            None => {
                let mut ports: Vec<_> = self.listens().map(|l| l.port).collect();
                ports.sort_unstable();
                ports.dedup();
                let ports: Vec<_> = ports.iter().take(MOST_NAMES).map(u16::to_string).collect();
                format!(
                    "leave the port out, or configure what should listen there; the collector listens on {}",
                    ports.join(", ")
                )
            }
        }
    }
}

/// How to write an address that other pods can reach.
fn address(listen: &Listen, port: u16) -> String {
    match listen.serves {
        Serves::OwnMetrics => format!("`host: 0.0.0.0` and `port: {port}`"),
        _ => format!("`endpoint: \"0.0.0.0:{port}\"`"),
    }
}

fn is_udp(port: &Node) -> bool {
    string(port, "protocol").is_some_and(|p| p.eq_ignore_ascii_case("UDP"))
}

/// Two sockets on one port.
pub(super) fn twice(facts: &Facts, cluster: &Cluster, d: &otelcore_config::Diagnostics) {
    let wild = |l: &Listen| matches!(l.host.as_str(), "" | "0.0.0.0" | "::");
    let mut before: BTreeMap<(u16, bool), Vec<&Listen>> = BTreeMap::new();
    for second in facts.listens.iter().filter(|l| l.port != 0) {
        let clash = |first: &&Listen| {
            let same = first.host == second.host || (first.is_loopback() && second.is_loopback());
            same || wild(first) || wild(second)
        };
        let others = before.entry((second.port, second.udp)).or_default();
        if let Some(first) = others.iter().copied().take_while(|_| cluster.spend(1)).find(clash) {
            let message = format!("{} and {} both listen on port {}", first.what, second.what, second.port);
            d.error(&second.origin, &second.key, message)
                .kind(otelcore_config::Kind::Deployment)
                .related(&first.origin, "the first of them")
                .hint("give one of them another port");
        }
        others.push(second);
    }
}

/// Each port of each Service that selects the pod; for the operator's resource, the ports that it adds to its Service.
pub(super) fn services(check: &Check<'_>, asked: &mut Asked) {
    if check.pod.operated {
        for port in list(check.pod.spec, "ports") {
            service_port(check, asked, port, "the Service of the operator");
        }
    }
    for service in check.services() {
        for port in list(&service.node, "spec::ports") {
            service_port(check, asked, port, &service.title());
        }
    }
    strangers(check);
}

fn service_port(check: &Check<'_>, asked: &mut Asked, port: &Node, title: &str) {
    let target = port.at("targetPort").filter(|n| quantity::text(n).is_some_and(|t| t != "0"));
    let Some(node) = target.or_else(|| port.at("port")) else { return };
    let number = match check.number(node) {
        Ok(Some(number)) => number,
        Ok(None) => return,
        Err(name) => {
            let names = check.containers().flat_map(|c| list(c, "ports")).filter_map(|p| string(p, "name"));
            let near = check.d.nearest(&name, names);
            let message = format!("{title}: no container of the pod has a port named {name:?}");
            let hint = near.map_or_else(|| "write the number".to_owned(), |n| format!("did you mean `{n}`?"));
            check.error(&node.origin, "", message).hint(hint);
            return;
        }
    };
    let name = string(port, "name").unwrap_or_default();
    let shown = port.at("port").and_then(quantity::text).unwrap_or_default();
    let who =
        if name.is_empty() { format!("{title}, port {shown}") } else { format!("{title}, port {shown} ({name})") };
    let request = Request {
        port: number,
        udp: is_udp(port),
        who,
        origin: &node.origin,
        field: "targetPort",
        hint: name.to_owned(),
        severe: true,
        firm: true,
        service: true,
    };
    check.ask(asked, request);
}

/// Services whose selector differs from the labels of the pod in one label, and that select no other pod of the files.
fn strangers(check: &Check<'_>) {
    let (cluster, owner) = (check.collector.cluster, check.collector.owner);
    for service in cluster.of_kind("Service").filter(|s| s.together(owner)) {
        let Some(selector) = service.node.at("spec::selector").filter(|s| !check.selected(s)) else { continue };
        let labels = check.pod.labels.and_then(Node::as_map);
        let same = |key: &str, node: &Node| labels.and_then(|l| l.get(key)).is_some_and(|e| e.node.value == node.value);
        let Some(map) = selector.as_map() else { continue };
        let wrong: Vec<_> = map.iter().filter(|e| !same(&e.key, &e.node)).collect();
        let mine = list(&service.node, "spec::ports").iter().any(|port| {
            let target = port.at("targetPort").or_else(|| port.at("port"));
            let number = target.and_then(|n| check.number(n).ok().flatten());
            number.is_some_and(|n| check.listens().any(|l| l.port == n))
        });
        let [wrong] = wrong.as_slice() else { continue };
        if mine && map.len() > 1 && !leads_somewhere(check, service, selector) {
            let message = format!("{} leads to no pod of these files", service.title());
            let help = match labels.and_then(|l| l.get(&wrong.key)) {
                Some(label) => format!(
                    "the pod of {} has `{}: {}`",
                    owner.title(),
                    wrong.key,
                    quantity::text(&label.node).unwrap_or_default()
                ),
                None => format!("the pod of {} has no label `{}`", owner.title(), wrong.key),
            };
            check.warn(&wrong.node.origin, "", message).hint(help);
        }
    }
}

fn leads_somewhere(check: &Check<'_>, service: &Object, selector: &Node) -> bool {
    let objects = check.collector.cluster.objects().take_while(|_| check.spend(1));
    objects.filter(|o| o.together(service)).any(|object| {
        let labels = object.node.at("spec::template::metadata::labels");
        let labels = if object.kind == "Pod" { object.node.at("metadata::labels") } else { labels };
        let labels = labels.and_then(Node::as_map);
        let has = |key: &str, node: &Node| labels.and_then(|l| l.get(key)).is_some_and(|e| e.node.value == node.value);
        selector.as_map().is_some_and(|map| map.iter().all(|e| has(&e.key, &e.node)))
    })
}

/// Each port that the collector's container declares.
pub(super) fn container_ports(check: &Check<'_>, asked: &mut Asked) {
    if check.pod.operated {
        return;
    }
    for port in list(check.pod.container, "ports") {
        let Some(node) = port.at("containerPort") else { continue };
        let Some(number) = number(Some(node)).and_then(|n| u16::try_from(n).ok()) else { continue };
        let on_host = port.at("hostPort").is_some();
        let request = Request {
            port: number,
            udp: is_udp(port),
            who: format!("container port {number}"),
            origin: &node.origin,
            field: "containerPort",
            hint: format!("{} {}", string(port, "name").unwrap_or_default(), check.meant(number)),
            severe: on_host,
            firm: on_host,
            service: false,
        };
        check.ask(asked, request);
    }
}

/// `prometheus.io/*` of the pod and of the Services that select it.
pub(super) fn scrapes(check: &Check<'_>, asked: &mut Asked) {
    let services = check.services().filter_map(|s| s.node.at("metadata::annotations"));
    for annotations in check.pod.annotations.into_iter().chain(services) {
        let get =
            |key: &str| annotations.as_map().and_then(|m| m.get(&format!("prometheus.io/{key}"))).map(|e| &e.node);
        let on = quantity::is_true(get("scrape"));
        if let Some(node) = get("port").filter(|_| on) {
            scrape(check, asked, node, get("path"));
        }
    }
    operators_annotation(check, asked);
}

fn scrape(check: &Check<'_>, asked: &mut Asked, port: &Node, path: Option<&Node>) {
    let Some(number) = quantity::text(port).and_then(|t| t.parse::<u16>().ok()) else { return };
    if check.elsewhere(number) {
        return;
    }
    let who = format!("annotation prometheus.io/port: \"{number}\"");
    let pages = || check.listens().filter(|l| l.is_metrics());
    match (pages().find(|l| l.port == number), check.listens().find(|l| l.port == number)) {
        (Some(page), _) => {
            let ask = Ask { port: number, udp: false, who, origin: port.origin.clone(), firm: true, service: false };
            asked.add(ask);
            let told = path.and_then(Node::as_str).unwrap_or("/metrics");
            if told != page.path {
                let at = path.unwrap_or(port);
                let message = format!("annotation prometheus.io/path: {} has its page at {}", page.what, page.path);
                check.error(&at.origin, "", message).hint(format!("write `prometheus.io/path: {}`", page.path));
            }
        }
        (None, Some(other)) => {
            let message = format!("{who}: {} listens there, which is no Prometheus page", other.what);
            let help = pages().next().map(|page| format!("{} listens on {}", page.what, page.port));
            check.error(&port.origin, "", message).maybe_hint(help);
        }
        (None, None) => check.ask(
            asked,
            Request {
                port: number,
                udp: false,
                who,
                origin: &port.origin,
                field: "prometheus.io/port",
                hint: "scrape".to_owned(),
                severe: true,
                firm: true,
                service: false,
            },
        ),
    }
}

/// The operator annotates port 8888, even if the readers have another one.
fn operators_annotation(check: &Check<'_>, asked: &mut Asked) {
    let spec = check.pod.spec;
    let told = check.pod.annotations.and_then(Node::as_map).is_some_and(|m| m.get("prometheus.io/port").is_some());
    let off = quantity::is_true(spec.at("observability::metrics::disablePrometheusAnnotations"));
    if !check.pod.operated || told || off {
        return;
    }
    if let Some(page) = check.facts.listens.iter().find(|l| l.is_metrics() && l.port == 8888) {
        let who = "the operator's annotation prometheus.io/port: \"8888\"".to_owned();
        asked.add(Ask { port: 8888, udp: false, who, origin: page.origin.clone(), firm: true, service: false });
    } else if let Some(page) = check.facts.listens.iter().find(|l| l.is_metrics()) {
        let message = "the operator annotates the pod with prometheus.io/port: \"8888\", where nothing listens";
        check
            .warn(&page.origin, &page.key, message.to_owned())
            .hint(format!("write `podAnnotations: {{prometheus.io/port: \"{}\"}}` under `spec:`", page.port));
    }
}

/// Probes of the collector's container.
pub(super) fn probes(check: &Check<'_>, asked: &mut Asked) {
    if check.pod.operated {
        operators_probes(check, asked);
        return;
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = check.pod.container.at(name) else { continue };
        for way in ["httpGet", "grpc", "tcpSocket"] {
            if let Some(target) = probe.at(way).filter(|t| t.at("host").is_none()) {
                self::probe(check, asked, name, way, target);
            }
        }
    }
}

/// The operator creates probes for `health_check`.
fn operators_probes(check: &Check<'_>, asked: &mut Asked) {
    if let Some(health) = check.facts.listens.iter().find(|l| l.serves == Serves::Health) {
        let (port, origin) = (health.port, health.origin.clone());
        let who = "the probes that the operator makes".to_owned();
        asked.add(Ask { port, udp: false, who, origin, firm: true, service: false });
    }
}

fn probe(check: &Check<'_>, asked: &mut Asked, name: &str, way: &str, target: &Node) {
    let Some(node) = target.at("port") else { return };
    let number = match check.number(node) {
        Ok(Some(number)) => number,
        Ok(None) => return,
        Err(port) => {
            let message = format!("{name}: the container has no port named {port:?}");
            check.error(&node.origin, "", message).hint("name a port of the container, or write the number");
            return;
        }
    };
    let request = Request {
        port: number,
        udp: false,
        who: name.to_owned(),
        origin: &node.origin,
        field: "port",
        hint: "health".to_owned(),
        severe: true,
        firm: true,
        service: false,
    };
    check.ask(asked, request);
    let Some(listen) = check.facts.listens.iter().find(|l| l.port == number && !l.udp) else { return };
    let health = check.facts.listens.iter().find(|l| l.serves == Serves::Health);
    let instead = match health {
        Some(health) => format!("{} listens on {}", health.what, health.port),
        None => "`health_check` under `extensions:` answers probes".to_owned(),
    };
    let path = target.at("path").and_then(quantity::text).unwrap_or_default();
    let path = if path.is_empty() { "/".to_owned() } else { path };
    match (way, listen.serves) {
        ("tcpSocket", _) | ("httpGet", Serves::Other) => {}
        ("grpc", _) => {
            let message = format!("{name}: {} does not answer gRPC health checks", listen.what);
            check.error(&target.origin, "", message).hint(format!("write `httpGet:`; {instead}"));
        }
        (_, Serves::Health | Serves::Metrics | Serves::OwnMetrics) => {
            let any = listen.serves == Serves::Health && matches!(listen.path.as_str(), "" | "/");
            if !any && path.split('?').next() != Some(&listen.path) {
                let message = format!("{name}: {} answers on {} alone, not on {path}", listen.what, listen.path);
                let at = target.at("path").unwrap_or(target);
                check.error(&at.origin, "", message).hint(format!("write `path: {}`", listen.path));
            }
        }
        _ => {
            let message = format!("{name}: {} does not answer probes", listen.what);
            check.error(&node.origin, "", message).hint(instead);
        }
    }
}

/// Sockets on localhost that the manifests refer to from outside of the pod, and receivers on localhost in a pod that
/// has no other container.
pub(super) fn loopback(check: &Check<'_>, asked: &Asked) {
    let host_network = quantity::is_true(check.pod.spec.at("hostNetwork"));
    for listen in check.facts.listens.iter().filter(|l| l.is_loopback()) {
        let ask = asked.of(check, listen).find(|ask| ask.firm || (check.alone() && !host_network));
        let Listen { what, host, port, origin, key, .. } = listen;
        let message = format!("{what} listens on {host}:{port}, which nothing outside of the pod reaches");
        let help = match listen.serves {
            Serves::OwnMetrics => {
                let page = format!("prometheus: {{host: 0.0.0.0, port: {port}}}");
                format!(
                    "write `service: {{telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{{page}}}}}}}]}}}}}}`"
                )
            }
            _ => format!(
                "write {}, or the address of the pod from a variable: `${{env:MY_POD_IP}}:{port}`",
                address(listen, *port)
            ),
        };
        if let Some(ask) = ask {
            let draft = check.error(origin, key, message).hint(help);
            let draft = if ask.origin == *origin {
                draft.note(ask.who.clone())
            } else {
                draft.related(&ask.origin, ask.who.clone())
            };
            drop(draft);
        } else if matches!(listen.serves, Serves::Grpc | Serves::Http) && check.alone() && !host_network {
            let note = "the pod has no other container that could send to it";
            check.error(origin, key, message).hint(help).note(note);
        }
    }
}

/// Sockets on an address that is not the pod's: a Service's name, or the node's address.
pub(super) fn foreign(check: &Check<'_>) {
    let host_network = quantity::is_true(check.pod.spec.at("hostNetwork"));
    for listen in &check.facts.listens {
        let Listen { what, host, port, origin, key, .. } = listen;
        let name = host.split('.').next().unwrap_or_default();
        let service = !name.is_empty() && check.collector.cluster.of_kind("Service").any(|s| s.name == name);
        let whose = match () {
            () if service || host.contains(".svc") => format!("the address of the Service {name}"),
            () if host == NODE_IP && !host_network => "the address of the node".to_owned(),
            () => continue,
        };
        let message = format!("{what} listens on {whose}, which the pod does not have");
        check.error(origin, key, message).hint(format!("write {}", address(listen, *port)));
    }
}

/// Receivers on a port that no Service and no container port has, if a Service selects the pod.
pub(super) fn unexposed(check: &Check<'_>, asked: &Asked) {
    let Some(service) = check.services().next() else { return };
    for listen in check.facts.listens.iter().filter(|l| matches!(l.serves, Serves::Grpc | Serves::Http)) {
        if !listen.is_loopback() && listen.port != 0 && asked.of(check, listen).next().is_none() {
            let message =
                format!("{} listens on {}, which no Service and no container port has", listen.what, listen.port);
            let ports = service.node.nearest_origin("spec::ports");
            check
                .warn(&listen.origin, &listen.key, message)
                .related(ports, format!("the ports of {}", service.title()))
                .hint(format!("add the port {} to the Service, or leave the protocol out", listen.port));
        }
    }
}

/// Ports of Services to which the NetworkPolicies allow no connection.
pub(super) fn policies(check: &Check<'_>, asked: &Asked) {
    let (cluster, owner) = (check.collector.cluster, check.collector.owner);
    let selects = |o: &&Object| {
        let selector = o.node.at("spec::podSelector");
        let expressions = selector.and_then(|s| s.at("matchExpressions")).is_some();
        let labels = selector.and_then(|s| s.at("matchLabels"));
        let types = list(&o.node, "spec::policyTypes");
        let ingress = types.is_empty() || types.iter().any(|t| t.as_str() == Some("Ingress"));
        o.together(owner) && !expressions && ingress && labels.is_none_or(|l| check.selected(l))
    };
    let policies: Vec<_> = cluster.of_kind("NetworkPolicy").filter(selects).collect();
    let Some(first) = policies.first() else { return };
    let rules: Vec<&Node> = policies.iter().flat_map(|p| list(&p.node, "spec::ingress")).collect();
    let lets_in = |ask: &Ask| {
        rules
            .iter()
            .take_while(|_| check.spend(1))
            .any(|rule| list(rule, "ports").is_empty() || list(rule, "ports").iter().any(|p| allows(check, p, ask)))
    };
    for ask in asked.all.iter().filter(|ask| ask.service && !lets_in(ask)) {
        let ports =
            map(&first.node, "spec").and_then(|s| s.get("ingress")).map_or(&first.node.origin, |e| &e.key_origin);
        let transport = if ask.udp { "UDP" } else { "TCP" };
        let message = format!("{}: {} lets nothing in to port {} ({transport})", ask.who, first.title(), ask.port);
        check
            .warn(&ask.origin, "", message)
            .related(ports, "what it lets in")
            .hint(format!("add `- {{port: {}, protocol: {transport}}}` to its ports", ask.port));
    }
}

fn allows(check: &Check<'_>, rule: &Node, ask: &Ask) -> bool {
    if !check.spend(1) || is_udp(rule) != ask.udp {
        return false;
    }
    let Some(node) = rule.at("port") else { return true };
    let Ok(Some(port)) = check.number(node) else { return true };
    let end = number(rule.at("endPort")).unwrap_or_else(|| port.into());
    ask.port >= port && u64::from(ask.port) <= end
}
