//! A name server for tests: UDP and TCP, 512 bytes over UDP, one name for which it never responds. It sends SERVFAIL to
//! AAAA queries of names that begin with `v4only.`, and to all queries of names that begin with `outside.` and end in
//! `.cluster.local`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) struct DnsServer {
    queries: Arc<Mutex<String>>,
}

impl DnsServer {
    /// Serves the names until the process ends. All other names do not exist.
    pub(crate) fn start(at: &str, names: &[(&str, &[IpAddr])], silent: &'static str) -> Self {
        let names: BTreeMap<String, Vec<IpAddr>> =
            names.iter().map(|(name, addresses)| ((*name).to_owned(), addresses.to_vec())).collect();
        let names = Arc::new(names);
        let queries = Arc::<Mutex<String>>::default();
        let (udp, tcp) = (UdpSocket::bind(at).unwrap(), TcpListener::bind(at).unwrap());
        let (zone, udp_queries) = (names.clone(), queries.clone());
        thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut question) {
                if let Some(mut response) = respond(&question[..length], &zone, silent, &udp_queries, "UDP") {
                    if response.len() > 512 {
                        // Truncated: no answers, and the bit TC.
                        response.truncate(length);
                        response[2] |= 2;
                        response[6..8].fill(0);
                    }
                    udp.send_to(&response, from).unwrap();
                }
            }
        });
        let log = queries.clone();
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0; 2];
                while stream.read_exact(&mut length).is_ok() {
                    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut question).unwrap();
                    let Some(response) = respond(&question, &names, silent, &log, "TCP") else { break };
                    let length = u16::try_from(response.len()).unwrap().to_be_bytes();
                    stream.write_all(&[&length[..], &response].concat()).unwrap();
                }
            }
        });
        Self { queries }
    }

    /// A line for each question: transport, name, type.
    pub(crate) fn queries(&self) -> String {
        self.queries.lock().unwrap().clone()
    }
}

fn respond(
    question: &[u8],
    names: &BTreeMap<String, Vec<IpAddr>>,
    silent: &str,
    queries: &Mutex<String>,
    transport: &str,
) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).to_lowercase());
        at = end;
    }
    let name = labels.join(".");
    let record_type = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    let end = at + 5;
    queries.lock().unwrap().push_str(&format!("{transport} {name} {record_type}\n"));
    if name == silent {
        return None;
    }
    let known = names.get(&name);
    let data = |ip: &IpAddr| match (ip, record_type) {
        (IpAddr::V4(ip), 1) => Some(ip.octets().to_vec()),
        (IpAddr::V6(ip), 28) => Some(ip.octets().to_vec()),
        _ => None,
    };
    let records: Vec<Vec<u8>> = known.into_iter().flatten().filter_map(data).collect();
    let count = u16::try_from(records.len()).unwrap().to_be_bytes();
    // A response: authoritative, recursion desired and available; NXDOMAIN for an unknown name.
    let fails = name.starts_with("v4only.") && record_type == 28
        || name.starts_with("outside.") && name.ends_with(".cluster.local");
    let code = match known {
        _ if fails => 0x82,
        Some(_) => 0x80,
        None => 0x83,
    };
    let mut response = [&question[..2], &[0x85, code, 0, 1], &count, &[0; 4], &question[12..end]].concat();
    for data in records {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        response.extend([&[0xc0, 12][..], &record_type.to_be_bytes(), &[0, 1, 0, 0, 0, 5], &length, &data].concat());
    }
    Some(response)
}
