//! Tests of handles alone: it includes the library's own source file, so that Miri can check it too.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[path = "../src/per_process.rs"]
mod per_process;
#[path = "../src/table.rs"]
mod table;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use table::{HandleError, HandleTable};

enum Name {}
enum Other {}

#[test]
fn handle_is_valid_until_it_is_removed() {
    let table = HandleTable::<Name, &str>::new(1);
    let first = table.insert("first");
    assert_eq!(*table.get(first).unwrap(), "first");
    assert_eq!(*table.remove(first).unwrap(), "first");
    assert_eq!(table.remove(first).unwrap_err(), HandleError::Freed);
    let second = table.insert("second");
    assert_ne!(first, second, "the slot is the same, the handle is not");
    assert_eq!(table.get(first).unwrap_err(), HandleError::Freed);
    assert_eq!(table.remove(first).unwrap_err(), HandleError::Freed);
    assert_eq!(*table.get(second).unwrap(), "second");
}

#[test]
fn pointer_that_is_no_handle_is_refused() {
    let (table, others) = (HandleTable::<Name, u8>::new(1), HandleTable::<Other, u8>::new(2));
    let handle = table.insert(7);
    assert_eq!(table.get(std::ptr::null()).unwrap_err(), HandleError::Null);
    assert_eq!(others.get(handle.cast()).unwrap_err(), HandleError::Foreign);
    let local = 1_u64;
    assert_eq!(table.get(std::ptr::from_ref(&local).cast()).unwrap_err(), HandleError::Foreign);
    // Every value that differs from a valid one in one bit, and what random memory may look like.
    for bit in 0..64 {
        let altered = handle.map_addr(|address| address ^ (1 << bit));
        assert!(table.get(altered).is_err() && table.remove(altered).is_err(), "bit {bit}");
    }
    for address in
        [1, 0xff, usize::MAX, usize::MAX >> 1, 0xe1 << 56, 0xe1 << 56 | 1 << 32, 0xe1 << 56 | 0xff_ffff << 32]
    {
        assert_eq!(table.get(std::ptr::without_provenance(address)).unwrap_err(), HandleError::Foreign, "{address:x}");
    }
    assert_eq!(*table.get(handle).unwrap(), 7);
}

#[test]
fn object_in_use_outlives_its_handle() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (table, dropped) = (HandleTable::<Name, Counted>::new(1), Arc::new(AtomicUsize::new(0)));
    let handle = table.insert(Counted(dropped.clone()));
    let user = table.get(handle).unwrap();
    drop(table.remove(handle));
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    drop(user);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn handle_removed_by_many_threads_is_removed_once() {
    let rounds = if cfg!(miri) { 8 } else { 2000 };
    let (table, removed) = (HandleTable::<Name, usize>::new(3), AtomicUsize::new(0));
    let mut seen = BTreeSet::new();
    for round in 0..rounds {
        let address = table.insert(round).addr();
        assert!(seen.insert(address), "no handle comes twice");
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let handle = std::ptr::without_provenance_mut::<Name>(address);
                    if let Ok(value) = table.get(handle) {
                        assert_eq!(*value, round);
                    }
                    if table.remove(handle).is_ok() {
                        removed.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }
    assert_eq!(removed.load(Ordering::SeqCst), rounds);
}
