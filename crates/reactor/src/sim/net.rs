//! The simulated network: connections as pairs of byte queues, names, and what is in transit.
//!
//! Owns every queue and everything that arrives later than it was sent. It marks nodes' keys as ready and never calls a
//! graph. Bytes of one direction stay in order; the order of everything else that is due at one moment is drawn from
//! the seed. A cut link holds back what is in transit, as TCP does, and loses nothing.

mod datagrams;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use otelcore_pipeline::{Endpoint, Key, MemorySample, MonotonicTime, PeerAddr, ResolveError};

use self::datagrams::SimDatagramSocket;
use super::disk::SimDisk;
use super::random::RandomSource;

/// The result of a look-up.
pub(crate) type ResolveResult = Result<Vec<SocketAddr>, ResolveError>;

/// An address on a node that a listener can have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum SimPort {
    Tcp(u16),
    Unix(PathBuf),
}

#[derive(Debug)]
struct SimListenerState {
    key: Key,
    /// The handle that accepts connections, and the key and the handle before a change that may still fail.
    handle: u64,
    replaced: Option<(Key, u64)>,
    /// Connections that are not accepted yet.
    backlog: VecDeque<u64>,
}

#[derive(Debug)]
enum Segment {
    Data(Vec<u8>),
    End,
    Reset,
}

/// One side of a connection.
#[derive(Debug)]
struct ConnectionSide {
    node: usize,
    /// The key to mark as ready; `None` before the side is accepted and after it is closed.
    key: Option<Key>,
    /// Whether a stream holds this side, or will when it is accepted.
    is_open: bool,
    is_established: bool,
    /// Bytes that have arrived and are not read.
    received: VecDeque<u8>,
    /// In transit to this side.
    in_transit: VecDeque<Segment>,
    in_transit_bytes: usize,
    /// When the last segment in transit arrives.
    last_arrival: MonotonicTime,
    /// The other side has ended its direction, and everything before that has arrived.
    has_peer_ended: bool,
    /// This side has ended its direction.
    is_write_shut: bool,
    /// A write of this side found no room; it is notified when there is room again.
    is_write_blocked: bool,
    error: Option<ErrorKind>,
}

impl ConnectionSide {
    fn new(node: usize, key: Option<Key>, is_open: bool) -> Self {
        Self {
            node,
            key,
            is_open,
            is_established: false,
            received: VecDeque::new(),
            in_transit: VecDeque::new(),
            in_transit_bytes: 0,
            last_arrival: MonotonicTime::default(),
            has_peer_ended: false,
            is_write_shut: false,
            is_write_blocked: false,
            error: None,
        }
    }
}

#[derive(Debug)]
struct SimConnection {
    /// The one that connected, and the one that accepted.
    sides: [ConnectionSide; 2],
    /// Where it connects to; `None` where no node has the address.
    to: Option<(usize, SimPort)>,
}

/// An event that is due at a later time.
#[derive(Clone, Debug)]
enum NetworkEvent {
    ConnectArrives(u64),
    Established(u64),
    Refused(u64),
    /// The next segment in transit to a side arrives.
    SegmentArrives(u64, usize),
    /// A side may write again.
    WriteUnblocked(u64, usize),
    DatagramArrives {
        node: usize,
        port: u16,
        bytes: Vec<u8>,
        source: SocketAddr,
    },
    LookupDone {
        node: usize,
        process_number: u64,
        key: Key,
        host: String,
        port: u16,
    },
}

/// A machine of the simulated network, and the events that its graph has not got yet.
#[derive(Debug)]
pub(crate) struct SimHost {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    /// The number of restarts: an answer to a look-up of an earlier process is not delivered.
    pub(crate) process_number: u64,
    pub(crate) ready: BTreeSet<Key>,
    pub(crate) lookup_results: VecDeque<(Key, ResolveResult)>,
    pub(crate) memory: MemorySample,
    /// What was written to outputs, by path.
    pub(crate) outputs: BTreeMap<String, Vec<u8>>,
    pub(crate) disk: SimDisk,
    /// Variables of its processes.
    pub(crate) env: BTreeMap<String, String>,
    /// The error text with which accepting a connection fails.
    pub(crate) accept_error: Option<String>,
    /// How many bytes an output still takes, by path; an output that is not in the map has no limit.
    pub(crate) output_capacity: BTreeMap<String, usize>,
    next_port: u16,
}

/// Everything between the nodes.
#[derive(Debug)]
pub(crate) struct SimNetwork {
    pub(crate) now: MonotonicTime,
    pub(crate) random: RandomSource,
    pub(crate) hosts: Vec<SimHost>,
    pub(crate) names: BTreeMap<String, Result<Vec<IpAddr>, ResolveError>>,
    /// Names whose first address becomes the last one with each look-up.
    pub(crate) rotating_names: BTreeSet<String>,
    pub(crate) latency: (Duration, Duration),
    pub(crate) links: BTreeMap<(usize, usize), (Duration, Duration)>,
    /// The most bytes in transit or unread in one direction of a connection.
    pub(crate) window: usize,
    partitioned: BTreeSet<(usize, usize)>,
    /// Of 1000 datagrams, how many are lost.
    pub(crate) datagram_loss: u32,
    datagram_sockets: BTreeMap<(usize, u16), SimDatagramSocket>,
    held_back: Vec<NetworkEvent>,
    connections: BTreeMap<u64, SimConnection>,
    next_connection: u64,
    listeners: BTreeMap<(usize, SimPort), SimListenerState>,
    next_handle: u64,
    /// The owners whose sockets may be taken over, by node, while a graph changes.
    handovers: BTreeMap<usize, BTreeSet<u32>>,
    scheduled: BTreeMap<(MonotonicTime, u64, u64), NetworkEvent>,
    sequence: u64,
    /// When each node has begun connections, for tests of reconnection.
    pub(crate) connect_times: BTreeMap<usize, Vec<MonotonicTime>>,
}

fn link_of(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl SimNetwork {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: MonotonicTime::default(),
            random: RandomSource(seed),
            hosts: Vec::new(),
            names: BTreeMap::new(),
            rotating_names: BTreeSet::new(),
            latency: (Duration::from_micros(100), Duration::from_micros(500)),
            links: BTreeMap::new(),
            window: 64 << 10,
            partitioned: BTreeSet::new(),
            datagram_loss: 0,
            datagram_sockets: BTreeMap::new(),
            held_back: Vec::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            listeners: BTreeMap::new(),
            next_handle: 0,
            handovers: BTreeMap::new(),
            scheduled: BTreeMap::new(),
            sequence: 0,
            connect_times: BTreeMap::new(),
        }
    }

    pub(crate) fn add_host(&mut self, name: &str) -> usize {
        let number = self.hosts.len();
        let [.., high, low] = u32::try_from(number + 1).unwrap_or(0).to_be_bytes();
        self.hosts.push(SimHost {
            name: name.to_owned(),
            ip: IpAddr::V4(Ipv4Addr::new(10, 0, high, low)),
            process_number: 0,
            ready: BTreeSet::new(),
            lookup_results: VecDeque::new(),
            memory: MemorySample { resident: 30 << 20, total: Some(1 << 30) },
            outputs: BTreeMap::new(),
            // Another sequence than that of the network, and no draw from it.
            env: BTreeMap::new(),
            disk: SimDisk::new(self.random.0 ^ (number as u64 + 1).wrapping_mul(0x9e6c_63d0_676a_9a99)),
            output_capacity: BTreeMap::new(),
            accept_error: None,
            next_port: 49_152,
        });
        number
    }

    // ---- time ---------------------------------------------------------------------------------------------------

    pub(crate) fn next_due(&self) -> Option<MonotonicTime> {
        self.scheduled.first_key_value().map(|((at, ..), _)| *at)
    }

    pub(crate) fn delay(&mut self, a: usize, b: usize) -> Duration {
        let (min, max) = self.links.get(&link_of(a, b)).copied().unwrap_or(self.latency);
        self.random.duration_between(min, max)
    }

    fn schedule(&mut self, at: MonotonicTime, event: NetworkEvent) {
        self.sequence += 1;
        let order = self.random.next();
        self.scheduled.insert((at, order, self.sequence), event);
    }

    /// Applies every event that is due.
    pub(crate) fn apply_due_events(&mut self) {
        while let Some(entry) = self.scheduled.first_entry()
            && entry.key().0 <= self.now
        {
            let event = entry.remove();
            let link = match &event {
                NetworkEvent::ConnectArrives(c)
                | NetworkEvent::Established(c)
                | NetworkEvent::Refused(c)
                | NetworkEvent::SegmentArrives(c, _)
                | NetworkEvent::WriteUnblocked(c, _) => {
                    let Some(conn) = self.connections.get(c) else { continue };
                    conn.to.as_ref().map(|(to, _)| link_of(conn.sides[0].node, *to))
                }
                NetworkEvent::LookupDone { .. } | NetworkEvent::DatagramArrives { .. } => None,
            };
            if link.is_some_and(|link| self.partitioned.contains(&link)) {
                self.held_back.push(event);
            } else {
                self.apply(event);
            }
        }
    }

    fn apply(&mut self, event: NetworkEvent) {
        match event {
            NetworkEvent::ConnectArrives(number) => self.connect_arrives(number),
            NetworkEvent::Established(number) => {
                if let Some(conn) = self.connections.get_mut(&number) {
                    conn.sides[0].is_established = true;
                    self.mark_ready(number, 0);
                }
            }
            NetworkEvent::Refused(number) => {
                if let Some(conn) = self.connections.get_mut(&number) {
                    conn.sides[0].error = Some(ErrorKind::ConnectionRefused);
                    self.mark_ready(number, 0);
                }
            }
            NetworkEvent::SegmentArrives(number, side) => self.segment_arrives(number, side),
            NetworkEvent::WriteUnblocked(number, side) => self.mark_ready(number, side),
            NetworkEvent::DatagramArrives { node, port, bytes, source } => {
                self.datagram_arrives(node, port, bytes, source);
            }
            NetworkEvent::LookupDone { node, process_number, key, host, port } => {
                let result = self.look_up(&host, port);
                if let Some(host) = self.hosts.get_mut(node).filter(|h| h.process_number == process_number) {
                    host.lookup_results.push_back((key, result));
                }
            }
        }
    }

    fn mark_ready(&mut self, number: u64, side: usize) {
        let Some(ConnectionSide { node, key: Some(key), .. }) = self.connections.get(&number).map(|c| &c.sides[side])
        else {
            return;
        };
        self.hosts[*node].ready.insert(*key);
    }

    // ---- connections --------------------------------------------------------------------------------------------

    /// From now on sockets of these owners of a node may be taken over.
    pub(crate) fn begin_handover(&mut self, node: usize, owners: &BTreeSet<u32>) {
        self.handovers.insert(node, owners.clone());
    }

    /// Ends it. Handles that have taken over a socket and were dropped since have given it back.
    pub(crate) fn end_handover(&mut self, node: usize) {
        self.handovers.remove(&node);
        let listeners = self.listeners.iter_mut().filter(|((of, _), _)| *of == node);
        listeners.for_each(|(_, listener)| listener.replaced = None);
        self.end_datagram_handover(node);
    }

    fn may_take_over(&self, node: usize, key: Key) -> bool {
        self.handovers.get(&node).is_some_and(|owners| owners.contains(&key.owner))
    }

    fn new_handle(&mut self) -> u64 {
        self.next_handle += 1;
        self.next_handle
    }

    /// Binds a port; returns it, its address, and the number of this handle of the socket.
    pub(crate) fn listen(&mut self, node: usize, key: Key, endpoint: &Endpoint) -> io::Result<(SimPort, String, u64)> {
        let (port, address) = match endpoint {
            Endpoint::Tcp { host, port } => {
                let is_free = |net: &Self, port| !net.listeners.contains_key(&(node, SimPort::Tcp(port)));
                let mut port = *port;
                while port == 0 {
                    let next = self.next_port(node);
                    port = if is_free(self, next) { next } else { 0 };
                }
                let host = if host.is_empty() { "[::]" } else { host };
                (SimPort::Tcp(port), format!("{host}:{port}"))
            }
            Endpoint::Unix(path) => (SimPort::Unix(path.clone()), path.display().to_string()),
        };
        let handle = self.new_handle();
        let place = (node, port.clone());
        if let Some(old) = self.listeners.get(&place).filter(|old| old.replaced.is_none())
            && self.may_take_over(node, old.key)
            && let Some(listener) = self.listeners.get_mut(&place)
        {
            listener.replaced = Some((listener.key, listener.handle));
            (listener.key, listener.handle) = (key, handle);
            // Connections may wait that were announced to the other handle.
            self.hosts[node].ready.insert(key);
            return Ok((port, address, handle));
        }
        if self.listeners.contains_key(&place) {
            let text = format!("listen tcp {address}: bind: address already in use");
            return Err(io::Error::new(ErrorKind::AddrInUse, text));
        }
        self.listeners.insert(place, SimListenerState { key, handle, replaced: None, backlog: VecDeque::new() });
        Ok((port, address, handle))
    }

    /// A port that the system of a node may choose.
    fn next_port(&mut self, node: usize) -> u16 {
        let next = self.hosts[node].next_port;
        self.hosts[node].next_port = next.wrapping_add(1).max(49_152);
        next
    }

    pub(crate) fn close_listener(&mut self, node: usize, port: &SimPort, handle: u64) {
        let place = (node, port.clone());
        let Some(listener) = self.listeners.get_mut(&place).filter(|listener| listener.handle == handle) else {
            return;
        };
        if let Some((key, handle)) = listener.replaced.take() {
            (listener.key, listener.handle) = (key, handle);
            return;
        }
        let Some(listener) = self.listeners.remove(&place) else { return };
        for number in listener.backlog {
            self.send(number, 0, Segment::Reset);
            self.close(number, 1);
        }
    }

    pub(crate) fn accept(
        &mut self,
        node: usize,
        (port, handle): (&SimPort, u64),
        local: u64,
    ) -> io::Result<(u64, String)> {
        let listener = self.listeners.get_mut(&(node, port.clone())).ok_or(ErrorKind::NotConnected)?;
        if listener.handle != handle {
            return Err(ErrorKind::WouldBlock.into());
        }
        let owner = listener.key.owner;
        let number = listener.backlog.pop_front().ok_or(ErrorKind::WouldBlock)?;
        let conn = self.connections.get_mut(&number).ok_or(ErrorKind::ConnectionAborted)?;
        conn.sides[1].key = Some(Key { owner, local });
        let from = conn.sides[0].node;
        // Data that arrived before the connection was accepted makes the new key ready now.
        self.mark_ready(number, 1);
        Ok((number, format!("{}:{}", self.hosts[from].ip, 32_768 + number % 28_000)))
    }

    pub(crate) fn connect(&mut self, node: usize, key: Key, peer: &PeerAddr) -> u64 {
        self.connect_times.entry(node).or_default().push(self.now);
        let to = match peer {
            PeerAddr::Ip(addr) if addr.ip().is_loopback() => Some((node, SimPort::Tcp(addr.port()))),
            PeerAddr::Ip(addr) => {
                self.hosts.iter().position(|h| h.ip == addr.ip()).map(|to| (to, SimPort::Tcp(addr.port())))
            }
            PeerAddr::Unix(path) => Some((node, SimPort::Unix(path.clone()))),
        };
        let number = self.next_connection;
        self.next_connection += 1;
        let server = to.as_ref().map_or(node, |(to, _)| *to);
        let sides = [ConnectionSide::new(node, Some(key), true), ConnectionSide::new(server, None, false)];
        // Where no node has the address, there is no answer.
        if to.is_some() {
            let at = self.now + self.delay(node, server);
            self.schedule(at, NetworkEvent::ConnectArrives(number));
        }
        self.connections.insert(number, SimConnection { sides, to });
        number
    }

    fn connect_arrives(&mut self, number: u64) {
        let Some(conn) = self.connections.get_mut(&number) else { return };
        let Some(at) = conn.to.clone() else { return };
        let (from, to) = (conn.sides[0].node, at.0);
        let return_delay = self.delay(from, to);
        let Some(listener) = self.listeners.get_mut(&at) else {
            return self.schedule(self.now + return_delay, NetworkEvent::Refused(number));
        };
        listener.backlog.push_back(number);
        let key = listener.key;
        self.hosts[to].ready.insert(key);
        if let Some(conn) = self.connections.get_mut(&number) {
            conn.sides[1].is_open = true;
            conn.sides[1].is_established = true;
            // Nothing that the server sends may arrive before its answer to the SYN.
            conn.sides[0].last_arrival = self.now + return_delay;
        }
        self.schedule(self.now + return_delay, NetworkEvent::Established(number));
    }

    fn send(&mut self, number: u64, to: usize, segment: Segment) {
        let Some(conn) = self.connections.get(&number) else { return };
        let delay = self.delay(conn.sides[0].node, conn.sides[1].node);
        let at = self.now + delay;
        let Some(conn) = self.connections.get_mut(&number) else { return };
        let side = &mut conn.sides[to];
        if let Segment::Data(bytes) = &segment {
            side.in_transit_bytes += bytes.len();
        }
        side.in_transit.push_back(segment);
        side.last_arrival = side.last_arrival.max(at);
        let at = side.last_arrival;
        self.schedule(at, NetworkEvent::SegmentArrives(number, to));
    }

    fn segment_arrives(&mut self, number: u64, to: usize) {
        let Some(conn) = self.connections.get_mut(&number) else { return };
        let side = &mut conn.sides[to];
        match side.in_transit.pop_front() {
            None => return,
            Some(Segment::Data(bytes)) => {
                side.in_transit_bytes -= bytes.len();
                if !side.is_open {
                    return self.send(number, 1 - to, Segment::Reset);
                }
                side.received.extend(bytes);
            }
            Some(Segment::End) => side.has_peer_ended = true,
            Some(Segment::Reset) => {
                side.error.get_or_insert(ErrorKind::ConnectionReset);
                side.received.clear();
            }
        }
        self.mark_ready(number, to);
    }

    pub(crate) fn read(&mut self, number: u64, side: usize, buf: &mut [u8]) -> io::Result<usize> {
        let is_short_read = self.random.next().is_multiple_of(8);
        let short_length = self.random.below(buf.len());
        let Some(conn) = self.connections.get_mut(&number) else { return Err(ErrorKind::NotConnected.into()) };
        let [client, server] = &mut conn.sides;
        let (own, other) = if side == 0 { (client, server) } else { (server, client) };
        if own.received.is_empty() {
            return match own.error {
                Some(kind) => Err(kind.into()),
                None if own.has_peer_ended => Ok(0),
                None => Err(ErrorKind::WouldBlock.into()),
            };
        }
        // In one of eight reads fewer bytes than there are, which a real system may give too.
        let room = if is_short_read { short_length.max(1).min(buf.len()) } else { buf.len() };
        let count = room.min(own.received.len());
        let (front, back) = own.received.as_slices();
        let split = front.len().min(count);
        buf[..split].copy_from_slice(&front[..split]);
        buf[split..count].copy_from_slice(&back[..count - split]);
        own.received.drain(..count);
        if std::mem::take(&mut other.is_write_blocked) {
            let (a, b) = (own.node, other.node);
            let at = self.now + self.delay(a, b);
            self.schedule(at, NetworkEvent::WriteUnblocked(number, 1 - side));
        }
        Ok(count)
    }

    pub(crate) fn write(&mut self, number: u64, side: usize, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let is_short_write = self.random.next().is_multiple_of(8);
        let random_length = self.random.next();
        let window = self.window;
        let Some(conn) = self.connections.get_mut(&number) else { return Err(ErrorKind::NotConnected.into()) };
        let [client, server] = &mut conn.sides;
        let (own, other) = if side == 0 { (client, server) } else { (server, client) };
        match own.error {
            Some(ErrorKind::ConnectionRefused) => return Err(ErrorKind::ConnectionRefused.into()),
            Some(_) => return Err(ErrorKind::BrokenPipe.into()),
            None if own.is_write_shut => return Err(ErrorKind::BrokenPipe.into()),
            None if !own.is_established => return Err(ErrorKind::WouldBlock.into()),
            None => {}
        }
        let total: usize = bufs.iter().map(|b| b.len()).sum();
        let room = window.saturating_sub(other.received.len() + other.in_transit_bytes);
        if total > 0 && room == 0 {
            own.is_write_blocked = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut count = total.min(room);
        if is_short_write && count > 1 {
            count = 1 + usize::try_from(random_length % (count as u64)).unwrap_or(0);
        }
        let bytes: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).take(count).collect();
        if count > 0 {
            self.send(number, 1 - side, Segment::Data(bytes));
        }
        Ok(count)
    }

    pub(crate) fn event_key(&self, number: u64, side: usize) -> Option<u64> {
        self.connections.get(&number).and_then(|c| c.sides[side].key).map(|key| key.local)
    }

    pub(crate) fn shut_write(&mut self, number: u64, side: usize) {
        let Some(own) = self.connections.get_mut(&number).map(|c| &mut c.sides[side]) else { return };
        if own.is_established && own.error.is_none() && !std::mem::replace(&mut own.is_write_shut, true) {
            self.send(number, 1 - side, Segment::End);
        }
    }

    /// The stream of a side was dropped. With unread bytes this resets the connection, as in TCP.
    pub(crate) fn close(&mut self, number: u64, side: usize) {
        let Some(own) = self.connections.get_mut(&number).map(|c| &mut c.sides[side]) else { return };
        own.is_open = false;
        own.key = None;
        if own.error.is_none() && !own.received.is_empty() {
            self.send(number, 1 - side, Segment::Reset);
        } else {
            self.shut_write(number, side);
        }
        if self.connections.get(&number).is_some_and(|c| c.sides.iter().all(|s| !s.is_open)) {
            self.connections.remove(&number);
        }
    }

    // ---- names and faults ---------------------------------------------------------------------------------------

    pub(crate) fn resolve(&mut self, node: usize, key: Key, host: &str, port: u16) {
        let process_number = self.hosts[node].process_number;
        let at = self.now + self.delay(node, node);
        self.schedule(at, NetworkEvent::LookupDone { node, process_number, key, host: host.to_owned(), port });
    }

    fn look_up(&mut self, host: &str, port: u16) -> ResolveResult {
        let with_port = |ips: &[IpAddr]| ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        if let Some(known) = self.names.get_mut(host) {
            let result = known.as_ref().map(|ips| with_port(ips)).map_err(Clone::clone);
            if let Ok(ips) = known
                && self.rotating_names.contains(host)
                && !ips.is_empty()
            {
                ips.rotate_left(1);
            }
            return result;
        }
        if let Ok(ip) = host.parse() {
            return Ok(with_port(&[ip]));
        }
        if host == "localhost" {
            return Ok(with_port(&[IpAddr::V4(Ipv4Addr::LOCALHOST)]));
        }
        match self.hosts.iter().find(|h| h.name == host) {
            Some(node) => Ok(with_port(&[node.ip])),
            None => Err(ResolveError(format!("lookup {host}: no such host"))),
        }
    }

    /// Ends every connection of a node, at both sides at once.
    pub(crate) fn reset(&mut self, node: usize) {
        let number_if_of_node =
            |(number, conn): (&u64, &SimConnection)| conn.sides.iter().any(|s| s.node == node).then_some(*number);
        let numbers: Vec<u64> = self.connections.iter().filter_map(number_if_of_node).collect();
        for number in numbers {
            for side in 0..2 {
                if let Some(side) = self.connections.get_mut(&number).map(|c| &mut c.sides[side]) {
                    side.error.get_or_insert(ErrorKind::ConnectionReset);
                    side.received.clear();
                    side.in_transit.clear();
                    side.in_transit_bytes = 0;
                }
                self.mark_ready(number, side);
            }
        }
    }

    pub(crate) fn partition(&mut self, a: usize, b: usize) {
        self.partitioned.insert(link_of(a, b));
    }

    pub(crate) fn heal(&mut self, a: usize, b: usize) {
        self.partitioned.remove(&link_of(a, b));
        // Events of other links that are still cut are parked again when they are due.
        for event in std::mem::take(&mut self.held_back) {
            let at = self.now + self.delay(a, b);
            self.schedule(at, event);
        }
    }

    /// The process of a node has ended: the next one gets none of its events.
    pub(crate) fn process_ended(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        host.process_number += 1;
        host.ready.clear();
        host.lookup_results.clear();
    }
}
