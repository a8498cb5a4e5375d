//! The simulated world: several graphs, one clock, one network, no machine.
//!
//! A [`Sim`] drives the graphs of its nodes as the real loop does, but its clock jumps from one event to the next, its
//! network is queues in memory, and every choice comes from a seed: a run that fails repeats from its seed. It opens no
//! socket, reads no clock and starts no thread. Computing takes no time in it.

mod net;
mod node;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use otelcore_pipeline::{Event, Graph, Key, Left, MemorySample, Mono, StartError, World};

use crate::trial::Trial;
use net::Net;
use node::NodeWorld;

/// Turns at one moment after which a run is not simulating anything any more but spinning.
const SPIN: u32 = 1_000_000;

/// Names a node of a [`Sim`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NodeId(usize);

/// What a node has computed, in the units of its meter. See [`Sim::set_meter`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Work {
    /// Turns of the loop.
    pub turns: u64,
    /// Units in all turns and jobs.
    pub total: u64,
    /// Units in the longest turn. Jobs run beside the loop and are not in it.
    pub longest_turn: u64,
}

struct Node {
    world: NodeWorld,
    work: Work,
    graph: Option<Graph>,
    /// When a shutdown that has begun must end.
    until: Mono,
    left: Option<Left>,
}

/// A network of graphs under one simulated clock.
pub struct Sim {
    net: Rc<RefCell<Net>>,
    nodes: Vec<Node>,
    trace: u64,
    /// A count that only grows while this thread computes.
    meter: fn() -> u64,
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").field("now", &self.now()).field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl Sim {
    /// An empty world at time zero, every choice of which follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { net: Rc::new(RefCell::new(Net::new(seed))), nodes: Vec::new(), trace: 0, meter: || 0 }
    }

    /// The simulated clock.
    #[must_use]
    pub fn now(&self) -> Mono {
        self.net.borrow().now
    }

    /// A number that stands for everything that was told to any node so far, and when: equal in equal runs.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Counts what nodes compute from now on: `meter` is read before and after each turn.
    pub fn set_meter(&mut self, meter: fn() -> u64) {
        self.meter = meter;
    }

    /// What a node has computed since the last call.
    pub fn take_work(&mut self, node: NodeId) -> Work {
        std::mem::take(&mut self.nodes[node.0].work)
    }

    /// The next random number of this run, for faults that a test draws.
    pub fn rand(&mut self) -> u64 {
        self.net.borrow_mut().random.next()
    }

    // ---- nodes --------------------------------------------------------------------------------------------------

    /// Adds a machine that other nodes find under `name`, and starts `graph` on it.
    ///
    /// # Errors
    /// The first component that can't start.
    pub fn node(&mut self, name: &str, graph: Graph) -> Result<NodeId, StartError> {
        let number = self.net.borrow_mut().add_host(name);
        let world = NodeWorld::new(self.net.clone(), number);
        self.nodes.push(Node { world, work: Work::default(), graph: None, until: Mono::NEVER, left: None });
        self.restart(NodeId(number), graph)?;
        Ok(NodeId(number))
    }

    /// The process of a node dies: its sockets close, nothing is drained. The machine stays and refuses connections.
    pub fn stop(&mut self, node: NodeId) {
        let node = &mut self.nodes[node.0];
        drop(node.graph.take());
        node.world.forget();
        node.until = Mono::NEVER;
    }

    /// Starts a new process on a node, after stopping one that runs.
    ///
    /// # Errors
    /// The first component that can't start; nothing runs then.
    pub fn restart(&mut self, node: NodeId, mut graph: Graph) -> Result<(), StartError> {
        self.stop(node);
        let node = &mut self.nodes[node.0];
        node.left = None;
        if let Err(e) = graph.start(&mut node.world) {
            drop(graph);
            node.world.forget();
            return Err(e);
        }
        node.graph = Some(graph);
        Ok(())
    }

    /// Whether another graph could start on a node that runs, as far as that can be tried beside it.
    ///
    /// # Errors
    /// The first component that could not start.
    pub fn try_start(&mut self, node: NodeId, graph: Graph) -> Result<(), StartError> {
        let world = &mut self.nodes[node.0].world;
        Trial { world, probe: &|_| Ok(()), bound: Vec::new() }.start(graph)
    }

    /// Begins an orderly shutdown, which goes on while the simulation runs and ends within `grace`; [`Sim::left`] says
    /// how.
    pub fn close(&mut self, node: NodeId, grace: Duration) {
        let now = self.now();
        let node = &mut self.nodes[node.0];
        if let Some(graph) = node.graph.as_mut().filter(|_| node.until == Mono::NEVER) {
            node.until = now + grace;
            graph.close(&mut node.world, node.until);
        }
        node.end(now);
    }

    /// What was not delivered when a shutdown ended; `None` before that.
    #[must_use]
    pub fn left(&self, node: NodeId) -> Option<&Left> {
        self.nodes[node.0].left.as_ref()
    }

    /// The graph of a node that runs.
    #[must_use]
    pub fn graph(&self, node: NodeId) -> Option<&Graph> {
        self.nodes[node.0].graph.as_ref()
    }

    /// The address of a node's machine.
    #[must_use]
    pub fn address(&self, node: NodeId) -> IpAddr {
        self.net.borrow().hosts[node.0].ip
    }

    // ---- time ---------------------------------------------------------------------------------------------------

    /// Runs for a time.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now() + time);
    }

    /// Runs until a moment, everything that is due at it included.
    pub fn run_until(&mut self, until: Mono) {
        self.run_while(until, || true);
    }

    /// Runs while `going` says so, asked after each turn of a node, and at most until a moment. False when that moment
    /// came first.
    pub fn run_while(&mut self, until: Mono, mut going: impl FnMut() -> bool) -> bool {
        let mut turns = 0;
        while going() {
            self.net.borrow_mut().arrive();
            let now = self.now();
            let busy: Vec<usize> = (0..self.nodes.len()).filter(|n| self.nodes[*n].is_busy(now)).collect();
            if busy.is_empty() {
                let wakes = self.nodes.iter().filter_map(Node::next);
                let next = wakes.chain(self.net.borrow().next()).min().unwrap_or(Mono::NEVER);
                self.net.borrow_mut().now = next.min(until).max(now);
                if next > until {
                    return false;
                }
                turns = 0;
                continue;
            }
            turns += 1;
            assert!(turns < SPIN, "the simulated nodes spin at {now:?}");
            let pick = self.net.borrow_mut().random.below(busy.len());
            self.turn(busy[pick]);
        }
        true
    }

    /// One turn of a node, in the order of the real loop: sockets, look-ups, timers, who asked for another turn.
    fn turn(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let Some(graph) = node.graph.as_mut() else { return };
        let world = &mut node.world;
        let trace = &mut self.trace;
        let before_jobs = (self.meter)();
        world.run_jobs(world.now());
        let before_turn = (self.meter)();
        let mut tell = |world: &mut NodeWorld, key: Key, event: Event<'_>| {
            let kind = match event {
                Event::Ready => 1,
                Event::Timer => 2,
                Event::Resolved(_) => 3,
            };
            for part in [world.now().0, number as u64, u64::from(key.owner), key.local, kind] {
                *trace = (trace.rotate_left(5) ^ part).wrapping_mul(0x517c_c1b7_2722_0a95);
            }
            graph.event(world, key.owner, key.local, event);
        };
        for key in world.take_ready() {
            tell(world, key, Event::Ready);
        }
        while let Some((key, found)) = world.answer() {
            tell(world, key, Event::Resolved(&found));
        }
        let now = world.now();
        while let Some(key) = world.timers.pop(now) {
            tell(world, key, Event::Timer);
        }
        for key in std::mem::take(&mut world.again) {
            tell(world, key, Event::Ready);
        }
        let after = (self.meter)();
        node.work.turns += 1;
        node.work.total += after - before_jobs;
        node.work.longest_turn = node.work.longest_turn.max(after - before_turn);
        node.end(now);
    }

    // ---- the world outside --------------------------------------------------------------------------------------

    /// What a name stands for from now on, instead of the node that is called so. `Err` is what the resolver says.
    pub fn set_name(&mut self, name: &str, found: Result<Vec<IpAddr>, String>) {
        self.net.borrow_mut().names.insert(name.to_owned(), found);
    }

    /// How long bytes, and answers of the resolver, take between any two nodes.
    pub fn set_latency(&mut self, least: Duration, most: Duration) {
        self.net.borrow_mut().latency = (least, most);
    }

    /// The same for one pair of nodes.
    pub fn set_link(&mut self, a: NodeId, b: NodeId, least: Duration, most: Duration) {
        self.net.borrow_mut().links.insert((a.0.min(b.0), a.0.max(b.0)), (least, most));
    }

    /// How many bytes one direction of a connection takes before a write would block.
    pub fn set_window(&mut self, bytes: usize) {
        self.net.borrow_mut().window = bytes.max(1);
    }

    /// Nothing comes through between two nodes, nothing is refused either, until [`Sim::heal`].
    pub fn partition(&mut self, a: NodeId, b: NodeId) {
        self.net.borrow_mut().cut(a.0, b.0);
    }

    /// What is held back between two nodes goes on.
    pub fn heal(&mut self, a: NodeId, b: NodeId) {
        self.net.borrow_mut().heal(a.0, b.0);
    }

    /// Resets every connection of a node.
    pub fn reset(&mut self, node: NodeId) {
        self.net.borrow_mut().reset(node.0);
    }

    /// When a node began connections.
    #[must_use]
    pub fn attempts(&self, node: NodeId) -> Vec<Mono> {
        self.net.borrow().attempts.get(&node.0).cloned().unwrap_or_default()
    }

    /// What a node sees when it looks at memory.
    pub fn set_memory(&mut self, node: NodeId, memory: MemorySample) {
        self.net.borrow_mut().hosts[node.0].memory = memory;
    }

    /// Has a node fail to take connections, for want of descriptors say, until `None` ends it. They wait meanwhile.
    pub fn set_accept_failure(&mut self, node: NodeId, text: Option<&str>) {
        self.net.borrow_mut().hosts[node.0].accept_fails = text.map(str::to_owned);
    }

    /// How many bytes a node's output takes from now on before it drops records, as a queue does whose reader is slow.
    /// `None` is a reader that is never slow.
    pub fn set_output_room(&mut self, node: NodeId, path: &str, bytes: Option<usize>) {
        let room = &mut self.net.borrow_mut().hosts[node.0].room;
        match bytes {
            Some(bytes) => room.insert(path.to_owned(), bytes),
            None => room.remove(path),
        };
    }

    /// What a node has written to a file or a standard stream.
    #[must_use]
    pub fn output(&self, node: NodeId, path: &str) -> Vec<u8> {
        self.net.borrow().hosts[node.0].files.get(path).cloned().unwrap_or_default()
    }
}

impl Node {
    fn is_busy(&self, now: Mono) -> bool {
        self.graph.is_some()
            && (self.world.is_ready() || self.world.next().is_some_and(|at| at <= now) || self.until <= now)
    }

    fn next(&self) -> Option<Mono> {
        self.graph.as_ref()?;
        let due = self.world.next().unwrap_or(Mono::NEVER).min(self.until);
        (due != Mono::NEVER).then_some(due)
    }

    /// Lets the process end when its shutdown has.
    fn end(&mut self, now: Mono) {
        let Some(graph) = &mut self.graph else { return };
        if graph.is_closed() {
            self.left = Some(graph.left());
        } else if now >= self.until {
            self.left = Some(graph.abandon(&mut self.world));
        } else {
            return;
        }
        drop(self.graph.take());
        self.world.forget();
        self.until = Mono::NEVER;
    }
}
