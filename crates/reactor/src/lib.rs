//! The two implementations of [`World`](otelcore_pipeline::World): the real one, and a simulated one for tests.
//!
//! [`Real`] is the machine: sockets on one `mio::Poll`, timers, name look-ups, files and the clock. [`Runner`] is the
//! loop that drives a [`Graph`](otelcore_pipeline::Graph) in it. All other crates of the workspace use the trait only.
//! [`Sim`] is a network of graphs without any system resource: a simulated clock that advances to the next event,
//! connections as queues in memory, faults that a test injects, and every random choice drawn from a seed.

mod bells;
mod driver;
mod forks;
mod jobs;
mod limits;
mod names;
mod os;
mod output;
mod real;
mod resolver;
mod signals;
mod sim;
mod sockets;
mod timers;
mod trial;
mod waker;

pub use driver::{Ending, Remote, Runner};
pub use forks::{Tracked, fork_depth, watch_forks};
pub use limits::{cgroup_limit, go_memory_limit, memory_total};
pub use os::{Memory, Unsignalled, env, process_sample, raise_file_limit, read_file, read_folder, uuid, wall_clock};
pub use output::{Dropped, FINISH, Output, Outputs, QUEUE_BYTES};
pub use real::Real;
pub use signals::Signals;
pub use sim::{NodeId, Sim, Work};

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
