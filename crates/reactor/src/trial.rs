//! A trial start: finds out whether a graph could start, while another one runs.
//!
//! Files are read, outputs are opened, and addresses that the running graph does not use are bound for a moment. A
//! trial does not listen, connect, wait or look up names.

use std::io::{self, Read, Write};
use std::sync::Arc;

use otelcore_pipeline::{
    Bell, Endpoint, Graph, Job, Key, Listener, MemorySample, Mono, PeerAddr, ProcessSample, StartError, Stream,
    TimerId, Wall, World,
};

/// The world of a graph that is tried.
pub(crate) struct Trial<'w> {
    /// The world of the graph that runs.
    pub(crate) world: &'w mut dyn World,
    /// Whether an address could be bound once the running graph has ended.
    pub(crate) probe: &'w dyn Fn(&Endpoint) -> io::Result<()>,
    /// What this graph has bound.
    pub(crate) bound: Vec<Endpoint>,
}

impl Trial<'_> {
    /// Starts a graph as far as that is possible without disturbing the one that runs, and drops it.
    ///
    /// # Errors
    /// The first component that can't start.
    pub(crate) fn start(mut self, mut graph: Graph) -> Result<(), StartError> {
        graph.start(&mut self)
    }
}

impl World for Trial<'_> {
    fn now(&self) -> Mono {
        self.world.now()
    }

    fn wall(&self) -> Wall {
        self.world.wall()
    }

    fn rand(&mut self) -> u64 {
        self.world.rand()
    }

    fn memory(&mut self) -> MemorySample {
        self.world.memory()
    }

    fn process(&mut self) -> ProcessSample {
        self.world.process()
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
        (self.probe)(at)?;
        self.bound.push(at.clone());
        Ok(Box::new(Nothing(text)))
    }

    fn connect(&mut self, _: Key, to: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(Nothing(to.to_string())))
    }

    fn resolve(&mut self, _: Key, _: &str, _: u16) {}

    fn arm(&mut self, _: Key, _: Mono) -> TimerId {
        TimerId(u64::MAX)
    }

    fn cancel(&mut self, _: TimerId) {}

    fn bell(&mut self, _: Key) -> Arc<dyn Bell> {
        Arc::new(Silent)
    }

    fn run_job(&mut self, _: Key, _: Job) {}

    fn again(&mut self, _: Key) {}

    fn output(&mut self, path: &str) -> io::Result<Box<dyn Write>> {
        self.world.output(path)
    }

    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        self.world.read(path)
    }

    fn env(&self, name: &str) -> Option<String> {
        self.world.env(name)
    }
}

/// A notifier that does nothing.
struct Silent;

impl Bell for Silent {
    fn ring(&self) {}
}

/// A listener without connections, or a connection that can neither be read nor written.
struct Nothing(String);

impl Listener for Nothing {
    fn accept(&mut self, _: u64) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn local(&self) -> String {
        self.0.clone()
    }
}

impl Stream for Nothing {
    fn peer(&self) -> String {
        self.0.clone()
    }

    fn shut_write(&mut self) {}
}

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for Nothing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
