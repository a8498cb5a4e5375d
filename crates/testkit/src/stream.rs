//! Connections and UDP sockets whose other end is the test.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use otelcore_pipeline::{DatagramDrops, DatagramSocket, Key, Listener, Stream};

use crate::ready::ReadyKeys;

/// Both directions of a connection.
#[derive(Debug, Default)]
struct Connection {
    /// What the component has not read yet.
    to_component: VecDeque<u8>,
    from_component: Vec<u8>,
    /// Bytes that `from_component` holds at most; `None` is no limit.
    capacity: Option<usize>,
    /// A write has found no room.
    is_write_blocked: bool,
    /// The test has ended its direction.
    has_peer_ended: bool,
    is_write_shut: bool,
    is_dropped: bool,
    error: Option<ErrorKind>,
}

/// The test's end of a connection of a component.
#[derive(Clone, Debug)]
pub struct PeerStream {
    connection: Rc<RefCell<Connection>>,
    key: Key,
    ready: ReadyKeys,
}

/// The component's end.
#[derive(Debug)]
pub(crate) struct ComponentStream {
    connection: Rc<RefCell<Connection>>,
    event_key: u64,
    peer_addr: String,
}

/// A connection whose events are delivered under `key`.
pub(crate) fn connection(key: Key, peer_addr: &str, ready: &ReadyKeys) -> (PeerStream, ComponentStream) {
    let connection = Rc::<RefCell<Connection>>::default();
    let peer = PeerStream { connection: connection.clone(), key, ready: ready.clone() };
    (peer, ComponentStream { connection, event_key: key.local, peer_addr: peer_addr.to_owned() })
}

impl PeerStream {
    /// Sends bytes to the component, which gets [`otelcore_pipeline::Event::Ready`].
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.connection.borrow_mut().to_component.extend(bytes.as_ref());
        self.ready.request(self.key);
    }

    /// Takes what the component has written since the last call. Where it waited for room, it gets
    /// [`otelcore_pipeline::Event::Ready`].
    pub fn take_received(&self) -> Vec<u8> {
        let mut connection = self.connection.borrow_mut();
        if std::mem::take(&mut connection.is_write_blocked) {
            self.ready.request(self.key);
        }
        std::mem::take(&mut connection.from_component)
    }

    /// How many bytes the component has written that were not taken.
    #[must_use]
    pub fn received_len(&self) -> usize {
        self.connection.borrow().from_component.len()
    }

    /// Sets how many bytes the component can write before they are taken; `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.connection.borrow_mut().capacity = bytes;
    }

    /// Ends the direction to the component: it reads what was sent and then the end of the stream.
    pub fn shutdown_write(&self) {
        self.connection.borrow_mut().has_peer_ended = true;
        self.ready.request(self.key);
    }

    /// Lets every further read and write of the component fail.
    pub fn fail(&self, error: ErrorKind) {
        self.connection.borrow_mut().error = Some(error);
        self.ready.request(self.key);
    }

    /// Whether the component has half-closed the connection.
    #[must_use]
    pub fn is_write_shut(&self) -> bool {
        self.connection.borrow().is_write_shut
    }

    /// Whether the component has dropped the connection.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.connection.borrow().is_dropped
    }

    /// The component's number for the connection.
    #[must_use]
    pub fn local(&self) -> u64 {
        self.key.local
    }
}

impl Read for ComponentStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut connection = self.connection.borrow_mut();
        if let Some(error) = connection.error {
            return Err(error.into());
        }
        if connection.to_component.is_empty() && !connection.has_peer_ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        connection.to_component.read(buf)
    }
}

impl Write for ComponentStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut connection = self.connection.borrow_mut();
        match connection.error {
            Some(error) => return Err(error.into()),
            None if connection.is_write_shut => return Err(ErrorKind::BrokenPipe.into()),
            None => {}
        }
        let room = connection.capacity.map_or(usize::MAX, |most| most.saturating_sub(connection.from_component.len()));
        if room == 0 && !buf.is_empty() {
            connection.is_write_blocked = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = buf.get(..room).unwrap_or(buf);
        connection.from_component.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for ComponentStream {
    fn peer_addr(&self) -> String {
        self.peer_addr.clone()
    }

    fn event_key(&self) -> Option<u64> {
        Some(self.event_key)
    }

    fn shutdown_write(&mut self) {
        self.connection.borrow_mut().is_write_shut = true;
    }
}

impl Drop for ComponentStream {
    fn drop(&mut self) {
        self.connection.borrow_mut().is_dropped = true;
    }
}

/// A socket that a component listens on.
#[derive(Debug)]
pub(crate) struct ListenerState {
    pub(crate) key: Key,
    /// The address that it is bound to, for example `127.0.0.1:8889`.
    pub(crate) address: String,
    /// Connections that the component has not accepted.
    pub(crate) waiting: VecDeque<WaitingConnection>,
    pub(crate) accept_error: Option<String>,
    pub(crate) is_open: bool,
}

/// A connection that the component has not accepted: the key of the connection is not known yet.
#[derive(Debug)]
pub(crate) struct WaitingConnection {
    pub(crate) accepted: Rc<RefCell<Option<PeerStream>>>,
}

/// The test's end of a connection to a component that listens. It can be used once the component has accepted it.
#[derive(Clone, Debug)]
pub struct Connecting(pub(crate) Rc<RefCell<Option<PeerStream>>>);

impl Connecting {
    /// The connection; `None` before the component has accepted it.
    #[must_use]
    pub fn accepted(&self) -> Option<PeerStream> {
        self.0.borrow().clone()
    }
}

/// The component's listener.
pub(crate) struct ComponentListener {
    pub(crate) state: Rc<RefCell<ListenerState>>,
    pub(crate) ready: ReadyKeys,
}

impl Listener for ComponentListener {
    fn accept(&mut self, local: u64) -> io::Result<Box<dyn Stream>> {
        let mut state = self.state.borrow_mut();
        if let Some(text) = &state.accept_error {
            return Err(io::Error::other(text.clone()));
        }
        let waiting = state.waiting.pop_front().ok_or(ErrorKind::WouldBlock)?;
        let key = Key { owner: state.key.owner, local };
        let (peer, stream) = connection(key, "192.0.2.1:40000", &self.ready);
        *waiting.accepted.borrow_mut() = Some(peer);
        Ok(Box::new(stream))
    }

    fn local_addr(&self) -> String {
        self.state.borrow().address.clone()
    }
}

impl Drop for ComponentListener {
    fn drop(&mut self) {
        self.state.borrow_mut().is_open = false;
    }
}

/// A UDP socket of a component.
#[derive(Debug)]
pub(crate) struct DatagramState {
    pub(crate) key: Key,
    pub(crate) address: String,
    /// What the component has not received.
    pub(crate) to_component: VecDeque<(Vec<u8>, SocketAddr)>,
    pub(crate) from_component: Vec<(Vec<u8>, SocketAddr)>,
    pub(crate) drops: DatagramDrops,
    pub(crate) is_open: bool,
}

/// The component's end of it.
pub(crate) struct ComponentDatagrams(pub(crate) Rc<RefCell<DatagramState>>);

impl DatagramSocket for ComponentDatagrams {
    fn send_to(&mut self, datagram: &[u8], peer: SocketAddr) -> io::Result<()> {
        self.0.borrow_mut().from_component.push((datagram.to_vec(), peer));
        Ok(())
    }

    fn recv_from(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let mut state = self.0.borrow_mut();
        while let Some((datagram, peer)) = state.to_component.pop_front() {
            if let Some(place) = buffer.get_mut(..datagram.len()) {
                place.copy_from_slice(&datagram);
                return Ok((datagram.len(), peer));
            }
            state.drops.too_long += 1;
        }
        Err(ErrorKind::WouldBlock.into())
    }

    fn local_addr(&self) -> String {
        self.0.borrow().address.clone()
    }

    fn set_receive_buffer(&mut self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn drops(&self) -> DatagramDrops {
        self.0.borrow().drops
    }
}

impl Drop for ComponentDatagrams {
    fn drop(&mut self) {
        self.0.borrow_mut().is_open = false;
    }
}
