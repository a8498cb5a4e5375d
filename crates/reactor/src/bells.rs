//! Bells: the one door through which other threads reach components.
//!
//! A ring puts the bell on a list and wakes the loop; the loop takes the list and delivers one event for each. Rings
//! before that are one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use otelcore_pipeline::{Bell, Key};

use crate::waker::Waker;

/// The bells that have been rung.
#[derive(Debug)]
pub(crate) struct Bells {
    /// `None` once the loop has ended: nobody will come for what is rung then, and a list would keep itself alive.
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
        // A loop that ends just now hears nothing any more.
        let _ = bells.waker.wake();
    }
}

impl Bells {
    pub(crate) fn new(waker: Arc<Waker>) -> Arc<Self> {
        Arc::new(Self { rung: Mutex::new(Some(Vec::new())), waker })
    }

    /// The loop has ended.
    pub(crate) fn close(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn hang(self: &Arc<Self>, key: Key) -> Arc<dyn Bell> {
        Arc::new(Handle(Arc::new(Hung { key, rung: AtomicBool::new(false), bells: self.clone() })))
    }

    /// The keys of the bells that have been rung. Who rings from now on is heard in the next turn.
    pub(crate) fn take(&self) -> Vec<Key> {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(std::mem::take);
        let heard = |hung: Arc<Hung>| {
            hung.rung.store(false, Ordering::Release);
            hung.key
        };
        rung.into_iter().flatten().map(heard).collect()
    }
}
