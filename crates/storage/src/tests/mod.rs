//! Tests of the log on a simulated disk.

mod basics;
mod crashes;
mod fuzz;
mod inspect;
mod machine;
mod model;
mod planted;
mod random_runs;
mod rig;
mod values;
