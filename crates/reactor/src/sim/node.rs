//! The [`World`] of one node of the simulation.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use otelcore_pipeline::{
    DatagramDrops, DatagramSocket, Endpoint, FileJob, Job, Key, Listener, MAX_FILE_JOBS, MemorySample, MonotonicTime,
    Notifier, PeerAddr, ProcessSample, Stream, TimerId, TooManyFileJobs, WallTime, World,
};

use super::net::{ResolveResult, SimNetwork, SimPort};
use crate::timers::Timers;

/// The wall clock at time zero: the first of January 2026.
const WALL_CLOCK_START: u64 = 1_767_225_600_000_000_000;

/// Work of a component on a helper thread.
enum HelperWork {
    Compute(Job),
    Files(FileJob),
}

/// Work that has not ended, when it will have, and the key of its event.
struct WaitingWork {
    at: MonotonicTime,
    key: Key,
    work: HelperWork,
}

/// Of a file job that runs when its process ends, how many operations are carried out: fewer than this.
const OPERATIONS_BEFORE_END: usize = 8;

/// The keys whose notifiers were called.
type NotifiedKeys = Arc<Mutex<BTreeSet<Key>>>;

struct SimNotifier {
    key: Key,
    notified: NotifiedKeys,
}

impl Notifier for SimNotifier {
    fn notify(&self) {
        self.notified.lock().unwrap_or_else(PoisonError::into_inner).insert(self.key);
    }
}

pub(crate) struct NodeWorld {
    net: Rc<RefCell<SimNetwork>>,
    index: usize,
    pub(crate) timers: Timers,
    ready_requests: BTreeSet<Key>,
    notified: NotifiedKeys,
    jobs: Vec<WaitingWork>,
    started: MonotonicTime,
    /// Nanoseconds by which the wall clock differs from that of the simulation.
    pub(crate) wall_clock_offset: i64,
}

impl NodeWorld {
    pub(crate) fn new(net: Rc<RefCell<SimNetwork>>, number: usize) -> Self {
        let (timers, ready_requests) = (Timers::default(), BTreeSet::new());
        Self {
            net,
            index: number,
            timers,
            ready_requests,
            notified: NotifiedKeys::default(),
            jobs: Vec::new(),
            started: MonotonicTime::default(),
            wall_clock_offset: 0,
        }
    }

    /// Drops everything that a process which has ended had asked for.
    pub(crate) fn process_ended(&mut self) {
        self.timers = Timers::default();
        self.ready_requests.clear();
        // Notifiers of the process that has ended do nothing.
        self.notified = NotifiedKeys::default();
        self.end_file_jobs();
        let mut net = self.net.borrow_mut();
        self.started = net.now;
        net.process_ended(self.index);
    }

    pub(crate) fn is_ready(&self) -> bool {
        let net = self.net.borrow();
        let host = &net.hosts[self.index];
        let is_notified = !self.notified.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        is_notified || !self.ready_requests.is_empty() || !host.ready.is_empty() || !host.lookup_results.is_empty()
    }

    /// When the first timer is due or the first job ends.
    pub(crate) fn next_due(&self) -> Option<MonotonicTime> {
        self.timers.next_due().into_iter().chain(self.jobs.iter().map(|job| job.at)).min()
    }

    /// Runs the jobs that have ended by now; their components get [`otelcore_pipeline::Event::Ready`] in this turn. A
    /// job on files does all of it at the moment at which it ends. False when the machine crashes meanwhile.
    pub(crate) fn run_jobs(&mut self, now: MonotonicTime) -> bool {
        while let Some(at) = self.jobs.iter().position(|job| job.at <= now) {
            let WaitingWork { key, work, .. } = self.jobs.remove(at);
            match work {
                HelperWork::Compute(job) => job(),
                HelperWork::Files(job) => {
                    let wall_time = self.wall_time();
                    let disk = &mut self.net.borrow_mut().hosts[self.index].disk;
                    disk.set_now(wall_time);
                    job(disk);
                    if disk.has_crashed() {
                        return false;
                    }
                }
            }
            self.ready_requests.insert(key);
        }
        true
    }

    /// The process ends: of the jobs on files that run, the first ones of their keys, a part is carried out.
    fn end_file_jobs(&mut self) {
        let net = &mut *self.net.borrow_mut();
        let disk = &mut net.hosts[self.index].disk;
        // A crash that a job has caused has stopped all others too.
        let has_crashed = disk.has_crashed();
        let mut running = BTreeSet::new();
        for WaitingWork { key, work, .. } in self.jobs.drain(..) {
            if let HelperWork::Files(job) = work
                && running.insert(key)
                && !has_crashed
            {
                disk.run_in_part(job, net.random.below(OPERATIONS_BEFORE_END) as u64);
            }
        }
    }

    /// When work of a key that takes `delay` will have ended; under one key, work on files is done in order.
    fn file_job_end(&self, key: Key, delay: Duration) -> MonotonicTime {
        let earlier = self.jobs.iter().filter(|job| job.key == key && matches!(job.work, HelperWork::Files(_)));
        earlier.map(|job| job.at).max().unwrap_or_else(|| self.now()) + delay
    }

    /// Takes the keys that are ready, in a random order that is drawn from the seed.
    pub(crate) fn take_ready(&mut self) -> Vec<Key> {
        let mut net = self.net.borrow_mut();
        let mut keys: Vec<Key> = std::mem::take(&mut net.hosts[self.index].ready).into_iter().collect();
        for i in (1..keys.len()).rev() {
            let picked = net.random.below(i + 1);
            keys.swap(i, picked);
        }
        keys
    }

    /// Takes the keys of components that asked for another turn, or were notified.
    pub(crate) fn take_ready_requests(&mut self) -> BTreeSet<Key> {
        let mut keys = std::mem::take(&mut self.ready_requests);
        keys.append(&mut self.notified.lock().unwrap_or_else(PoisonError::into_inner));
        keys
    }

    pub(crate) fn next_lookup(&mut self) -> Option<(Key, ResolveResult)> {
        self.net.borrow_mut().hosts[self.index].lookup_results.pop_front()
    }
}

impl World for NodeWorld {
    fn now(&self) -> MonotonicTime {
        self.net.borrow().now
    }

    fn wall_time(&self) -> WallTime {
        WallTime((WALL_CLOCK_START + self.now().0).saturating_add_signed(self.wall_clock_offset))
    }

    fn random(&mut self) -> u64 {
        self.net.borrow_mut().random.next()
    }

    fn sample_memory(&mut self) -> MemorySample {
        self.net.borrow().hosts[self.index].memory
    }

    fn sample_process(&mut self) -> ProcessSample {
        let resident = self.sample_memory().resident;
        let uptime = self.now().since(self.started);
        ProcessSample { cpu_seconds: 0.0, resident, anonymous: resident, virtual_size: resident, uptime }
    }

    fn listen(&mut self, key: Key, at: &Endpoint) -> io::Result<Box<dyn Listener>> {
        let (port, address, handle) = self.net.borrow_mut().listen(self.index, key, at)?;
        Ok(Box::new(SimListener { net: self.net.clone(), node: self.index, port, address, handle }))
    }

    fn connect(&mut self, key: Key, to: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        let number = self.net.borrow_mut().connect(self.index, key, to);
        Ok(Box::new(SimStream { net: self.net.clone(), number, side: 0, peer: to.to_string() }))
    }

    fn bind_udp(&mut self, key: Key, host: &str, port: u16) -> io::Result<Box<dyn DatagramSocket>> {
        let (port, address, handle) = self.net.borrow_mut().bind_udp(self.index, key, host, port)?;
        Ok(Box::new(SimDatagrams { net: self.net.clone(), place: (self.index, port), address, handle }))
    }

    fn begin_handover(&mut self, owners: &BTreeSet<u32>) {
        self.net.borrow_mut().begin_handover(self.index, owners);
    }

    fn end_handover(&mut self, _: bool) -> bool {
        self.net.borrow_mut().end_handover(self.index);
        // A port of a node has one socket, whatever its address.
        false
    }

    fn resolve(&mut self, key: Key, host: &str, port: u16) {
        self.net.borrow_mut().resolve(self.index, key, host, port);
    }

    fn set_timer(&mut self, key: Key, at: MonotonicTime) -> TimerId {
        self.timers.set(key, at)
    }

    fn cancel_timer(&mut self, id: TimerId) {
        self.timers.cancel(id);
    }

    fn request_ready(&mut self, key: Key) {
        self.ready_requests.insert(key);
    }

    fn notifier(&mut self, key: Key) -> Arc<dyn Notifier> {
        Arc::new(SimNotifier { key, notified: self.notified.clone() })
    }

    fn run_job(&mut self, key: Key, job: Job) {
        let mut net = self.net.borrow_mut();
        let at = net.now + net.delay(self.index, self.index);
        self.jobs.push(WaitingWork { at, key, work: HelperWork::Compute(job) });
    }

    fn run_file_job(&mut self, key: Key, job: FileJob) -> Result<(), TooManyFileJobs> {
        let is_of_owner = |job: &&WaitingWork| job.key.owner == key.owner && matches!(job.work, HelperWork::Files(_));
        if self.jobs.iter().filter(is_of_owner).count() >= MAX_FILE_JOBS {
            return Err(TooManyFileJobs);
        }
        let delay = {
            let net = &mut *self.net.borrow_mut();
            let (min, max) = net.hosts[self.index].disk.faults().delay;
            net.random.duration_between(min, max)
        };
        let at = self.file_job_end(key, delay);
        self.jobs.push(WaitingWork { at, key, work: HelperWork::Files(job) });
        Ok(())
    }

    fn env_var(&self, name: &str) -> Option<String> {
        self.net.borrow().hosts[self.index].env.get(name).cloned()
    }

    fn read_file(&mut self, path: &str) -> io::Result<Vec<u8>> {
        self.net.borrow().hosts[self.index].disk.read_whole(path)
    }

    fn open_output(&mut self, path: &str) -> io::Result<Box<dyn Write>> {
        Ok(Box::new(SimOutput { net: self.net.clone(), node: self.index, path: path.to_owned() }))
    }
}

struct SimListener {
    net: Rc<RefCell<SimNetwork>>,
    node: usize,
    port: SimPort,
    address: String,
    /// The number of this handle: a change of the graph may give the socket another one.
    handle: u64,
}

impl Listener for SimListener {
    fn accept(&mut self, local: u64) -> io::Result<Box<dyn Stream>> {
        if let Some(text) = &self.net.borrow().hosts[self.node].accept_error {
            return Err(io::Error::other(text.clone()));
        }
        let (number, peer) = self.net.borrow_mut().accept(self.node, (&self.port, self.handle), local)?;
        Ok(Box::new(SimStream { net: self.net.clone(), number, side: 1, peer }))
    }

    fn local_addr(&self) -> String {
        self.address.clone()
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.net.borrow_mut().close_listener(self.node, &self.port, self.handle);
    }
}

/// A UDP socket of a node.
struct SimDatagrams {
    net: Rc<RefCell<SimNetwork>>,
    /// Node and port.
    place: (usize, u16),
    address: String,
    /// As of a listener.
    handle: u64,
}

impl DatagramSocket for SimDatagrams {
    fn send_to(&mut self, datagram: &[u8], peer: SocketAddr) -> io::Result<()> {
        self.net.borrow_mut().send_datagram(self.place, datagram, peer)
    }

    fn recv_from(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        if !self.net.borrow().is_current_udp(self.place, self.handle) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.net.borrow_mut().recv_datagram(self.place, buffer)
    }

    fn local_addr(&self) -> String {
        self.address.clone()
    }

    fn set_receive_buffer(&mut self, bytes: usize) -> io::Result<()> {
        self.net.borrow_mut().set_datagram_capacity(self.place, bytes);
        Ok(())
    }

    fn drops(&self) -> DatagramDrops {
        self.net.borrow().datagram_drops(self.place)
    }
}

impl Drop for SimDatagrams {
    fn drop(&mut self) {
        self.net.borrow_mut().close_udp(self.place, self.handle);
    }
}

/// One side of a connection.
struct SimStream {
    net: Rc<RefCell<SimNetwork>>,
    number: u64,
    side: usize,
    peer: String,
}

impl Stream for SimStream {
    fn peer_addr(&self) -> String {
        self.peer.clone()
    }

    fn event_key(&self) -> Option<u64> {
        self.net.borrow().event_key(self.number, self.side)
    }

    fn shutdown_write(&mut self) {
        self.net.borrow_mut().shut_write(self.number, self.side);
    }
}

impl Read for SimStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.net.borrow_mut().read(self.number, self.side, buf)
    }
}

impl Write for SimStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.net.borrow_mut().write(self.number, self.side, bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.net.borrow_mut().close(self.number, self.side);
    }
}

/// A file in memory.
struct SimOutput {
    net: Rc<RefCell<SimNetwork>>,
    node: usize,
    path: String,
}

impl Write for SimOutput {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut net = self.net.borrow_mut();
        if let Some(room) = net.hosts[self.node].output_capacity.get_mut(&self.path) {
            let Some(rest) = room.checked_sub(buf.len()) else { return Err(io::ErrorKind::WouldBlock.into()) };
            *room = rest;
        }
        net.hosts[self.node].outputs.entry(self.path.clone()).or_default().extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
