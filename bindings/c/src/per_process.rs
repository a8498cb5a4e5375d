//! What a forked child has anew. It knows nothing of handles.

use std::sync::atomic::{AtomicPtr, Ordering};

use otelcore::reactor::fork_depth;

/// How many forks lie between this process and the first that used the library.
pub(crate) fn depth() -> u32 {
    fork_depth()
}

/// A value that a forked child has anew: in the parent's one a lock may be held by a thread that the child does not have.
/// What the child inherited is left as it is.
pub(crate) struct PerProcess<T: 'static>(AtomicPtr<Made<T>>);

struct Made<T: 'static> {
    depth: u32,
    value: T,
    /// The parent's, so that its memory can be told from lost memory.
    _inherited: *mut Self,
}

impl<T: Default + Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    pub(crate) fn get(&self) -> &T {
        let mut last = self.0.load(Ordering::Acquire);
        loop {
            // SAFETY: null, or one that was leaked below.
            match unsafe { last.as_ref() } {
                Some(made) if made.depth == depth() => return &made.value,
                _ => {}
            }
            let new = Box::into_raw(Box::new(Made { depth: depth(), value: T::default(), _inherited: last }));
            match self.0.compare_exchange(last, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => last = new,
                Err(others) => {
                    // SAFETY: another thread was first, so that nobody has seen this one.
                    drop(unsafe { Box::from_raw(new) });
                    last = others;
                }
            }
        }
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let last = *self.0.get_mut();
        // SAFETY: null, or one that was leaked by `get`; nobody borrows from a value that is dropped. The parent's stay.
        if unsafe { last.as_ref() }.is_some_and(|made| made.depth == depth()) {
            // SAFETY: as above.
            drop(unsafe { Box::from_raw(last) });
        }
    }
}
