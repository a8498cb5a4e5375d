//! An allocator that counts, for tests of what a hot path allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator, which counts the allocations of the whole process. A test makes it its `#[global_allocator]`.
#[derive(Debug)]
pub struct CountingAllocator(AtomicU64, AtomicU64);

impl CountingAllocator {
    /// No allocations yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a static needs a constant function")]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0), AtomicU64::new(0))
    }

    /// The allocations so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The bytes that are allocated.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }
}

// SAFETY: every call is forwarded to the system's allocator with unchanged arguments.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc`, which is the one that `System` requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        self.1.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}
