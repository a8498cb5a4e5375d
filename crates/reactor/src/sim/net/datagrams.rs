//! UDP between simulated nodes: datagrams that are delayed, overtake each other and are lost.
//!
//! Owns the bound sockets and what they have received and not read. A partition loses datagrams, and nothing is sent
//! again.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use otelcore_pipeline::{DatagramDrops, Key, MAX_DATAGRAM_BYTES};

use super::{NetworkEvent, SimNetwork, link_of};
use crate::sockets::go_error;

/// A bound socket.
#[derive(Debug)]
pub(crate) struct SimDatagramSocket {
    key: Key,
    /// As of a listener.
    handle: u64,
    replaced: Option<(Key, u64)>,
    received: VecDeque<(Vec<u8>, SocketAddr)>,
    received_bytes: usize,
    /// The most bytes in `received`.
    capacity: usize,
    drops: DatagramDrops,
}

/// The receive buffer that a socket has without asking for another one.
const DEFAULT_CAPACITY: usize = 208 << 10;

impl SimNetwork {
    /// Binds a socket of a node; returns its port and address.
    pub(crate) fn bind_udp(&mut self, node: usize, key: Key, host: &str, port: u16) -> io::Result<(u16, String, u64)> {
        let mut port = port;
        while port == 0 {
            let next = self.next_port(node);
            port = if self.datagram_sockets.contains_key(&(node, next)) { 0 } else { next };
        }
        let host = if host.is_empty() { "[::]" } else { host };
        let address = format!("{host}:{port}");
        let handle = self.new_handle();
        if let Some(old) = self.datagram_sockets.get(&(node, port)).filter(|old| old.replaced.is_none())
            && self.may_take_over(node, old.key)
            && let Some(socket) = self.datagram_sockets.get_mut(&(node, port))
        {
            socket.replaced = Some((socket.key, socket.handle));
            (socket.key, socket.handle) = (key, handle);
            self.hosts[node].ready.insert(key);
            return Ok((port, address, handle));
        }
        if self.datagram_sockets.contains_key(&(node, port)) {
            let text = format!("listen udp {address}: bind: address already in use");
            return Err(io::Error::new(ErrorKind::AddrInUse, text));
        }
        let socket = SimDatagramSocket {
            key,
            handle,
            replaced: None,
            received: VecDeque::new(),
            received_bytes: 0,
            capacity: DEFAULT_CAPACITY,
            drops: DatagramDrops::default(),
        };
        self.datagram_sockets.insert((node, port), socket);
        Ok((port, address, handle))
    }

    pub(super) fn end_datagram_handover(&mut self, node: usize) {
        let sockets = self.datagram_sockets.iter_mut().filter(|((of, _), _)| *of == node);
        sockets.for_each(|(_, socket)| socket.replaced = None);
    }

    pub(crate) fn close_udp(&mut self, place: (usize, u16), handle: u64) {
        let Some(socket) = self.datagram_sockets.get_mut(&place).filter(|socket| socket.handle == handle) else {
            return;
        };
        match socket.replaced.take() {
            Some((key, handle)) => (socket.key, socket.handle) = (key, handle),
            None => drop(self.datagram_sockets.remove(&place)),
        }
    }

    /// Whether this handle gets the datagrams of its socket.
    pub(crate) fn is_current_udp(&self, place: (usize, u16), handle: u64) -> bool {
        self.datagram_sockets.get(&place).is_some_and(|socket| socket.handle == handle)
    }

    pub(crate) fn send_datagram(&mut self, from: (usize, u16), bytes: &[u8], peer: SocketAddr) -> io::Result<()> {
        if bytes.len() > MAX_DATAGRAM_BYTES {
            let e = io::Error::from_raw_os_error(libc::EMSGSIZE);
            return Err(go_error("write", "udp", &peer, "sendto: ", &e));
        }
        let (node, port) = from;
        let (to, source): (Option<usize>, IpAddr) = if peer.ip().is_loopback() {
            (Some(node), peer.ip())
        } else {
            (self.hosts.iter().position(|h| h.ip == peer.ip()), self.hosts[node].ip)
        };
        let is_lost = self.datagram_loss > 0 && self.random.below(1000) < self.datagram_loss as usize;
        // Where no node has the address, or the link is cut, the datagram is lost and nothing says so.
        let Some(to) = to.filter(|to| !is_lost && !self.partitioned.contains(&link_of(node, *to))) else {
            return Ok(());
        };
        let at = self.now + self.delay(node, to);
        let event = NetworkEvent::DatagramArrives {
            node: to,
            port: peer.port(),
            bytes: bytes.to_vec(),
            source: SocketAddr::new(source, port),
        };
        self.schedule(at, event);
        Ok(())
    }

    pub(super) fn datagram_arrives(&mut self, node: usize, port: u16, bytes: Vec<u8>, source: SocketAddr) {
        let Some(socket) = self.datagram_sockets.get_mut(&(node, port)) else { return };
        if socket.received_bytes + bytes.len() > socket.capacity {
            socket.drops.buffer_full += 1;
            return;
        }
        socket.received_bytes += bytes.len();
        socket.received.push_back((bytes, source));
        let key = socket.key;
        self.hosts[node].ready.insert(key);
    }

    pub(crate) fn recv_datagram(&mut self, at: (usize, u16), buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let socket = self.datagram_sockets.get_mut(&at).ok_or(ErrorKind::NotConnected)?;
        while let Some((bytes, source)) = socket.received.pop_front() {
            socket.received_bytes -= bytes.len();
            if let Some(place) = buffer.get_mut(..bytes.len()) {
                place.copy_from_slice(&bytes);
                return Ok((bytes.len(), source));
            }
            socket.drops.too_long += 1;
        }
        Err(ErrorKind::WouldBlock.into())
    }

    pub(crate) fn set_datagram_capacity(&mut self, at: (usize, u16), bytes: usize) {
        if let Some(socket) = self.datagram_sockets.get_mut(&at) {
            socket.capacity = bytes;
        }
    }

    pub(crate) fn datagram_drops(&self, at: (usize, u16)) -> DatagramDrops {
        self.datagram_sockets.get(&at).map(|socket| socket.drops).unwrap_or_default()
    }
}
