//! The [`World`] of one node of the simulation.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;

use otelcore_pipeline::{
    Endpoint, Job, Key, Listener, MemorySample, Mono, PeerAddr, ProcessSample, Stream, TimerId, Wall, World,
};

use super::net::{Found, Net, Port};
use crate::timers::Timers;

/// The wall clock at time zero: the first of January 2026.
const EPOCH: u64 = 1_767_225_600_000_000_000;

pub(crate) struct NodeWorld {
    net: Rc<RefCell<Net>>,
    number: usize,
    pub(crate) timers: Timers,
    pub(crate) again: BTreeSet<Key>,
    /// Jobs that have not been run, and when each will have ended.
    jobs: Vec<(Mono, Key, Job)>,
    started: Mono,
}

impl NodeWorld {
    pub(crate) fn new(net: Rc<RefCell<Net>>, number: usize) -> Self {
        let (timers, again) = (Timers::default(), BTreeSet::new());
        Self { net, number, timers, again, jobs: Vec::new(), started: Mono::default() }
    }

    /// Drops everything that a process which has ended had asked for.
    pub(crate) fn forget(&mut self) {
        self.timers = Timers::default();
        self.again.clear();
        self.jobs.clear();
        let mut net = self.net.borrow_mut();
        self.started = net.now;
        net.forget(self.number);
    }

    pub(crate) fn is_ready(&self) -> bool {
        let net = self.net.borrow();
        let host = &net.hosts[self.number];
        !self.again.is_empty() || !host.ready.is_empty() || !host.answers.is_empty()
    }

    /// When the first timer is due or the first job ends.
    pub(crate) fn next(&self) -> Option<Mono> {
        self.timers.next().into_iter().chain(self.jobs.iter().map(|(at, ..)| *at)).min()
    }

    /// Runs the jobs that have ended by now; their components get [`otelcore_pipeline::Event::Ready`] in this turn.
    pub(crate) fn run_jobs(&mut self, now: Mono) {
        while let Some(at) = self.jobs.iter().position(|(at, ..)| *at <= now) {
            let (_, key, job) = self.jobs.remove(at);
            job();
            self.again.insert(key);
        }
    }

    /// Takes the keys that are ready, in a random order that is drawn from the seed.
    pub(crate) fn take_ready(&mut self) -> Vec<Key> {
        let mut net = self.net.borrow_mut();
        let mut keys: Vec<Key> = std::mem::take(&mut net.hosts[self.number].ready).into_iter().collect();
        for i in (1..keys.len()).rev() {
            let other = net.random.below(i + 1);
            keys.swap(i, other);
        }
        keys
    }

    pub(crate) fn answer(&mut self) -> Option<(Key, Found)> {
        self.net.borrow_mut().hosts[self.number].answers.pop_front()
    }
}

impl World for NodeWorld {
    fn now(&self) -> Mono {
        self.net.borrow().now
    }

    fn wall(&self) -> Wall {
        Wall(EPOCH + self.now().0)
    }

    fn rand(&mut self) -> u64 {
        self.net.borrow_mut().random.next()
    }

    fn memory(&mut self) -> MemorySample {
        self.net.borrow().hosts[self.number].memory
    }

    fn process(&mut self) -> ProcessSample {
        let resident = self.memory().resident;
        let uptime = self.now().since(self.started);
        ProcessSample { cpu_seconds: 0.0, resident, anonymous: resident, virtual_size: resident, uptime }
    }

    fn listen(&mut self, key: Key, at: &Endpoint) -> io::Result<Box<dyn Listener>> {
        let (port, shown) = self.net.borrow_mut().listen(self.number, key, at)?;
        Ok(Box::new(SimListener { net: self.net.clone(), node: self.number, port, shown }))
    }

    fn connect(&mut self, key: Key, to: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        let number = self.net.borrow_mut().connect(self.number, key, to);
        Ok(Box::new(SimStream { net: self.net.clone(), number, side: 0, peer: to.to_string() }))
    }

    fn resolve(&mut self, key: Key, host: &str, port: u16) {
        self.net.borrow_mut().resolve(self.number, key, host, port);
    }

    fn arm(&mut self, key: Key, at: Mono) -> TimerId {
        self.timers.arm(key, at)
    }

    fn cancel(&mut self, id: TimerId) {
        self.timers.cancel(id);
    }

    fn again(&mut self, key: Key) {
        self.again.insert(key);
    }

    fn run_job(&mut self, key: Key, job: Job) {
        let mut net = self.net.borrow_mut();
        let at = net.now + net.delay(self.number, self.number);
        self.jobs.push((at, key, job));
    }

    fn output(&mut self, path: &str) -> io::Result<Box<dyn Write>> {
        Ok(Box::new(Page { net: self.net.clone(), node: self.number, path: path.to_owned() }))
    }
}

struct SimListener {
    net: Rc<RefCell<Net>>,
    node: usize,
    port: Port,
    shown: String,
}

impl Listener for SimListener {
    fn accept(&mut self, local: u64) -> io::Result<Box<dyn Stream>> {
        if let Some(text) = &self.net.borrow().hosts[self.node].accept_fails {
            return Err(io::Error::other(text.clone()));
        }
        let (number, peer) = self.net.borrow_mut().accept(self.node, &self.port, local)?;
        Ok(Box::new(SimStream { net: self.net.clone(), number, side: 1, peer }))
    }

    fn local(&self) -> String {
        self.shown.clone()
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.net.borrow_mut().unlisten(self.node, &self.port);
    }
}

/// One side of a connection.
struct SimStream {
    net: Rc<RefCell<Net>>,
    number: u64,
    side: usize,
    peer: String,
}

impl Stream for SimStream {
    fn peer(&self) -> String {
        self.peer.clone()
    }

    fn shut_write(&mut self) {
        self.net.borrow_mut().shut(self.number, self.side);
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
struct Page {
    net: Rc<RefCell<Net>>,
    node: usize,
    path: String,
}

impl Write for Page {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut net = self.net.borrow_mut();
        if let Some(room) = net.hosts[self.node].room.get_mut(&self.path) {
            let Some(left) = room.checked_sub(buf.len()) else { return Err(io::ErrorKind::WouldBlock.into()) };
            *room = left;
        }
        net.hosts[self.node].files.entry(self.path.clone()).or_default().extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
