//! Values survive a crash at every operation: all changes of a batch or none.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use otelcore_pipeline::{FileSystem, StorageLocation, ValueChange, ValueStore};
use otelcore_reactor::SimDisk;

use crate::ValueFile;

fn location() -> StorageLocation {
    StorageLocation {
        directory: PathBuf::from("/var/storage/receiver_file_log_.positions"),
        root_mode: Some(0o750),
        fsync: true,
        min_free_bytes: 0,
        lock_timeout: Duration::ZERO,
        recreate: false,
    }
}

fn set(key: &str, value: &str) -> ValueChange {
    ValueChange::Set(key.to_owned(), value.as_bytes().to_vec())
}

fn values(entries: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}

#[test]
fn values_that_were_set_are_read_by_the_next_process() {
    let mut disk = SimDisk::new(1);
    let mut store = ValueFile::new(location());
    assert_eq!(store.load(&mut disk).unwrap(), values(&[]));
    store.apply(&mut disk, vec![set("a", "1"), set("b", "2")]).unwrap();
    store.apply(&mut disk, vec![ValueChange::Delete("a".to_owned()), set("c", "")]).unwrap();
    let refused = ValueFile::new(location()).load(&mut disk).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock, "another process has it");
    drop(store);
    assert_eq!(ValueFile::new(location()).load(&mut disk).unwrap(), values(&[("b", "2"), ("c", "")]));
}

#[test]
fn crash_at_any_operation_leaves_the_old_values_or_the_new_ones() {
    let (old, new) = (values(&[("a", "old"), ("b", "kept")]), values(&[("a", "new"), ("b", "kept")]));
    for seed in 0..40 {
        let mut has_ended = false;
        for crash_after in 0..40 {
            let mut disk = SimDisk::new(seed * 100 + crash_after);
            let mut store = ValueFile::new(location());
            store.load(&mut disk).unwrap();
            store.apply(&mut disk, vec![set("a", "old"), set("b", "kept")]).unwrap();
            disk.crash_after(crash_after);
            let result = store.apply(&mut disk, vec![set("a", "new")]);
            has_ended |= !disk.has_crashed();
            drop(store);
            disk.crash();
            let found = ValueFile::new(location()).load(&mut disk).unwrap();
            assert!(found == old || found == new, "seed {seed}, crash after {crash_after}: {found:?}");
            if result.is_ok() {
                assert_eq!(found, new, "what was confirmed is there");
            }
        }
        assert!(has_ended, "the last crashes come after the end");
    }
}

#[test]
fn directory_of_a_process_that_ended_before_its_sync_survives_a_crash() {
    for seed in 0..20 {
        let mut disk = SimDisk::new(seed);
        disk.create_dir_all(&location().directory, 0o700).unwrap();
        let mut store = ValueFile::new(location());
        store.apply(&mut disk, vec![set("a", "1")]).unwrap();
        drop(store);
        disk.crash();
        assert_eq!(ValueFile::new(location()).load(&mut disk).unwrap(), values(&[("a", "1")]), "seed {seed}");
    }
}

#[test]
fn damaged_file_is_set_aside_and_never_read() {
    let path = Path::new("/var/storage/receiver_file_log_.positions/values");
    for at in [0, 8, 12, 20, 30] {
        let mut disk = SimDisk::new(1);
        let mut store = ValueFile::new(location());
        store.apply(&mut disk, vec![set("key", "a value")]).unwrap();
        drop(store);
        let mut content = disk.content(path).unwrap();
        content[at] ^= 1;
        disk.write(path, content);
        let mut store = ValueFile::new(location());
        let error = store.load(&mut disk).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        assert_eq!(store.load(&mut disk).unwrap(), values(&[]));
        assert!(disk.metadata(&path.with_extension("damaged")).is_ok());
    }
}

#[test]
fn values_above_the_limit_are_refused_and_the_old_ones_stay() {
    let mut disk = SimDisk::new(1);
    let mut store = ValueFile::new(location());
    store.apply(&mut disk, vec![set("a", "1")]).unwrap();
    let large = ValueChange::Set("large".to_owned(), vec![0; 65 << 20]);
    assert_eq!(store.apply(&mut disk, vec![large]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    drop(store);
    assert_eq!(ValueFile::new(location()).load(&mut disk).unwrap(), values(&[("a", "1")]));
}
