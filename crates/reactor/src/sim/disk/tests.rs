use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use otelcore_pipeline::{FileKind, FileSystem, PRIVATE_DIR, PRIVATE_FILE};

use super::*;

fn path(text: &str) -> &Path {
    Path::new(text)
}

/// A disk with a file `/a` that is durable and empty.
fn disk_with_file(seed: u64) -> SimDisk {
    let mut disk = SimDisk::new(seed);
    disk.write("/a", "");
    disk
}

#[test]
fn files_and_directories_behave_as_those_of_a_machine() {
    let mut disk = SimDisk::new(1);
    disk.create_dir_all(path("/q/x"), PRIVATE_DIR).unwrap();
    disk.create_file(path("/q/x/a"), PRIVATE_FILE).unwrap();
    assert_eq!(disk.append(path("/q/x/a"), &[b"one", b"two"]).unwrap(), 6);
    disk.write_at(path("/q/x/a"), 8, &[b"x"]).unwrap();
    assert_eq!(disk.read_at(path("/q/x/a"), 2, 100).unwrap(), b"etwo\0\0x");
    let found = disk.metadata(path("/q/x/a")).unwrap();
    assert_eq!((found.kind, found.length, found.mode), (FileKind::File, 9, 0o600));
    disk.set_len(path("/q/x/a"), 2).unwrap();
    assert_eq!(disk.read(path("/q/x/a"), 2).unwrap(), b"on");
    disk.rename(path("/q/x/a"), path("/q/b")).unwrap();
    assert_eq!(disk.paths(), [PathBuf::from("/q/b")]);
    let names: Vec<_> = disk.read_dir(path("/q")).unwrap().into_iter().map(|e| (e.name, e.kind)).collect();
    assert_eq!(names, [("b".into(), FileKind::File), ("x".into(), FileKind::Dir)]);
    let e = disk.read_at(path("/q/x/a"), 0, 1).unwrap_err();
    assert_eq!((e.kind(), e.to_string().as_str()), (ErrorKind::NotFound, "open /q/x/a: no such file or directory"));
    assert_eq!(disk.remove_dir(path("/q")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    assert_eq!(disk.create_file(path("/q/b"), 0o600).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.create_file(path("/q/b/c"), 0o600).unwrap_err().kind(), ErrorKind::NotADirectory);
    assert_eq!(disk.remove_file(path("/q/x")).unwrap_err().kind(), ErrorKind::IsADirectory);
    disk.remove_dir(path("/q/x")).unwrap();
    disk.remove_file(path("/q/b")).unwrap();
    assert_eq!(disk.paths(), [""; 0].map(PathBuf::from));
}

#[test]
fn synced_file_survives_a_crash_with_every_seed() {
    for seed in 0..100 {
        let mut disk = SimDisk::new(seed);
        disk.create_file(path("/a"), PRIVATE_FILE).unwrap();
        disk.append(path("/a"), &[&[7; 2000]]).unwrap();
        disk.sync_file(path("/a")).unwrap();
        disk.sync_dir(path("/")).unwrap();
        disk.crash();
        assert_eq!(disk.content("/a").unwrap(), [7; 2000], "seed {seed}");
    }
}

#[test]
fn unsynced_data_is_lost_kept_or_torn_at_a_crash() {
    let (mut lost, mut kept, mut torn, mut holes) = (0, 0, 0, 0);
    for seed in 0..300 {
        let mut disk = disk_with_file(seed);
        disk.append(path("/a"), &[&[1; 1000]]).unwrap();
        disk.sync_file(path("/a")).unwrap();
        disk.append(path("/a"), &[&[2; 2000]]).unwrap();
        disk.crash();
        let content = disk.content("/a").unwrap();
        assert_eq!(content[..1000], [1; 1000], "seed {seed}: what was synced is there");
        let rest = &content[1000..];
        assert!(rest.len() <= 2000 && rest.iter().all(|b| *b == 0 || *b == 2));
        match rest {
            [] => lost += 1,
            all if *all == [2; 2000] => kept += 1,
            _ => torn += 1,
        }
        holes += usize::from(rest.windows(2).any(|pair| pair == [0, 2]));
    }
    assert!(lost > 20 && kept > 0 && torn > 60 && holes > 40, "{lost} {kept} {torn} {holes}");
}

#[test]
fn entry_of_a_directory_that_was_not_synced_is_lost_or_kept_at_a_crash() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..100 {
        let mut disk = disk_with_file(seed);
        disk.create_file(path("/b"), PRIVATE_FILE).unwrap();
        disk.append(path("/b"), &[b"new"]).unwrap();
        disk.sync_file(path("/b")).unwrap();
        disk.rename(path("/b"), path("/a")).unwrap();
        disk.crash();
        let b = disk.content("/b").map(|content| String::from_utf8(content).unwrap());
        outcomes.insert((String::from_utf8(disk.content("/a").expect("a rename replaces in one step")).unwrap(), b));
    }
    let outcome = |a: &str, b: Option<&str>| (a.to_owned(), b.map(str::to_owned));
    assert_eq!(outcomes, [outcome("", None), outcome("", Some("new")), outcome("new", None)].into());
}

#[test]
fn replaced_file_has_the_old_or_the_new_content_whichever_operation_a_crash_prevents() {
    for seed in 0..50 {
        for count in 0..10 {
            let mut disk = SimDisk::new(seed);
            disk.write("/q/a", "old");
            disk.crash_after(count);
            let result = disk.replace(path("/q/a"), PRIVATE_FILE, &[b"new content"]);
            assert_eq!(result.is_err(), disk.has_crashed());
            disk.crash();
            let content = disk.content("/q/a").unwrap();
            assert!(content == b"old" || content == b"new content", "seed {seed}, {count}: {content:?}");
            if result.is_ok() {
                assert_eq!(content, b"new content");
            }
            // What is left of the first attempt is no obstacle.
            disk.replace(path("/q/a"), PRIVATE_FILE, &[b"newer"]).unwrap();
            disk.crash();
            assert_eq!(disk.content("/q/a").unwrap(), b"newer");
        }
    }
}

#[test]
fn failed_sync_loses_the_data_though_a_second_one_succeeds() {
    let mut disk = disk_with_file(1);
    disk.append(path("/a"), &[&[1; 600]]).unwrap();
    disk.set_faults(DiskFaults { sync_errors: 1000, ..DiskFaults::default() });
    let e = disk.sync_file(path("/a")).unwrap_err();
    assert_eq!(e.to_string(), "sync /a: input/output error");
    disk.set_faults(DiskFaults::default());
    disk.append(path("/a"), &[&[2; 600]]).unwrap();
    disk.sync_file(path("/a")).unwrap();
    assert_eq!(disk.content("/a").unwrap()[..600], [1; 600], "processes still see it");
    disk.crash();
    let content = disk.content("/a").unwrap();
    assert_eq!(content[..512], [0; 512]);
    assert_eq!(content[600..], [2; 600]);
}

#[test]
fn full_disk_takes_what_fits_and_room_comes_back() {
    let mut disk = disk_with_file(1);
    disk.write("/b", vec![0; 400]);
    disk.set_faults(DiskFaults { capacity: Some(1000), ..DiskFaults::default() });
    let e = disk.append(path("/a"), &[&[1; 700]]).unwrap_err();
    assert_eq!((e.kind(), e.to_string().as_str()), (ErrorKind::StorageFull, "write /a: no space left on device"));
    assert_eq!(disk.content("/a").unwrap(), [1; 600]);
    disk.write_at(path("/a"), 0, &[&[2; 600]]).unwrap();
    disk.remove_file(path("/b")).unwrap();
    disk.append(path("/a"), &[&[3; 400]]).unwrap();
    assert_eq!(disk.set_len(path("/a"), 1001).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.set_len(path("/a"), 0).unwrap();
    disk.append(path("/a"), &[&[4; 1000]]).unwrap();
}

#[test]
fn errors_are_as_frequent_as_set_and_a_failed_write_may_be_done_in_part() {
    let mut disk = disk_with_file(5);
    disk.set_faults(DiskFaults { write_errors: 250, ..DiskFaults::default() });
    let (mut failed, mut partial) = (0, 0);
    for _ in 0..1000 {
        disk.write("/a", "");
        if disk.write_at(path("/a"), 0, &[&[1; 100]]).is_err() {
            failed += 1;
            let length = disk.content("/a").unwrap().len();
            assert!(length < 100);
            partial += u32::from(length > 0);
        }
    }
    assert!((200..300).contains(&failed) && partial > 150, "{failed} {partial}");
    disk.set_faults(DiskFaults { is_read_only: true, read_errors: 1000, ..DiskFaults::default() });
    assert_eq!(disk.create_file(path("/c"), 0o600).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(disk.metadata(path("/a")).unwrap_err().to_string(), "stat /a: input/output error");
}

#[test]
fn file_moved_between_directories_is_in_one_of_them_after_a_crash() {
    for seed in 0..50 {
        let mut disk = SimDisk::new(seed);
        disk.write("/one/a", "content");
        disk.write("/two/x", "");
        disk.rename(path("/one/a"), path("/two/a")).unwrap();
        if seed % 2 == 0 {
            disk.sync_dir(path("/two")).unwrap();
        }
        disk.crash();
        let places: Vec<_> = ["/one/a", "/two/a"].into_iter().filter(|p| disk.content(p).is_some()).collect();
        assert_eq!(places.len(), 1, "seed {seed}: {places:?}");
        if seed % 2 == 0 {
            assert_eq!(places, ["/two/a"]);
        }
    }
}

#[test]
fn equal_seeds_give_equal_crashes() {
    let run = |seed| {
        let mut disk = disk_with_file(seed);
        for n in 0..20_u8 {
            disk.append(path("/a"), &[&[n; 300]]).unwrap();
        }
        disk.crash();
        disk.content("/a")
    };
    assert_eq!(run(3), run(3));
    assert!((0..10).map(run).collect::<BTreeSet<_>>().len() > 5);
}

#[test]
fn misdirected_write_keeps_the_old_bytes_and_overwrites_others() {
    let mut disk = SimDisk::new(4);
    disk.write("/a", vec![1; 2048]);
    disk.write("/b", vec![2; 2048]);
    disk.set_faults(DiskFaults { misdirected_writes: 1000, ..DiskFaults::default() });
    disk.write_at(path("/a"), 0, &[&[9; 512]]).unwrap();
    disk.sync_file(path("/a")).unwrap();
    assert_eq!(disk.misdirected(), 1);
    let changed = [disk.content("/a").unwrap(), disk.content("/b").unwrap()].concat();
    assert_eq!(changed.iter().filter(|b| **b == 9).count(), 512);
    disk.crash();
    assert_eq!([disk.content("/a").unwrap(), disk.content("/b").unwrap()].concat(), changed);
    let (flipped, at) = disk.flip_bit().unwrap();
    let before = if flipped == path("/a") { &changed[..2048] } else { &changed[2048..] };
    assert_eq!((disk.content(&flipped).unwrap()[at] ^ before[at]).count_ones(), 1);
}

#[test]
fn lock_of_a_file_ends_with_its_holder_and_with_the_machine() {
    let mut disk = SimDisk::new(1);
    let held = disk.lock_file(path("/lock"), PRIVATE_FILE).unwrap();
    assert_eq!(disk.lock_file(path("/lock"), PRIVATE_FILE).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(held);
    let held = disk.lock_file(path("/lock"), PRIVATE_FILE).unwrap();
    disk.crash();
    disk.lock_file(path("/lock"), PRIVATE_FILE).unwrap();
    drop(held);
}
