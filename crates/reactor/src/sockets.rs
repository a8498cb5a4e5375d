//! TCP and Unix sockets behind the world's `Stream` and `Listener`.
//!
//! Every send has MSG_NOSIGNAL: in a host program that is not Rust's own, a write to a closed socket would otherwise
//! end the process. Dropping closes; it never calls shutdown(2), which in a forked child would hurt the parent.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use otelcore_pipeline::{Endpoint, Key, Listener, PeerAddr, Stream};
use slab::Slab;
use socket2::{SockRef, TcpKeepalive};

/// Which key each token stands for. Tokens below [`FIRST_TOKEN`] are the loop's own.
#[derive(Debug)]
pub(crate) struct Sources {
    registry: Registry,
    keys: RefCell<Slab<Key>>,
}

/// Tokens below this one belong to the loop: its waker and its signals.
pub(crate) const FIRST_TOKEN: usize = 16;

impl Sources {
    pub(crate) fn new(registry: Registry) -> Rc<Self> {
        Rc::new(Self { registry, keys: RefCell::default() })
    }

    pub(crate) fn key(&self, token: Token) -> Option<Key> {
        self.keys.borrow().get(token.0.checked_sub(FIRST_TOKEN)?).copied()
    }

    fn add(&self, source: &mut impl Source, key: Key, interest: Interest) -> io::Result<usize> {
        let slot = self.keys.borrow_mut().insert(key);
        match self.registry.register(source, Token(slot + FIRST_TOKEN), interest) {
            Ok(()) => Ok(slot),
            Err(e) => {
                self.keys.borrow_mut().remove(slot);
                Err(e)
            }
        }
    }
}

/// A socket that is registered as long as it lives. Closing the descriptor ends the registration by itself.
#[derive(Debug)]
struct Registered<S> {
    socket: S,
    slot: usize,
    sources: Rc<Sources>,
}

impl<S: Source> Registered<S> {
    fn new(mut socket: S, key: Key, interest: Interest, sources: &Rc<Sources>) -> io::Result<Self> {
        let slot = sources.add(&mut socket, key, interest)?;
        Ok(Self { socket, slot, sources: sources.clone() })
    }
}

impl<S> Drop for Registered<S> {
    fn drop(&mut self) {
        self.sources.keys.borrow_mut().try_remove(self.slot);
    }
}

/// What the system says, without Rust's `(os error N)`, in lower case as Go writes it.
pub(crate) fn text(e: &io::Error) -> String {
    let text = e.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn go_error(what: &str, network: &str, at: &dyn std::fmt::Display, call: &str, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{what} {network} {at}: {call}{}", text(e)))
}

pub(crate) fn listen(sources: &Rc<Sources>, key: Key, at: &Endpoint) -> io::Result<Box<dyn Listener>> {
    match at {
        Endpoint::Tcp { host, port } => {
            let (socket, addr) = bind(host, *port)?;
            let local = socket.local_addr().unwrap_or(addr);
            let socket = Registered::new(socket, key, Interest::READABLE, sources)?;
            Ok(Box::new(TcpDoor { socket, owner: key.owner, local }))
        }
        Endpoint::Unix(path) => {
            let failed = |e: io::Error| go_error("listen", "unix", &path.display(), "bind: ", &e);
            let socket = mio::net::UnixListener::bind(path).map_err(failed)?;
            let socket = Registered::new(socket, key, Interest::READABLE, sources)?;
            Ok(Box::new(UnixDoor { socket, owner: key.owner, path: path.clone() }))
        }
    }
}

fn bind(host: &str, port: u16) -> io::Result<(mio::net::TcpListener, SocketAddr)> {
    let try_bind = |addr: SocketAddr| {
        mio::net::TcpListener::bind(addr)
            .map(|socket| (socket, addr))
            .map_err(|e| go_error("listen", "tcp", &addr, "bind: ", &e))
    };
    if host.is_empty() {
        // Every address of either family, where there is IPv6.
        let all = try_bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
        return match all {
            Err(e) if e.kind() != io::ErrorKind::AddrInUse => try_bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
            bound => bound,
        };
    }
    let failed = |e: io::Error| go_error("listen", "tcp", &host, "lookup: ", &e);
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(failed)?.collect();
    // As in Go, IPv4 goes first where a name has both.
    let addr = found.iter().find(|a| a.is_ipv4()).or_else(|| found.first());
    let Some(addr) = addr else {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("listen tcp: lookup {host}: no such host")));
    };
    try_bind(*addr)
}

pub(crate) fn connect(sources: &Rc<Sources>, key: Key, to: &PeerAddr) -> io::Result<Box<dyn Stream>> {
    let both = Interest::READABLE | Interest::WRITABLE;
    match to {
        PeerAddr::Ip(addr) => {
            let failed = |e: io::Error| go_error("dial", "tcp", addr, "connect: ", &e);
            let socket = mio::net::TcpStream::connect(*addr).map_err(failed)?;
            tune(&socket);
            let socket = Registered::new(socket, key, both, sources)?;
            Ok(Box::new(Connection { socket, peer: addr.to_string() }))
        }
        PeerAddr::Unix(path) => {
            let failed = |e: io::Error| go_error("dial", "unix", &path.display(), "connect: ", &e);
            let socket = mio::net::UnixStream::connect(path).map_err(failed)?;
            let socket = Registered::new(socket, key, both, sources)?;
            Ok(Box::new(Connection { socket, peer: path.display().to_string() }))
        }
    }
}

/// Go's defaults: no Nagle, probes after 15 seconds of silence. A socket that refuses them works all the same.
fn tune(socket: &mio::net::TcpStream) {
    let _ = socket.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(15));
    let _ = SockRef::from(socket).set_tcp_keepalive(&keepalive);
}

#[derive(Debug)]
struct TcpDoor {
    socket: Registered<mio::net::TcpListener>,
    owner: u32,
    local: SocketAddr,
}

impl Listener for TcpDoor {
    fn accept(&mut self, local: u64) -> io::Result<Box<dyn Stream>> {
        let (socket, peer) = self.socket.socket.accept()?;
        tune(&socket);
        let key = Key { owner: self.owner, local };
        let socket = Registered::new(socket, key, Interest::READABLE | Interest::WRITABLE, &self.socket.sources)?;
        Ok(Box::new(Connection { socket, peer: peer.to_string() }))
    }

    fn local(&self) -> String {
        self.local.to_string()
    }
}

#[derive(Debug)]
struct UnixDoor {
    socket: Registered<mio::net::UnixListener>,
    owner: u32,
    path: PathBuf,
}

impl Listener for UnixDoor {
    fn accept(&mut self, local: u64) -> io::Result<Box<dyn Stream>> {
        let (socket, _) = self.socket.socket.accept()?;
        let key = Key { owner: self.owner, local };
        let socket = Registered::new(socket, key, Interest::READABLE | Interest::WRITABLE, &self.socket.sources)?;
        Ok(Box::new(Connection { socket, peer: String::new() }))
    }

    fn local(&self) -> String {
        self.path.display().to_string()
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        // As Go's listener does; a path that is already gone is what we want.
        let _ = std::fs::remove_file(&self.path);
    }
}

struct Connection<S> {
    socket: Registered<S>,
    peer: String,
}

impl<S> Stream for Connection<S>
where
    S: Read + std::os::fd::AsFd,
{
    fn peer(&self) -> String {
        self.peer.clone()
    }

    fn shut_write(&mut self) {
        // A peer that is gone already needs no half-close.
        let _ = SockRef::from(&self.socket.socket).shutdown(std::net::Shutdown::Write);
    }
}

impl<S: Read> Read for Connection<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.socket.read(buf)
    }
}

impl<S: std::os::fd::AsFd> Write for Connection<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        SockRef::from(&self.socket.socket).send_with_flags(buf, libc::MSG_NOSIGNAL)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        // The system takes at most IOV_MAX slices; the caller sees a short write and comes again.
        let bufs = bufs.get(..1024).unwrap_or(bufs);
        SockRef::from(&self.socket.socket).send_vectored_with_flags(bufs, libc::MSG_NOSIGNAL)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
