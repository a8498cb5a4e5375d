//! The network interfaces with their addresses, from files of the kernel.
//!
//! Linux only; elsewhere there are none of these files, and the question has an error as its answer.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use otelcore_pipeline::FileSystem;

use crate::answers::Interface;

/// The most interfaces that are read.
const MAX_INTERFACES: usize = 4096;

/// The longest file that is read.
const MAX_FILE: usize = 1 << 20;

const CLASS: &str = "/sys/class/net";
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;

/// The interfaces in the order of their numbers.
///
/// # Errors
/// That of the directory of interfaces. What can't be read of a single one is left out.
pub(crate) fn read(files: &mut dyn FileSystem) -> io::Result<Vec<Interface>> {
    let mut interfaces = Vec::new();
    for entry in files.read_dir(Path::new(CLASS))?.into_iter().take(MAX_INTERFACES) {
        let Ok(name) = entry.name.into_string() else { continue };
        let mut value = |file: &str| text(files, &format!("{CLASS}/{name}/{file}"));
        let Ok(index) = value("ifindex").parse() else { continue };
        let flags = value("flags");
        let flags = flags.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0);
        let mac = value("address").replace(':', "-").to_ascii_uppercase();
        let (is_up, is_loopback) = (flags & IFF_UP != 0, flags & IFF_LOOPBACK != 0);
        interfaces.push(Interface { name, index, is_up, is_loopback, mac, addresses: Vec::new() });
    }
    interfaces.sort_by_key(|interface| interface.index);
    let routes = text(files, "/proc/net/route");
    let addresses = local_ipv4(&text(files, "/proc/net/fib_trie"));
    add_ipv4(&mut interfaces, &addresses, &routes);
    let by_name: BTreeMap<String, usize> =
        interfaces.iter().enumerate().map(|(at, interface)| (interface.name.clone(), at)).collect();
    for line in text(files, "/proc/net/if_inet6").lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [address, .., name] = words.as_slice()
            && let Ok(bits) = u128::from_str_radix(address, 16)
            && let Some(interface) = by_name.get(*name).and_then(|at| interfaces.get_mut(*at))
        {
            interface.addresses.push(IpAddr::V6(Ipv6Addr::from_bits(bits)));
        }
    }
    Ok(interfaces)
}

fn text(files: &mut dyn FileSystem, path: &str) -> String {
    let bytes = files.read_at(Path::new(path), 0, MAX_FILE).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// The machine's own addresses out of the kernel's routing table, in the order of their numbers.
fn local_ipv4(trie: &str) -> Vec<Ipv4Addr> {
    let mut addresses = Vec::new();
    let mut last = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(address) = last
        {
            addresses.push(address);
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Assigns addresses to the interface whose network contains them; one that is in no network belongs to the first
/// interface that is up and has none.
fn add_ipv4(interfaces: &mut [Interface], addresses: &[Ipv4Addr], routes: &str) {
    let mut networks: Vec<(u32, u32, &str)> = routes.lines().skip(1).filter_map(parse_route).collect();
    // The longest mask decides.
    networks.sort_by_key(|(_, mask, _)| std::cmp::Reverse(*mask));
    for address in addresses.iter().filter(|address| !address.is_loopback()) {
        let bits = address.to_bits();
        let network = networks.iter().find(|(network, mask, _)| bits & mask == *network);
        let used = |interface: &Interface| interface.is_up && !interface.is_loopback;
        let at = match network {
            Some((_, _, name)) => interfaces.iter().position(|interface| interface.name == *name),
            None => interfaces.iter().position(|interface| used(interface) && interface.addresses.is_empty()),
        };
        if let Some(interface) = at.and_then(|at| interfaces.get_mut(at)) {
            interface.addresses.push(IpAddr::V4(*address));
        }
    }
}

/// Network, mask and interface of a route without a gateway.
fn parse_route(line: &str) -> Option<(u32, u32, &str)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [name, network, gateway, _, _, _, _, mask, ..] = words.as_slice() else { return None };
    // The kernel prints addresses as numbers of the machine's byte order.
    let number = |hex: &str| u32::from_str_radix(hex, 16).ok().map(|bits| u32::from_be_bytes(bits.to_ne_bytes()));
    let (network, gateway, mask) = (number(network)?, number(gateway)?, number(mask)?);
    (gateway == 0 && mask != 0).then_some((network, mask, *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_those_of_the_host_entries() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                    Local:\n     |-- 10.0.0.0\n        /8 link UNICAST\n     |-- 10.1.2.3\n        /32 host LOCAL\n\
                    \x20    |-- 10.255.255.255\n        /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n\
                    Local:\n     |-- 10.1.2.3\n        /32 host LOCAL\n";
        assert_eq!(local_ipv4(trie), [Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::LOCALHOST]);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn addresses_belong_to_the_interface_of_their_network() {
        let interface = |name: &str| Interface { name: name.to_owned(), is_up: true, ..Interface::default() };
        let mut interfaces = [interface("eth0"), interface("eth1")];
        let routes = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                      eth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n\
                      eth1 0001000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
        let addresses = [Ipv4Addr::new(10, 0, 1, 7), Ipv4Addr::new(192, 168, 0, 1)];
        add_ipv4(&mut interfaces, &addresses, routes);
        assert_eq!(interfaces[1].addresses, [IpAddr::from([10, 0, 1, 7])]);
        assert_eq!(interfaces[0].addresses, [IpAddr::from([192, 168, 0, 1])]);
    }
}
