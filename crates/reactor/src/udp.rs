//! UDP sockets behind the world's `DatagramSocket`.
//!
//! Owns one socket each, which never blocks. Datagrams that are longer than the reader's buffer are dropped and
//! counted, and so are those that the system drops because they are not read in time.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;

use mio::Interest;
use otelcore_pipeline::{DatagramDrops, DatagramSocket, Key};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::forks::TrackedFd;
use crate::sockets::{EventSources, Registered, go_error, resolve_host, wanted_addresses};
use crate::stream_facts::BoundAddress;

/// Binds a socket, to every address of the machine where `host` is empty.
pub(crate) fn bind(sources: &Rc<EventSources>, key: Key, host: &str, port: u16) -> io::Result<Box<dyn DatagramSocket>> {
    let bind_to = |addr: SocketAddr| {
        TrackedFd::open(|| bind_socket(addr).map(|socket| mio::net::UdpSocket::from_std(socket.into())))
            .map_err(|e| go_error("listen", "udp", &addr, "bind: ", &e))
    };
    let mut taken = None;
    if port != 0 && sources.has_handover() {
        let addresses = wanted_addresses("udp", host, port)?;
        let is_wanted = |bound: &BoundAddress| matches!(bound, BoundAddress::Udp(addr) if addresses.contains(addr));
        taken = sources.take_over(is_wanted, |fd| mio::net::UdpSocket::from_std(fd.into()))?;
    }
    let (taken, replaced) = taken.unzip();
    let bound = if let Some(socket) = taken {
        Ok(socket)
    } else if host.is_empty() {
        match bind_to(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
            // A machine without IPv6.
            Err(e) if e.kind() != io::ErrorKind::AddrInUse => bind_to(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
            bound => bound,
        }
    } else {
        bind_to(resolve_host("udp", host, port)?)
    };
    let socket = bound.inspect_err(|e| {
        sources.note_bind_error(e, |bound| matches!(bound, BoundAddress::Udp(addr) if addr.port() == port));
    })?;
    let socket = Registered::new(socket, key, Interest::READABLE | Interest::WRITABLE, sources)?;
    if let Ok(addr) = socket.socket.local_addr() {
        socket.set_bound(BoundAddress::Udp(addr), key, replaced);
    }
    Ok(Box::new(Udp { socket, too_long: 0 }))
}

/// Whether an address could be bound once the sockets that are bound now are closed. A host that has to be looked up is
/// not tried: that could take long.
pub(crate) fn try_bind(sources: &EventSources, host: &str, port: u16) -> io::Result<()> {
    let ip: Option<IpAddr> = if host.is_empty() { Some(Ipv6Addr::UNSPECIFIED.into()) } else { host.parse().ok() };
    let Some(addr) = ip.filter(|_| port != 0).map(|ip| SocketAddr::new(ip, port)) else { return Ok(()) };
    let is_bound = |bound: &BoundAddress| matches!(bound, BoundAddress::Udp(bound) if bound.port() == port);
    if sources.bound.borrow().values().any(|socket| is_bound(&socket.address)) {
        return Ok(());
    }
    match bind_socket(addr) {
        // Without IPv6, "every address" means every IPv4 address.
        Err(e) if host.is_empty() && e.kind() != io::ErrorKind::AddrInUse => Ok(()),
        result => result.map(drop).map_err(|e| go_error("listen", "udp", &addr, "bind: ", &e)),
    }
}

fn bind_socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    // As in Go, the wildcard address of IPv6 takes both families, whatever the default of the system is.
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

#[derive(Debug)]
struct Udp {
    socket: Registered<mio::net::UdpSocket>,
    too_long: u64,
}

impl DatagramSocket for Udp {
    fn send_to(&mut self, datagram: &[u8], peer: SocketAddr) -> io::Result<()> {
        match self.socket.socket.send_to(datagram, peer) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(e),
            Err(e) => Err(go_error("write", "udp", &peer, "sendto: ", &e)),
        }
    }

    fn recv_from(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let socket = SockRef::from(&*self.socket.socket);
        if self.socket.is_replaced() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // SAFETY: bytes that are initialised are valid as bytes that may not be, and the call writes bytes only.
        let space = unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) };
        loop {
            // With the flag the length is that of the datagram, also where it is longer than the buffer.
            match socket.recv_from_with_flags(space, libc::MSG_TRUNC) {
                Ok((length, _)) if length > space.len() => self.too_long = self.too_long.saturating_add(1),
                Ok((length, peer)) => match peer.as_socket() {
                    Some(peer) => return Ok((length, peer)),
                    None => return Err(io::ErrorKind::InvalidData.into()),
                },
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn local_addr(&self) -> String {
        self.socket.socket.local_addr().map(|addr| addr.to_string()).unwrap_or_default()
    }

    fn set_receive_buffer(&mut self, bytes: usize) -> io::Result<()> {
        SockRef::from(&*self.socket.socket).set_recv_buffer_size(bytes)
    }

    fn drops(&self) -> DatagramDrops {
        DatagramDrops { buffer_full: dropped_by_system(self.socket.socket.as_raw_fd()), too_long: self.too_long }
    }
}

/// How many datagrams the system has dropped because the socket's buffer was full; zero where it does not say (before
/// Linux 4.12).
fn dropped_by_system(fd: std::os::fd::RawFd) -> u64 {
    /// `SO_MEMINFO` and the index of the drops in what it gives, from `linux/sock_diag.h`.
    const SO_MEMINFO: libc::c_int = 55;
    const SK_MEMINFO_DROPS: usize = 8;
    let mut values = [0_u32; SK_MEMINFO_DROPS + 1];
    let mut length = libc::socklen_t::try_from(size_of_val(&values)).unwrap_or(0);
    // SAFETY: `length` bytes that may be written, and the length, live until the call returns.
    let status =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, SO_MEMINFO, values.as_mut_ptr().cast(), &raw mut length) };
    if status == 0 { values.get(SK_MEMINFO_DROPS).copied().unwrap_or(0).into() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use otelcore_pipeline::MAX_DATAGRAM_BYTES;
    use std::time::Duration;

    struct Sockets {
        poll: Poll,
        sources: Rc<EventSources>,
    }

    impl Sockets {
        fn new() -> Self {
            let poll = Poll::new().unwrap();
            let registry = TrackedFd::open(|| poll.registry().try_clone()).unwrap();
            Self { poll, sources: EventSources::new(registry) }
        }

        fn bind(&self, local: u64) -> (Box<dyn DatagramSocket>, SocketAddr) {
            let socket = bind(&self.sources, Key { owner: 1, local }, "127.0.0.1", 0).unwrap();
            let addr = socket.local_addr().parse().unwrap();
            (socket, addr)
        }

        /// Waits for an event of the key.
        fn wait(&mut self, local: u64) {
            let mut events = Events::with_capacity(8);
            for _ in 0..100 {
                self.poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
                if events.iter().any(|e| self.sources.key(e.token()) == Some(Key { owner: 1, local })) {
                    return;
                }
            }
            panic!("no event");
        }
    }

    #[test]
    fn datagram_arrives_whole_with_its_sender_and_the_socket_gets_an_event() {
        let mut sockets = Sockets::new();
        let ((mut one, one_addr), (mut two, two_addr)) = (sockets.bind(1), sockets.bind(2));
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        assert_eq!(two.recv_from(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let large = vec![7; MAX_DATAGRAM_BYTES];
        for datagram in [b"first".as_slice(), b"", &large] {
            one.send_to(datagram, two_addr).unwrap();
            if datagram.is_empty() {
                // The next one may come in the same event.
                continue;
            }
            sockets.wait(2);
            loop {
                let (length, peer) = two.recv_from(&mut buffer).unwrap();
                assert_eq!(peer, one_addr);
                if length > 0 {
                    assert_eq!(&buffer[..length], datagram);
                    break;
                }
            }
        }
        assert_eq!(two.drops(), DatagramDrops::default());
        let e = one.send_to(&[0; MAX_DATAGRAM_BYTES + 1], two_addr).unwrap_err();
        assert!(e.to_string().ends_with("message too long"), "{e}");
    }

    #[test]
    fn datagram_longer_than_the_buffer_is_dropped_and_counted() {
        let mut sockets = Sockets::new();
        let ((mut one, _), (mut two, two_addr)) = (sockets.bind(1), sockets.bind(2));
        one.send_to(b"longer than it may be", two_addr).unwrap();
        one.send_to(b"short", two_addr).unwrap();
        sockets.wait(2);
        let mut buffer = [0; 10];
        assert_eq!(two.recv_from(&mut buffer).unwrap().0, 5);
        assert_eq!(two.drops(), DatagramDrops { too_long: 1, buffer_full: 0 });
    }

    #[test]
    fn datagrams_that_are_not_read_in_time_are_dropped_and_counted() {
        let sockets = Sockets::new();
        let ((mut one, _), (mut two, two_addr)) = (sockets.bind(1), sockets.bind(2));
        two.set_receive_buffer(8 << 10).unwrap();
        for _ in 0..200 {
            one.send_to(&[0; 1000], two_addr).unwrap();
        }
        let mut received = 0;
        while two.recv_from(&mut [0; 2000]).is_ok() {
            received += 1;
        }
        assert!(received < 200);
        assert_eq!(two.drops(), DatagramDrops { buffer_full: 200 - received, too_long: 0 });
    }

    #[test]
    fn port_in_use_is_refused_with_the_text_of_go() {
        let sockets = Sockets::new();
        let (_one, addr) = sockets.bind(1);
        let e = bind(&sockets.sources, Key { owner: 1, local: 2 }, "127.0.0.1", addr.port()).err().unwrap();
        assert_eq!(e.to_string(), format!("listen udp {addr}: bind: address already in use"));
    }

    #[test]
    fn socket_that_is_taken_over_keeps_datagrams_that_wait() {
        let sockets = Sockets::new();
        let ((mut one, _), (mut two, two_addr)) = (sockets.bind(1), sockets.bind(2));
        let bind_again = || bind(&sockets.sources, Key { owner: 2, local: 0 }, "127.0.0.1", two_addr.port());
        one.send_to(b"first", two_addr).unwrap();
        sockets.sources.begin_handover(&std::collections::BTreeSet::from([1]));
        drop(bind_again().unwrap());
        sockets.sources.end_handover(false);
        let mut buffer = [0; 20];
        assert_eq!(two.recv_from(&mut buffer).unwrap().0, 5, "a change that has failed");
        one.send_to(b"second", two_addr).unwrap();
        sockets.sources.begin_handover(&std::collections::BTreeSet::from([1]));
        let mut new = bind_again().unwrap();
        sockets.sources.end_handover(true);
        assert_eq!(two.recv_from(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(two);
        assert_eq!(new.recv_from(&mut buffer).unwrap().0, 6);
    }
}
