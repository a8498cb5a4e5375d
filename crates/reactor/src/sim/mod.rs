//! The simulated world: several graphs, one clock, one network, no machine.
//!
//! A [`Sim`] drives the graphs of its nodes as the real loop does, but its clock advances from one event to the next,
//! its network is queues in memory, and every random choice is drawn from a seed: a failed run can be repeated with its
//! seed. It opens no socket, reads no clock and starts no thread. Computing takes no simulated time.

mod disk;
mod net;
mod node;
mod random;
#[cfg(test)]
mod tests;

use std::cell::{RefCell, RefMut};
use std::net::IpAddr;
use std::ops::DerefMut;
use std::rc::Rc;
use std::time::Duration;

use otelcore_pipeline::{
    ChangeError, Event, Graph, GraphChange, Key, MemorySample, MonotonicTime, ResolveError, StartError,
    UndeliveredItems, World,
};

use crate::trial_start::TrialWorld;
use net::SimNetwork;
use node::NodeWorld;

pub use disk::{DiskFaults, SimDisk};

/// The limit of turns at one simulated moment: a run with more of them would never end.
const MAX_TURNS_AT_ONE_TIME: u32 = 1_000_000;

/// Identifies a node of a [`Sim`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NodeId(usize);

/// How much a node has computed, in the units of the meter. See [`Sim::set_meter`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ComputedUnits {
    /// Turns of the loop.
    pub turns: u64,
    /// Units in all turns and jobs.
    pub total: u64,
    /// Units in the longest turn. Jobs run outside of the loop and do not count here.
    pub longest_turn: u64,
}

struct SimNode {
    world: NodeWorld,
    computed: ComputedUnits,
    graph: Option<Graph>,
    /// When a shutdown that has begun must end.
    shutdown_deadline: MonotonicTime,
    undelivered: Option<UndeliveredItems>,
}

/// A network of graphs under one simulated clock.
pub struct Sim {
    net: Rc<RefCell<SimNetwork>>,
    nodes: Vec<SimNode>,
    event_hash: u64,
    /// Reads a counter that grows as this thread computes.
    meter: fn() -> u64,
    /// Called with the graph of a node after each of its turns, and when it has ended.
    turn_check: TurnCheck,
}

type TurnCheck = Box<dyn FnMut(&Graph)>;

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").field("now", &self.now()).field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl Sim {
    /// An empty world at time zero. All its random choices are drawn from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let net = Rc::new(RefCell::new(SimNetwork::new(seed)));
        Self { net, nodes: Vec::new(), event_hash: 0, meter: || 0, turn_check: Box::new(|_| {}) }
    }

    /// The simulated clock.
    #[must_use]
    pub fn now(&self) -> MonotonicTime {
        self.net.borrow().now
    }

    /// A hash of all events that were delivered to nodes so far, with their times: equal in equal runs.
    #[must_use]
    pub fn event_hash(&self) -> u64 {
        self.event_hash
    }

    /// Sets the meter of what nodes compute: it is read before and after each turn.
    pub fn set_meter(&mut self, meter: fn() -> u64) {
        self.meter = meter;
    }

    /// Sets what is checked after each turn of a node, and when its graph has ended.
    pub fn set_turn_check(&mut self, check: impl FnMut(&Graph) + 'static) {
        self.turn_check = Box::new(check);
    }

    /// How much a node has computed since the last call.
    pub fn take_computed_units(&mut self, node: NodeId) -> ComputedUnits {
        std::mem::take(&mut self.nodes[node.0].computed)
    }

    /// The next random number of this run, for faults that a test draws.
    pub fn random(&mut self) -> u64 {
        self.net.borrow_mut().random.next()
    }

    // ---- nodes --------------------------------------------------------------------------------------------------

    /// Adds a machine whose address the name `name` resolves to, and starts `graph` on it.
    ///
    /// # Errors
    /// The first component that can't start.
    pub fn add_node(&mut self, name: &str, graph: Graph) -> Result<NodeId, StartError> {
        let node = self.add_machine(name);
        self.restart(node, graph)?;
        Ok(node)
    }

    /// Adds a machine on which nothing runs until [`Sim::restart`], for example to write files before.
    pub fn add_machine(&mut self, name: &str) -> NodeId {
        let index = self.net.borrow_mut().add_host(name);
        let world = NodeWorld::new(self.net.clone(), index);
        self.nodes.push(SimNode {
            world,
            computed: ComputedUnits::default(),
            graph: None,
            shutdown_deadline: MonotonicTime::NEVER,
            undelivered: None,
        });
        NodeId(index)
    }

    /// Kills the process of a node: its sockets close, nothing is drained. Of file jobs that run, a part is done; those
    /// that wait do not begin. The machine stays, with its disk, and refuses connections.
    pub fn kill(&mut self, node: NodeId) {
        let node = &mut self.nodes[node.0];
        drop(node.graph.take());
        node.world.process_ended();
        node.shutdown_deadline = MonotonicTime::NEVER;
    }

    /// Cuts the power of a machine: its process is killed, and what was not synced to its disk is lost, kept or torn.
    /// [`Sim::restart`] starts it again.
    pub fn crash(&mut self, node: NodeId) {
        self.kill(node);
        self.disk(node).crash();
    }

    /// Sets a machine's wall clock forward by so many seconds, or back where they are negative, as a time server or an
    /// operator does. Timers do not notice it.
    pub fn adjust_wall_clock(&mut self, node: NodeId, seconds: i64) {
        let offset = &mut self.nodes[node.0].world.wall_clock_offset;
        *offset = offset.saturating_add(seconds.saturating_mul(1_000_000_000));
    }

    /// The disk of a machine: its files, its faults, and at which operation it crashes ([`SimDisk::crash_after`]).
    pub fn disk(&mut self, node: NodeId) -> impl DerefMut<Target = SimDisk> + '_ {
        RefMut::map(self.net.borrow_mut(), |net| &mut net.hosts[node.0].disk)
    }

    /// Starts a new process on a node; the one that runs is stopped before.
    ///
    /// # Errors
    /// The first component that can't start; nothing runs then.
    pub fn restart(&mut self, node: NodeId, mut graph: Graph) -> Result<(), StartError> {
        self.kill(node);
        let node = &mut self.nodes[node.0];
        node.undelivered = None;
        if let Err(e) = graph.start(&mut node.world) {
            drop(graph);
            node.world.process_ended();
            return Err(e);
        }
        node.graph = Some(graph);
        Ok(())
    }

    /// Whether another graph could start on a node, as far as that can be tried while its own graph runs.
    ///
    /// # Errors
    /// The first component that could not start.
    pub fn try_start(&mut self, node: NodeId, graph: Graph) -> Result<(), StartError> {
        let world = &mut self.nodes[node.0].world;
        TrialWorld { running_world: world, try_bind: &|_| Ok(()), bound: Vec::new() }.start(graph)
    }

    /// Changes the graph of a node that runs into one that was built from it. Components that end get `grace` for what they hold.
    ///
    /// # Errors
    /// The first component that can't start; the graph goes on as before.
    ///
    /// # Panics
    /// Nothing runs on the node.
    #[expect(clippy::expect_used, reason = "a mistake of the test")]
    pub fn change(&mut self, node: NodeId, next: Graph, grace: Duration) -> Result<GraphChange, ChangeError> {
        let deadline = self.now() + grace;
        let node = &mut self.nodes[node.0];
        node.graph.as_mut().expect("a graph that runs").change(&mut node.world, next, deadline)
    }

    /// Begins an orderly shutdown, which continues while the simulation runs and ends within `grace`.
    /// [`Sim::undelivered`] gives the result.
    pub fn close(&mut self, node: NodeId, grace: Duration) {
        let now = self.now();
        let node = &mut self.nodes[node.0];
        if let Some(graph) = node.graph.as_mut().filter(|_| node.shutdown_deadline == MonotonicTime::NEVER) {
            node.shutdown_deadline = now + grace;
            graph.close(&mut node.world, node.shutdown_deadline);
        }
        node.end_if_closed(now, &mut self.turn_check);
    }

    /// Makes the graph of a node pass on what it holds back.
    pub fn flush(&mut self, node: NodeId) {
        let node = &mut self.nodes[node.0];
        if let Some(graph) = node.graph.as_mut() {
            graph.flush(&mut node.world);
        }
    }

    /// What was not delivered when a shutdown ended, or when the machine ended at an operation of its disk; `None` before that.
    #[must_use]
    pub fn undelivered(&self, node: NodeId) -> Option<&UndeliveredItems> {
        self.nodes[node.0].undelivered.as_ref()
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

    /// Runs for a simulated time.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now() + time);
    }

    /// Runs until a moment, including everything that is due at that moment.
    pub fn run_until(&mut self, deadline: MonotonicTime) {
        self.run_while(deadline, || true);
    }

    /// Runs while `condition`, which is called after each turn of a node, returns true, and at most until a moment.
    /// False when that moment came first.
    pub fn run_while(&mut self, deadline: MonotonicTime, mut condition: impl FnMut() -> bool) -> bool {
        let mut turns = 0;
        while condition() {
            self.net.borrow_mut().apply_due_events();
            let now = self.now();
            let busy_nodes: Vec<usize> = (0..self.nodes.len()).filter(|n| self.nodes[*n].is_busy(now)).collect();
            if busy_nodes.is_empty() {
                let node_times = self.nodes.iter().filter_map(SimNode::next_due);
                let next = node_times.chain(self.net.borrow().next_due()).min().unwrap_or(MonotonicTime::NEVER);
                self.net.borrow_mut().now = next.min(deadline).max(now);
                if next > deadline {
                    return false;
                }
                turns = 0;
                continue;
            }
            turns += 1;
            assert!(turns < MAX_TURNS_AT_ONE_TIME, "the simulated nodes spin at {now:?}");
            let picked = self.net.borrow_mut().random.below(busy_nodes.len());
            self.run_turn(busy_nodes[picked]);
        }
        true
    }

    /// One turn of a node, in the order of the real loop: sockets, look-ups, timers, components that asked for another
    /// turn.
    fn run_turn(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(graph) = node.graph.as_mut() else { return };
        let world = &mut node.world;
        let event_hash = &mut self.event_hash;
        let before_jobs = (self.meter)();
        if !world.run_jobs(world.now()) {
            node.undelivered = Some(graph.undelivered());
            return self.crash(NodeId(index));
        }
        let before_turn = (self.meter)();
        let mut deliver = |world: &mut NodeWorld, key: Key, event: Event<'_>| {
            let event_code = match event {
                Event::Ready => 1,
                Event::Timer => 2,
                Event::Resolved(_) => 3,
            };
            for part in [world.now().0, index as u64, u64::from(key.owner), key.local, event_code] {
                *event_hash = (event_hash.rotate_left(5) ^ part).wrapping_mul(0x517c_c1b7_2722_0a95);
            }
            graph.handle_event(world, key.owner, key.local, event);
        };
        for key in world.take_ready() {
            deliver(world, key, Event::Ready);
        }
        while let Some((key, addresses)) = world.next_lookup() {
            deliver(world, key, Event::Resolved(&addresses));
        }
        let now = world.now();
        while let Some(key) = world.timers.pop_due(now) {
            deliver(world, key, Event::Timer);
        }
        for key in world.take_ready_requests() {
            deliver(world, key, Event::Ready);
        }
        let after = (self.meter)();
        node.computed.turns += 1;
        node.computed.total += after - before_jobs;
        node.computed.longest_turn = node.computed.longest_turn.max(after - before_turn);
        node.end_if_closed(now, &mut self.turn_check);
    }

    // ---- the world outside --------------------------------------------------------------------------------------

    /// Sets what a name resolves to, instead of the node of that name.
    pub fn set_lookup_result(&mut self, name: &str, result: Result<Vec<IpAddr>, ResolveError>) {
        let mut net = self.net.borrow_mut();
        net.names.insert(name.to_owned(), result);
        net.rotating_names.remove(name);
    }

    /// Sets the addresses of a name. Each look-up begins with another one, in turn.
    pub fn set_rotating_lookup_result(&mut self, name: &str, addresses: Vec<IpAddr>) {
        let mut net = self.net.borrow_mut();
        net.names.insert(name.to_owned(), Ok(addresses));
        net.rotating_names.insert(name.to_owned());
    }

    /// Sets how long bytes take between any two nodes, and how long answers of the resolver take.
    pub fn set_latency(&mut self, min: Duration, max: Duration) {
        self.net.borrow_mut().latency = (min, max);
    }

    /// The same for one pair of nodes.
    pub fn set_link_latency(&mut self, a: NodeId, b: NodeId, min: Duration, max: Duration) {
        self.net.borrow_mut().links.insert((a.0.min(b.0), a.0.max(b.0)), (min, max));
    }

    /// Sets how many bytes one direction of a connection takes before a write would block.
    pub fn set_window(&mut self, bytes: usize) {
        self.net.borrow_mut().window = bytes.max(1);
    }

    /// Sets how many of 1000 datagrams are lost on their way.
    pub fn set_datagram_loss(&mut self, per_mille: u32) {
        self.net.borrow_mut().datagram_loss = per_mille;
    }

    /// Cuts the link between two nodes until [`Sim::heal`]: nothing arrives, and nothing is refused. Datagrams are
    /// lost.
    pub fn partition(&mut self, a: NodeId, b: NodeId) {
        self.net.borrow_mut().partition(a.0, b.0);
    }

    /// Ends a partition between two nodes: what was held back is delivered.
    pub fn heal(&mut self, a: NodeId, b: NodeId) {
        self.net.borrow_mut().heal(a.0, b.0);
    }

    /// Resets every connection of a node.
    pub fn reset(&mut self, node: NodeId) {
        self.net.borrow_mut().reset(node.0);
    }

    /// The times at which a node began connections.
    #[must_use]
    pub fn connect_times(&self, node: NodeId) -> Vec<MonotonicTime> {
        self.net.borrow().connect_times.get(&node.0).cloned().unwrap_or_default()
    }

    /// Sets a variable of the environment of a node's processes.
    pub fn set_env(&mut self, node: NodeId, name: &str, value: &str) {
        self.net.borrow_mut().hosts[node.0].env.insert(name.to_owned(), value.to_owned());
    }

    /// Sets the memory sample that a node reads.
    pub fn set_memory(&mut self, node: NodeId, memory: MemorySample) {
        self.net.borrow_mut().hosts[node.0].memory = memory;
    }

    /// Lets a node fail to accept connections with this error, for example because it has no descriptor left, until the
    /// next call with `None`. The connections wait meanwhile.
    pub fn set_accept_error(&mut self, node: NodeId, text: Option<&str>) {
        self.net.borrow_mut().hosts[node.0].accept_error = text.map(str::to_owned);
    }

    /// Sets how many more bytes a node's output takes before it drops records, as a queue with a slow reader does.
    /// `None` means no limit.
    pub fn set_output_capacity(&mut self, node: NodeId, path: &str, bytes: Option<usize>) {
        let capacities = &mut self.net.borrow_mut().hosts[node.0].output_capacity;
        match bytes {
            Some(bytes) => capacities.insert(path.to_owned(), bytes),
            None => capacities.remove(path),
        };
    }

    /// The bytes that a node has written to a file or a standard stream.
    #[must_use]
    pub fn written_output(&self, node: NodeId, path: &str) -> Vec<u8> {
        self.net.borrow().hosts[node.0].outputs.get(path).cloned().unwrap_or_default()
    }
}

impl SimNode {
    fn is_busy(&self, now: MonotonicTime) -> bool {
        self.graph.is_some()
            && (self.world.is_ready()
                || self.world.next_due().is_some_and(|at| at <= now)
                || self.shutdown_deadline <= now)
    }

    fn next_due(&self) -> Option<MonotonicTime> {
        self.graph.as_ref()?;
        let due = self.world.next_due().unwrap_or(MonotonicTime::NEVER).min(self.shutdown_deadline);
        (due != MonotonicTime::NEVER).then_some(due)
    }

    /// Ends the process when its graph is closed, or when the time of its shutdown is up.
    fn end_if_closed(&mut self, now: MonotonicTime, turn_check: &mut TurnCheck) {
        let Some(graph) = &mut self.graph else { return };
        if graph.is_closed() {
            self.undelivered = Some(graph.undelivered());
        } else if now >= self.shutdown_deadline {
            self.undelivered = Some(graph.abort(&mut self.world));
        } else {
            return turn_check(graph);
        }
        turn_check(graph);
        drop(self.graph.take());
        self.world.process_ended();
        self.shutdown_deadline = MonotonicTime::NEVER;
    }
}
