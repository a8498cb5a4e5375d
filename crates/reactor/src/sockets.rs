//! TCP and Unix sockets behind the world's `Stream` and `Listener`.
//!
//! Every send has MSG_NOSIGNAL: in a host program that is not written in Rust, a write to a closed socket would
//! otherwise end the process by SIGPIPE. Dropping closes the descriptor and never calls shutdown(2), which in a forked
//! child would shut down the parent's connection.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use otelcore_pipeline::{Endpoint, Key, Listener, PeerAddr, Stream, error_with_text};
use slab::Slab;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::forks::TrackedFd;
use crate::os::error_text;
use crate::stream_facts::{BoundAddress, StreamEnd, StreamFacts};

/// What a token belongs to.
#[derive(Debug)]
pub(crate) struct EventSource {
    pub(crate) key: Key,
    /// `None` for what is no stream.
    pub(crate) stream: Option<StreamFacts>,
}

/// The key of each token. Tokens below [`FIRST_TOKEN`] belong to the loop.
#[derive(Debug)]
pub(crate) struct EventSources {
    registry: TrackedFd<Registry>,
    pub(crate) keys: RefCell<Slab<EventSource>>,
    /// The sockets that are bound, by slot.
    pub(crate) bound: RefCell<BTreeMap<usize, BoundSocket>>,
    /// The change of the graph that is under way.
    handover: RefCell<Handover>,
}

/// A bound socket.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    pub(crate) address: BoundAddress,
    fd: RawFd,
    pub(crate) owner: u32,
    use_of_socket: SocketUse,
}

impl BoundSocket {
    /// Whether its handle gets what arrives.
    pub(crate) fn is_used(&self) -> bool {
        matches!(self.use_of_socket, SocketUse::Own | SocketUse::Replacing)
    }
}

/// Who uses a bound socket. Several handles may refer to one socket of the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SocketUse {
    Own,
    /// Another handle is to replace this one when the change succeeds.
    Replaced,
    /// It is to replace another one.
    Replacing,
    /// Another handle has replaced it: it gets nothing any more.
    Ended,
}

/// Which owners pass their sockets on.
#[derive(Debug, Default)]
struct Handover {
    owners: BTreeSet<u32>,
    /// An address could not be bound because one of the owners has its port.
    has_conflict: bool,
}

/// Tokens below this one belong to the loop: its waker and its signals.
pub(crate) const FIRST_TOKEN: usize = 16;

impl EventSources {
    pub(crate) fn new(registry: TrackedFd<Registry>) -> Rc<Self> {
        let (keys, bound, handover) = Default::default();
        Rc::new(Self { registry, keys, bound, handover })
    }

    pub(crate) fn key(&self, token: Token) -> Option<Key> {
        self.keys.borrow().get(token.0.checked_sub(FIRST_TOKEN)?).map(|source| source.key)
    }

    /// From now on sockets of these owners may be taken over.
    pub(crate) fn begin_handover(&self, owners: &BTreeSet<u32>) {
        *self.handover.borrow_mut() = Handover { owners: owners.clone(), has_conflict: false };
    }

    /// Ends it: the handles that were replaced get no events any more, or are used as before. Returns whether a port was in use
    /// by one of the owners at another address.
    pub(crate) fn end_handover(&self, is_final: bool) -> bool {
        for socket in self.bound.borrow_mut().values_mut() {
            socket.use_of_socket = match (socket.use_of_socket, is_final) {
                (SocketUse::Replaced, true) => {
                    // The socket stays open by its other handle, so closing this one would not end the registration. An error
                    // is ignored: then there is none.
                    let _ = self.registry.deregister(&mut SourceFd(&socket.fd));
                    SocketUse::Ended
                }
                (SocketUse::Replaced, false) | (SocketUse::Replacing, true) => SocketUse::Own,
                (other, _) => other,
            };
        }
        self.handover.take().has_conflict
    }

    /// Whether sockets may be taken over now.
    pub(crate) fn has_handover(&self) -> bool {
        !self.handover.borrow().owners.is_empty()
    }

    /// Another handle of the socket that one of the owners has bound to such an address; with the slot of the first handle.
    pub(crate) fn take_over<S: AsRawFd>(
        &self,
        is_address: impl Fn(&BoundAddress) -> bool,
        from_fd: impl FnOnce(OwnedFd) -> S,
    ) -> io::Result<Option<(TrackedFd<S>, usize)>> {
        let handover = self.handover.borrow();
        for (slot, socket) in self.bound.borrow().iter() {
            let is_free = socket.use_of_socket == SocketUse::Own && handover.owners.contains(&socket.owner);
            if is_free && is_address(&socket.address) {
                // SAFETY: the descriptor is open as long as the entry exists: it is removed before the socket is closed.
                let borrowed = unsafe { BorrowedFd::borrow_raw(socket.fd) };
                let socket = TrackedFd::open(|| borrowed.try_clone_to_owned().map(from_fd))?;
                return Ok(Some((socket, *slot)));
            }
        }
        Ok(None)
    }

    /// Notes that an address could not be bound.
    pub(crate) fn note_bind_error(&self, e: &io::Error, has_same_port: impl Fn(&BoundAddress) -> bool) {
        let mut handover = self.handover.borrow_mut();
        // One that is replaced is in the way as a new component's.
        let is_of_owner =
            |socket: &&BoundSocket| socket.use_of_socket == SocketUse::Own && handover.owners.contains(&socket.owner);
        if e.kind() == io::ErrorKind::AddrInUse
            && self.bound.borrow().values().filter(is_of_owner).any(|socket| has_same_port(&socket.address))
        {
            handover.has_conflict = true;
        }
    }

    /// Whether another handle has replaced the one of this slot, or is to.
    fn is_replaced(&self, slot: usize) -> bool {
        let has_use = |socket: &BoundSocket| matches!(socket.use_of_socket, SocketUse::Replaced | SocketUse::Ended);
        self.bound.borrow().get(&slot).is_some_and(has_use)
    }

    /// Whether the socket of this slot belongs to another handle when this one is closed.
    fn has_other_handle(&self, slot: usize) -> bool {
        self.bound.borrow().get(&slot).is_some_and(|socket| socket.use_of_socket != SocketUse::Own)
    }

    fn register(&self, source: &mut impl Source, key: Key, interest: Interest) -> io::Result<usize> {
        let slot = self.keys.borrow_mut().insert(EventSource { key, stream: None });
        match self.registry.register(source, Token(slot + FIRST_TOKEN), interest) {
            Ok(()) => Ok(slot),
            Err(e) => {
                self.keys.borrow_mut().remove(slot);
                Err(e)
            }
        }
    }
}

/// A socket that is registered as long as this exists. Closing the descriptor ends the registration with epoll.
#[derive(Debug)]
pub(crate) struct Registered<S: AsRawFd> {
    pub(crate) socket: TrackedFd<S>,
    pub(crate) slot: usize,
    sources: Rc<EventSources>,
}

impl<S: Source + AsRawFd> Registered<S> {
    pub(crate) fn new(
        mut socket: TrackedFd<S>,
        key: Key,
        interest: Interest,
        sources: &Rc<EventSources>,
    ) -> io::Result<Self> {
        let slot = sources.register(&mut *socket, key, interest)?;
        Ok(Self { socket, slot, sources: sources.clone() })
    }

    /// Notes what it is bound to. `replaced` is the slot of the handle that it is to replace.
    pub(crate) fn set_bound(&self, address: BoundAddress, key: Key, replaced: Option<usize>) {
        let mut bound = self.sources.bound.borrow_mut();
        let other = replaced.and_then(|slot| bound.get_mut(&slot));
        let use_of_socket = if other.is_some() { SocketUse::Replacing } else { SocketUse::Own };
        if let Some(other) = other {
            other.use_of_socket = SocketUse::Replaced;
        }
        let fd = self.socket.as_raw_fd();
        bound.insert(self.slot, BoundSocket { address, fd, owner: key.owner, use_of_socket });
    }

    /// Notes what is known of it as a stream.
    pub(crate) fn set_stream(&self, end: StreamEnd, peer: Option<SocketAddr>) {
        let fd = self.socket.as_raw_fd();
        if let Some(source) = self.sources.keys.borrow_mut().get_mut(self.slot) {
            source.stream = Some(StreamFacts::new(end, peer, fd));
        }
    }

    /// Whether another handle gets what arrives at the socket.
    pub(crate) fn is_replaced(&self) -> bool {
        self.sources.is_replaced(self.slot)
    }
}

impl<S: AsRawFd> Registered<S> {
    fn change_stream(&self, change: impl FnOnce(&mut StreamFacts)) {
        if let Some(stream) =
            self.sources.keys.borrow_mut().get_mut(self.slot).and_then(|source| source.stream.as_mut())
        {
            change(stream);
        }
    }
}

impl<S: AsRawFd> Drop for Registered<S> {
    fn drop(&mut self) {
        self.sources.keys.borrow_mut().try_remove(self.slot);
        let bound = self.sources.bound.borrow_mut().remove(&self.slot);
        // Closing one of two handles does not end its registration. In a forked child it is the parent's.
        if bound.is_some_and(|socket| socket.use_of_socket == SocketUse::Replacing) && !self.socket.is_inherited() {
            let _ = self.sources.registry.deregister(&mut SourceFd(&self.socket.as_raw_fd()));
        }
    }
}

pub(crate) fn go_error(
    operation: &str,
    network: &str,
    at: &dyn std::fmt::Display,
    system_call: &str,
    e: &io::Error,
) -> io::Error {
    let text = format!("{operation} {network} {at}: {system_call}{}", error_text(e));
    error_with_text(e, text)
}

/// The error of an operation on a path, in the form of Go's `PathError`.
pub(crate) fn path_error(operation: &str, path: &Path, e: &io::Error) -> io::Error {
    let text = format!("{operation} {}: {}", path.display(), error_text(e));
    error_with_text(e, text)
}

pub(crate) fn listen(sources: &Rc<EventSources>, key: Key, endpoint: &Endpoint) -> io::Result<Box<dyn Listener>> {
    match endpoint {
        Endpoint::Tcp { host, port } => listen_at_host(sources, key, host, *port),
        Endpoint::Unix(path) => {
            let bind_error = |e: io::Error| go_error("listen", "unix", &path.display(), "bind: ", &e);
            let is_wanted = |bound: &BoundAddress| matches!(bound, BoundAddress::Unix(found) if found == path);
            let taken = sources.take_over(is_wanted, |fd| mio::net::UnixListener::from_std(fd.into()));
            let (socket, replaced) = match taken.map_err(bind_error)? {
                Some((socket, slot)) => (socket, Some(slot)),
                None => {
                    let open = || listen_unix(path).map(|socket| mio::net::UnixListener::from_std(socket.into()));
                    (TrackedFd::open(open).map_err(bind_error)?, None)
                }
            };
            let file_id = file_id(path);
            let socket = Registered::new(socket, key, Interest::READABLE, sources)?;
            socket.set_bound(BoundAddress::Unix(path.clone()), key, replaced);
            let (pid, address) = (std::process::id(), Rc::new(BoundAddress::Unix(path.clone())));
            Ok(Box::new(UnixListening { socket, owner: key.owner, path: path.clone(), address, file_id, pid }))
        }
    }
}

fn listen_at_host(sources: &Rc<EventSources>, key: Key, host: &str, port: u16) -> io::Result<Box<dyn Listener>> {
    let taken = if port != 0 && sources.has_handover() {
        let addresses = wanted_addresses("tcp", host, port)?;
        let is_wanted = |bound: &BoundAddress| matches!(bound, BoundAddress::Tcp(addr) if addresses.contains(addr));
        sources.take_over(is_wanted, |fd| mio::net::TcpListener::from_std(fd.into()))?
    } else {
        None
    };
    let (socket, addr, replaced) = match taken {
        Some((socket, slot)) => (socket, None, Some(slot)),
        None => {
            let bound = bind_host(host, port);
            let (socket, addr) = bound.inspect_err(|e| {
                sources.note_bind_error(e, |bound| matches!(bound, BoundAddress::Tcp(addr) if addr.port() == port));
            })?;
            (socket, Some(addr), None)
        }
    };
    let local = socket.local_addr();
    let local = match addr {
        Some(addr) => local.unwrap_or(addr),
        None => local?,
    };
    let socket = Registered::new(socket, key, Interest::READABLE, sources)?;
    socket.set_bound(BoundAddress::Tcp(local), key, replaced);
    let address = Rc::new(BoundAddress::Tcp(local));
    Ok(Box::new(TcpListening { socket, owner: key.owner, local_addr: local, address }))
}

/// The addresses that a socket for this host may have: for an empty one every address of both families, or of IPv4 alone.
pub(crate) fn wanted_addresses(network: &str, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if host.is_empty() {
        return Ok(vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]);
    }
    Ok(vec![resolve_host(network, host, port)?])
}

/// Whether an address could be bound once the sockets that listen now are closed. It is bound without listening, so
/// that no client connects to it. A host that has to be looked up is not tried: that could take long.
pub(crate) fn try_bind(sources: &EventSources, endpoint: &Endpoint) -> io::Result<()> {
    let bound = sources.bound.borrow();
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let host = if host == "localhost" { "127.0.0.1" } else { host.as_str() };
            let ip: Option<std::net::IpAddr> =
                if host.is_empty() { Some(Ipv6Addr::UNSPECIFIED.into()) } else { host.parse().ok() };
            let Some(ip) = ip.filter(|_| *port != 0) else { return Ok(()) };
            let is_bound = |bound: &BoundAddress| {
                matches!(bound, BoundAddress::Tcp(addr) if addr.port() == *port
                    && (addr.ip() == ip || addr.ip().is_unspecified() || ip.is_unspecified()))
            };
            if bound.values().any(|socket| is_bound(&socket.address)) {
                return Ok(());
            }
            let result = bind_socket(SocketAddr::new(ip, *port)).map(drop);
            match result {
                // Without IPv6, "every address" means every IPv4 address.
                Err(e) if host.is_empty() && e.kind() != io::ErrorKind::AddrInUse => {
                    let addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port));
                    bind_socket(addr).map(drop).map_err(|e| go_error("listen", "tcp", &addr, "bind: ", &e))
                }
                result => result.map_err(|e| go_error("listen", "tcp", &SocketAddr::new(ip, *port), "bind: ", &e)),
            }
        }
        Endpoint::Unix(path) => {
            let is_bound = |bound: &BoundAddress| matches!(bound, BoundAddress::Unix(found) if found == path);
            if bound.values().any(|socket| is_bound(&socket.address)) || is_stale_socket(path) {
                return Ok(());
            }
            let result = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)
                .and_then(|socket| socket.bind(&SockAddr::unix(path)?).map(|()| socket));
            let _socket = result.map_err(|e| go_error("listen", "unix", &path.display(), "bind: ", &e))?;
            std::fs::remove_file(path)
        }
    }
}

fn bind_host(host: &str, port: u16) -> io::Result<(TrackedFd<mio::net::TcpListener>, SocketAddr)> {
    let bind_to = |addr: SocketAddr| {
        TrackedFd::open(|| listen_tcp(addr).map(|socket| mio::net::TcpListener::from_std(socket.into())))
            .map(|socket| (socket, addr))
            .map_err(|e| go_error("listen", "tcp", &addr, "bind: ", &e))
    };
    if host.is_empty() {
        // Every address of both families, where there is IPv6.
        let result = bind_to(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
        return match result {
            Err(e) if e.kind() != io::ErrorKind::AddrInUse => bind_to(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
            bound => bound,
        };
    }
    bind_to(resolve_host("tcp", host, port)?)
}

/// The address of a host to bind to. As in Go, IPv4 takes precedence where a name has addresses of both families.
pub(crate) fn resolve_host(network: &str, host: &str, port: u16) -> io::Result<SocketAddr> {
    let lookup_error = |e: io::Error| go_error("listen", network, &host, "lookup: ", &e);
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(lookup_error)?.collect();
    let addr = found.iter().find(|a| a.is_ipv4()).or_else(|| found.first());
    let not_found =
        || io::Error::new(io::ErrorKind::NotFound, format!("listen {network}: lookup {host}: no such host"));
    addr.copied().ok_or_else(not_found)
}

fn listen_tcp(addr: SocketAddr) -> io::Result<Socket> {
    let socket = bind_socket(addr)?;
    socket.listen(backlog())?;
    Ok(socket)
}

fn bind_socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    // As Go does: a listener that is restarted does not wait for old connections to end, and the wildcard address of
    // IPv6 accepts both families, whatever the system's default is.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Binds a Unix socket. A socket file without a listener, which a killed process leaves behind, is replaced. Any other
/// file, and a socket with a listener, stays.
fn listen_unix(path: &Path) -> io::Result<Socket> {
    let bind = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(backlog())?;
        Ok(socket)
    };
    match bind() {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse && remove_stale_socket(path)? => bind(),
        bound => bound,
    }
}

/// Removes a socket file without a listener. It is renamed before it is checked again, so that a file with which
/// another process replaces it at the same moment is not lost.
fn remove_stale_socket(path: &Path) -> io::Result<bool> {
    if !is_stale_socket(path) {
        return Ok(false);
    }
    let renamed = path.with_file_name(format!(".{}.old", std::process::id()));
    // Where the new name is in use or the folder can't be written, the caller returns the error of bind(2).
    if renamed.symlink_metadata().is_ok() || std::fs::rename(path, &renamed).is_err() {
        return Ok(false);
    }
    if is_stale_socket(&renamed) {
        std::fs::remove_file(&renamed)?;
        return Ok(true);
    }
    // Another process listens on it now, so the name is restored. link(2) overwrites nothing: a newer file of that name
    // stays.
    let _ = std::fs::hard_link(&renamed, path);
    std::fs::remove_file(&renamed)?;
    Ok(false)
}

/// Whether this is a socket file to which connect(2) is refused because it has no listener. A symbolic link is no
/// socket.
fn is_stale_socket(path: &Path) -> bool {
    let is_socket = path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket());
    let connect = || -> io::Result<()> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    is_socket && connect().is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

/// Device and inode number of a file.
fn file_id(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// How many connections may wait to be accepted: as many as the system allows, as in Go. Every kernel takes values up
/// to 65,535.
fn backlog() -> i32 {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    text.trim().parse().map_or(libc::SOMAXCONN, |limit: u64| i32::from(u16::try_from(limit).unwrap_or(u16::MAX).max(1)))
}

/// An error of accept(2) in Go's form. Where no descriptor is left, it names the limit.
fn accept_error(network: &str, at: &dyn std::fmt::Display, e: io::Error) -> io::Error {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    if matches!(e.kind(), WouldBlock | Interrupted | ConnectionAborted) {
        return e;
    }
    let text = go_error("accept", network, at, "accept4: ", &e);
    match (e.raw_os_error(), crate::os::file_limit()) {
        (Some(libc::EMFILE), Some(limit)) => io::Error::other(format!(
            "{text}; the limit of this process is {limit}: raise it (ulimit -n, LimitNOFILE=, the container's ulimits)"
        )),
        (Some(libc::ENFILE), _) => io::Error::other(format!("{text}; the limit of the system is fs.file-max")),
        _ => text,
    }
}

pub(crate) fn connect(sources: &Rc<EventSources>, key: Key, peer: &PeerAddr) -> io::Result<Box<dyn Stream>> {
    let both = Interest::READABLE | Interest::WRITABLE;
    match peer {
        PeerAddr::Ip(addr) => {
            let connect_error = |e: io::Error| go_error("dial", "tcp", addr, "connect: ", &e);
            let socket = TrackedFd::open(|| mio::net::TcpStream::connect(*addr)).map_err(connect_error)?;
            set_tcp_options(&socket);
            let socket = Registered::new(socket, key, both, sources)?;
            socket.set_stream(StreamEnd::Dialled(BoundAddress::Tcp(*addr)), Some(*addr));
            Ok(Box::new(SocketStream { socket, peer: addr.to_string() }))
        }
        PeerAddr::Unix(path) => {
            let connect_error = |e: io::Error| go_error("dial", "unix", &path.display(), "connect: ", &e);
            let socket = TrackedFd::open(|| mio::net::UnixStream::connect(path)).map_err(connect_error)?;
            let socket = Registered::new(socket, key, both, sources)?;
            socket.set_stream(StreamEnd::Dialled(BoundAddress::Unix(path.clone())), None);
            Ok(Box::new(SocketStream { socket, peer: path.display().to_string() }))
        }
    }
}

/// Go's defaults: TCP_NODELAY, and keepalive probes after 15 idle seconds. A socket on which they can't be set is still
/// used.
fn set_tcp_options(socket: &mio::net::TcpStream) {
    let _ = socket.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(15));
    let _ = SockRef::from(socket).set_tcp_keepalive(&keepalive);
}

#[derive(Debug)]
struct TcpListening {
    socket: Registered<mio::net::TcpListener>,
    owner: u32,
    local_addr: SocketAddr,
    /// The same for the streams that it accepts.
    address: Rc<BoundAddress>,
}

impl Listener for TcpListening {
    fn accept(&mut self, local: u64) -> io::Result<Box<dyn Stream>> {
        if self.socket.is_replaced() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut from = None;
        let accept = || self.socket.socket.accept().map(|(socket, peer)| (from.replace(peer), socket).1);
        let socket = TrackedFd::open(accept).map_err(|e| accept_error("tcp", &self.local_addr, e))?;
        set_tcp_options(&socket);
        let key = Key { owner: self.owner, local };
        let socket = Registered::new(socket, key, Interest::READABLE | Interest::WRITABLE, &self.socket.sources)?;
        socket.set_stream(StreamEnd::Accepted(self.address.clone()), from);
        Ok(Box::new(SocketStream { socket, peer: from.map(|peer| peer.to_string()).unwrap_or_default() }))
    }

    fn local_addr(&self) -> String {
        self.local_addr.to_string()
    }
}

#[derive(Debug)]
struct UnixListening {
    socket: Registered<mio::net::UnixListener>,
    owner: u32,
    path: PathBuf,
    /// The same for the streams that it accepts.
    address: Rc<BoundAddress>,
    /// Device and inode number of the file that was bound, to recognise a file that has replaced it.
    file_id: Option<(u64, u64)>,
    pid: u32,
}

impl Listener for UnixListening {
    fn accept(&mut self, local: u64) -> io::Result<Box<dyn Stream>> {
        if self.socket.is_replaced() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let accepted = TrackedFd::open(|| self.socket.socket.accept().map(|(socket, _)| socket));
        let socket = accepted.map_err(|e| accept_error("unix", &self.path.display(), e))?;
        let key = Key { owner: self.owner, local };
        let socket = Registered::new(socket, key, Interest::READABLE | Interest::WRITABLE, &self.socket.sources)?;
        socket.set_stream(StreamEnd::Accepted(self.address.clone()), None);
        Ok(Box::new(SocketStream { socket, peer: String::new() }))
    }

    fn local_addr(&self) -> String {
        self.path.display().to_string()
    }
}

impl Drop for UnixListening {
    fn drop(&mut self) {
        // As Go's listener does. A forked child, and a listener whose file was replaced, leave the file to its owner.
        if self.socket.sources.has_other_handle(self.socket.slot) {
            return;
        }
        if self.pid == std::process::id() && self.file_id.is_some() && file_id(&self.path) == self.file_id {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

struct SocketStream<S: AsRawFd> {
    socket: Registered<S>,
    peer: String,
}

impl<S> Stream for SocketStream<S>
where
    S: Read + AsFd + AsRawFd,
{
    fn peer_addr(&self) -> String {
        self.peer.clone()
    }

    fn event_key(&self) -> Option<u64> {
        self.socket.sources.keys.borrow().get(self.socket.slot).map(|source| source.key.local)
    }

    fn set_protocol(&mut self, protocol: &'static str) {
        self.socket.change_stream(|stream| stream.protocol = protocol);
    }

    fn set_encrypted(&mut self) {
        self.socket.change_stream(|stream| stream.is_encrypted = true);
    }

    fn shutdown_write(&mut self) {
        // An error is ignored: a peer that has closed the connection needs no half-close.
        let _ = SockRef::from(&*self.socket.socket).shutdown(std::net::Shutdown::Write);
    }
}

impl<S: Read + AsRawFd> Read for SocketStream<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.socket.read(buf)
    }
}

impl<S: AsFd + AsRawFd> Write for SocketStream<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        SockRef::from(&*self.socket.socket).send_with_flags(buf, libc::MSG_NOSIGNAL)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        // The system takes at most IOV_MAX slices; the caller gets a short write and writes the rest later.
        let bufs = bufs.get(..1024).unwrap_or(bufs);
        SockRef::from(&*self.socket.socket).send_vectored_with_flags(bufs, libc::MSG_NOSIGNAL)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_types, reason = "peers of a test")]
mod tests {
    use std::net::TcpStream;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    const KEY: Key = Key { owner: 0, local: 0 };

    fn sources() -> (mio::Poll, Rc<EventSources>) {
        let poll = mio::Poll::new().unwrap();
        let sources = EventSources::new(TrackedFd::new(poll.registry().try_clone().unwrap()));
        (poll, sources)
    }

    fn temporary_folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("otelcore-{name}-{}", crate::os::uuid()));
        std::fs::create_dir(&path).unwrap();
        path
    }

    /// A socket file whose process was killed.
    fn create_stale_socket(path: &Path) {
        // std's listener does not remove its file.
        drop(UnixListener::bind(path).unwrap());
        assert!(path.symlink_metadata().unwrap().file_type().is_socket());
    }

    #[test]
    fn stale_unix_socket_is_replaced() {
        let (_poll, sources) = sources();
        let folder = temporary_folder("left");
        let path = folder.join("otlp.sock");
        create_stale_socket(&path);
        let mut listener = listen(&sources, KEY, &Endpoint::Unix(path.clone())).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        listener.accept(1).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left");
        drop(listener);
        assert!(!path.exists());
        std::fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn unix_path_that_is_in_use_or_no_socket_is_refused_and_not_changed() {
        let (_poll, sources) = sources();
        let folder = temporary_folder("stays");
        let assert_in_use = |path: &Path| {
            let before = file_id(path).unwrap();
            let refused = listen(&sources, KEY, &Endpoint::Unix(path.to_owned())).err().unwrap();
            assert_eq!(refused.kind(), io::ErrorKind::AddrInUse, "{}", path.display());
            assert_eq!(file_id(path).unwrap(), before, "{}", path.display());
        };
        let live = folder.join("live.sock");
        let listener = UnixListener::bind(&live).unwrap();
        assert_in_use(&live);
        // A listener whose backlog is full is in use too.
        let mut waiting = Vec::new();
        while let Ok(client) = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None) {
            if client.connect(&SockAddr::unix(&live).unwrap()).is_err() {
                break;
            }
            waiting.push(client);
        }
        assert_in_use(&live);
        drop(listener);
        let datagrams = folder.join("datagrams.sock");
        let _datagrams = UnixDatagram::bind(&datagrams).unwrap();
        assert_in_use(&datagrams);
        let file = folder.join("file.sock");
        std::fs::write(&file, "data").unwrap();
        assert_in_use(&file);
        let link = folder.join("link.sock");
        create_stale_socket(&folder.join("target.sock"));
        std::os::unix::fs::symlink(folder.join("target.sock"), &link).unwrap();
        assert_in_use(&link);
        assert!(folder.join("target.sock").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn unix_listener_whose_file_was_replaced_does_not_remove_it() {
        let (_poll, sources) = sources();
        let folder = temporary_folder("replaced");
        let path = folder.join("otlp.sock");
        let listener = listen(&sources, KEY, &Endpoint::Unix(path.clone())).unwrap();
        std::fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(UnixStream::connect(&path).is_ok());
        drop(other);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn tcp_backlog_holds_more_than_128_connections() {
        let (_poll, sources) = sources();
        let listener = listen(&sources, KEY, &Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: 0 }).unwrap();
        let addr: SocketAddr = listener.local_addr().parse().unwrap();
        let count = usize::try_from(backlog()).unwrap().min(400);
        let clients: Vec<TcpStream> = (0..count)
            .map(|n| {
                TcpStream::connect_timeout(&addr, Duration::from_millis(900)).unwrap_or_else(|e| panic!("{n}: {e}"))
            })
            .collect();
        assert_eq!(clients.len(), count);
    }

    #[test]
    fn backlog_is_the_limit_of_the_system() {
        let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        assert_eq!(backlog(), text.trim().parse::<i32>().unwrap().min(65_535));
    }

    #[test]
    fn accept_error_without_descriptors_contains_the_limit() {
        let text = accept_error("tcp", &"127.0.0.1:4317", io::Error::from_raw_os_error(libc::EMFILE)).to_string();
        let limit = crate::os::file_limit().unwrap();
        assert!(text.starts_with("accept tcp 127.0.0.1:4317: accept4: too many open files; the limit"), "{text}");
        assert!(text.contains(&format!(" {limit}: raise it")), "{text}");
        let kind = accept_error("tcp", &"x", io::ErrorKind::WouldBlock.into()).kind();
        assert_eq!(kind, io::ErrorKind::WouldBlock);
    }

    /// Whether a client that connects is accepted by this listener.
    fn accepts(listener: &mut dyn Listener, connect: impl Fn() -> bool) -> bool {
        connect();
        // The connection is in the backlog when connect(2) has returned.
        listener.accept(1).is_ok()
    }

    #[test]
    fn listener_that_is_taken_over_gets_no_more_connections_and_its_backlog_is_kept() {
        let (_poll, sources) = sources();
        let endpoint = |port| Endpoint::Tcp { host: "127.0.0.1".to_owned(), port };
        let mut old = listen(&sources, Key { owner: 1, local: 0 }, &endpoint(0)).unwrap();
        let address = old.local_addr();
        let at = endpoint(address.rsplit(':').next().unwrap().parse().unwrap());
        let connect = || TcpStream::connect(&address).is_ok();
        let _waiting = TcpStream::connect(&address).unwrap();
        let new_key = Key { owner: 2, local: 0 };
        assert!(listen(&sources, new_key, &at).is_err(), "without a change the address is in use");
        // A change that fails gives it back.
        sources.begin_handover(&BTreeSet::from([1]));
        let new = listen(&sources, new_key, &at).unwrap();
        assert!(listen(&sources, Key { owner: 3, local: 0 }, &at).is_err(), "one component takes it over");
        drop(new);
        assert!(!sources.end_handover(false));
        assert!(old.accept(1).is_ok() && accepts(&mut *old, connect));
        // One that succeeds.
        let _waiting = TcpStream::connect(&address).unwrap();
        sources.begin_handover(&BTreeSet::from([1]));
        let mut new = listen(&sources, new_key, &at).unwrap();
        assert!(!sources.end_handover(true));
        assert_eq!(old.accept(1).err().map(|e| e.kind()), Some(io::ErrorKind::WouldBlock));
        assert!(new.accept(1).is_ok() && accepts(&mut *new, connect));
        drop(old);
        assert!(accepts(&mut *new, connect));
        drop(new);
        assert!(!connect(), "no handle is left");
    }

    #[test]
    fn same_port_at_another_address_of_a_component_that_ends_is_a_conflict() {
        let (_poll, sources) = sources();
        let at = |host: &str, port| Endpoint::Tcp { host: host.to_owned(), port };
        let old = listen(&sources, Key { owner: 1, local: 0 }, &at("127.0.0.1", 0)).unwrap();
        let port = old.local_addr().rsplit(':').next().unwrap().parse().unwrap();
        for (owner, expected) in [(1, true), (7, false)] {
            sources.begin_handover(&BTreeSet::from([owner]));
            assert!(listen(&sources, Key { owner: 2, local: 0 }, &at("0.0.0.0", port)).is_err());
            assert_eq!(sources.end_handover(false), expected);
        }
    }

    #[test]
    fn unix_socket_that_is_taken_over_keeps_its_file() {
        let (_poll, sources) = sources();
        let folder = temporary_folder("handover");
        let path = folder.join("socket");
        let at = Endpoint::Unix(path.clone());
        let old = listen(&sources, Key { owner: 1, local: 0 }, &at).unwrap();
        sources.begin_handover(&BTreeSet::from([1]));
        drop(listen(&sources, Key { owner: 2, local: 0 }, &at).unwrap());
        sources.end_handover(false);
        assert!(path.exists(), "the change has failed");
        sources.begin_handover(&BTreeSet::from([1]));
        let mut new = listen(&sources, Key { owner: 2, local: 0 }, &at).unwrap();
        sources.end_handover(true);
        drop(old);
        assert!(accepts(&mut *new, || UnixStream::connect(&path).is_ok()));
        drop(new);
        assert!(!path.exists());
        std::fs::remove_dir(folder).unwrap();
    }
}
