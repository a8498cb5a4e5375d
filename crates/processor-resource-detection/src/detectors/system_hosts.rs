//! Names of the host in `/etc/hosts`.

use std::net::IpAddr;

/// The canonical name of the first line that names the host, by the rules of the Go collector's source `dns`.
pub(super) fn find_canonical(hosts: &str, host: &str) -> Option<String> {
    for line in hosts.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty()).skip(1);
        let Some(canonical) = words.next().filter(|name| is_valid_hostname(name)) else { continue };
        if canonical == host || words.any(|alias| alias == host) {
            return Some(canonical.to_owned());
        }
    }
    None
}

fn is_valid_hostname(name: &str) -> bool {
    name.len() <= 254 && name.chars().all(|c| !c.is_ascii() || c == '.' || c == '-' || c.is_ascii_alphanumeric())
}

/// Lines of `/etc/hosts` as Go's resolver reads them.
pub(super) struct HostsFile {
    /// Address, and names in lower case.
    entries: Vec<(IpAddr, Vec<String>)>,
}

impl HostsFile {
    pub(super) fn parse(hosts: &str) -> Self {
        let entry = |line: &str| {
            let mut words = line.split('#').next()?.split_ascii_whitespace();
            // An address may have a zone, which is not a part of it here.
            let address = words.next()?.split('%').next()?.parse().ok()?;
            Some((address, words.map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect::<Vec<_>>()))
        };
        Self { entries: hosts.lines().filter_map(entry).filter(|(_, names)| !names.is_empty()).collect() }
    }

    /// The first name of the first line that has the host among its names.
    pub(super) fn canonical_name(&self, host: &str) -> Option<String> {
        let host = host.to_ascii_lowercase();
        self.entries.iter().find(|(_, names)| names.contains(&host)).and_then(|(_, names)| names.first().cloned())
    }

    /// The first name of the host's address.
    pub(super) fn reverse_name(&self, host: &str) -> Option<String> {
        let host = host.to_ascii_lowercase();
        let (address, _) = self.entries.iter().find(|(_, names)| names.contains(&host))?;
        self.entries.iter().find(|(other, _)| other == address).and_then(|(_, names)| names.first().cloned())
    }
}
