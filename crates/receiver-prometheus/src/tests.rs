//! Tests of a whole target, of the receiver in a network, and the comparison with the Go receiver.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod differential;
mod fixture;
mod generate;
mod generate_protobuf;
mod normalize;
mod target;
