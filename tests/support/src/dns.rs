//! A name server: A and AAAA records over UDP and TCP, from a function. It has no other record type and forwards
//! nothing.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The most bytes of a response over UDP; a longer one is sent without records and marked as truncated.
const UDP_BYTES: usize = 512;

const A: u16 = 1;
const AAAA: u16 = 28;

/// What the server says about a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DnsAnswer {
    /// Its addresses; those of the other family than asked for are left out.
    Addresses(Vec<IpAddr>),
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    ServerFailure,
    /// There is no response at all.
    Silence,
}

type Lookup = dyn Fn(&str, u16) -> DnsAnswer + Send + Sync;

/// A server that runs until the process ends.
pub struct DnsServer {
    queries: Arc<Mutex<String>>,
}

impl std::fmt::Debug for DnsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DnsServer").finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Zone {
    lookup: Arc<Lookup>,
    queries: Arc<Mutex<String>>,
}

impl DnsServer {
    /// Serves at an address. `lookup` gets a name in lower case without the last dot, and the type: 1 for A, 28 for
    /// AAAA.
    ///
    /// # Panics
    /// When the address can't be bound.
    pub fn start(address: SocketAddr, lookup: impl Fn(&str, u16) -> DnsAnswer + Send + Sync + 'static) -> Self {
        let (udp, tcp) = (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap());
        let zone = Zone { lookup: Arc::new(lookup), queries: Arc::default() };
        let queries = zone.queries.clone();
        let tcp_zone = zone.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((n, from)) = udp.recv_from(&mut buffer) {
                if let Some(response) = zone.respond(&buffer[..n], "UDP", UDP_BYTES) {
                    let _ = udp.send_to(&response, from);
                }
            }
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let zone = tcp_zone.clone();
                std::thread::spawn(move || drop(zone.serve_tcp(stream)));
            }
        });
        Self { queries }
    }

    /// A line for each query: transport, name, type.
    #[must_use]
    pub fn queries(&self) -> String {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Zone {
    fn serve_tcp(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query)?;
            let response = self.respond(&query, "TCP", 65_535).ok_or(io::ErrorKind::InvalidData)?;
            let length = u16::try_from(response.len()).unwrap_or(u16::MAX).to_be_bytes();
            stream.write_all(&[&length[..], &response].concat())?;
        }
    }

    /// RFC 1035, section 4: the header, the repeated question, and a record for each address.
    fn respond(&self, query: &[u8], transport: &str, limit: usize) -> Option<Vec<u8>> {
        let (name, end) = question_name(query)?;
        let record_type = u16::from_be_bytes(query.get(end..end + 2)?.try_into().ok()?);
        let question = query.get(12..end + 4)?;
        let mut queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
        queries.push_str(&format!("{transport} {name} {record_type}\n"));
        drop(queries);
        let (addresses, code) = match (self.lookup)(&name, record_type) {
            DnsAnswer::Addresses(addresses) => (addresses, 0),
            DnsAnswer::ServerFailure => (Vec::new(), 2),
            DnsAnswer::NoSuchName => (Vec::new(), 3),
            DnsAnswer::Silence => return None,
        };
        let data = |address: &IpAddr| match (address, record_type) {
            (IpAddr::V4(address), A) => Some(address.octets().to_vec()),
            (IpAddr::V6(address), AAAA) => Some(address.octets().to_vec()),
            _ => None,
        };
        let mut records: Vec<Vec<u8>> = addresses.iter().filter_map(data).collect();
        let is_truncated = 12 + question.len() + records.iter().map(|data| 12 + data.len()).sum::<usize>() > limit;
        if is_truncated {
            records.clear();
        }
        let mut out = query.get(..2)?.to_vec();
        // A response with authority; recursion is available, and desired where the query says so.
        out.push(0x84 | (query.get(2)? & 1) | if is_truncated { 2 } else { 0 });
        out.push(0x80 | code);
        out.extend([0, 1]);
        out.extend(u16::try_from(records.len()).ok()?.to_be_bytes());
        out.extend([0; 4]);
        out.extend(question);
        for data in records {
            // The name as a pointer, class IN, a TTL of five seconds.
            out.extend([0xc0, 12]);
            out.extend(record_type.to_be_bytes());
            out.extend([0, 1, 0, 0, 0, 5]);
            out.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
            out.extend(data);
        }
        Some(out)
    }
}

/// The name of the question in lower case, and where it ends.
fn question_name(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(std::str::from_utf8(query.get(at..at + length)?).ok()?.to_ascii_lowercase());
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn query(name: &str, record_type: u8) -> Vec<u8> {
        let mut query = vec![7, 8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend(label.bytes());
        }
        query.extend([0, 0, record_type, 0, 1]);
        query
    }

    #[test]
    fn response_has_the_addresses_of_the_family_or_the_code_of_the_answer() {
        let lookup = |name: &str, record_type| match (name, record_type) {
            ("gateway.example", _) => {
                DnsAnswer::Addresses(vec![Ipv4Addr::new(10, 0, 0, 1).into(), "fd00::1".parse().unwrap()])
            }
            ("many", _) => DnsAnswer::Addresses(vec![Ipv4Addr::LOCALHOST.into(); 60]),
            ("fails", _) => DnsAnswer::ServerFailure,
            ("silent", _) => DnsAnswer::Silence,
            _ => DnsAnswer::NoSuchName,
        };
        let zone = Zone { lookup: Arc::new(lookup), queries: Arc::default() };
        let respond = |name, record_type, limit| zone.respond(&query(name, record_type), "UDP", limit);
        let response = respond("Gateway.example", 1, 512).unwrap();
        assert_eq!(response[..8], [7, 8, 0x85, 0x80, 0, 1, 0, 1]);
        assert_eq!(response[response.len() - 4..], [10, 0, 0, 1]);
        let address: std::net::Ipv6Addr = "fd00::1".parse().unwrap();
        assert!(respond("gateway.example", 28, 512).unwrap().ends_with(&address.octets()));
        assert_eq!(respond("many", 28, 512).unwrap()[3..8], [0x80, 0, 1, 0, 0], "none of this family");
        assert_eq!(respond("other", 1, 512).unwrap()[3], 0x83);
        assert_eq!(respond("fails", 1, 512).unwrap()[3], 0x82);
        assert_eq!(respond("silent", 1, 512), None);
        assert_eq!(respond("many", 1, 512).unwrap()[2], 0x87, "truncated");
        assert_eq!(respond("many", 1, 65_535).unwrap()[7], 60);
        assert_eq!(zone.respond(&query("gateway.example", 1)[..20], "UDP", 512), None);
        assert!(zone.queries.lock().unwrap().starts_with("UDP gateway.example 1\n"));
    }
}
