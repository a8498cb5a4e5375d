//! What several tests of the workspace need of a machine. The crate `otelcore-testkit` has what needs none.
//!
//! It is not published. It opens sockets on loopback only, and its threads serve until the process ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on says where")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests use the machine")]

mod allocations;
mod choices;
mod corpus;
mod dns;
#[cfg(feature = "peers")]
mod peers;
mod ports;
mod tools;

pub use allocations::CountingAllocator;
pub use choices::Choices;
pub use corpus::{CorpusCase, ask_about_seeds, ask_oracle, push_frame, read_corpus, split_frames, write_corpus};
pub use dns::{DnsAnswer, DnsServer};
#[cfg(feature = "peers")]
pub use peers::PeerConn;
pub use ports::free_port;
pub use tools::{random_bytes, run_tool, take_u32, tool_path};
