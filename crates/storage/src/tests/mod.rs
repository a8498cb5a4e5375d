//! Tests of the log on a simulated disk.

mod basics;
mod rig;
