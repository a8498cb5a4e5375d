//! Runs each machine once, for `scripts/instructions`, which counts the instructions by callgrind and compares them with
//! a table.
//!
//! Without an argument it runs every entry and prints their names in the order in which they ran; with `--features` it
//! prints the features of the CPU that code may choose by. What an entry prepares is not counted: only
//! [`measured`] is. An entry runs once before it is counted, so that buffers that are kept have their size.
#![allow(clippy::unwrap_used, reason = "a failure ends the program, and its message is for developers")]

mod entries;
#[path = "../../../crates/http/benches/exchange/mod.rs"]
mod exchange;
#[allow(unreachable_pub, reason = "benches use it too")]
#[path = "../../../crates/pdata/benches/telemetry/mod.rs"]
mod telemetry;

// The allocator and memcpy of the shipped binary, so that the C library of the machine is not counted.
use otelcore_static_memory as _;

/// The function that callgrind counts; `scripts/instructions` names it.
#[inline(never)]
fn measured(run: &mut dyn FnMut()) {
    run();
}

/// The features of this CPU that zlib-rs, memchr, the checksums and zstd choose code by.
fn features() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! add {
            ($($name:tt)*) => { $(if std::is_x86_feature_detected!($name) { found.push($name) })* };
        }
        add!("sse4.2" "pclmulqdq" "avx" "avx2" "bmi1" "bmi2" "vpclmulqdq" "avx512f");
    }
    found
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("--features") {
        println!("{}", features().join(" "));
        return;
    }
    for (name, prepare) in entries::ENTRIES {
        let mut run = prepare();
        run();
        measured(&mut *run);
        println!("{name}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn entries_run_twice_and_have_names_of_their_own() {
        let mut names = BTreeSet::new();
        for (name, prepare) in entries::ENTRIES {
            assert!(names.insert(name), "{name}");
            let mut run = prepare();
            run();
            measured(&mut *run);
        }
    }
}
