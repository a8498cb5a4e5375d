//! Keys that are ready.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use otelcore_pipeline::Key;

/// Keys that get `Event::Ready` next, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadyKeys(Arc<Mutex<VecDeque<Key>>>);

impl ReadyKeys {
    pub(crate) fn request(&self, key: Key) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.contains(&key) {
            keys.push_back(key);
        }
    }

    pub(crate) fn pop(&self) -> Option<Key> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}
