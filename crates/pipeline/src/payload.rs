//! The payload that travels through a pipeline.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use otelcore_pdata::{Rope, Signal};

use crate::Held;

/// A checked body of one signal, with the request headers of its sender. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Which request message the body is.
    pub signal: Signal,
    /// The body, and the number of items in it.
    pub body: Rope,
    /// The address of the sender, and headers of the request, if the receiver keeps them.
    pub metadata: Option<Arc<Metadata>>,
    /// The charge for the body's bytes.
    pub held: Held,
}

impl Payload {
    /// Spans, data points or log records.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.body.items()
    }

    /// About how many bytes of memory its metadata take, apart from an address. The charge of a payload is for these as
    /// well as for its body.
    #[must_use]
    pub fn metadata_bytes(&self) -> u64 {
        self.metadata.as_ref().map_or(0, |metadata| metadata.memory_size())
    }
}

/// Which parts of [`Metadata`] a component reads, for what must be stored with a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsedMetadata {
    /// Names of headers, in lower case.
    pub headers: Vec<String>,
    /// Names of attributes of the sender.
    pub auth_attributes: Vec<String>,
}

impl UsedMetadata {
    /// Adds what another component reads.
    pub fn merge(&mut self, other: Self) {
        let pairs = [(&mut self.headers, other.headers), (&mut self.auth_attributes, other.auth_attributes)];
        for (all, more) in pairs {
            all.extend(more);
            all.sort_unstable();
            all.dedup();
        }
    }

    /// Whether nothing is read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.auth_attributes.is_empty()
    }
}

/// The address of the client that sent a payload, and headers of its request, names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metadata {
    entries: Vec<(String, Vec<String>)>,
    /// The position of each name in `entries`, once there are more than [`LINEAR_SEARCH_MAX`].
    index: BTreeMap<String, usize>,
    client_address: Option<IpAddr>,
    /// What the authenticator knows of the sender.
    auth: Vec<(String, String)>,
}

/// Up to this number, entries are searched one by one.
const LINEAR_SEARCH_MAX: usize = 32;

impl Metadata {
    /// Metadata of a client without headers.
    #[must_use]
    pub fn of_client(address: Option<IpAddr>) -> Self {
        Self { client_address: address.map(|address| address.to_canonical()), ..Self::default() }
    }

    /// The address of the client, without its port. An IPv4 address in the form of IPv6 is an IPv4 address. `None` for
    /// other sockets, and where payloads of several clients were joined.
    #[must_use]
    pub fn client_address(&self) -> Option<IpAddr> {
        self.client_address
    }

    /// Adds a value to a header.
    pub fn add(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        if let Some((_, values)) = self.position(&name).and_then(|at| self.entries.get_mut(at)) {
            return values.push(value.to_owned());
        }
        if self.entries.len() == LINEAR_SEARCH_MAX {
            self.index = self.entries.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        }
        if self.entries.len() >= LINEAR_SEARCH_MAX {
            self.index.insert(name.clone(), self.entries.len());
        }
        self.entries.push((name, vec![value.to_owned()]));
    }

    fn position(&self, name: &str) -> Option<usize> {
        if self.entries.len() > LINEAR_SEARCH_MAX {
            self.index.get(name).copied()
        } else {
            self.entries.iter().position(|(n, _)| n == name)
        }
    }

    /// The values of a header, its name in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> &[String] {
        self.position(name).and_then(|at| self.entries.get(at)).map_or(&[], |(_, values)| values)
    }

    /// Sets what the authenticator of the receiver knows of the sender ([`crate::ServerAuth::attributes`]).
    pub fn set_auth_attributes(&mut self, attributes: Vec<(String, String)>) {
        self.auth = attributes;
    }

    /// An attribute of the sender, such as `username`.
    #[must_use]
    pub fn auth_attribute(&self, name: &str) -> Option<&str> {
        self.auth.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All attributes of the sender that the authenticator knows.
    #[must_use]
    pub fn auth_attributes(&self) -> &[(String, String)] {
        &self.auth
    }

    /// About how many bytes of memory it takes: twice the length of its texts. The address is not counted.
    #[must_use]
    pub fn memory_size(&self) -> u64 {
        let entry = |(name, values): &(String, Vec<String>)| name.len() + values.iter().map(String::len).sum::<usize>();
        let headers = self.entries.iter().map(entry).sum::<usize>();
        let auth = self.auth.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        2 * (headers + auth) as u64
    }

    /// The parts of it that are used.
    #[must_use]
    pub fn select(&self, used: &UsedMetadata) -> Self {
        let mut selected = Self::default();
        for name in &used.headers {
            self.get(name).iter().for_each(|value| selected.add(name, value));
        }
        let attribute = |name: &String| Some((name.clone(), self.auth_attribute(name)?.to_owned()));
        selected.auth = used.auth_attributes.iter().filter_map(attribute).collect();
        selected
    }

    /// True without any header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The headers and their values, in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.entries.iter().map(|(n, v)| (n.as_str(), v.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_with_any_number_of_names_keeps_order_and_finds_each() {
        for count in [1, 31, 32, 33, 34, 1000] {
            let mut meta = Metadata::default();
            for round in ["a", "b"] {
                (0..count).for_each(|n| meta.add(&format!("X-{n}"), round));
            }
            let names: Vec<String> = meta.iter().map(|(name, _)| name.to_owned()).collect();
            let expected: Vec<String> = (0..count).map(|n| format!("x-{n}")).collect();
            assert_eq!(names, expected);
            for name in &names {
                assert_eq!(meta.get(name), ["a", "b"], "{count}");
            }
            assert!(meta.get("x-none").is_empty());
        }
    }
}
