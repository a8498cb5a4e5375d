//! The worlds.
//!
//! [`Real`] is the machine: sockets on one `mio::Poll`, timers, names, files and the clock. [`run()`] is the loop that
//! drives a [`Graph`](otelcore_pipeline::Graph) in it. Everything else in the workspace sees only the
//! [`World`](otelcore_pipeline::World). [`Sim`] is a network of graphs with no machine at all: a clock that jumps, queues
//! for connections, faults on command, and every choice from a seed.

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
    /// Ask for an orderly end.
    pub const TERM: i32 = libc::SIGTERM;
    /// Ctrl-C.
    pub const INT: i32 = libc::SIGINT;
    /// Read the configuration again.
    pub const HUP: i32 = libc::SIGHUP;

    /// The name that Go gives a signal.
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
