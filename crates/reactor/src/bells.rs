//! Notifiers ([`Bell`]): the only way in which other threads cause an event of a component.
//!
//! A call of [`Bell::ring`] adds the notifier to a list and wakes the loop. The loop takes the list and delivers one
//! event for each notifier in it. Several calls before the loop takes the list give one event.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use otelcore_pipeline::{Bell, Key};

use crate::waker::Waker;

/// The notifiers that were notified since the loop last took the list.
#[derive(Debug)]
pub(crate) struct Bells {
    /// `None` once the loop has ended: the list is not read any more then, and its entries would keep it alive (they
    /// hold an `Arc` of it).
    rung: Mutex<Option<Vec<Arc<Hung>>>>,
    waker: Arc<Waker>,
}

#[derive(Debug)]
struct Hung {
    key: Key,
    rung: AtomicBool,
    bells: Arc<Bells>,
}

struct Handle(Arc<Hung>);

impl Bell for Handle {
    fn ring(&self) {
        if self.0.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let bells = &self.0.bells;
        let mut rung = bells.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(list) = &mut *rung else { return };
        list.push(self.0.clone());
        drop(rung);
        // An error is ignored: a loop that ends now does not need the event.
        let _ = bells.waker.wake();
    }
}

impl Bells {
    pub(crate) fn new(waker: Arc<Waker>) -> Arc<Self> {
        Arc::new(Self { rung: Mutex::new(Some(Vec::new())), waker })
    }

    /// Called when the loop has ended: later notifications are ignored.
    pub(crate) fn close(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn hang(self: &Arc<Self>, key: Key) -> Arc<dyn Bell> {
        Arc::new(Handle(Arc::new(Hung { key, rung: AtomicBool::new(false), bells: self.clone() })))
    }

    /// Takes the keys of the notifiers in the list. A notification from now on is delivered in the next turn.
    pub(crate) fn take(&self) -> Vec<Key> {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(std::mem::take);
        let heard = |hung: Arc<Hung>| {
            hung.rung.store(false, Ordering::Release);
            hung.key
        };
        rung.into_iter().flatten().map(heard).collect()
    }
}
