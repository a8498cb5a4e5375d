//! Notifiers ([`Notifier`]): the only way in which other threads cause an event of a component.
//!
//! A call of [`Notifier::notify`] adds the notifier to a list and wakes the loop. The loop takes the list and delivers
//! one event for each notifier in it. Several calls before the loop takes the list give one event.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use otelcore_pipeline::{Key, Notifier};

use crate::waker::Waker;

/// The notifiers that were notified since the loop last took the list.
#[derive(Debug)]
pub(crate) struct Notifiers {
    /// `None` once the loop has ended: the list is not read any more then, and its entries would keep it alive (they
    /// hold an `Arc` of it).
    pending: Mutex<Option<Vec<Arc<Registration>>>>,
    waker: Arc<Waker>,
}

#[derive(Debug)]
struct Registration {
    key: Key,
    is_pending: AtomicBool,
    notifiers: Arc<Notifiers>,
}

struct NotifierHandle(Arc<Registration>);

impl Notifier for NotifierHandle {
    fn notify(&self) {
        if self.0.is_pending.swap(true, Ordering::AcqRel) {
            return;
        }
        let notifiers = &self.0.notifiers;
        let mut pending = notifiers.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(list) = &mut *pending else { return };
        list.push(self.0.clone());
        drop(pending);
        // An error is ignored: a loop that ends now does not need the event.
        let _ = notifiers.waker.wake();
    }
}

impl Notifiers {
    pub(crate) fn new(waker: Arc<Waker>) -> Arc<Self> {
        Arc::new(Self { pending: Mutex::new(Some(Vec::new())), waker })
    }

    /// Called when the loop has ended: later notifications are ignored.
    pub(crate) fn close(&self) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn register(self: &Arc<Self>, key: Key) -> Arc<dyn Notifier> {
        Arc::new(NotifierHandle(Arc::new(Registration {
            key,
            is_pending: AtomicBool::new(false),
            notifiers: self.clone(),
        })))
    }

    /// Takes the keys of the notifiers in the list. A notification from now on is delivered in the next turn.
    pub(crate) fn take(&self) -> Vec<Key> {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(std::mem::take);
        let clear = |registration: Arc<Registration>| {
            registration.is_pending.store(false, Ordering::Release);
            registration.key
        };
        pending.into_iter().flatten().map(clear).collect()
    }
}
