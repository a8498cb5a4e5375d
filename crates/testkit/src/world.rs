//! The world: clock, timers, jobs, files, names, outputs and sockets, all in memory and driven by the test.
//!
//! Nothing happens by itself. A component's calls are recorded; the test advances the clock, sends bytes, and calls
//! [`TestWorld::run`], which delivers the events that are due. Every run of a test is the same.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pipeline::{
    Cx, DatagramDrops, DatagramSocket, Endpoint, Event, FileJob, Graph, Job, Key, Listener, MAX_FILE_JOBS,
    MemorySample, MonotonicTime, Notifier, PeerAddr, ProcessSample, ResolveError, Stream, TimerId, TooManyFileJobs,
    WallTime, World,
};
use otelcore_reactor::SimDisk;

use crate::ready::ReadyKeys;
use crate::stream::{
    ComponentDatagrams, ComponentListener, Connecting, DatagramState, ListenerState, PeerStream, WaitingConnection,
    connection,
};

/// The owner number of the component under test.
pub const OWNER: u32 = 0;

/// More events than this at one moment are an endless loop of a component.
const MAX_EVENTS: usize = 1_000_000;

struct TestNotifier {
    key: Key,
    ready: ReadyKeys,
}

impl Notifier for TestNotifier {
    fn notify(&self) {
        self.ready.request(self.key);
    }
}

/// An event that is due.
enum DueEvent {
    Ready,
    Timer,
    Resolved(Result<Vec<SocketAddr>, ResolveError>),
}

impl DueEvent {
    fn as_event(&self) -> Event<'_> {
        match self {
            Self::Ready => Event::Ready,
            Self::Timer => Event::Timer,
            Self::Resolved(result) => Event::Resolved(result),
        }
    }
}

enum WaitingJob {
    Compute(Job),
    Files(FileJob),
}

/// What a component writes to an output, by path.
#[derive(Debug, Default)]
struct Outputs {
    written: BTreeMap<String, Vec<u8>>,
    /// Why writing fails.
    write_error: Option<(io::ErrorKind, String)>,
}

/// See the module.
pub struct TestWorld {
    now: MonotonicTime,
    wall_time: WallTime,
    random: u64,
    memory: MemorySample,
    process: ProcessSample,
    timers: BTreeMap<(MonotonicTime, TimerId), Key>,
    next_timer: u64,
    ready: ReadyKeys,
    jobs: VecDeque<(Key, WaitingJob)>,
    disk: SimDisk,
    files_read: usize,
    outputs: Rc<RefCell<Outputs>>,
    output_errors: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    lookup_results: BTreeMap<String, Result<Vec<IpAddr>, ResolveError>>,
    lookups: VecDeque<(Key, Result<Vec<SocketAddr>, ResolveError>)>,
    listeners: Vec<Rc<RefCell<ListenerState>>>,
    listen_error: Option<(io::ErrorKind, String)>,
    connected: Vec<(PeerAddr, PeerStream)>,
    datagrams: Vec<Rc<RefCell<DatagramState>>>,
    next_port: u16,
}

impl std::fmt::Debug for TestWorld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestWorld").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Default for TestWorld {
    fn default() -> Self {
        Self::new()
    }
}

impl TestWorld {
    /// An empty world at time zero. It has no file, no name and no variable; every address is free.
    #[must_use]
    pub fn new() -> Self {
        Self {
            now: MonotonicTime::default(),
            wall_time: WallTime::default(),
            random: 0,
            memory: MemorySample::default(),
            process: ProcessSample::default(),
            timers: BTreeMap::new(),
            next_timer: 0,
            ready: ReadyKeys::default(),
            jobs: VecDeque::new(),
            disk: SimDisk::new(0),
            files_read: 0,
            outputs: Rc::default(),
            output_errors: BTreeMap::new(),
            env: BTreeMap::new(),
            lookup_results: BTreeMap::new(),
            lookups: VecDeque::new(),
            listeners: Vec::new(),
            listen_error: None,
            connected: Vec::new(),
            datagrams: Vec::new(),
            next_port: 49_152,
        }
    }

    /// What the component under test is given.
    pub fn cx(&mut self) -> Cx<'_> {
        Cx::new(self, OWNER)
    }

    // ---- time and measurements ---------------------------------------------------------------------------------

    /// Advances both clocks. Timers that are due by then are delivered by the next [`TestWorld::run`].
    pub fn advance(&mut self, time: Duration) {
        let now = self.now + time;
        self.wall_time = WallTime(self.wall_time.0.saturating_add(now.since(self.now).as_nanos() as u64));
        self.now = now;
    }

    /// Advances both clocks from timer to timer, and delivers the events that become due on the way, as
    /// [`TestWorld::run`] does. Returns how many events there were.
    pub fn run_for(&mut self, time: Duration, mut deliver: impl FnMut(&mut Cx<'_>, u64, Event<'_>)) -> usize {
        let end = self.now + time;
        let mut events = self.run(&mut deliver);
        while let Some(due) = self.next_timer().filter(|due| *due <= end) {
            self.advance(due.since(self.now));
            events += self.run(&mut deliver);
            assert!(events < MAX_EVENTS, "the component sets timers without end");
        }
        self.advance(end.since(self.now));
        events
    }

    /// When the first timer is due.
    #[must_use]
    pub fn next_timer(&self) -> Option<MonotonicTime> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// The timers that are set: when each is due, and the component's number for it.
    #[must_use]
    pub fn timers(&self) -> Vec<(MonotonicTime, u64)> {
        self.timers.iter().map(|((at, _), key)| (*at, key.local)).collect()
    }

    /// Sets the wall clock.
    pub fn set_wall_time(&mut self, wall_time: WallTime) {
        self.wall_time = wall_time;
    }

    /// Sets what the component measures as memory.
    pub fn set_memory(&mut self, memory: MemorySample) {
        self.memory = memory;
    }

    /// Sets what the component measures of the process.
    pub fn set_process(&mut self, process: ProcessSample) {
        self.process = process;
    }

    /// Sets a variable of the environment.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    // ---- events ------------------------------------------------------------------------------------------------

    /// Runs jobs and delivers events until nothing is due at the present time: look-ups, keys that are ready, timers.
    /// Returns how many events there were.
    ///
    /// # Panics
    /// After a million of them: the component never rests.
    pub fn run(&mut self, mut deliver: impl FnMut(&mut Cx<'_>, u64, Event<'_>)) -> usize {
        let mut events = 0;
        while self.step(&mut deliver) {
            events += 1;
            assert!(events < MAX_EVENTS, "the component requests events without end");
        }
        events
    }

    /// Delivers one event, for which a job may have to be run. False when nothing is due.
    pub fn step(&mut self, deliver: &mut dyn FnMut(&mut Cx<'_>, u64, Event<'_>)) -> bool {
        let Some((key, event)) = self.next_event() else { return false };
        deliver(&mut Cx::new(self, key.owner), key.local, event.as_event());
        true
    }

    fn next_event(&mut self) -> Option<(Key, DueEvent)> {
        if let Some((key, result)) = self.lookups.pop_front() {
            return Some((key, DueEvent::Resolved(result)));
        }
        if self.ready.is_empty() {
            while self.run_job().is_some() {}
        }
        if let Some(key) = self.ready.pop() {
            return Some((key, DueEvent::Ready));
        }
        let due = self.timers.first_entry().filter(|entry| entry.key().0 <= self.now)?;
        Some((due.remove(), DueEvent::Timer))
    }

    /// The same for a graph that was started in this world: [`TestWorld::run`] with all of its components. After each event
    /// the items of every component must add up; see [`sum_law`](otelcore_pipeline::sum_law()).
    pub fn run_graph(&mut self, graph: &mut Graph) -> usize {
        let mut events = 0;
        while let Some((key, event)) = self.next_event() {
            graph.handle_event(self, key.owner, key.local, event.as_event());
            assert_eq!(graph.sum_law(), Ok(()));
            events += 1;
            assert!(events < MAX_EVENTS, "the components request events without end");
        }
        events
    }

    /// Takes the keys that are ready, as the component numbers them, instead of delivering them.
    pub fn take_ready(&mut self) -> Vec<u64> {
        std::iter::from_fn(|| self.ready.pop()).map(|key| key.local).collect()
    }

    /// How many jobs have not run.
    #[must_use]
    pub fn job_count(&self) -> usize {
        self.jobs.len()
    }

    /// Runs the job that was begun first, and makes its key ready. Returns the key's local number; `None` without a
    /// job.
    pub fn run_job(&mut self) -> Option<u64> {
        let (key, job) = self.jobs.pop_front()?;
        match job {
            WaitingJob::Compute(job) => job(),
            WaitingJob::Files(job) => {
                self.disk.set_now(self.wall_time);
                job(&mut self.disk);
            }
        }
        self.ready.request(key);
        Some(key.local)
    }

    /// Ends the job that was begun first as if it had panicked: it leaves no result.
    pub fn drop_job(&mut self) -> Option<u64> {
        let (key, job) = self.jobs.pop_front()?;
        drop(job);
        self.ready.request(key);
        Some(key.local)
    }

    // ---- files, outputs, names ---------------------------------------------------------------------------------

    /// The disk, to write files, to read them and to set faults.
    pub fn disk(&mut self) -> &mut SimDisk {
        &mut self.disk
    }

    /// How often the component has read a file at once or begun a job on files.
    #[must_use]
    pub fn files_read(&self) -> usize {
        self.files_read
    }

    /// What the component has written to an output (`stdout`, `stderr` or a path).
    #[must_use]
    pub fn output(&self, path: &str) -> Vec<u8> {
        self.outputs.borrow().written.get(path).cloned().unwrap_or_default()
    }

    /// Lets every write to an output fail, until it is called with `None`.
    pub fn set_output_error(&mut self, error: Option<(io::ErrorKind, &str)>) {
        self.outputs.borrow_mut().write_error = error.map(|(kind, text)| (kind, text.to_owned()));
    }

    /// Lets opening this output fail.
    pub fn deny_output(&mut self, path: &str, error: &str) {
        self.output_errors.insert(path.to_owned(), error.to_owned());
    }

    /// Sets the result of looking up a name. Without it, a name does not exist.
    pub fn set_lookup_result(&mut self, host: &str, result: Result<Vec<IpAddr>, ResolveError>) {
        self.lookup_results.insert(host.to_owned(), result);
    }

    // ---- sockets -----------------------------------------------------------------------------------------------

    /// Lets the component fail to bind an address, until it is called with `None`.
    pub fn set_listen_error(&mut self, error: Option<(io::ErrorKind, &str)>) {
        self.listen_error = error.map(|(kind, text)| (kind, text.to_owned()));
    }

    /// Lets the component fail to accept connections, until it is called with `None`.
    pub fn set_accept_error(&mut self, error: Option<&str>) {
        for listener in &self.listeners {
            let mut listener = listener.borrow_mut();
            listener.accept_error = error.map(str::to_owned);
            self.ready.request(listener.key);
        }
    }

    /// The addresses on which the component listens.
    #[must_use]
    pub fn listening(&self) -> Vec<String> {
        let open = self.listeners.iter().filter(|listener| listener.borrow().is_open);
        open.map(|listener| listener.borrow().address.clone()).collect()
    }

    /// Connects to the component at an address on which it listens, for example `127.0.0.1:4317`.
    ///
    /// # Panics
    /// Without a listener there.
    pub fn connect_to(&mut self, address: &str) -> Connecting {
        let is_it = |listener: &&Rc<RefCell<ListenerState>>| {
            let listener = listener.borrow();
            listener.is_open && listener.address == address
        };
        let found = self.listeners.iter().find(is_it);
        let mut listener = found.unwrap_or_else(|| unlistened(address, &self.listening())).borrow_mut();
        let accepted = Rc::<RefCell<Option<PeerStream>>>::default();
        listener.waiting.push_back(WaitingConnection { accepted: accepted.clone() });
        self.ready.request(listener.key);
        Connecting(accepted)
    }

    /// Takes the connections that the component has begun since the last call, with where each goes. They are
    /// established.
    pub fn take_connections(&mut self) -> Vec<(PeerAddr, PeerStream)> {
        std::mem::take(&mut self.connected)
    }

    /// Sends a datagram to the component's UDP socket at an address, for example `127.0.0.1:8125`.
    ///
    /// # Panics
    /// Without a socket there.
    pub fn send_datagram(&mut self, address: &str, datagram: impl Into<Vec<u8>>, from: SocketAddr) {
        let mut socket = self.datagram_socket(address).borrow_mut();
        socket.to_component.push_back((datagram.into(), from));
        self.ready.request(socket.key);
    }

    /// Takes what the component has sent from its UDP socket at an address, with where each datagram goes.
    ///
    /// # Panics
    /// Without a socket there.
    pub fn take_datagrams(&mut self, address: &str) -> Vec<(Vec<u8>, SocketAddr)> {
        std::mem::take(&mut self.datagram_socket(address).borrow_mut().from_component)
    }

    fn datagram_socket(&self, address: &str) -> &RefCell<DatagramState> {
        let found = self.datagrams.iter().find(|s| s.borrow().is_open && s.borrow().address == address);
        found.unwrap_or_else(|| unlistened(address, &[]))
    }

    fn address(&mut self, host: &str, port: u16) -> String {
        let port = if port == 0 {
            self.next_port += 1;
            self.next_port
        } else {
            port
        };
        let host = if host.is_empty() { "[::]" } else { host };
        format!("{host}:{port}")
    }
}

#[allow(clippy::panic)] // A test that asks for this is wrong.
fn unlistened(address: &str, open: &[String]) -> ! {
    panic!("the component does not listen on {address}, but on {open:?}")
}

impl World for TestWorld {
    fn now(&self) -> MonotonicTime {
        self.now
    }

    fn wall_time(&self) -> WallTime {
        self.wall_time
    }

    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(1);
        self.random
    }

    fn sample_memory(&mut self) -> MemorySample {
        self.memory
    }

    fn sample_process(&mut self) -> ProcessSample {
        self.process
    }

    fn listen(&mut self, key: Key, endpoint: &Endpoint) -> io::Result<Box<dyn Listener>> {
        if let Some((kind, text)) = &self.listen_error {
            return Err(io::Error::new(*kind, text.clone()));
        }
        let (network, address) = match endpoint {
            Endpoint::Tcp { host, port } => ("tcp", self.address(host, *port)),
            Endpoint::Unix(path) => ("unix", path.display().to_string()),
        };
        if self.listening().contains(&address) {
            let text = format!("listen {network} {address}: bind: address already in use");
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        let state = ListenerState { key, address, waiting: VecDeque::new(), accept_error: None, is_open: true };
        let state = Rc::new(RefCell::new(state));
        self.listeners.push(state.clone());
        Ok(Box::new(ComponentListener { state, ready: self.ready.clone() }))
    }

    fn connect(&mut self, key: Key, peer: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        let (other, stream) = connection(key, &peer.to_string(), &self.ready);
        self.connected.push((peer.clone(), other));
        self.ready.request(key);
        Ok(Box::new(stream))
    }

    fn bind_udp(&mut self, key: Key, host: &str, port: u16) -> io::Result<Box<dyn DatagramSocket>> {
        if let Some((kind, text)) = &self.listen_error {
            return Err(io::Error::new(*kind, text.clone()));
        }
        let (to_component, from_component) = (VecDeque::new(), Vec::new());
        let (address, drops) = (self.address(host, port), DatagramDrops::default());
        let state = DatagramState { key, address, to_component, from_component, drops, is_open: true };
        let state = Rc::new(RefCell::new(state));
        self.datagrams.push(state.clone());
        Ok(Box::new(ComponentDatagrams(state)))
    }

    fn resolve(&mut self, key: Key, host: &str, port: u16) {
        let no_such_host = || Err(ResolveError(format!("lookup {host}: no such host")));
        let result = match host.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![ip]),
            Err(_) => self.lookup_results.get(host).cloned().unwrap_or_else(no_such_host),
        };
        let with_port = |ips: Vec<IpAddr>| ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        self.lookups.push_back((key, result.map(with_port)));
    }

    fn set_timer(&mut self, key: Key, at: MonotonicTime) -> TimerId {
        let id = TimerId(self.next_timer);
        self.next_timer += 1;
        self.timers.insert((at, id), key);
        id
    }

    fn cancel_timer(&mut self, id: TimerId) {
        self.timers.retain(|(_, found), _| *found != id);
    }

    fn notifier(&mut self, key: Key) -> Arc<dyn Notifier> {
        Arc::new(TestNotifier { key, ready: self.ready.clone() })
    }

    fn run_job(&mut self, key: Key, job: Job) {
        self.jobs.push_back((key, WaitingJob::Compute(job)));
    }

    fn run_file_job(&mut self, key: Key, job: FileJob) -> Result<(), TooManyFileJobs> {
        let is_of_owner = |(k, job): &&(Key, WaitingJob)| k.owner == key.owner && matches!(job, WaitingJob::Files(_));
        if self.jobs.iter().filter(is_of_owner).count() >= MAX_FILE_JOBS {
            return Err(TooManyFileJobs);
        }
        self.files_read += 1;
        self.jobs.push_back((key, WaitingJob::Files(job)));
        Ok(())
    }

    fn request_ready(&mut self, key: Key) {
        self.ready.request(key);
    }

    fn open_output(&mut self, path: &str) -> io::Result<Box<dyn io::Write>> {
        if let Some(error) = self.output_errors.get(path) {
            return Err(io::Error::other(error.clone()));
        }
        Ok(Box::new(TestOutput { path: path.to_owned(), outputs: self.outputs.clone() }))
    }

    fn read_file(&mut self, path: &str) -> io::Result<Vec<u8>> {
        self.files_read += 1;
        self.disk.read_whole(path)
    }

    fn env_var(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }
}

struct TestOutput {
    path: String,
    outputs: Rc<RefCell<Outputs>>,
}

impl io::Write for TestOutput {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut outputs = self.outputs.borrow_mut();
        if let Some((kind, text)) = &outputs.write_error {
            return Err(io::Error::new(*kind, text.clone()));
        }
        outputs.written.entry(self.path.clone()).or_default().extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
