//! A trial start: finds out whether a graph could start, while another one runs.
//!
//! Files are read, outputs are opened, and addresses that the running graph does not use are bound for a moment. A
//! trial does not listen, connect, wait or look up names.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use otelcore_pipeline::{
    DatagramDrops, DatagramSocket, Endpoint, FileJob, Graph, Job, Key, Listener, MemorySample, MonotonicTime, Notifier,
    PeerAddr, ProcessSample, StartError, Stream, TimerId, TooManyFileJobs, WallTime, World,
};

/// What a component binds.
#[derive(Clone, Copy)]
pub(crate) enum Binding<'a> {
    /// A socket that listens.
    Stream(&'a Endpoint),
    /// A UDP socket: host and port.
    Datagrams(&'a str, u16),
}

/// The world of a graph that is tried.
pub(crate) struct TrialWorld<'w> {
    /// The world of the graph that runs.
    pub(crate) running_world: &'w mut dyn World,
    /// Whether an address could be bound once the running graph has ended.
    pub(crate) try_bind: &'w dyn Fn(Binding<'_>) -> io::Result<()>,
    /// What this graph has bound.
    pub(crate) bound: Vec<Endpoint>,
}

impl TrialWorld<'_> {
    /// Starts a graph as far as that is possible without disturbing the one that runs, and drops it.
    ///
    /// # Errors
    /// The first component that can't start.
    pub(crate) fn start(mut self, mut graph: Graph) -> Result<(), StartError> {
        graph.start(&mut self)
    }
}

impl World for TrialWorld<'_> {
    fn now(&self) -> MonotonicTime {
        self.running_world.now()
    }

    fn wall_time(&self) -> WallTime {
        self.running_world.wall_time()
    }

    fn random(&mut self) -> u64 {
        self.running_world.random()
    }

    fn sample_memory(&mut self) -> MemorySample {
        self.running_world.sample_memory()
    }

    fn sample_process(&mut self) -> ProcessSample {
        self.running_world.sample_process()
    }

    fn listen(&mut self, _: Key, at: &Endpoint) -> io::Result<Box<dyn Listener>> {
        let (network, text) = match at {
            Endpoint::Tcp { host, port } => ("tcp", format!("{host}:{port}")),
            Endpoint::Unix(path) => ("unix", path.display().to_string()),
        };
        let any_port = matches!(at, Endpoint::Tcp { port: 0, .. });
        if self.bound.contains(at) && !any_port {
            let text = format!("listen {network} {text}: bind: address already in use");
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        (self.try_bind)(Binding::Stream(at))?;
        self.bound.push(at.clone());
        Ok(Box::new(TrialSocket(text)))
    }

    fn connect(&mut self, _: Key, to: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(TrialSocket(to.to_string())))
    }

    fn bind_udp(&mut self, _: Key, host: &str, port: u16) -> io::Result<Box<dyn DatagramSocket>> {
        (self.try_bind)(Binding::Datagrams(host, port))?;
        Ok(Box::new(TrialSocket(format!("{host}:{port}"))))
    }

    fn resolve(&mut self, _: Key, _: &str, _: u16) {}

    fn set_timer(&mut self, _: Key, _: MonotonicTime) -> TimerId {
        TimerId(u64::MAX)
    }

    fn cancel_timer(&mut self, _: TimerId) {}

    fn notifier(&mut self, _: Key) -> Arc<dyn Notifier> {
        Arc::new(TrialNotifier)
    }

    fn run_job(&mut self, _: Key, _: Job) {}

    fn run_file_job(&mut self, _: Key, _: FileJob) -> Result<(), TooManyFileJobs> {
        Ok(())
    }

    fn request_ready(&mut self, _: Key) {}

    fn open_output(&mut self, path: &str) -> io::Result<Box<dyn Write>> {
        self.running_world.open_output(path)
    }

    fn read_file(&mut self, path: &str) -> io::Result<Vec<u8>> {
        self.running_world.read_file(path)
    }

    fn env_var(&self, name: &str) -> Option<String> {
        self.running_world.env_var(name)
    }
}

/// A notifier that does nothing.
struct TrialNotifier;

impl Notifier for TrialNotifier {
    fn notify(&self) {}
}

/// A listener without connections, or a connection that can neither be read nor written.
struct TrialSocket(String);

impl Listener for TrialSocket {
    fn accept(&mut self, _: u64) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn local_addr(&self) -> String {
        self.0.clone()
    }
}

impl DatagramSocket for TrialSocket {
    fn send_to(&mut self, _: &[u8], _: SocketAddr) -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn recv_from(&mut self, _: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn local_addr(&self) -> String {
        self.0.clone()
    }

    fn set_receive_buffer(&mut self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn drops(&self) -> DatagramDrops {
        DatagramDrops::default()
    }
}

impl Stream for TrialSocket {
    fn peer_addr(&self) -> String {
        self.0.clone()
    }

    fn shutdown_write(&mut self) {}
}

impl Read for TrialSocket {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for TrialSocket {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
