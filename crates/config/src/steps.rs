//! A count of steps, so that a test can check how work grows with a configuration without a clock.
//!
//! Counts per thread, in builds with debug assertions only; in others [`add`] does nothing. Code that walks over bytes,
//! nodes, names or objects adds how many it has read. Limits nothing.

#[cfg(debug_assertions)]
use std::cell::Cell;

#[cfg(debug_assertions)]
thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Counts bytes, nodes or names that were read.
#[inline]
pub fn add(count: usize) {
    #[cfg(debug_assertions)]
    COUNT.with(|c| c.set(c.get().saturating_add(count as u64)));
    #[cfg(not(debug_assertions))]
    let _ = count;
}

/// The steps that `work` takes on this thread; zero in builds without debug assertions.
pub fn measure<T>(work: impl FnOnce() -> T) -> (u64, T) {
    #[cfg(debug_assertions)]
    let before = COUNT.with(Cell::get);
    let result = work();
    #[cfg(debug_assertions)]
    return (COUNT.with(Cell::get).saturating_sub(before), result);
    #[cfg(not(debug_assertions))]
    (0, result)
}
