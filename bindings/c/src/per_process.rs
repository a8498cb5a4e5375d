//! Values that a forked child creates again. It does not use handles.

use std::sync::atomic::{AtomicPtr, Ordering};

use otelcore::reactor::fork_depth;

/// The number of forks between this process and the first that used the library.
pub(crate) fn current_depth() -> u32 {
    fork_depth()
}

/// A value that is created again in a forked child: a lock in the parent's value may be held by a thread that the child
/// does not have. The inherited value is left as it is.
pub(crate) struct PerProcess<T: 'static>(AtomicPtr<ProcessValue<T>>);

struct ProcessValue<T: 'static> {
    depth: u32,
    value: T,
    /// The parent's value, kept so that leak checkers do not report its memory as lost.
    _inherited: *mut Self,
}

impl<T: Default + Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    pub(crate) fn get(&self) -> &T {
        let mut loaded = self.0.load(Ordering::Acquire);
        loop {
            // SAFETY: null, or a value that was leaked below.
            match unsafe { loaded.as_ref() } {
                Some(made) if made.depth == current_depth() => return &made.value,
                _ => {}
            }
            let new = Box::into_raw(Box::new(ProcessValue {
                depth: current_depth(),
                value: T::default(),
                _inherited: loaded,
            }));
            match self.0.compare_exchange(loaded, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => loaded = new,
                Err(current) => {
                    // SAFETY: another thread's exchange was first, so no other code has this pointer.
                    drop(unsafe { Box::from_raw(new) });
                    loaded = current;
                }
            }
        }
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let loaded = *self.0.get_mut();
        // SAFETY: null, or a value that was leaked by `get`; a value that is dropped has no borrows. The parent's value
        // stays.
        if unsafe { loaded.as_ref() }.is_some_and(|made| made.depth == current_depth()) {
            // SAFETY: as above.
            drop(unsafe { Box::from_raw(loaded) });
        }
    }
}
