//! The cluster's name server: A records of services and pods over UDP and TCP, from a look-up function that is passed
//! in. It has no other record type, forwards nothing, and responds to unknown names with NXDOMAIN.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// The addresses of a name; `None` is NXDOMAIN, an empty list a name without addresses.
pub(crate) type Lookup = Arc<dyn Fn(&str) -> Option<Vec<Ipv4Addr>> + Send + Sync>;

/// Serves on port 53 of an address until the process ends.
pub(crate) fn serve(address: Ipv4Addr, lookup: &Lookup) {
    let udp = UdpSocket::bind((address, 53)).unwrap();
    let tcp = TcpListener::bind((address, 53)).unwrap();
    let udp_lookup = lookup.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((n, from)) = udp.recv_from(&mut buffer) {
            if let Some(response) = respond(&buffer[..n], &udp_lookup, 512) {
                let _ = udp.send_to(&response, from);
            }
        }
    });
    let tcp_lookup = lookup.clone();
    std::thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            let lookup = tcp_lookup.clone();
            std::thread::spawn(move || drop(serve_tcp(stream, &lookup)));
        }
    });
}

fn serve_tcp(mut stream: TcpStream, lookup: &Lookup) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        let response = respond(&query, lookup, 65_535).ok_or(io::ErrorKind::InvalidData)?;
        stream.write_all(&u16::try_from(response.len()).unwrap_or(u16::MAX).to_be_bytes())?;
        stream.write_all(&response)?;
    }
}

/// RFC 1035, section 4: the header, the repeated question, and an A record for each address.
fn respond(query: &[u8], lookup: &Lookup, limit: usize) -> Option<Vec<u8>> {
    let mut name = String::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = std::str::from_utf8(query.get(at..at + length)?).ok()?;
        name.push_str(&label.to_ascii_lowercase());
        name.push('.');
        at += length;
    }
    let record_type = u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?);
    let question = query.get(12..at + 4)?;
    let found = lookup(name.trim_end_matches('.'));
    let addresses = if record_type == 1 { found.clone().unwrap_or_default() } else { Vec::new() };
    let truncated = 12 + question.len() + addresses.len() * 16 > limit;
    let addresses = if truncated { Vec::new() } else { addresses };
    let mut out = query.get(..2)?.to_vec();
    // A response with authority, recursion available.
    out.push(0x84 | (query.get(2)? & 1) | if truncated { 2 } else { 0 });
    out.push(0x80 | if found.is_none() { 3 } else { 0 });
    out.extend([0, 1]);
    out.extend(u16::try_from(addresses.len()).ok()?.to_be_bytes());
    out.extend([0; 4]);
    out.extend(question);
    for address in addresses {
        // The name as a pointer, type A, class IN, a TTL of five seconds, four bytes.
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_name_has_addresses_and_unknown_name_is_nxdomain() {
        let lookup: Lookup = Arc::new(|name| match name {
            "gateway.default.svc.cluster.local" => Some(vec![Ipv4Addr::new(10, 0, 0, 1)]),
            "many" => Some(vec![Ipv4Addr::LOCALHOST; 60]),
            _ => None,
        });
        let query = |name: &str, kind: u8| {
            let mut query = vec![7, 8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            for label in name.split('.') {
                query.push(u8::try_from(label.len()).unwrap());
                query.extend(label.bytes());
            }
            query.extend([0, 0, kind, 0, 1]);
            query
        };
        let query_bytes = query("Gateway.default.svc.cluster.local", 1);
        let response = respond(&query_bytes, &lookup, 512).unwrap();
        assert_eq!(response[..8], [7, 8, 0x85, 0x80, 0, 1, 0, 1]);
        assert_eq!(response[response.len() - 4..], [10, 0, 0, 1]);
        assert_eq!(
            respond(&query("gateway.default.svc.cluster.local", 28), &lookup, 512).unwrap()[3..8],
            [0x80, 0, 1, 0, 0]
        );
        assert_eq!(respond(&query("gateway", 1), &lookup, 512).unwrap()[3], 0x83);
        assert_eq!(respond(&query("many", 1), &lookup, 512).unwrap()[2], 0x87, "truncated");
        assert!(respond(&query_bytes[..20], &lookup, 512).is_none());
    }
}
