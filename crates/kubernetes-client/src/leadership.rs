//! Whether this collector is the one of several that asks the API server.
//!
//! An extension that takes part in an election offers a [`Leadership`]; receivers that name it run while they lead. How the
//! leader is found is not known here.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};

use otelcore_config::ComponentId;
use otelcore_pipeline::{Capability, Notifier, StartError};

/// Whether this collector leads.
#[derive(Default)]
pub struct Leadership {
    is_leader: Cell<bool>,
    followers: RefCell<Vec<Weak<dyn Notifier>>>,
}

impl std::fmt::Debug for Leadership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leadership").field("is_leader", &self.is_leader.get()).finish_non_exhaustive()
    }
}

impl Leadership {
    /// Whether it leads now.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.is_leader.get()
    }

    /// Notifies a component of each change, for as long as it keeps the notifier.
    pub fn subscribe(&self, notifier: &Arc<dyn Notifier>) {
        let mut followers = self.followers.borrow_mut();
        followers.retain(|follower| follower.strong_count() > 0);
        followers.push(Arc::downgrade(notifier));
    }

    /// Sets whether it leads. For the extension.
    pub fn set(&self, is_leader: bool) {
        if self.is_leader.replace(is_leader) != is_leader {
            self.followers.borrow().iter().filter_map(Weak::upgrade).for_each(|follower| follower.notify());
        }
    }
}

impl Capability for Leadership {
    const NAME: &'static str = "k8s leader elector";

    fn extension_not_found(id: &ComponentId) -> StartError {
        StartError::Config(format!(
            "unknown k8s leader elector \"{id}\"; configure it under `extensions:` and name it in `service::extensions`"
        ))
    }

    fn not_offered(id: &ComponentId) -> StartError {
        StartError::Config(format!(
            "the extension \"{id}\" is no k8s leader elector; write the id of a `k8s_leader_elector` extension"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicU32);

    impl Notifier for Counter {
        fn notify(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn followers_are_notified_of_changes_until_they_are_dropped() {
        let leadership = Leadership::default();
        let (kept, dropped) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
        let (first, second): (Arc<dyn Notifier>, Arc<dyn Notifier>) = (kept.clone(), dropped.clone());
        leadership.subscribe(&first);
        leadership.subscribe(&second);
        leadership.set(true);
        leadership.set(true);
        assert!(leadership.is_leader());
        drop((second, dropped));
        leadership.set(false);
        leadership.subscribe(&first);
        assert_eq!((kept.0.load(Ordering::Relaxed), leadership.followers.borrow().len()), (2, 2));
    }
}
