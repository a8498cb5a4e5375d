//! UDP sockets, as components see them.
//!
//! Owns the trait that the real and the simulated world implement. There is no multicast.

use std::io;
use std::net::SocketAddr;

/// The most bytes that a datagram can carry over IPv4: 65,535 less the headers of IP and UDP.
pub const MAX_DATAGRAM_BYTES: usize = 65_507;

/// Datagrams that a socket has received and not passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DatagramDrops {
    /// Dropped by the system because they were not read in time. Zero where the system does not count.
    pub buffer_full: u64,
    /// Longer than the buffer of the reader.
    pub too_long: u64,
}

/// A bound UDP socket that never blocks. [`crate::Event::Ready`] follows under the key of [`crate::World::bind_udp`]
/// when it may have become readable or, after [`io::ErrorKind::WouldBlock`], writable. Dropping closes it.
pub trait DatagramSocket {
    /// Sends one datagram of at most [`MAX_DATAGRAM_BYTES`].
    ///
    /// # Errors
    /// `WouldBlock` when the system's buffer is full: nothing was sent. Otherwise the error of the system, in Go's
    /// form.
    fn send_to(&mut self, datagram: &[u8], peer: SocketAddr) -> io::Result<()>;

    /// Receives one datagram: its length in `buffer`, and its sender. A datagram that is longer than `buffer` is
    /// dropped and counted, and the next one is received.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; otherwise the error of the system.
    fn recv_from(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// The address that it is bound to.
    fn local_addr(&self) -> String;

    /// Asks the system for a receive buffer of about this many bytes. The system may give less.
    ///
    /// # Errors
    /// The error of the system.
    fn set_receive_buffer(&mut self, bytes: usize) -> io::Result<()>;

    /// What was dropped since the socket was bound.
    fn drops(&self) -> DatagramDrops;
}
