//! The lower bound: a relay that reads and writes the same bytes on one thread, and does not parse them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const BUFFER: usize = 64 << 10;

/// One direction: the bytes that were read and are not written yet.
struct RelayDirection {
    buffer: Box<[u8]>,
    from: usize,
    to: usize,
    ended: bool,
}

impl RelayDirection {
    fn new() -> Self {
        Self { buffer: vec![0; BUFFER].into_boxed_slice(), from: 0, to: 0, ended: false }
    }

    /// Moves bytes until one side blocks.
    fn copy_until_blocked(&mut self, source: &mut TcpStream, destination: &mut TcpStream) -> std::io::Result<()> {
        loop {
            while self.from < self.to {
                match destination.write(&self.buffer[self.from..self.to]) {
                    Ok(n) => self.from += n,
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock || e.kind() == ErrorKind::NotConnected => return Ok(()),
                    Err(e) => return Err(e),
                }
            }
            if self.ended {
                return Ok(());
            }
            match source.read(&mut self.buffer) {
                Ok(0) => {
                    self.ended = true;
                    let _ = destination.shutdown(Shutdown::Write);
                }
                Ok(n) => (self.from, self.to) = (0, n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }
}

struct RelayConnection {
    client: TcpStream,
    server: TcpStream,
    up: RelayDirection,
    down: RelayDirection,
}

impl RelayConnection {
    /// Whether both directions have ended.
    fn relay(&mut self) -> bool {
        let failed = self.up.copy_until_blocked(&mut self.client, &mut self.server).is_err()
            || self.down.copy_until_blocked(&mut self.server, &mut self.client).is_err();
        failed || (self.up.ended && self.down.ended)
    }
}

fn run(listen_address: SocketAddr, target_address: SocketAddr) -> std::io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(listen_address)?;
    poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
    let mut pairs: Vec<Option<RelayConnection>> = Vec::new();
    let mut events = Events::with_capacity(256);
    loop {
        match poll.poll(&mut events, None) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == Token(0) {
                while let Ok((mut client, _)) = listener.accept() {
                    let mut server = TcpStream::connect(target_address)?;
                    let both = Interest::READABLE | Interest::WRITABLE;
                    let token = Token(pairs.len() + 1);
                    poll.registry().register(&mut client, token, both)?;
                    poll.registry().register(&mut server, token, both)?;
                    client.set_nodelay(true)?;
                    server.set_nodelay(true)?;
                    pairs.push(Some(RelayConnection {
                        client,
                        server,
                        up: RelayDirection::new(),
                        down: RelayDirection::new(),
                    }));
                }
            } else if let Some(connection) = pairs.get_mut(event.token().0 - 1)
                && connection.as_mut().is_some_and(RelayConnection::relay)
            {
                *connection = None;
            }
        }
    }
}

/// `relay PORT SINK_PORT`
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let [at, to] = args else { return Err("relay: two arguments".to_owned()) };
    let local = |port: &String| format!("127.0.0.1:{port}").parse().map_err(|e| format!("{port}: {e}"));
    run(local(at)?, local(to)?).map_err(|e| e.to_string())
}
