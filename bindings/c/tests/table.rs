//! Tests of handles alone: it includes the library's own source file, so that Miri can check it too.
#![allow(clippy::unwrap_used, reason = "a story that can't go on has failed")]

#[path = "../src/per_process.rs"]
mod per_process;
#[path = "../src/table.rs"]
mod table;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use table::{Miss, Table};

enum Name {}
enum Other {}

#[test]
fn a_handle_is_good_until_it_is_removed_and_never_again() {
    let table = Table::<Name, &str>::new(1);
    let first = table.insert("first");
    assert_eq!(*table.get(first).unwrap(), "first");
    assert_eq!(*table.remove(first).unwrap(), "first");
    assert_eq!(table.remove(first).unwrap_err(), Miss::Freed);
    let second = table.insert("second");
    assert_ne!(first, second, "the slot is the same, the handle is not");
    assert_eq!(table.get(first).unwrap_err(), Miss::Freed);
    assert_eq!(table.remove(first).unwrap_err(), Miss::Freed);
    assert_eq!(*table.get(second).unwrap(), "second");
}

#[test]
fn whatever_else_comes_is_told_from_a_handle() {
    let (table, others) = (Table::<Name, u8>::new(1), Table::<Other, u8>::new(2));
    let handle = table.insert(7);
    assert_eq!(table.get(std::ptr::null()).unwrap_err(), Miss::Null);
    assert_eq!(others.get(handle.cast()).unwrap_err(), Miss::Foreign);
    let local = 1_u64;
    assert_eq!(table.get(std::ptr::from_ref(&local).cast()).unwrap_err(), Miss::Foreign);
    // Every value that differs from a valid one in one bit, and what random memory may look like.
    for bit in 0..64 {
        let near = handle.map_addr(|address| address ^ (1 << bit));
        assert!(table.get(near).is_err() && table.remove(near).is_err(), "bit {bit}");
    }
    for address in
        [1, 0xff, usize::MAX, usize::MAX >> 1, 0xe1 << 56, 0xe1 << 56 | 1 << 32, 0xe1 << 56 | 0xff_ffff << 32]
    {
        assert_eq!(table.get(std::ptr::without_provenance(address)).unwrap_err(), Miss::Foreign, "{address:x}");
    }
    assert_eq!(*table.get(handle).unwrap(), 7);
}

#[test]
fn what_is_in_use_outlives_its_handle() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (table, dropped) = (Table::<Name, Counted>::new(1), Arc::new(AtomicUsize::new(0)));
    let handle = table.insert(Counted(dropped.clone()));
    let user = table.get(handle).unwrap();
    drop(table.remove(handle));
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    drop(user);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn of_many_threads_that_remove_one_handle_one_has_it() {
    let rounds = if cfg!(miri) { 8 } else { 2000 };
    let (table, won) = (Table::<Name, usize>::new(3), AtomicUsize::new(0));
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
                        won.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }
    assert_eq!(won.load(Ordering::SeqCst), rounds);
}
