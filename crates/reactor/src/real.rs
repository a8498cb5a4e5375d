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
    Bell, Endpoint, Graph, Job, Key, Listener, MemorySample, Mono, PeerAddr, ProcessSample, StartError, Stream,
    TimerId, Wall, World,
};

use crate::bells::Bells;
use crate::forks::Tracked;
use crate::jobs::Jobs;
use crate::limits;
use crate::os;
use crate::output::Outputs;
use crate::resolver::{Answer, Resolver};
use crate::signals::Signals;
use crate::sockets::{self, Sources};
use crate::timers::Timers;
use crate::trial::Trial;
use crate::waker::Waker;

const WAKER: Token = Token(0);

/// Sockets, timers, name look-ups, memory and clocks of this machine. One thread owns it.
pub struct Real {
    poll: Tracked<Poll>,
    events: Events,
    sources: Rc<Sources>,
    pub(crate) timers: Timers,
    pub(crate) again: BTreeSet<Key>,
    /// Paths that were read, with their bytes where these can be read only once, as from a pipe.
    files: BTreeMap<String, Option<Vec<u8>>>,
    resolver: Resolver,
    jobs: Jobs,
    pub(crate) waker: Arc<Waker>,
    pub(crate) bells: Arc<Bells>,
    signals: Option<Rc<Signals>>,
    started: Instant,
    random: u64,
    memory_hint: Option<u64>,
    pub(crate) outputs: Outputs,
    /// Why the last socket could not be bound.
    listen_errno: Option<i32>,
    /// Whether the process runs only this collector, so that its resident memory is the collector's.
    owns_process: bool,
}

impl std::fmt::Debug for Real {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Real").finish_non_exhaustive()
    }
}

impl Real {
    /// A world with its own descriptor to wait on. Starts no thread.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let poll = Tracked::open(Poll::new)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let sources = Sources::new(Tracked::open(|| poll.registry().try_clone())?);
        Ok(Self {
            poll,
            // Large enough for a busy turn; further events are delivered in the next one.
            events: Events::with_capacity(256),
            sources,
            timers: Timers::default(),
            again: BTreeSet::new(),
            files: BTreeMap::new(),
            resolver: Resolver::new(waker.clone()),
            jobs: Jobs::new(),
            bells: Bells::new(waker.clone()),
            waker,
            signals: None,
            started: Instant::now(),
            // The only random seed without a dependency: the keys of std's hasher come from the system.
            random: std::hash::RandomState::new().hash_one(0x6f74_656c_u64),
            memory_hint: None,
            outputs: Outputs::new(),
            listen_errno: None,
            owns_process: true,
        })
    }

    /// A world in a host program: most of the process's resident memory is the host's, so it is reported as zero.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn in_host() -> io::Result<Self> {
        let mut world = Self::new()?;
        world.owns_process = false;
        Ok(world)
    }

    /// The system's number of the error that the last attempt to bind a socket has ended with; `None` where it
    /// succeeded.
    #[must_use]
    pub fn listen_errno(&self) -> Option<i32> {
        self.listen_errno
    }

    /// Sets how much memory in bytes the process should use where no cgroup sets a limit: the value of the variable
    /// `GOMEMLIMIT`. Only the binary sets it; the environment of a host program is meant for the host.
    pub fn hint_memory(&mut self, bytes: Option<u64>) {
        self.memory_hint = bytes;
    }

    /// Shares outputs with their other writers, so that the order of records is kept, and lets the loop report what
    /// they drop.
    pub fn set_outputs(&mut self, outputs: &Outputs) {
        outputs.set_waker(Some(self.waker.clone()));
        self.outputs = outputs.clone();
    }

    /// Lets [`Real::wait`] report these signals. Only a program that owns the process may call this.
    ///
    /// # Errors
    /// When a handler can't be installed.
    pub fn watch_signals(&mut self, signals: &[i32]) -> io::Result<()> {
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

    /// Waits for signals only, until `until` at most.
    ///
    /// # Errors
    /// When the system can't wait any more.
    pub fn wait_for_signals(&mut self, until: Mono) -> io::Result<Vec<i32>> {
        let mut signals = Vec::new();
        while signals.is_empty() && self.now() < until {
            self.wait(until, &mut Vec::new(), &mut signals)?;
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
        let probe = |at: &Endpoint| sockets::probe(&sources, at);
        Trial { world: self, probe: &probe, bound: Vec::new() }.start(graph)
    }

    /// Waits until there is an event, at most until `until`, and appends the events. Does not wait while a key is
    /// ready.
    pub(crate) fn wait(&mut self, until: Mono, ready: &mut Vec<Key>, signals: &mut Vec<i32>) -> io::Result<()> {
        if self.poll.is_inherited() {
            return Err(io::Error::other("a forked child has no loop of its parent's"));
        }
        let now = self.now();
        let timeout = if !self.again.is_empty() || !ready.is_empty() {
            Some(std::time::Duration::ZERO)
        } else {
            let at = self.timers.next().unwrap_or(Mono::NEVER).min(until);
            (at != Mono::NEVER).then(|| at.since(now))
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let token = event.token();
            if let Some(key) = self.sources.key(token) {
                ready.push(key);
            } else if let (Some(index), Some(caught)) = (token.0.checked_sub(1), &self.signals) {
                caught.take(index, signals);
            }
        }
        Ok(())
    }

    /// The descriptor that becomes readable when there is an event. It belongs to this world.
    #[must_use]
    pub fn descriptor(&self) -> std::os::fd::RawFd {
        self.poll.as_raw_fd()
    }

    /// When the next turn is due even without an event of a socket: at once while a component has asked for another
    /// turn.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        if self.again.is_empty() { self.timers.next() } else { Some(Mono::default()) }
    }

    pub(crate) fn answer(&mut self) -> Option<Answer> {
        self.resolver.poll()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.bells.close();
        self.outputs.set_waker(None);
    }
}

impl World for Real {
    fn now(&self) -> Mono {
        // 584 years of nanoseconds fit.
        Mono(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn wall(&self) -> Wall {
        Wall(os::wall_clock())
    }

    fn rand(&mut self) -> u64 {
        // SplitMix64: for jitter and shuffles, not for secrets.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn memory(&mut self) -> MemorySample {
        let resident = if self.owns_process { os::Memory::now().resident } else { 0 };
        MemorySample { resident, total: limits::memory_total(self.memory_hint) }
    }

    fn process(&mut self) -> ProcessSample {
        os::process_sample(self.started.elapsed())
    }

    fn listen(&mut self, key: Key, at: &Endpoint) -> io::Result<Box<dyn Listener>> {
        let listener = sockets::listen(&self.sources, key, at);
        self.listen_errno = listener.as_ref().err().and_then(sockets::errno);
        listener
    }

    fn connect(&mut self, key: Key, to: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        sockets::connect(&self.sources, key, to)
    }

    fn resolve(&mut self, key: Key, host: &str, port: u16) {
        self.resolver.ask(key, host, port);
    }

    fn arm(&mut self, key: Key, at: Mono) -> TimerId {
        self.timers.arm(key, at)
    }

    fn cancel(&mut self, id: TimerId) {
        self.timers.cancel(id);
    }

    fn bell(&mut self, key: Key) -> Arc<dyn Bell> {
        self.bells.hang(key)
    }

    fn run_job(&mut self, key: Key, job: Job) {
        self.jobs.run(job, self.bells.hang(key));
    }

    fn again(&mut self, key: Key) {
        self.again.insert(key);
    }

    fn output(&mut self, path: &str) -> io::Result<Box<dyn io::Write>> {
        self.outputs.open(path).map(|output| Box::new(output) as Box<dyn io::Write>)
    }

    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        let before = self.files.get(path);
        if let Some(Some(bytes)) = before {
            return Ok(bytes.clone());
        }
        let once = os::is_read_once(path);
        if once && before.is_some() {
            return Err(io::Error::other(format!("open {path}: it has become a pipe, which the loop can't wait for")));
        }
        let bytes = os::read_file(path).map_err(io::Error::other)?;
        self.files.insert(path.to_owned(), once.then(|| bytes.clone()));
        Ok(bytes)
    }

    fn env(&self, name: &str) -> Option<String> {
        os::env(name)
    }
}
