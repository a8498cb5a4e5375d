//! A span of version 2, and its mapping by the rules of the Go translator.

pub(crate) mod json;
mod links;
pub(crate) mod protobuf;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use otelcore_pdata::build::{ResourceWriter, ScopeWriter, SpanWriter};
use otelcore_pdata::views::AnyValue;

use crate::decode_error::{DecodeError, MAX_PER_SPAN};
use crate::span_groups::{Shared, SpanGroups};
use crate::zipkin::text::{sort_unique, tag_value};

/// The name of a service that has none, as the Go translator's exporter writes it.
const NO_SERVICE_NAME: &[u8] = b"OTLPResourceNoServiceName";
/// The tag whose value is the attribute that the name of the service comes from.
const SERVICE_NAME_SOURCE: &[u8] = b"otlp.service.name.source";
const START_TIME_ABSENT: &[u8] = b"otel.zipkin.absentField.startTime";

/// Attributes of resources, sorted: tags with these keys belong to the resource, and are never attributes of spans.
const RESOURCE_KEYS: &[&str] = &[
    "aws.ecs.cluster.arn",
    "aws.ecs.container.arn",
    "aws.ecs.launchtype",
    "aws.ecs.task.arn",
    "aws.ecs.task.family",
    "aws.ecs.task.revision",
    "aws.eks.cluster.arn",
    "aws.log.group.arns",
    "aws.log.group.names",
    "aws.log.stream.arns",
    "aws.log.stream.names",
    "cloud.account.id",
    "cloud.availability_zone",
    "cloud.platform",
    "cloud.provider",
    "cloud.region",
    "cloud.resource_id",
    "container.id",
    "container.image.name",
    "container.image.tag",
    "container.name",
    "container.runtime",
    "deployment.environment",
    "device.id",
    "device.manufacturer",
    "device.model.identifier",
    "device.model.name",
    "faas.id",
    "faas.instance",
    "faas.max_memory",
    "faas.name",
    "faas.version",
    "host.arch",
    "host.id",
    "host.image.id",
    "host.image.name",
    "host.image.version",
    "host.name",
    "host.type",
    "k8s.cluster.name",
    "k8s.container.name",
    "k8s.container.restart_count",
    "k8s.cronjob.name",
    "k8s.cronjob.uid",
    "k8s.daemonset.name",
    "k8s.daemonset.uid",
    "k8s.deployment.name",
    "k8s.deployment.uid",
    "k8s.job.name",
    "k8s.job.uid",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.node.uid",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.replicaset.name",
    "k8s.replicaset.uid",
    "k8s.statefulset.name",
    "k8s.statefulset.uid",
    "opencensus.exporterversion",
    "opencensus.resourcetype",
    "opencensus.starttime",
    "os.description",
    "os.name",
    "os.type",
    "os.version",
    "process.command",
    "process.command_args",
    "process.command_line",
    "process.executable.name",
    "process.executable.path",
    "process.owner",
    "process.pid",
    "process.runtime.description",
    "process.runtime.name",
    "process.runtime.version",
    "service.instance.id",
    "service.name",
    "service.namespace",
    "service.version",
    "telemetry.auto.version",
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
    "webengine.description",
    "webengine.name",
    "webengine.version",
];

/// Tags of the instrumentation scope; the later name of each goes before the older one.
const SCOPE_NAME_KEYS: [&[u8]; 2] = [b"otel.scope.name", b"otel.library.name"];
const SCOPE_VERSION_KEYS: [&[u8]; 2] = [b"otel.scope.version", b"otel.library.version"];

/// Which end of a call a span is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Client,
    Server,
    Producer,
    Consumer,
}

/// One end of a call.
#[derive(Default, Debug)]
pub(crate) struct Endpoint<'a> {
    pub(crate) service_name: Cow<'a, [u8]>,
    pub(crate) ipv4: Option<String>,
    pub(crate) ipv6: Option<String>,
    pub(crate) port: u16,
}

/// An address as Go writes it: one of version 4 in a form of version 6 is one of version 4.
pub(crate) fn address_text(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

/// An address of 4 or 16 bytes as Go writes it; other lengths are hexadecimal digits behind a question mark.
pub(crate) fn address_of_bytes(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        None
    } else if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        Some(Ipv4Addr::from(v4).to_string())
    } else if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        Some(address_text(Ipv6Addr::from(v6).into()))
    } else {
        let mut text = b"?".to_vec();
        otelcore_pdata::text::put_hex(&mut text, bytes);
        String::from_utf8(text).ok()
    }
}

/// The key and the text of a tag.
pub(crate) type Tag<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// A text with a time in microseconds since the epoch.
#[derive(Debug)]
pub(crate) struct Annotation<'a> {
    pub(crate) timestamp: u64,
    pub(crate) value: Cow<'a, [u8]>,
}

/// A span. Times are microseconds.
#[derive(Default, Debug)]
pub(crate) struct ZipkinSpan<'a> {
    pub(crate) trace_id: [u8; 16],
    pub(crate) id: u64,
    /// Zero for none.
    pub(crate) parent_id: u64,
    pub(crate) kind: Option<Kind>,
    pub(crate) name: Cow<'a, [u8]>,
    /// `None` if it is not known.
    pub(crate) timestamp: Option<u64>,
    pub(crate) duration: u64,
    pub(crate) local_endpoint: Endpoint<'a>,
    pub(crate) remote_endpoint: Endpoint<'a>,
    pub(crate) annotations: Vec<Annotation<'a>>,
    pub(crate) tags: Vec<Tag<'a>>,
}

/// Tags by key, each key once.
struct Tags<'s, 'a>(&'s [Tag<'a>]);

impl<'s> Tags<'s, '_> {
    fn get(&self, key: &[u8]) -> Option<&'s [u8]> {
        let at = self.0.binary_search_by(|(found, _)| (**found).cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| &**value)
    }

    /// The value of the first of these keys that there is.
    fn first_of(&self, keys: &[&[u8]]) -> Option<&'s [u8]> {
        keys.iter().find_map(|key| self.get(key))
    }

    fn iter(&self) -> impl Iterator<Item = (&'s [u8], &'s [u8])> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

fn is_resource_key(key: &[u8]) -> bool {
    RESOURCE_KEYS.binary_search_by(|known| known.as_bytes().cmp(key)).is_ok()
}

/// Whether a tag is neither of the resource nor of the scope.
fn is_span_key(key: &[u8]) -> bool {
    !is_resource_key(key)
        && key != SERVICE_NAME_SOURCE
        && !SCOPE_NAME_KEYS.contains(&key)
        && !SCOPE_VERSION_KEYS.contains(&key)
}

impl ZipkinSpan<'_> {
    /// Adds it to the spans of its service and library.
    ///
    /// # Errors
    /// A tag or annotation that stands for a link or an event and is malformed; no room.
    pub(crate) fn add_to(&mut self, parses_tags: bool, groups: &mut SpanGroups<'_>) -> Result<(), DecodeError> {
        if self.tags.len() > MAX_PER_SPAN {
            return Err(DecodeError::too_many("tags"));
        }
        sort_unique(&mut self.tags);
        let tags = Tags(&self.tags);
        let service_name: &[u8] = match &*self.local_endpoint.service_name {
            b"" => NO_SERVICE_NAME,
            name => name,
        };
        let scope_name = tags.first_of(&SCOPE_NAME_KEYS).unwrap_or_default();
        let resource = Shared {
            key: service_name,
            write: |resource: &mut ResourceWriter<'_>| write_resource(resource, service_name, &tags),
        };
        let scope = Shared {
            key: scope_name,
            write: |scope: &mut ScopeWriter<'_>| {
                if !scope_name.is_empty() {
                    scope.name(scope_name).version(tags.first_of(&SCOPE_VERSION_KEYS).unwrap_or_default());
                }
            },
        };
        let mut result = Ok(());
        groups.add(resource, scope, |span| result = self.write(&tags, parses_tags, span))?;
        result
    }

    fn write(&self, tags: &Tags<'_, '_>, parses_tags: bool, span: &mut SpanWriter<'_>) -> Result<(), DecodeError> {
        if self.trace_id != [0; 16] {
            span.trace_id(&self.trace_id);
        }
        if self.id != 0 {
            span.span_id(&self.id.to_be_bytes());
        }
        if self.parent_id != 0 && self.parent_id != self.id {
            span.parent_span_id(&self.parent_id.to_be_bytes());
        }
        span.trace_state(tags.get(b"w3c.tracestate").unwrap_or_default()).name(&self.name);
        span.kind(match self.kind {
            Some(Kind::Server) => 2,
            Some(Kind::Client) => 3,
            Some(Kind::Producer) => 4,
            Some(Kind::Consumer) => 5,
            None => i32::from(tags.get(b"span.kind") == Some(b"internal")),
        });
        write_status(tags, span);
        let link_count = links::write_links(|key| tags.get(key), span)?;

        let endpoint_attributes = self.endpoint_attributes();
        let mut attributes = span.attributes();
        for (key, value) in tags.iter() {
            let is_left_out = !is_span_key(key)
                || key == b"w3c.tracestate"
                || key == b"span.kind" && self.kind.is_none()
                || key == b"otel.status_code"
                || key == b"otel.status_description" && tags.get(b"otel.status_code").is_some()
                || key == b"error" && value == b"true"
                || links::link_number(key).is_some_and(|number| number < link_count)
                || key == START_TIME_ABSENT && self.timestamp.is_none()
                || endpoint_attributes.iter().flatten().any(|(of_endpoint, _)| of_endpoint.as_bytes() == key);
            if !is_left_out {
                attributes.push(key, tag_value(value, parses_tags));
            }
        }
        for (key, value) in endpoint_attributes.into_iter().flatten() {
            attributes.push(key.as_bytes(), value);
        }
        if self.timestamp.is_none() {
            attributes.bool(START_TIME_ABSENT, true);
        }
        // As in Go, times beyond what nanoseconds can count to overflow.
        let start = self.timestamp.unwrap_or(0).wrapping_mul(1000);
        span.start_time_unix_nano(start);
        span.end_time_unix_nano(start.wrapping_add(self.duration.wrapping_mul(1000)));
        if self.annotations.len() > MAX_PER_SPAN {
            return Err(DecodeError::too_many("annotations"));
        }
        for annotation in &self.annotations {
            let mut event = span.event();
            event.time_unix_nano(annotation.timestamp.wrapping_mul(1000));
            links::write_event(&annotation.value, &mut event)?;
        }
        Ok(())
    }

    /// The attributes that endpoints become. They replace tags of the same key.
    fn endpoint_attributes(&self) -> [Option<(&'static str, AnyValue<'_>)>; 5] {
        fn text<'v>(key: &'static str, text: Option<&'v [u8]>) -> Option<(&'static str, AnyValue<'v>)> {
            text.map(|text| (key, AnyValue::String(text)))
        }
        let port = |key, port: u16| (port > 0).then(|| (key, AnyValue::Int(port.into())));
        let (local, remote) = (&self.local_endpoint, &self.remote_endpoint);
        let peer = Some(&*remote.service_name).filter(|name| !name.is_empty());
        [
            text("network.local.address", local.address()),
            port("net.host.port", local.port),
            text("service.peer.name", peer),
            text("network.peer.address", remote.address()),
            port("net.peer.port", remote.port),
        ]
    }
}

impl Endpoint<'_> {
    /// The address; of two, the one of version 6.
    fn address(&self) -> Option<&[u8]> {
        self.ipv6.as_deref().or(self.ipv4.as_deref()).map(str::as_bytes)
    }
}

fn write_resource(resource: &mut ResourceWriter<'_>, service_name: &[u8], tags: &Tags<'_, '_>) {
    if service_name == NO_SERVICE_NAME {
        return;
    }
    let mut attributes = resource.attributes();
    let key = tags.get(SERVICE_NAME_SOURCE).filter(|source| !source.is_empty()).unwrap_or(b"service.name");
    // A tag of that key replaces the name.
    if !is_resource_key(key) || tags.get(key).is_none() {
        attributes.string(key, service_name);
    }
    for (key, value) in tags.iter().filter(|(key, _)| is_resource_key(key)) {
        attributes.string(key, value);
    }
}

fn write_status(tags: &Tags<'_, '_>, span: &mut SpanWriter<'_>) {
    let named = tags.get(b"otel.status_code");
    let is_error = tags.get(b"error").is_some();
    if named.is_none() && !is_error {
        return;
    }
    let mut status = span.status();
    status.code(match named {
        _ if is_error => 2,
        Some(b"STATUS_CODE_ERROR" | b"Error") => 2,
        Some(b"STATUS_CODE_OK" | b"Ok") => 1,
        _ => 0,
    });
    if named.is_some() {
        status.message(tags.get(b"otel.status_description").unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_keys_are_sorted() {
        assert!(RESOURCE_KEYS.is_sorted());
    }

    #[test]
    fn addresses_are_written_as_by_go() {
        assert_eq!(address_of_bytes(&[]), None);
        assert_eq!(address_of_bytes(&[1, 2, 3, 4]).as_deref(), Some("1.2.3.4"));
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 1, 2, 3, 4]);
        assert_eq!(address_of_bytes(&mapped).as_deref(), Some("1.2.3.4"));
        assert_eq!(address_of_bytes(&[1, 2, 171]).as_deref(), Some("?0102ab"));
    }
}
