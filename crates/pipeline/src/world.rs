//! The machine as components see it.
//!
//! The real world and the simulated one implement [`World`]; components ask it for sockets, timers, names and time and
//! are answered by [`Event`]s under the [`Key`] they asked with.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::{Mono, Wall};

/// Who is to be told of an event: the component, and a number that the component chose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// Index of the component in its graph.
    pub owner: u32,
    /// The component's own number for the socket, timer or look-up.
    pub local: u64,
}

/// Names an armed timer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TimerId(pub u64);

/// What happened under a key.
#[derive(Debug)]
pub enum Event<'a> {
    /// A socket may have become readable or writable, [`World::again`] was asked for, or a job has ended. Read until it
    /// would block.
    Ready,
    /// A timer is due.
    Timer,
    /// A look-up ended: the addresses in the order of preference, or what the resolver said.
    Resolved(&'a Result<Vec<SocketAddr>, String>),
}

/// Where to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// A name or address and a port; an empty host is every address of the machine.
    Tcp {
        /// Host without brackets.
        host: String,
        /// Port; zero lets the system choose.
        port: u16,
    },
    /// A path in the file system.
    Unix(PathBuf),
}

/// Where to connect to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerAddr {
    /// An address that a look-up gave.
    Ip(SocketAddr),
    /// A path in the file system.
    Unix(PathBuf),
}

impl std::fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A connection that never blocks: `WouldBlock` means that an event will come. Writing to a closed one is an error and
/// never a signal. Dropping closes it.
pub trait Stream: io::Read + io::Write {
    /// The other side, for logs and client metadata.
    fn peer(&self) -> String;

    /// Half-closes for writing, so that the peer reads what was sent and then the end.
    fn shut_write(&mut self);

    /// What a layer of its own (TLS, a proxy) found wrong, in words that an [`io::ErrorKind`] does not have.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// A bound socket.
pub trait Listener {
    /// The next connection, registered under `key`; `WouldBlock` when there is none.
    ///
    /// # Errors
    /// What the system says.
    fn accept(&mut self, local: u64) -> io::Result<Box<dyn Stream>>;

    /// The address that it is bound to.
    fn local(&self) -> String;
}

/// How much memory the process uses and may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemorySample {
    /// Resident bytes of the process; zero where they say nothing of the collector: it is a part of a host program, or
    /// `/proc` is missing.
    pub resident: u64,
    /// The limit of its cgroup or, without one, the machine's memory.
    pub total: Option<u64>,
}

/// What the process has used.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ProcessSample {
    /// User and system time in seconds.
    pub cpu_seconds: f64,
    /// Resident bytes.
    pub resident: u64,
    /// Resident bytes that no file backs: heap and stacks.
    pub anonymous: u64,
    /// Bytes of the address space.
    pub virtual_size: u64,
    /// Since the collector started.
    pub uptime: Duration,
}

/// Rung by any thread to have a component look at what it shares with that thread.
pub trait Bell: Send + Sync {
    /// Has [`Event::Ready`] delivered soon; once, however often it is rung before that.
    fn ring(&self);
}

/// The bell of a world that has no other threads.
struct Mute;

impl Bell for Mute {
    fn ring(&self) {}
}

/// A computation that takes longer than a turn of the loop may: it goes to a helper thread.
pub type Job = Box<dyn FnOnce() + Send>;

/// What a job computes, once it has ended. See [`crate::Cx::run_job`].
#[derive(Debug)]
pub struct JobResult<T>(Arc<Mutex<Option<T>>>);

impl<T: Send + 'static> JobResult<T> {
    /// A job that runs `compute`, and the place of its result.
    pub(crate) fn new(compute: impl FnOnce() -> T + Send + 'static) -> (Job, Self) {
        let place = Arc::new(Mutex::new(None));
        let result = Self(place.clone());
        let job = move || {
            let value = compute();
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        };
        (Box::new(job), result)
    }

    /// The result. `None` before the job has ended, and when it has panicked.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Clock, network, names, memory and randomness. The only door of components to the machine.
pub trait World {
    /// The steady clock.
    fn now(&self) -> Mono;
    /// The wall clock.
    fn wall(&self) -> Wall;
    /// The next random number.
    fn rand(&mut self) -> u64;
    /// A fresh look at memory.
    fn memory(&mut self) -> MemorySample;
    /// A fresh look at the process.
    fn process(&mut self) -> ProcessSample;
    /// Binds a socket. New connections are announced under `key`.
    ///
    /// # Errors
    /// What the system says, a port in use for one.
    fn listen(&mut self, key: Key, at: &Endpoint) -> io::Result<Box<dyn Listener>>;
    /// Begins a connection; whether it came about shows at the first write.
    ///
    /// # Errors
    /// What the system says at once.
    fn connect(&mut self, key: Key, to: &PeerAddr) -> io::Result<Box<dyn Stream>>;
    /// Looks a host name up; answered by [`Event::Resolved`], never before this returns.
    fn resolve(&mut self, key: Key, host: &str, port: u16);
    /// Asks for [`Event::Timer`] at `at`.
    fn arm(&mut self, key: Key, at: Mono) -> TimerId;
    /// Takes the request back. A timer that has fired, or never was, is no error.
    fn cancel(&mut self, id: TimerId);
    /// A bell that other threads ring: [`Event::Ready`] follows under `key`. A world without other threads has a mute one.
    fn bell(&mut self, key: Key) -> Arc<dyn Bell> {
        let _ = key;
        Arc::new(Mute)
    }
    /// Runs `job` on a helper thread; [`Event::Ready`] follows under `key` when it has ended, by a panic too, and never
    /// before this returns. A world without other threads runs it at once.
    fn run_job(&mut self, key: Key, job: Job) {
        job();
        self.again(key);
    }
    /// Asks for [`Event::Ready`] in the next turn: a read budget is spent and no new edge will come.
    fn again(&mut self, key: Key);
    /// Opens `stdout`, `stderr` or a file to append to. Writing never blocks: each `write` is one record, which is taken
    /// whole and written later in the order of the calls. [`io::ErrorKind::WouldBlock`] says that its reader is too slow
    /// and that the record is dropped and counted; another error is that of an earlier record.
    ///
    /// # Errors
    /// What the system says.
    fn output(&mut self, path: &str) -> io::Result<Box<dyn io::Write>>;
    /// Reads a small file whole: certificates, tokens. A world without files has none.
    ///
    /// # Errors
    /// What the system says, in Go's form.
    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::NotFound, format!("open {path}: no such file or directory")))
    }
    /// A variable of the process's environment, for what the Go collector reads there: proxies.
    fn env(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }
}
