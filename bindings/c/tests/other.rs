//! Another Rust archive in the same program: it has its own copy of std and its own panics.

use std::panic::catch_unwind;

/// Panics, catches the panic, and returns 42.
#[unsafe(no_mangle)]
pub extern "C" fn other_panics() -> i32 {
    match catch_unwind(|| assert!(!std::hint::black_box(true), "of the other archive")) {
        Ok(()) => 0,
        Err(_) => 42,
    }
}

/// Starts a program, so that the parts of std that need newer C libraries are linked.
#[unsafe(no_mangle)]
pub extern "C" fn other_starts_a_program() -> bool {
    std::process::Command::new("true").status().is_ok_and(|status| status.success())
}
