//! The interface between components and the machine.
//!
//! The real world and the simulated one implement [`World`]; components request sockets, timers, names and time from it
//! and receive [`Event`]s under the [`Key`] of the request.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::{
    ConnectionLimits, DatagramSocket, FileJob, FileSystem, MonotonicTime, OpenConnections, TooManyFileJobs, WallTime,
};

/// The recipient of an event: the component, and a number that the component chose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// Index of the component in its graph.
    pub owner: u32,
    /// The component's own number for the socket, timer or look-up.
    pub local: u64,
}

/// Identifies a timer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TimerId(pub u64);

/// What happened under a key.
#[derive(Debug)]
pub enum Event<'a> {
    /// A socket may have become readable or writable, [`World::request_ready`] was called, or a job has ended. Read
    /// until it would block.
    Ready,
    /// A timer is due.
    Timer,
    /// A look-up ended: the addresses in the order of preference, or the error of the resolver.
    Resolved(&'a Result<Vec<SocketAddr>, ResolveError>),
}

/// The name, its name server or the system is at fault: a look-up found no address. The text is Go's:
/// `lookup X: no such host`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ResolveError(pub String);

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
    /// An address from a look-up.
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

/// A connection that never blocks: `WouldBlock` means that an event will follow. Writing to a closed one is an error
/// and never a signal. Dropping closes it.
pub trait Stream: io::Read + io::Write {
    /// The address of the peer, for logs and client metadata.
    fn peer_addr(&self) -> String;

    /// The component's number under which events of the stream are delivered, if there are any.
    fn event_key(&self) -> Option<u64> {
        None
    }

    /// Notes which protocol it carries, for [`World::connections`]: `gRPC`, `HTTP/1.1`. Layers pass it on.
    fn set_protocol(&mut self, protocol: &'static str) {
        let _ = protocol;
    }

    /// Notes that it is encrypted, for [`World::connections`].
    fn set_encrypted(&mut self) {}

    /// Half-closes for writing, so that the peer reads what was sent and then the end of the stream.
    fn shutdown_write(&mut self);

    /// The error of a layer of the stream (TLS, a proxy), as a text that is more exact than an [`io::ErrorKind`].
    fn layer_error(&self) -> Option<String> {
        None
    }
}

/// A bound socket.
pub trait Listener {
    /// The next connection, registered under `key`; `WouldBlock` when there is none.
    ///
    /// # Errors
    /// The error that the system reports.
    fn accept(&mut self, local: u64) -> io::Result<Box<dyn Stream>>;

    /// The address that it is bound to.
    fn local_addr(&self) -> String;
}

/// How much memory the process uses, and how much it may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemorySample {
    /// Resident bytes of the process; zero where they say nothing about the collector, because it is a part of a host
    /// program or `/proc` is missing.
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
    /// Resident bytes that are not backed by a file: heap and stacks.
    pub anonymous: u64,
    /// Bytes of the address space.
    pub virtual_size: u64,
    /// Time since the collector started.
    pub uptime: Duration,
}

/// Notifies a component, from any thread, that the data shared with that thread has changed.
pub trait Notifier: Send + Sync {
    /// Causes [`Event::Ready`] to be delivered soon: once, however often this is called before that.
    fn notify(&self);
}

/// The notifier of a world without other threads: does nothing.
pub(crate) struct NoopNotifier;

impl Notifier for NoopNotifier {
    fn notify(&self) {}
}

/// A computation that takes longer than a turn of the loop may take: it runs on a helper thread.
pub type Job = Box<dyn FnOnce() + Send>;

/// The result of a job, available once it has ended. See [`crate::Cx::run_job`] and [`crate::Cx::run_file_job`].
#[derive(Debug)]
pub struct JobResult<T>(Arc<Mutex<Option<T>>>);

impl<T: Send + 'static> JobResult<T> {
    /// A job that runs `compute`, and the value through which its result is read.
    pub(crate) fn new(compute: impl FnOnce() -> T + Send + 'static) -> (Job, Self) {
        let shared = Arc::new(Mutex::new(None));
        let result = Self(shared.clone());
        let job = move || {
            let value = compute();
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        };
        (Box::new(job), result)
    }

    /// The same for a job on files.
    pub(crate) fn of_file_job(work: impl FnOnce(&mut dyn FileSystem) -> T + Send + 'static) -> (FileJob, Self) {
        let shared = Arc::new(Mutex::new(None));
        let result = Self(shared.clone());
        let job = move |files: &mut dyn FileSystem| {
            let value = work(files);
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        };
        (Box::new(job), result)
    }

    /// Whether the job has ended, by a panic too. Its end drops what it shares with this value.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// The result. `None` before the job has ended, and when it has panicked.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Clock, network, names, memory and randomness. The only interface of components to the machine.
pub trait World {
    /// The steady clock.
    fn now(&self) -> MonotonicTime;
    /// The wall clock.
    fn wall_time(&self) -> WallTime;
    /// The next random number.
    fn random(&mut self) -> u64;
    /// Measures the memory now.
    fn sample_memory(&mut self) -> MemorySample;
    /// Measures what the process has used until now.
    fn sample_process(&mut self) -> ProcessSample;
    /// Binds a socket. New connections are announced under `key`.
    ///
    /// # Errors
    /// The error that the system reports, for example that a port is in use.
    fn listen(&mut self, key: Key, endpoint: &Endpoint) -> io::Result<Box<dyn Listener>>;
    /// Begins a connection; the first write shows whether it was established.
    ///
    /// # Errors
    /// The error that the system reports at once.
    fn connect(&mut self, key: Key, peer: &PeerAddr) -> io::Result<Box<dyn Stream>>;
    /// Binds a UDP socket, to every address of the machine where `host` is empty; the system chooses a port for zero.
    /// [`Event::Ready`] follows under `key` when it may be readable or writable.
    ///
    /// # Errors
    /// The error that the system reports, for example that a port is in use.
    fn bind_udp(&mut self, key: Key, host: &str, port: u16) -> io::Result<Box<dyn DatagramSocket>>;
    /// Begins a change of the graph in which these owners end: until [`World::end_handover`], [`World::listen`] and
    /// [`World::bind_udp`] at an address that one of them has bound give another handle of the same socket, so that no connection is
    /// refused and no datagram is lost meanwhile.
    fn begin_handover(&mut self, owners: &BTreeSet<u32>) {
        let _ = owners;
    }
    /// Ends it. If the change has succeeded (`is_final`), the owners get nothing more from the sockets that were taken over;
    /// otherwise these are theirs again once the other handles are dropped. Returns whether an address could not be bound because one
    /// of the owners has its port at another address, such as `0.0.0.0` instead of `127.0.0.1`.
    fn end_handover(&mut self, is_final: bool) -> bool {
        let _ = is_final;
        false
    }
    /// Looks up a host name; [`Event::Resolved`] follows, never before this returns.
    fn resolve(&mut self, key: Key, host: &str, port: u16);
    /// Requests [`Event::Timer`] at `at`.
    fn set_timer(&mut self, key: Key, at: MonotonicTime) -> TimerId;
    /// Cancels a timer. A timer that has fired, or never existed, is no error.
    fn cancel_timer(&mut self, id: TimerId);
    /// A notifier for other threads: [`Event::Ready`] follows under `key`. In a world without other threads it does
    /// nothing.
    fn notifier(&mut self, key: Key) -> Arc<dyn Notifier> {
        let _ = key;
        Arc::new(NoopNotifier)
    }
    /// Runs `job` on a helper thread; [`Event::Ready`] follows under `key` when it has ended, by a panic too, and never
    /// before this returns. A world without other threads runs it at once.
    fn run_job(&mut self, key: Key, job: Job) {
        job();
        self.request_ready(key);
    }
    /// Runs `job` on a helper thread with the file system; [`Event::Ready`] follows under `key` when it has ended, by a
    /// panic too, and never before this returns. Jobs under one key run one after another in the order of the calls;
    /// jobs under different keys may run at the same time.
    ///
    /// # Errors
    /// The owner of the key has [`crate::MAX_FILE_JOBS`] jobs that have not ended. The job is dropped, and no event
    /// follows.
    fn run_file_job(&mut self, key: Key, job: FileJob) -> Result<(), TooManyFileJobs>;
    /// Requests [`Event::Ready`] in the next turn, for example when a read budget is spent and no new readiness event
    /// will come.
    fn request_ready(&mut self, key: Key);
    /// Opens `stdout`, `stderr` or a file to append to. Writing never blocks: each `write` is one record, which is
    /// accepted whole and written later in the order of the calls. [`io::ErrorKind::WouldBlock`] means that its reader
    /// is too slow and that the record is dropped and counted; another error is that of an earlier record.
    ///
    /// # Errors
    /// The error that the system reports.
    fn open_output(&mut self, path: &str) -> io::Result<Box<dyn io::Write>>;
    /// Reads a small file whole while components start: certificates, tokens. It blocks; once the loop runs, files are
    /// read by [`World::run_file_job`]. In a world without files no file exists.
    ///
    /// # Errors
    /// The error that the system reports, in Go's form.
    fn read_file(&mut self, path: &str) -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::NotFound, format!("open {path}: no such file or directory")))
    }
    /// The sockets that are open now, within `limits`. Takes time for each of them, so it is asked only for people who look. A world
    /// without sockets of a system has none.
    fn connections(&mut self, limits: ConnectionLimits) -> OpenConnections {
        let _ = limits;
        OpenConnections::default()
    }
    /// A variable of the process's environment, for settings that the Go collector reads there: proxies.
    fn env_var(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }
}
