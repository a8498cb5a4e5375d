//! The two implementations of [`World`](otelcore_pipeline::World): the real one, and a simulated one for tests.
//!
//! [`RealWorld`] is the machine: sockets on one `mio::Poll`, timers, name look-ups, files and the clock. [`EventLoop`]
//! is the loop that drives a [`Graph`](otelcore_pipeline::Graph) in it. All other crates of the workspace use the trait
//! only.
//! [`Sim`] is a network of graphs without any system resource: a simulated clock that advances to the next event,
//! connections as queues in memory, faults that a test injects, and every random choice drawn from a seed.

mod connections;
mod event_loop;
mod files;
mod forks;
mod helper_threads;
mod jobs;
mod lookup;
mod memory_limits;
mod notifiers;
mod os;
mod output;
mod real_world;
mod resolver;
mod signals;
mod sim;
mod sockets;
mod stream_facts;
mod timers;
mod trial_start;
mod udp;
mod waker;

pub use event_loop::{EventLoop, LoopHandle, ShutdownReport};
pub use files::with_files;
pub use forks::{TrackedFd, fork_depth, install_fork_handlers};
pub use memory_limits::{cgroup_limit, go_memory_limit, memory_total};
pub use os::{
    ProcessMemory, SignalsBlocked, env_var, process_sample, raise_file_limit, read_file, read_folder, terminal_size,
    unix_time_nanos, uuid,
};
pub use output::{DroppedRecords, FINISH_TIMEOUT, OUTPUT_QUEUE_BYTES, OutputWriter, Outputs};
pub use real_world::RealWorld;
pub use signals::Signals;
pub use sim::{ComputedUnits, DiskFaults, NodeId, Sim, SimDisk};

/// Signal numbers, for [`Signals::catch`].
pub mod signal {
    /// Asks for an orderly shutdown.
    pub const TERM: i32 = libc::SIGTERM;
    /// Ctrl-C.
    pub const INT: i32 = libc::SIGINT;
    /// Asks to read the configuration again.
    pub const HUP: i32 = libc::SIGHUP;

    /// The name that Go's `Signal.String` gives a signal; `signal` for any other number.
    #[must_use]
    pub fn name(signal: i32) -> &'static str {
        match signal {
            TERM => "terminated",
            INT => "interrupt",
            HUP => "hangup",
            _ => "signal",
        }
    }
}
