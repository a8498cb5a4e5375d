//! By which values a resource and a pod belong together.
//!
//! The values of an association become one key, in the same form for resources and pods: for each source its number, and
//! the value with its length. Looking a pod up is one search, without an allocation.

use std::net::IpAddr;

use otelcore_pdata::edit::ResourceMut;
use otelcore_pdata::views::AnyValue;

use crate::config::K8sAttributesConfig;

/// The value of a pod for a resource attribute in an association.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PodValue {
    Namespace,
    Name,
    Uid,
    Address,
    /// Each of its containers has one.
    ContainerId,
    /// The value of an attribute that is extracted.
    Attribute(String),
}

/// One source of an association.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// The address of the client.
    Connection,
    /// An attribute of the resource.
    Attribute { name: String, of_pod: PodValue, number: u16 },
}

impl Source {
    fn number(&self) -> u16 {
        match self {
            Self::Connection => 0,
            Self::Attribute { number, .. } => *number,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Association {
    pub(crate) sources: Vec<Source>,
    /// It has a source of an unknown kind, and finds no pod. It still is the last one that is tried, as in Go.
    finds_nothing: bool,
    /// For the metric: `connection`, `resource_attribute/k8s.pod.uid`, joined by `+`.
    pub(crate) label: String,
}

/// All associations.
#[derive(Debug)]
pub(crate) struct Associations {
    list: Vec<Association>,
    /// There are none in the configuration: attributes with addresses and the connection are tried.
    is_default: bool,
}

/// The number of an association that was found for a resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identified {
    /// Its index; that of no association without one.
    pub(crate) association: usize,
    /// The key is complete.
    pub(crate) has_key: bool,
}

/// Appends a source and its value to a key.
pub(crate) fn push_value(key: &mut Vec<u8>, source: &Source, value: &[u8]) {
    key.extend_from_slice(&source.number().to_le_bytes());
    key.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    key.extend_from_slice(value);
}

/// The value of an attribute that is a string and not empty.
pub(crate) fn text_attribute<'r>(resource: &'r ResourceMut<'_>, key: &str) -> Option<&'r [u8]> {
    match resource.attribute(key.as_bytes()) {
        Some(AnyValue::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn is_address(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<IpAddr>().is_ok())
}

impl Associations {
    pub(crate) fn compile(config: &K8sAttributesConfig) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut number = |name: &str| {
            let found = names.iter().position(|known| known == name).unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            });
            u16::try_from(found + 1).unwrap_or(u16::MAX)
        };
        let mut list = Vec::new();
        for association in &config.pod_association {
            let mut sources = Vec::new();
            let mut finds_nothing = association.sources.is_empty();
            for source in &association.sources {
                match source.from.as_str() {
                    "connection" => sources.push(Source::Connection),
                    "resource_attribute" => {
                        let of_pod = match source.name.as_str() {
                            "k8s.namespace.name" => PodValue::Namespace,
                            "k8s.pod.name" => PodValue::Name,
                            "k8s.pod.uid" => PodValue::Uid,
                            "host.name" | "k8s.pod.ip" => PodValue::Address,
                            "container.id" => PodValue::ContainerId,
                            other => PodValue::Attribute(other.to_owned()),
                        };
                        sources.push(Source::Attribute {
                            name: source.name.clone(),
                            of_pod,
                            number: number(&source.name),
                        });
                    }
                    _ => finds_nothing = true,
                }
            }
            let label = |source: &Source| match source {
                Source::Connection => "connection".to_owned(),
                Source::Attribute { name, .. } => format!("resource_attribute/{name}"),
            };
            let label = match finds_nothing {
                true => String::new(),
                false => sources.iter().map(label).collect::<Vec<_>>().join("+"),
            };
            list.push(Association { sources, finds_nothing, label });
        }
        let is_default = list.is_empty();
        if is_default {
            let label = "connection".to_owned();
            list.push(Association { sources: vec![Source::Connection], finds_nothing: false, label });
        }
        Self { list, is_default }
    }

    pub(crate) fn list(&self) -> &[Association] {
        &self.list
    }

    /// Those by which pods can be found.
    pub(crate) fn of_pods(&self) -> impl Iterator<Item = &Association> {
        self.list.iter().filter(|association| !association.finds_nothing)
    }

    /// Finds the first association of which the resource has all sources, and writes its key. The address in it that is the
    /// connection's, if there is one, is written to `address`.
    pub(crate) fn identify(
        &self,
        resource: &ResourceMut<'_>,
        connection: &[u8],
        key: &mut Vec<u8>,
        address: &mut Vec<u8>,
    ) -> Identified {
        key.clear();
        address.clear();
        if self.is_default {
            let of_attribute = text_attribute(resource, "k8s.pod.ip").or_else(|| text_attribute(resource, "ip"));
            let of_connection = Some(connection).filter(|connection| !connection.is_empty());
            let of_host = || text_attribute(resource, "host.name").filter(|name| is_address(name));
            let Some(found) = of_attribute.or(of_connection).or_else(of_host) else {
                return Identified { association: 1, has_key: false };
            };
            push_value(key, &Source::Connection, found);
            address.extend_from_slice(found);
            return Identified { association: 0, has_key: true };
        }
        for (index, association) in self.list.iter().enumerate() {
            if write_key(association, resource, connection, key) {
                let has_key = !association.finds_nothing;
                if has_key && association.sources.contains(&Source::Connection) {
                    address.extend_from_slice(connection);
                }
                return Identified { association: index, has_key };
            }
        }
        Identified { association: self.list.len(), has_key: false }
    }
}

/// Writes the key of an association; false if the resource lacks a source.
fn write_key(association: &Association, resource: &ResourceMut<'_>, connection: &[u8], key: &mut Vec<u8>) -> bool {
    key.clear();
    association.sources.iter().all(|source| {
        let value = match source {
            Source::Connection => Some(connection).filter(|connection| !connection.is_empty()),
            // In a cluster `host.name` may be the address of a pod; other names are no values.
            Source::Attribute { name, .. } => {
                text_attribute(resource, name).filter(|value| name != "host.name" || is_address(value))
            }
        };
        if let Some(value) = value {
            push_value(key, source, value);
        }
        value.is_some()
    })
}
