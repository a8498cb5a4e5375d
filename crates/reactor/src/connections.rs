//! Which connections are open, as [`otelcore_pipeline::World::connections`] describes them.
//!
//! Owns the description. Counts nothing: bytes are read from the system when the description is made, for the connections that are in it.

use std::collections::BTreeMap;
use std::time::Instant;

use otelcore_pipeline::{ConnectionGroup, ConnectionLimits, OpenConnections, SocketRole};

use crate::sockets::EventSources;
use crate::stream_facts::{BoundAddress, StreamEnd, StreamFacts};

type GroupKey<'a> = (u32, SocketRole, &'a BoundAddress);

/// The sockets that are open now. Takes n log n of their number; the system is asked only about those that are listed.
pub(crate) fn describe(sources: &EventSources, limits: ConnectionLimits) -> OpenConnections {
    let (keys, bound, now) = (sources.keys.borrow(), sources.bound.borrow(), Instant::now());
    let mut groups: BTreeMap<GroupKey<'_>, Vec<&StreamFacts>> = BTreeMap::new();
    for socket in bound.values().filter(|socket| socket.is_used()) {
        groups.entry((socket.owner, SocketRole::Listener, &socket.address)).or_default();
    }
    for (_, source) in keys.iter() {
        let Some(stream) = &source.stream else { continue };
        let (role, address) = match &stream.end {
            StreamEnd::Accepted(at) => (SocketRole::Listener, &**at),
            StreamEnd::Dialled(to) => (SocketRole::Destination, to),
        };
        groups.entry((source.key.owner, role, address)).or_default().push(stream);
    }
    let omitted = groups.len().saturating_sub(limits.groups);
    let groups = groups.into_iter().take(limits.groups).map(|((owner, role, address), mut streams)| {
        let count = streams.len();
        if count > limits.connections && limits.connections > 0 {
            streams.select_nth_unstable_by_key(limits.connections, |stream| stream.opened);
        }
        streams.truncate(limits.connections);
        streams.sort_by_key(|stream| stream.opened);
        let (network, address) = match address {
            BoundAddress::Tcp(addr) => ("tcp", addr.to_string()),
            BoundAddress::Udp(addr) => ("udp", addr.to_string()),
            BoundAddress::Unix(path) => ("unix", path.display().to_string()),
        };
        let connections = streams.iter().map(|stream| stream.describe(now)).collect();
        ConnectionGroup { owner, role, network, address, count, connections }
    });
    OpenConnections { groups: groups.collect(), omitted }
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "peers of a test")]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    use otelcore_pipeline::{Endpoint, Key, PeerAddr};

    use super::*;
    use crate::forks::TrackedFd;
    use crate::sockets::{connect, listen};

    const LIMITS: ConnectionLimits = ConnectionLimits { groups: 10, connections: 2 };

    #[test]
    fn connections_are_described_by_listener_and_destination_with_bytes() {
        let poll = mio::Poll::new().unwrap();
        let sources = EventSources::new(TrackedFd::new(poll.registry().try_clone().unwrap()));
        let at = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
        let mut listener = listen(&sources, Key { owner: 3, local: 1 }, &at).unwrap();
        let address: SocketAddr = listener.local_addr().parse().unwrap();
        let empty = describe(&sources, LIMITS);
        assert_eq!((empty.groups.len(), empty.groups[0].count), (1, 0), "a listener without connections");
        let mut accept = || {
            for _ in 0..1000 {
                match listener.accept(2) {
                    Ok(stream) => return stream,
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
            panic!("no connection")
        };
        let mut client = TcpStream::connect(address).unwrap();
        let mut stream = accept();
        stream.set_protocol("gRPC");
        client.write_all(b"hello").unwrap();
        let mut received = [0; 5];
        for _ in 0..1000 {
            if stream.read(&mut received).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(&received, b"hello");
        let others: Vec<_> = (0..3).map(|_| (TcpStream::connect(address).unwrap(), accept())).collect();
        let outgoing = connect(&sources, Key { owner: 1, local: 1 }, &PeerAddr::Ip(address)).unwrap();
        let found = describe(&sources, LIMITS);
        let [destination, group] = &found.groups[..] else { panic!("{found:?}") };
        assert_eq!((destination.owner, destination.role, destination.count), (1, SocketRole::Destination, 1));
        assert_eq!((group.owner, group.role, group.count), (3, SocketRole::Listener, 4));
        assert_eq!((group.network, &group.address), ("tcp", &address.to_string()));
        assert_eq!(group.connections.len(), 2, "no more than was asked for");
        let oldest = &group.connections[0];
        assert_eq!((oldest.peer.as_str(), oldest.protocol), (&*client.local_addr().unwrap().to_string(), "gRPC"));
        if cfg!(target_os = "linux") {
            assert_eq!(oldest.received, Some(5), "{oldest:?}");
        }
        let few = describe(&sources, ConnectionLimits { groups: 1, connections: 0 });
        assert_eq!((few.groups.len(), few.omitted, few.groups[0].connections.len()), (1, 1, 0));
        drop((others, outgoing, stream));
        assert_eq!(describe(&sources, LIMITS).groups.len(), 1, "what is closed is not shown");
    }
}
