//! What is noted of a stream when it is opened, and what the system knows of it.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use otelcore_pipeline::OpenConnection;

/// What a socket is bound to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum BoundAddress {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(PathBuf),
}

/// Where a stream leads to.
#[derive(Debug)]
pub(crate) enum StreamEnd {
    /// A listener at this address accepted it.
    Accepted(Rc<BoundAddress>),
    /// It was opened to this address.
    Dialled(BoundAddress),
}

/// What is known of a stream. It is removed before the descriptor is closed.
#[derive(Debug)]
pub(crate) struct StreamFacts {
    pub(crate) end: StreamEnd,
    /// `None` for sockets without an address.
    peer: Option<SocketAddr>,
    fd: RawFd,
    pub(crate) opened: Instant,
    pub(crate) protocol: &'static str,
    pub(crate) is_encrypted: bool,
}

impl StreamFacts {
    pub(crate) fn new(end: StreamEnd, peer: Option<SocketAddr>, fd: RawFd) -> Self {
        Self { end, peer, fd, opened: Instant::now(), protocol: "", is_encrypted: false }
    }

    pub(crate) fn describe(&self, now: Instant) -> OpenConnection {
        let bytes = self.peer.and_then(|_| tcp_bytes(self.fd).ok().flatten());
        OpenConnection {
            peer: self.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            protocol: self.protocol,
            is_encrypted: self.is_encrypted,
            age: now.saturating_duration_since(self.opened),
            received: bytes.map(|(received, _)| received),
            sent: bytes.map(|(_, sent)| sent),
        }
    }
}

/// Where the counts are in the system's `tcp_info`, of which libc declares only the first part.
const ACKNOWLEDGED_AT: usize = 120;
const RECEIVED_AT: usize = 128;

/// The bytes that a TCP connection has received, and of those that it has sent the ones that were acknowledged. `None`: the system
/// does not count them.
#[allow(unsafe_code, reason = "std and socket2 have no way to read it")]
fn tcp_bytes(fd: RawFd) -> io::Result<Option<(u64, u64)>> {
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return Ok(None);
    }
    let mut info = MaybeUninit::<[u64; 64]>::zeroed();
    let mut len = libc::socklen_t::try_from(size_of_val(&info)).unwrap_or(0);
    // SAFETY: the descriptor belongs to a stream that exists, and the buffer has `len` bytes.
    let result = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), std::ptr::from_mut(&mut len))
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every bit pattern is a number, and the buffer was filled with zeros.
    let info = unsafe { info.assume_init() };
    let at = |offset: usize| {
        let is_written = usize::try_from(len).is_ok_and(|len| len >= offset + size_of::<u64>());
        info.get(offset / size_of::<u64>()).copied().filter(|_| is_written)
    };
    Ok(at(RECEIVED_AT).zip(at(ACKNOWLEDGED_AT)))
}
