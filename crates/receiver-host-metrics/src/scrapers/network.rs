//! `network`: `/proc/net/dev`, the TCP connections, and the table of the connection tracker.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ScrapeErrors, Scraper};
use crate::config::{FilterError, NameFilter, NetworkConfig, NetworkMetric};
use crate::host::{Host, lines};
use crate::numbers::{parse_int, parse_uint};
use otelcore_scraped_metrics::Recorder;

const FAILED_COUNTERS: usize = 4;
const FAILED_CONNECTIONS: usize = 1;
const FAILED_CONNTRACK: usize = 2;

/// How many connections are remembered to find those that are listed twice; further ones are counted as they are.
const MAX_KNOWN_CONNECTIONS: usize = 131_072;

/// The states that are always reported.
const ALL_STATES: [&str; 12] = [
    "CLOSE_WAIT",
    "CLOSE",
    "CLOSING",
    "DELETE",
    "ESTABLISHED",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "LAST_ACK",
    "LISTEN",
    "SYN_SENT",
    "SYN_RECV",
    "TIME_WAIT",
];

#[derive(Debug)]
pub(super) struct NetworkScraper {
    recorder: Recorder,
    filter: NameFilter,
}

impl NetworkScraper {
    pub(super) fn new(config: &NetworkConfig) -> Result<Self, FilterError> {
        Ok(Self { recorder: super::recorder("networkscraper", config.metrics.settings()), filter: config.filter()? })
    }

    fn scrape_counters(&mut self, host: &mut Host<'_>) -> Result<(), String> {
        let failed = |e: String| format!("failed to read network IO stats: {e}");
        let text = host.text(&host.proc("net/dev")).map_err(failed)?;
        let mut found = Vec::new();
        for line in lines(&text).skip(2) {
            let Some((name, counters)) = line.rsplit_once(':') else { continue };
            let (name, fields) = (name.trim(), counters.split_whitespace().collect::<Vec<_>>());
            if name.is_empty() || fields.len() < 13 {
                continue;
            }
            let mut numbers = [0; 13];
            for (at, (number, field)) in numbers.iter_mut().zip(fields).enumerate() {
                // The columns between them, of frames and multicasts, are not used.
                if !(5..8).contains(&at) {
                    *number = parse_uint(field).map_err(failed)?;
                }
            }
            if self.filter.includes(name) {
                found.push((name.to_owned(), numbers));
            }
        }
        for (name, numbers) in &found {
            let [
                bytes_in,
                packets_in,
                errors_in,
                dropped_in,
                _,
                _,
                _,
                _,
                bytes_out,
                packets_out,
                errors_out,
                dropped_out,
                _,
            ] = *numbers;
            let pairs = [
                (NetworkMetric::Packets, packets_out, packets_in),
                (NetworkMetric::Dropped, dropped_out, dropped_in),
                (NetworkMetric::Errors, errors_out, errors_in),
                (NetworkMetric::Io, bytes_out, bytes_in),
            ];
            for (metric, transmitted, received) in pairs {
                self.recorder.uint(metric, host.now, transmitted, &[name, "transmit"]);
                self.recorder.uint(metric, host.now, received, &[name, "receive"]);
            }
        }
        Ok(())
    }

    fn scrape_connections(&mut self, host: &mut Host<'_>) -> Result<(), String> {
        let mut counts: BTreeMap<&'static str, i64> = BTreeMap::new();
        let mut known = BTreeSet::new();
        for (file, is_optional) in [("net/tcp", false), ("net/tcp6", true)] {
            let path = host.proc(file);
            // Without IPv6 there is no second file.
            if is_optional && !host.exists(&path) {
                continue;
            }
            let mut is_first = true;
            let count = |line: &str| {
                if !std::mem::take(&mut is_first)
                    && let Some(connection) = parse_connection(line)
                    && (known.len() >= MAX_KNOWN_CONNECTIONS || known.insert(connection))
                {
                    *counts.entry(connection.state).or_default() += 1;
                }
            };
            host.for_each_line(&path, count).map_err(|e| format!("failed to read TCP connections: {e}"))?;
        }
        for state in ALL_STATES {
            let count = counts.remove(state).unwrap_or(0);
            self.recorder.int(NetworkMetric::Connections, host.now, count, &["tcp", state]);
        }
        // The kernel's names of two states are written in another way.
        for (state, count) in counts {
            self.recorder.int(NetworkMetric::Connections, host.now, count, &["tcp", state]);
        }
        Ok(())
    }

    fn scrape_conntrack(&mut self, host: &mut Host<'_>) -> Result<(), String> {
        let files = [
            (NetworkMetric::ConntrackCount, "sys/net/netfilter/nf_conntrack_count"),
            (NetworkMetric::ConntrackMax, "sys/net/netfilter/nf_conntrack_max"),
        ];
        let failed = |e: String| format!("failed to read conntrack info: {e}");
        let mut found = Vec::new();
        for (metric, file) in files {
            let text = host.text(&host.proc(file)).map_err(failed)?;
            let (first, _) = text.split_once('\n').ok_or_else(|| failed("EOF".to_owned()))?;
            let number = parse_int(first).map_err(failed)?;
            found.push((metric, number));
        }
        for (metric, number) in found {
            self.recorder.int(metric, host.now, number, &[]);
        }
        Ok(())
    }
}

impl Scraper for NetworkScraper {
    const NAME: &'static str = "network";

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    fn scrape(&mut self, host: &mut Host<'_>) -> Result<ScrapeErrors, ScrapeErrors> {
        let mut errors = ScrapeErrors::default();
        if let Err(e) = self.scrape_counters(host) {
            errors.add(FAILED_COUNTERS, e);
        }
        if self.recorder.is_enabled(NetworkMetric::Connections)
            && let Err(e) = self.scrape_connections(host)
        {
            errors.add(FAILED_CONNECTIONS, e);
        }
        let conntrack = [NetworkMetric::ConntrackCount, NetworkMetric::ConntrackMax];
        if conntrack.iter().any(|metric| self.recorder.is_enabled(*metric))
            && let Err(e) = self.scrape_conntrack(host)
        {
            errors.add(FAILED_CONNTRACK, e);
        }
        Ok(errors)
    }
}

/// What distinguishes a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Connection {
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    state: &'static str,
}

/// A line of `/proc/net/tcp`. `None` for one of another form.
fn parse_connection(line: &str) -> Option<Connection> {
    let fields: Vec<&str> = line.split_whitespace().take(10).collect();
    let [_, local, remote, state, _, _, _, _, _, _] = fields.as_slice() else { return None };
    let state = match *state {
        "01" => "ESTABLISHED",
        "02" => "SYN_SENT",
        "03" => "SYN_RECV",
        "04" => "FIN_WAIT1",
        "05" => "FIN_WAIT2",
        "06" => "TIME_WAIT",
        "07" => "CLOSE",
        "08" => "CLOSE_WAIT",
        "09" => "LAST_ACK",
        "0A" => "LISTEN",
        "0B" => "CLOSING",
        _ => "",
    };
    Some(Connection { local: parse_address(local)?, remote: parse_address(remote)?, state })
}

/// An address as the kernel writes it: words of 32 bits in the order of the machine's bytes, and a port.
fn parse_address(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at..at + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match address.len() {
        8 => Some((Ipv4Addr::from(word(0)?).into(), port)),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at * 8)?);
            }
            // An IPv4 address in the form of IPv6 is the same connection.
            Some((IpAddr::from(Ipv6Addr::from(bytes)).to_canonical(), port))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_in_the_order_of_the_machine() {
        if cfg!(target_endian = "little") {
            assert_eq!(parse_address("0500000A:0016"), Some(("10.0.0.5".parse().unwrap(), 22)));
            let long = "0085002452100113070057A13F025401:0035";
            assert_eq!(parse_address(long), Some(("2400:8500:1301:1052:a157:7:154:23f".parse().unwrap(), 53)));
            let mapped = "0000000000000000FFFF00000500000A:0016";
            assert_eq!(parse_address(mapped), parse_address("0500000A:0016"));
        }
        for text in ["", ":", "0500000A", "0500000A:", "0500000A:1FFFF", "é500000:0016", "05:16"] {
            assert_eq!(parse_address(text), None, "{text}");
        }
    }
}
