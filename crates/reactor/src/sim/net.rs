//! The simulated network: connections as pairs of byte queues, names, and what is in transit.
//!
//! Owns every queue and everything that arrives later than it was sent. It marks nodes' keys as ready and never calls a
//! graph. Bytes of one direction stay in order; the order of everything else that is due at one moment is drawn from
//! the seed. A cut link holds back what is in transit, as TCP does, and loses nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use otelcore_pipeline::{Endpoint, Key, MemorySample, Mono, PeerAddr};

/// The result of a look-up.
pub(crate) type Found = Result<Vec<SocketAddr>, String>;

/// SplitMix64, the source of every random choice of a run.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; zero where `end` is zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // The bias of the remainder is far too small to affect a test.
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or(0)
    }
}

/// An address on a node that a listener can have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Port {
    Tcp(u16),
    Unix(PathBuf),
}

#[derive(Debug)]
struct Door {
    key: Key,
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
struct Side {
    node: usize,
    /// The key to mark as ready; `None` before the side is accepted and after it is closed.
    key: Option<Key>,
    /// Whether a stream holds this side, or will when it is accepted.
    open: bool,
    established: bool,
    /// Bytes that have arrived and are not read.
    inbox: VecDeque<u8>,
    /// In transit to this side.
    wire: VecDeque<Segment>,
    wire_bytes: usize,
    /// When the last segment in transit arrives.
    last: Mono,
    /// The other side has ended its direction, and everything before that has arrived.
    ended: bool,
    /// This side has ended its direction.
    shut: bool,
    /// A write of this side found no room; it is notified when there is room again.
    starved: bool,
    error: Option<ErrorKind>,
}

impl Side {
    fn new(node: usize, key: Option<Key>, open: bool) -> Self {
        Self {
            node,
            key,
            open,
            established: false,
            inbox: VecDeque::new(),
            wire: VecDeque::new(),
            wire_bytes: 0,
            last: Mono::default(),
            ended: false,
            shut: false,
            starved: false,
            error: None,
        }
    }
}

#[derive(Debug)]
struct Conn {
    /// The one that connected, and the one that accepted.
    sides: [Side; 2],
    /// Where it connects to; `None` where no node has the address.
    to: Option<(usize, Port)>,
}

/// An event that is due at a later time.
#[derive(Clone, Debug)]
enum Fact {
    Syn(u64),
    Established(u64),
    Refused(u64),
    /// The next segment in transit to a side arrives.
    Segment(u64, usize),
    /// A side may write again.
    Room(u64, usize),
    Answer {
        node: usize,
        life: u64,
        key: Key,
        host: String,
        port: u16,
    },
}

/// A machine of the simulated network, and the events that its graph has not got yet.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    /// The number of restarts: an answer to a look-up of an earlier process is not delivered.
    pub(crate) life: u64,
    pub(crate) ready: BTreeSet<Key>,
    pub(crate) answers: VecDeque<(Key, Found)>,
    pub(crate) memory: MemorySample,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// The error text with which accepting a connection fails.
    pub(crate) accept_fails: Option<String>,
    /// How many bytes an output still takes, by path; an output that is not in the map has no limit.
    pub(crate) room: BTreeMap<String, usize>,
    next_port: u16,
}

/// Everything between the nodes.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) now: Mono,
    pub(crate) random: Random,
    pub(crate) hosts: Vec<Host>,
    pub(crate) names: BTreeMap<String, Result<Vec<IpAddr>, String>>,
    pub(crate) latency: (Duration, Duration),
    pub(crate) links: BTreeMap<(usize, usize), (Duration, Duration)>,
    /// The most bytes in transit or unread in one direction of a connection.
    pub(crate) window: usize,
    cut: BTreeSet<(usize, usize)>,
    parked: Vec<Fact>,
    conns: BTreeMap<u64, Conn>,
    next_conn: u64,
    doors: BTreeMap<(usize, Port), Door>,
    queue: BTreeMap<(Mono, u64, u64), Fact>,
    sequence: u64,
    /// When each node has begun connections, for tests of reconnection.
    pub(crate) attempts: BTreeMap<usize, Vec<Mono>>,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Mono::default(),
            random: Random(seed),
            hosts: Vec::new(),
            names: BTreeMap::new(),
            latency: (Duration::from_micros(100), Duration::from_micros(500)),
            links: BTreeMap::new(),
            window: 64 << 10,
            cut: BTreeSet::new(),
            parked: Vec::new(),
            conns: BTreeMap::new(),
            next_conn: 0,
            doors: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            attempts: BTreeMap::new(),
        }
    }

    pub(crate) fn add_host(&mut self, name: &str) -> usize {
        let number = self.hosts.len();
        let [.., high, low] = u32::try_from(number + 1).unwrap_or(0).to_be_bytes();
        self.hosts.push(Host {
            name: name.to_owned(),
            ip: IpAddr::V4(Ipv4Addr::new(10, 0, high, low)),
            life: 0,
            ready: BTreeSet::new(),
            answers: VecDeque::new(),
            memory: MemorySample { resident: 30 << 20, total: Some(1 << 30) },
            files: BTreeMap::new(),
            room: BTreeMap::new(),
            accept_fails: None,
            next_port: 49_152,
        });
        number
    }

    // ---- time ---------------------------------------------------------------------------------------------------

    pub(crate) fn next(&self) -> Option<Mono> {
        self.queue.first_key_value().map(|((at, ..), _)| *at)
    }

    pub(crate) fn delay(&mut self, a: usize, b: usize) -> Duration {
        let (least, most) = self.links.get(&pair(a, b)).copied().unwrap_or(self.latency);
        let span = most.saturating_sub(least).as_nanos();
        let span = u64::try_from(span).unwrap_or(u64::MAX).saturating_add(1);
        least + Duration::from_nanos(self.random.next() % span)
    }

    fn schedule(&mut self, at: Mono, fact: Fact) {
        self.sequence += 1;
        let order = self.random.next();
        self.queue.insert((at, order, self.sequence), fact);
    }

    /// Applies every event that is due.
    pub(crate) fn arrive(&mut self) {
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= self.now
        {
            let fact = entry.remove();
            let between = match &fact {
                Fact::Syn(c) | Fact::Established(c) | Fact::Refused(c) | Fact::Segment(c, _) | Fact::Room(c, _) => {
                    let Some(conn) = self.conns.get(c) else { continue };
                    conn.to.as_ref().map(|(to, _)| pair(conn.sides[0].node, *to))
                }
                Fact::Answer { .. } => None,
            };
            if between.is_some_and(|link| self.cut.contains(&link)) {
                self.parked.push(fact);
            } else {
                self.happen(fact);
            }
        }
    }

    fn happen(&mut self, fact: Fact) {
        match fact {
            Fact::Syn(number) => self.syn(number),
            Fact::Established(number) => {
                if let Some(conn) = self.conns.get_mut(&number) {
                    conn.sides[0].established = true;
                    self.notify(number, 0);
                }
            }
            Fact::Refused(number) => {
                if let Some(conn) = self.conns.get_mut(&number) {
                    conn.sides[0].error = Some(ErrorKind::ConnectionRefused);
                    self.notify(number, 0);
                }
            }
            Fact::Segment(number, side) => self.segment(number, side),
            Fact::Room(number, side) => self.notify(number, side),
            Fact::Answer { node, life, key, host, port } => {
                let found = self.look_up(&host, port);
                if let Some(host) = self.hosts.get_mut(node).filter(|h| h.life == life) {
                    host.answers.push_back((key, found));
                }
            }
        }
    }

    fn notify(&mut self, number: u64, side: usize) {
        let Some(Side { node, key: Some(key), .. }) = self.conns.get(&number).map(|c| &c.sides[side]) else { return };
        self.hosts[*node].ready.insert(*key);
    }

    // ---- connections --------------------------------------------------------------------------------------------

    pub(crate) fn listen(&mut self, node: usize, key: Key, at: &Endpoint) -> io::Result<(Port, String)> {
        let (port, shown) = match at {
            Endpoint::Tcp { host, port } => {
                let free = |net: &Self, port| !net.doors.contains_key(&(node, Port::Tcp(port)));
                let mut port = *port;
                while port == 0 {
                    let next = self.hosts[node].next_port;
                    self.hosts[node].next_port = next.wrapping_add(1).max(49_152);
                    port = if free(self, next) { next } else { 0 };
                }
                let host = if host.is_empty() { "[::]" } else { host };
                (Port::Tcp(port), format!("{host}:{port}"))
            }
            Endpoint::Unix(path) => (Port::Unix(path.clone()), path.display().to_string()),
        };
        if self.doors.contains_key(&(node, port.clone())) {
            let text = format!("listen tcp {shown}: bind: address already in use");
            return Err(io::Error::new(ErrorKind::AddrInUse, text));
        }
        self.doors.insert((node, port.clone()), Door { key, backlog: VecDeque::new() });
        Ok((port, shown))
    }

    pub(crate) fn unlisten(&mut self, node: usize, port: &Port) {
        let Some(door) = self.doors.remove(&(node, port.clone())) else { return };
        for number in door.backlog {
            self.send(number, 0, Segment::Reset);
            self.close(number, 1);
        }
    }

    pub(crate) fn accept(&mut self, node: usize, port: &Port, local: u64) -> io::Result<(u64, String)> {
        let door = self.doors.get_mut(&(node, port.clone())).ok_or(ErrorKind::NotConnected)?;
        let owner = door.key.owner;
        let number = door.backlog.pop_front().ok_or(ErrorKind::WouldBlock)?;
        let conn = self.conns.get_mut(&number).ok_or(ErrorKind::ConnectionAborted)?;
        conn.sides[1].key = Some(Key { owner, local });
        let from = conn.sides[0].node;
        // Data that arrived before the connection was accepted makes the new key ready now.
        self.notify(number, 1);
        Ok((number, format!("{}:{}", self.hosts[from].ip, 32_768 + number % 28_000)))
    }

    pub(crate) fn connect(&mut self, node: usize, key: Key, to: &PeerAddr) -> u64 {
        self.attempts.entry(node).or_default().push(self.now);
        let to = match to {
            PeerAddr::Ip(addr) if addr.ip().is_loopback() => Some((node, Port::Tcp(addr.port()))),
            PeerAddr::Ip(addr) => {
                self.hosts.iter().position(|h| h.ip == addr.ip()).map(|to| (to, Port::Tcp(addr.port())))
            }
            PeerAddr::Unix(path) => Some((node, Port::Unix(path.clone()))),
        };
        let number = self.next_conn;
        self.next_conn += 1;
        let server = to.as_ref().map_or(node, |(to, _)| *to);
        let sides = [Side::new(node, Some(key), true), Side::new(server, None, false)];
        // Where no node has the address, there is no answer.
        if to.is_some() {
            let at = self.now + self.delay(node, server);
            self.schedule(at, Fact::Syn(number));
        }
        self.conns.insert(number, Conn { sides, to });
        number
    }

    fn syn(&mut self, number: u64) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        let Some(at) = conn.to.clone() else { return };
        let (from, to) = (conn.sides[0].node, at.0);
        let back = self.delay(from, to);
        let Some(door) = self.doors.get_mut(&at) else {
            return self.schedule(self.now + back, Fact::Refused(number));
        };
        door.backlog.push_back(number);
        let key = door.key;
        self.hosts[to].ready.insert(key);
        if let Some(conn) = self.conns.get_mut(&number) {
            conn.sides[1].open = true;
            conn.sides[1].established = true;
            // Nothing that the server sends may arrive before its answer to the SYN.
            conn.sides[0].last = self.now + back;
        }
        self.schedule(self.now + back, Fact::Established(number));
    }

    fn send(&mut self, number: u64, to: usize, segment: Segment) {
        let Some(conn) = self.conns.get(&number) else { return };
        let delay = self.delay(conn.sides[0].node, conn.sides[1].node);
        let at = self.now + delay;
        let Some(conn) = self.conns.get_mut(&number) else { return };
        let side = &mut conn.sides[to];
        if let Segment::Data(bytes) = &segment {
            side.wire_bytes += bytes.len();
        }
        side.wire.push_back(segment);
        side.last = side.last.max(at);
        let at = side.last;
        self.schedule(at, Fact::Segment(number, to));
    }

    fn segment(&mut self, number: u64, to: usize) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        let side = &mut conn.sides[to];
        match side.wire.pop_front() {
            None => return,
            Some(Segment::Data(bytes)) => {
                side.wire_bytes -= bytes.len();
                if !side.open {
                    return self.send(number, 1 - to, Segment::Reset);
                }
                side.inbox.extend(bytes);
            }
            Some(Segment::End) => side.ended = true,
            Some(Segment::Reset) => {
                side.error.get_or_insert(ErrorKind::ConnectionReset);
                side.inbox.clear();
            }
        }
        self.notify(number, to);
    }

    pub(crate) fn read(&mut self, number: u64, side: usize, buf: &mut [u8]) -> io::Result<usize> {
        let chop = self.random.next().is_multiple_of(8);
        let cut = self.random.below(buf.len());
        let Some(conn) = self.conns.get_mut(&number) else { return Err(ErrorKind::NotConnected.into()) };
        let [client, server] = &mut conn.sides;
        let (own, other) = if side == 0 { (client, server) } else { (server, client) };
        if own.inbox.is_empty() {
            return match own.error {
                Some(kind) => Err(kind.into()),
                None if own.ended => Ok(0),
                None => Err(ErrorKind::WouldBlock.into()),
            };
        }
        // In one of eight reads fewer bytes than there are, which a real system may give too.
        let room = if chop { cut.max(1).min(buf.len()) } else { buf.len() };
        let count = room.min(own.inbox.len());
        let (front, back) = own.inbox.as_slices();
        let split = front.len().min(count);
        buf[..split].copy_from_slice(&front[..split]);
        buf[split..count].copy_from_slice(&back[..count - split]);
        own.inbox.drain(..count);
        if std::mem::take(&mut other.starved) {
            let (a, b) = (own.node, other.node);
            let at = self.now + self.delay(a, b);
            self.schedule(at, Fact::Room(number, 1 - side));
        }
        Ok(count)
    }

    pub(crate) fn write(&mut self, number: u64, side: usize, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let chop = self.random.next().is_multiple_of(8);
        let draw = self.random.next();
        let window = self.window;
        let Some(conn) = self.conns.get_mut(&number) else { return Err(ErrorKind::NotConnected.into()) };
        let [client, server] = &mut conn.sides;
        let (own, other) = if side == 0 { (client, server) } else { (server, client) };
        match own.error {
            Some(ErrorKind::ConnectionRefused) => return Err(ErrorKind::ConnectionRefused.into()),
            Some(_) => return Err(ErrorKind::BrokenPipe.into()),
            None if own.shut => return Err(ErrorKind::BrokenPipe.into()),
            None if !own.established => return Err(ErrorKind::WouldBlock.into()),
            None => {}
        }
        let total: usize = bufs.iter().map(|b| b.len()).sum();
        let room = window.saturating_sub(other.inbox.len() + other.wire_bytes);
        if total > 0 && room == 0 {
            own.starved = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut count = total.min(room);
        if chop && count > 1 {
            count = 1 + usize::try_from(draw % (count as u64)).unwrap_or(0);
        }
        let bytes: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).take(count).collect();
        if count > 0 {
            self.send(number, 1 - side, Segment::Data(bytes));
        }
        Ok(count)
    }

    pub(crate) fn shut(&mut self, number: u64, side: usize) {
        let Some(own) = self.conns.get_mut(&number).map(|c| &mut c.sides[side]) else { return };
        if own.established && own.error.is_none() && !std::mem::replace(&mut own.shut, true) {
            self.send(number, 1 - side, Segment::End);
        }
    }

    /// The stream of a side was dropped. With unread bytes this resets the connection, as in TCP.
    pub(crate) fn close(&mut self, number: u64, side: usize) {
        let Some(own) = self.conns.get_mut(&number).map(|c| &mut c.sides[side]) else { return };
        own.open = false;
        own.key = None;
        if own.error.is_none() && !own.inbox.is_empty() {
            self.send(number, 1 - side, Segment::Reset);
        } else {
            self.shut(number, side);
        }
        if self.conns.get(&number).is_some_and(|c| c.sides.iter().all(|s| !s.open)) {
            self.conns.remove(&number);
        }
    }

    // ---- names and faults ---------------------------------------------------------------------------------------

    pub(crate) fn resolve(&mut self, node: usize, key: Key, host: &str, port: u16) {
        let life = self.hosts[node].life;
        let at = self.now + self.delay(node, node);
        self.schedule(at, Fact::Answer { node, life, key, host: host.to_owned(), port });
    }

    fn look_up(&self, host: &str, port: u16) -> Found {
        let with_port = |ips: &[IpAddr]| ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        if let Some(known) = self.names.get(host) {
            return known.as_ref().map(|ips| with_port(ips)).map_err(Clone::clone);
        }
        if let Ok(ip) = host.parse() {
            return Ok(with_port(&[ip]));
        }
        if host == "localhost" {
            return Ok(with_port(&[IpAddr::V4(Ipv4Addr::LOCALHOST)]));
        }
        match self.hosts.iter().find(|h| h.name == host) {
            Some(node) => Ok(with_port(&[node.ip])),
            None => Err(format!("lookup {host}: no such host")),
        }
    }

    /// Ends every connection of a node, at both sides at once.
    pub(crate) fn reset(&mut self, node: usize) {
        let of_node = |(number, conn): (&u64, &Conn)| conn.sides.iter().any(|s| s.node == node).then_some(*number);
        let numbers: Vec<u64> = self.conns.iter().filter_map(of_node).collect();
        for number in numbers {
            for side in 0..2 {
                if let Some(side) = self.conns.get_mut(&number).map(|c| &mut c.sides[side]) {
                    side.error.get_or_insert(ErrorKind::ConnectionReset);
                    side.inbox.clear();
                    side.wire.clear();
                    side.wire_bytes = 0;
                }
                self.notify(number, side);
            }
        }
    }

    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        self.cut.insert(pair(a, b));
    }

    pub(crate) fn heal(&mut self, a: usize, b: usize) {
        self.cut.remove(&pair(a, b));
        // Events of other links that are still cut are parked again when they are due.
        for fact in std::mem::take(&mut self.parked) {
            let at = self.now + self.delay(a, b);
            self.schedule(at, fact);
        }
    }

    /// The process of a node has ended: the next one gets none of its events.
    pub(crate) fn forget(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        host.life += 1;
        host.ready.clear();
        host.answers.clear();
    }
}
