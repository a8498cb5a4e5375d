//! The benches: our release binary and its peers under the same requests, one after another, pinned.
//!
//! `otelcore-bench [ROW ...]` plays every row, or the rows named; `load` and `sink` are the processes that it starts for
//! itself on the other core. CPU is user and system time of the collector's process from /proc, from before the load to
//! after the last item has arrived; peaks are VmHWM. Nothing here judges: the figures and their ratios are printed.

mod load;
mod rows;
mod sink;
mod telemetry;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.first().map(String::as_str) {
        Some("load") => load::main(args.get(1..).unwrap_or_default()),
        Some("sink") => sink::main(args.get(1..).unwrap_or_default()),
        _ => rows::main(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Pins this process to one core.
pub(crate) fn pin(core: usize) {
    // SAFETY: a zeroed cpu_set_t is an empty set, CPU_SET writes inside it, and the call only reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}
