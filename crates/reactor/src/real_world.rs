//! The real machine as a [`World`].

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use otelcore_pipeline::{
    ConnectionLimits, DatagramSocket, Endpoint, FileJob, Graph, Job, Key, Listener, MemorySample, MonotonicTime,
    Notifier, OpenConnections, PeerAddr, ProcessSample, StartError, Stream, TimerId, TooManyFileJobs, WallTime, World,
};

use crate::connections;
use crate::files::FileJobs;
use crate::forks::TrackedFd;
use crate::jobs::Jobs;
use crate::memory_limits;
use crate::notifiers::Notifiers;
use crate::os;
use crate::output::Outputs;
use crate::resolver::{CompletedLookup, Resolver};
use crate::signals::Signals;
use crate::sockets::{self, EventSources};
use crate::timers::Timers;
use crate::trial_start::{Binding, TrialWorld};
use crate::udp;
use crate::waker::Waker;

const WAKER_TOKEN: Token = Token(0);

/// Sockets, timers, name look-ups, memory and clocks of this machine. One thread owns it.
pub struct RealWorld {
    poll: TrackedFd<Poll>,
    events: Events,
    sources: Rc<EventSources>,
    pub(crate) timers: Timers,
    pub(crate) ready_requests: BTreeSet<Key>,
    /// Paths that were read, with their bytes where these can be read only once, as from a pipe.
    files_read: BTreeMap<String, Option<Vec<u8>>>,
    resolver: Resolver,
    jobs: Jobs,
    file_jobs: FileJobs,
    pub(crate) waker: Arc<Waker>,
    pub(crate) notifiers: Arc<Notifiers>,
    signals: Option<Rc<Signals>>,
    started: Instant,
    random_state: u64,
    memory_hint: Option<u64>,
    pub(crate) outputs: Outputs,
    /// Whether the process runs only this collector, so that its resident memory is the collector's.
    owns_process: bool,
}

impl std::fmt::Debug for RealWorld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RealWorld").finish_non_exhaustive()
    }
}

impl RealWorld {
    /// A world with its own descriptor to wait on. Starts no thread.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let poll = TrackedFd::open(Poll::new)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER_TOKEN)?);
        let sources = EventSources::new(TrackedFd::open(|| poll.registry().try_clone())?);
        Ok(Self {
            poll,
            // Large enough for a busy turn; further events are delivered in the next one.
            events: Events::with_capacity(256),
            sources,
            timers: Timers::default(),
            ready_requests: BTreeSet::new(),
            files_read: BTreeMap::new(),
            resolver: Resolver::new(waker.clone()),
            jobs: Jobs::new(),
            file_jobs: FileJobs::new(),
            notifiers: Notifiers::new(waker.clone()),
            waker,
            signals: None,
            started: Instant::now(),
            // The only random seed without a dependency: the keys of std's hasher come from the system.
            random_state: std::hash::RandomState::new().hash_one(0x6f74_656c_u64),
            memory_hint: None,
            outputs: Outputs::new(),
            owns_process: true,
        })
    }

    /// A world in a host program: most of the process's resident memory is the host's, so it is reported as zero.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn new_in_host() -> io::Result<Self> {
        let mut world = Self::new()?;
        world.owns_process = false;
        Ok(world)
    }

    /// Sets how much memory in bytes the process should use where no cgroup sets a limit: the value of the variable
    /// `GOMEMLIMIT`. Only the binary sets it; the environment of a host program is meant for the host.
    pub fn set_memory_hint(&mut self, bytes: Option<u64>) {
        self.memory_hint = bytes;
    }

    /// Shares outputs with their other writers, so that the order of records is kept, and lets the loop report what
    /// they drop.
    pub fn set_outputs(&mut self, outputs: &Outputs) {
        outputs.set_waker(Some(self.waker.clone()));
        self.outputs = outputs.clone();
    }

    /// Makes the event loop report these signals. Only a program that owns the process may call this.
    ///
    /// # Errors
    /// When a handler can't be installed.
    pub fn catch_signals(&mut self, signals: &[i32]) -> io::Result<()> {
        self.set_signals(&Rc::new(Signals::catch(signals)?))
    }

    /// The same for signals that are caught already: none is lost between one world and the next.
    ///
    /// # Errors
    /// When the system has no room for another source of events.
    pub fn set_signals(&mut self, signals: &Rc<Signals>) -> io::Result<()> {
        for (index, fd) in signals.descriptors().enumerate() {
            self.poll.registry().register(&mut SourceFd(&fd), Token(1 + index), Interest::READABLE)?;
        }
        self.signals = Some(signals.clone());
        Ok(())
    }

    /// Waits for signals only, until `deadline` at most.
    ///
    /// # Errors
    /// When the system can't wait any more.
    pub fn wait_for_signals(&mut self, deadline: MonotonicTime) -> io::Result<Vec<i32>> {
        let mut signals = Vec::new();
        while signals.is_empty() && self.now() < deadline {
            self.wait(deadline, &mut Vec::new(), &mut signals)?;
        }
        Ok(signals)
    }

    /// Whether a graph could start once the one that runs here has ended, as far as that can be tried while it runs:
    /// its files can be read, and its addresses are free or in use by the graph that runs.
    ///
    /// # Errors
    /// The first component that could not start.
    pub(crate) fn try_start(&mut self, graph: Graph) -> Result<(), StartError> {
        let sources = self.sources.clone();
        let try_bind = |binding: Binding<'_>| match binding {
            Binding::Stream(endpoint) => sockets::try_bind(&sources, endpoint),
            Binding::Datagrams(host, port) => udp::try_bind(&sources, host, port),
        };
        TrialWorld { running_world: self, try_bind: &try_bind, bound: Vec::new() }.start(graph)
    }

    /// Waits until there is an event, at most until `deadline`, and appends the events. Does not wait while a key is
    /// ready.
    pub(crate) fn wait(
        &mut self,
        deadline: MonotonicTime,
        ready: &mut Vec<Key>,
        signals: &mut Vec<i32>,
    ) -> io::Result<()> {
        if self.poll.is_inherited() {
            return Err(io::Error::other("a forked child has no loop of its parent's"));
        }
        let now = self.now();
        let timeout = if !self.ready_requests.is_empty() || !ready.is_empty() {
            Some(std::time::Duration::ZERO)
        } else {
            let due = self.timers.next_due().unwrap_or(MonotonicTime::NEVER).min(deadline);
            (due != MonotonicTime::NEVER).then(|| due.since(now))
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let token = event.token();
            if let Some(key) = self.sources.key(token) {
                ready.push(key);
            } else if let (Some(index), Some(watched)) = (token.0.checked_sub(1), &self.signals) {
                watched.read_pipe(index, signals);
            }
        }
        Ok(())
    }

    /// The descriptor that becomes readable when there is an event. It belongs to this world.
    #[must_use]
    pub fn poll_descriptor(&self) -> std::os::fd::RawFd {
        self.poll.as_raw_fd()
    }

    /// When the next turn is due even without an event of a socket: at once while a component has asked for another
    /// turn.
    #[must_use]
    pub fn deadline(&self) -> Option<MonotonicTime> {
        if self.ready_requests.is_empty() { self.timers.next_due() } else { Some(MonotonicTime::default()) }
    }

    pub(crate) fn next_lookup(&mut self) -> Option<CompletedLookup> {
        self.resolver.next_result()
    }
}

impl Drop for RealWorld {
    fn drop(&mut self) {
        self.notifiers.close();
        self.outputs.set_waker(None);
    }
}

impl World for RealWorld {
    fn now(&self) -> MonotonicTime {
        // 584 years of nanoseconds fit.
        MonotonicTime(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn wall_time(&self) -> WallTime {
        WallTime(os::unix_time_nanos())
    }

    fn random(&mut self) -> u64 {
        // SplitMix64: for jitter and shuffles, not for secrets.
        self.random_state = self.random_state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random_state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn sample_memory(&mut self) -> MemorySample {
        let resident = if self.owns_process { os::ProcessMemory::read().resident } else { 0 };
        MemorySample { resident, total: memory_limits::memory_total(self.memory_hint) }
    }

    fn sample_process(&mut self) -> ProcessSample {
        os::process_sample(self.started.elapsed())
    }

    fn listen(&mut self, key: Key, at: &Endpoint) -> io::Result<Box<dyn Listener>> {
        sockets::listen(&self.sources, key, at)
    }

    fn connect(&mut self, key: Key, to: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        sockets::connect(&self.sources, key, to)
    }

    fn bind_udp(&mut self, key: Key, host: &str, port: u16) -> io::Result<Box<dyn DatagramSocket>> {
        udp::bind(&self.sources, key, host, port)
    }

    fn begin_handover(&mut self, owners: &BTreeSet<u32>) {
        self.sources.begin_handover(owners);
    }

    fn end_handover(&mut self, is_final: bool) -> bool {
        self.sources.end_handover(is_final)
    }

    fn resolve(&mut self, key: Key, host: &str, port: u16) {
        let random = self.random();
        self.resolver.look_up(key, host, port, random);
    }

    fn set_timer(&mut self, key: Key, at: MonotonicTime) -> TimerId {
        self.timers.set(key, at)
    }

    fn cancel_timer(&mut self, id: TimerId) {
        self.timers.cancel(id);
    }

    fn notifier(&mut self, key: Key) -> Arc<dyn Notifier> {
        self.notifiers.register(key)
    }

    fn run_job(&mut self, key: Key, job: Job) {
        self.jobs.run(job, self.notifiers.register(key));
    }

    fn run_file_job(&mut self, key: Key, job: FileJob) -> Result<(), TooManyFileJobs> {
        self.file_jobs.run(key, job, self.notifiers.register(key))
    }

    fn request_ready(&mut self, key: Key) {
        self.ready_requests.insert(key);
    }

    fn open_output(&mut self, path: &str) -> io::Result<Box<dyn io::Write>> {
        self.outputs.open(path).map(|output| Box::new(output) as Box<dyn io::Write>)
    }

    fn read_file(&mut self, path: &str) -> io::Result<Vec<u8>> {
        let earlier = self.files_read.get(path);
        if let Some(Some(bytes)) = earlier {
            return Ok(bytes.clone());
        }
        let is_read_once = os::is_read_once(path);
        if is_read_once && earlier.is_some() {
            return Err(io::Error::other(format!("open {path}: it has become a pipe, which the loop can't wait for")));
        }
        // Without the system's number: a `StartError` has one only where a socket was refused.
        let bytes = os::read_file(path).map_err(|e| io::Error::new(e.kind(), e.to_string()))?;
        self.files_read.insert(path.to_owned(), is_read_once.then(|| bytes.clone()));
        Ok(bytes)
    }

    fn connections(&mut self, limits: ConnectionLimits) -> OpenConnections {
        connections::describe(&self.sources, limits)
    }

    fn env_var(&self, name: &str) -> Option<String> {
        os::env_var(name)
    }
}
