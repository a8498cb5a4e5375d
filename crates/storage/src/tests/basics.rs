//! What the log does when nothing goes wrong, and each fault alone.

use otelcore_pipeline::{FileSystem, PRIVATE_FILE};
use otelcore_reactor::{DiskFaults, SimDisk};
use std::path::Path;

use super::rig::{DIR, Rig, body, meta, small_config};
use crate::format::set_version;
use crate::{JobKind, Log, LogConfig, LogEvent, OpenError, Recovered, Refused};

fn faults() -> DiskFaults {
    DiskFaults::default()
}

#[test]
fn records_are_durable_in_one_group_and_read_back_after_a_crash() {
    let mut rig = Rig::opened();
    for number in 1..=5 {
        assert_eq!(rig.append(number, 100), u64::from(number));
    }
    rig.run();
    assert!(matches!(rig.take_events()[..], [LogEvent::Durable { up_to: 6 }]));
    assert_eq!(rig.log.stats().groups, 1);
    rig.disk.crash();
    let mut rig = rig.restart();
    rig.run();
    let Some(LogEvent::Recovered(recovered)) = rig.take_events().pop() else { panic!("not recovered") };
    assert_eq!((recovered.records, recovered.items, recovered.first), (5, 15, 1));
    let records = rig.read_all();
    for (record, number) in records.iter().zip(1..) {
        assert_eq!(
            (record.sequence, &record.meta, &record.body),
            (u64::from(number), &meta(number), &body(number, 100))
        );
    }
    assert_eq!(records.len(), 5);
}

#[test]
fn second_group_gathers_while_the_first_is_written() {
    let mut rig = Rig::opened();
    rig.append(1, 10);
    rig.poll();
    rig.run_job(0);
    rig.poll();
    assert_eq!(rig.jobs[0].0, JobKind::Write);
    rig.append(2, 10);
    rig.append(3, 10);
    rig.poll();
    assert_eq!(rig.jobs.len(), 1, "one write at a time");
    rig.run();
    assert_eq!(rig.log.stats().groups, 2);
    assert_eq!(rig.log.durable_up_to(), 4);
}

#[test]
fn segments_are_removed_when_all_their_records_are_delivered() {
    let mut rig = Rig::opened();
    for number in 0..60 {
        rig.append(number, 500);
        rig.run();
    }
    assert!(rig.log.stats().segments > 5);
    rig.log.mark_delivered(3..61);
    rig.run();
    assert_eq!(rig.log.stats().records, 2);
    assert_eq!(rig.log.stats().segments, 2, "the first, and the one that is written to");
    rig.disk.crash();
    let mut rig = rig.restart();
    rig.run();
    let sequences: Vec<u64> = rig.read_all().iter().map(|record| record.sequence).collect();
    assert_eq!(sequences, [1, 2]);
    rig.log.mark_delivered(1..3);
    rig.run();
    assert_eq!((rig.log.stats().records, rig.log.stats().segments), (0, 0));
    let mut rig = rig.restart();
    rig.run();
    assert_eq!(rig.append(1, 10), 61, "numbers are not used again");
}

#[test]
fn record_larger_than_a_segment_has_one_of_its_own() {
    let mut rig = Rig::opened();
    for (number, length) in [(1, 10), (2, 30_000), (3, 10)] {
        rig.append(number, length);
        rig.run();
    }
    rig.run();
    let mut rig = rig.restart();
    rig.run();
    let lengths: Vec<usize> = rig.read_all().iter().map(|record| record.body.len()).collect();
    assert_eq!(lengths, [10, 30_000, 10]);
    let refused = rig.log.append(meta(1), body(1, 70_000)).unwrap_err();
    assert_eq!(refused.to_string(), "the record has 70009 bytes, more than the permitted 65536");
}

#[test]
fn log_with_as_many_bytes_as_permitted_refuses_until_a_segment_is_removed() {
    let mut rig = Rig::new(SimDisk::new(1), LogConfig { max_bytes: Some(20_000), ..small_config() });
    rig.run();
    let mut count = 0;
    while rig.log.append(meta(1), body(1, 1000)).is_ok() {
        rig.run();
        count += 1;
    }
    assert!((12..=18).contains(&count), "{count}");
    assert!(matches!(rig.log.append(meta(1), body(1, 1000)), Err(Refused::Full { max: 20_000, .. })));
    rig.log.mark_delivered(1..4);
    rig.run();
    rig.log.append(meta(1), body(1, 1000)).unwrap();
}

#[test]
fn log_leaves_as_many_bytes_free_as_configured() {
    const CAPACITY: u64 = 100_000;
    let mut rig = Rig::new(SimDisk::new(1), LogConfig { min_free_bytes: 60_000, ..small_config() });
    rig.disk.set_faults(DiskFaults { capacity: Some(CAPACITY), ..faults() });
    rig.run();
    let (mut count, mut number) = (0, 0_u64);
    while rig.log.trouble().is_none() {
        rig.append(1, 1000);
        rig.run();
        count += 1;
        assert!(
            rig.disk.free_space(Path::new(DIR)).unwrap() >= 60_000 - 1024,
            "{count}: only the reserve may be added"
        );
    }
    assert!((20..=40).contains(&count), "{count}");
    let refused = rig.log.append(meta(1), body(1, 1000)).unwrap_err().to_string();
    assert!(refused.contains("would leave less than min_free_bytes, 60000"), "{refused}");
    rig.log.retry();
    rig.run();
    assert!(rig.log.needs_retry());
    for record in rig.read_all() {
        number = record.sequence;
        rig.log.mark_delivered(number..number + 1);
    }
    rig.run();
    rig.log.retry();
    rig.run();
    assert!(rig.log.trouble().is_none());
    rig.append(1, 1000);
    rig.run();
    assert!(rig.log.durable_up_to() > number);
}

#[test]
fn failed_sync_leaves_the_segment_and_the_records_are_written_to_another() {
    let mut rig = Rig::opened();
    rig.append(1, 100);
    rig.run();
    rig.append(2, 100);
    rig.poll();
    rig.disk.set_faults(DiskFaults { sync_errors: 1000, ..faults() });
    rig.run_job(0);
    rig.disk.set_faults(faults());
    rig.run();
    assert_eq!(rig.log.durable_up_to(), 3);
    assert_eq!(rig.log.stats().segments, 2);
    rig.disk.crash();
    let mut rig = rig.restart();
    rig.run();
    let sequences: Vec<u64> = rig.read_all().iter().map(|record| record.sequence).collect();
    assert_eq!(sequences, [1, 2]);
    assert!(rig.take_events().iter().all(|event| !matches!(event, LogEvent::Quarantined { .. })));
}

#[test]
fn disk_that_does_not_work_refuses_records_until_a_retry_succeeds() {
    let cases = [
        (DiskFaults { capacity: Some(0), ..faults() }, "no space is left on the disk: "),
        (DiskFaults { is_read_only: true, ..faults() }, "the file system is read-only: "),
        (DiskFaults { sync_errors: 1000, ..faults() }, "the disk has failed: "),
    ];
    for (fault, expected) in cases {
        let mut rig = Rig::opened();
        rig.disk.set_faults(fault);
        rig.append(1, 100);
        rig.append(2, 100);
        rig.run();
        let events = rig.take_events();
        let [LogEvent::Refused { range, trouble }, LogEvent::Trouble(_)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(range, &(1..3));
        assert!(trouble.to_string().starts_with(expected), "{trouble}");
        let refused = rig.log.append(meta(3), body(3, 10)).unwrap_err();
        assert_eq!(refused, Refused::Trouble(trouble.clone()));
        rig.log.retry();
        rig.run();
        assert!(rig.log.trouble().is_some());
        rig.disk.set_faults(faults());
        rig.log.retry();
        rig.run();
        assert_eq!(rig.take_events(), [LogEvent::Working]);
        rig.append(3, 100);
        rig.run();
        let mut rig = rig.restart();
        rig.run();
        let numbers: Vec<u32> = rig.read_all().iter().map(|record| record.meta.items).collect();
        assert_eq!(numbers, [3]);
    }
}

#[test]
fn deliveries_on_a_full_disk_are_marked_and_make_room() {
    let mut rig = Rig::opened();
    for number in 1..30 {
        rig.append(number, 500);
        rig.run();
    }
    let used: u64 = rig.disk.paths().iter().map(|path| rig.disk.content(path).unwrap().len() as u64).sum();
    rig.disk.set_faults(DiskFaults { capacity: Some(used), ..faults() });
    while rig.log.append(meta(1), body(1, 900)).is_ok() {
        rig.run();
    }
    rig.take_events();
    for sequence in 1..25 {
        rig.log.mark_delivered(sequence..sequence + 1);
        rig.run();
    }
    assert!(rig.take_events().contains(&LogEvent::Working));
    rig.append(1, 900);
    rig.run();
    rig.disk.crash();
    let mut rig = rig.restart();
    rig.run();
    assert!(rig.read_all().iter().all(|record| record.sequence > 20), "segments with delivered records are gone");
}

#[test]
fn marks_that_failed_are_written_with_the_next_records() {
    let mut rig = Rig::opened();
    for number in 1..30 {
        rig.append(number, 500);
        rig.run();
    }
    rig.disk.set_faults(DiskFaults { is_read_only: true, ..faults() });
    rig.log.mark_delivered(1..20);
    rig.run();
    assert!(rig.log.needs_retry() && rig.log.trouble().is_none());
    rig.disk.set_faults(faults());
    rig.append(1, 10);
    rig.run();
    assert!(!rig.log.needs_retry() && !rig.log.has_unsynced_marks());
    assert!(rig.log.stats().segments < 4);
}

#[test]
fn flipped_bit_costs_one_record_which_is_copied_to_quarantine() {
    let mut rig = Rig::opened();
    for number in 1..=6 {
        rig.append(number, 100);
        rig.run();
    }
    let mut rig = rig.restart();
    let segment = rig.disk.paths().into_iter().find(|path| path.extension().is_some_and(|e| e == "seg")).unwrap();
    let mut content = rig.disk.content(&segment).unwrap();
    content[600] ^= 4;
    rig.disk.write(&segment, content);
    rig.run();
    let sequences: Vec<u64> = rig.read_all().iter().map(|record| record.sequence).collect();
    assert_eq!(sequences.len(), 5);
    let events = rig.take_events();
    let [LogEvent::Recovered(_), LogEvent::Quarantined { records: 1, bytes: 160, copy: Some(copy), .. }] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(rig.disk.content(copy).unwrap().len(), 160);
    // Once is enough.
    let mut rig = rig.restart();
    rig.run();
    assert_eq!(rig.read_all().len(), 5);
    assert!(matches!(rig.take_events()[..], [LogEvent::Recovered(Recovered { records: 5, .. })]));
}

#[test]
fn directory_of_another_version_of_go_and_of_another_process_is_left_as_it_is() {
    let open = |disk: SimDisk| {
        let mut rig = Rig::new(disk, small_config());
        rig.run();
        let Some(LogEvent::OpenFailed(e)) = rig.take_events().pop() else { panic!("opened") };
        (rig, e)
    };
    let mut newer = Rig::opened();
    newer.append(1, 10);
    newer.run();
    let mut disk = newer.restart().disk;
    let path = disk.paths().into_iter().find(|path| path.extension().is_some_and(|e| e == "seg")).unwrap();
    let mut content = disk.content(&path).unwrap();
    set_version(&mut content, 2);
    disk.write(&path, content.clone());
    let (rig, e) = open(disk);
    assert!(matches!(e, OpenError::Newer { found: 2, known: 1, .. }), "{e}");
    assert_eq!(rig.disk.content(&path).unwrap(), content);

    let mut disk = SimDisk::new(1);
    let mut bbolt = vec![0; 16];
    bbolt.extend(0xED0C_DAED_u32.to_ne_bytes());
    bbolt.extend(2_u32.to_ne_bytes());
    disk.write(format!("{DIR}/exporter_otlp__traces"), bbolt);
    let (rig, e) = open(disk);
    assert!(matches!(e, OpenError::GoFiles(_)), "{e}");
    assert_eq!(rig.disk.paths().len(), 1);

    let mut disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR), 0o700).unwrap();
    let held = disk.lock_file(&Path::new(DIR).join("lock"), PRIVATE_FILE).unwrap();
    let (mut rig, e) = open(disk);
    assert_eq!(e, OpenError::InUse(DIR.into()));
    drop(held);
    rig.log.retry();
    rig.run();
    assert!(matches!(rig.take_events()[..], [LogEvent::Recovered(_)]));
}

#[test]
fn buried_record_is_in_a_file_of_its_own_with_the_reason() {
    let mut rig = Rig::opened();
    rig.append(1, 10);
    rig.append(2, 10);
    rig.run();
    let record = rig.read_all().remove(0);
    rig.log.bury(record, "refused by the backend: 400").unwrap();
    rig.run();
    assert!(rig.take_events().contains(&LogEvent::Buried { sequence: 1, result: Ok(()) }));
    assert_eq!(rig.log.stats().records, 1);
    let dead = rig.disk.content(format!("{DIR}/dead/0000000000000001.seg")).unwrap();
    let reason = b"refused by the backend: 400";
    assert!(dead.windows(reason.len()).any(|bytes| bytes == reason));
    rig.disk.crash();
    let mut rig = rig.restart();
    rig.run();
    assert!(rig.log.stats().dead_bytes > 128);
}

#[test]
fn closed_log_has_written_everything_and_frees_its_lock() {
    let mut rig = Rig::opened();
    rig.append(1, 10);
    rig.append(2, 10);
    rig.log.mark_delivered(1..2);
    rig.log.close();
    rig.run();
    assert_eq!(rig.events.last(), Some(&LogEvent::Closed));
    assert_eq!(rig.log.append(meta(1), body(1, 1)), Err(Refused::NotOpen));
    let mut second = Log::new(DIR, small_config(), [1, 1]);
    while let Some((_, job)) = second.poll_job() {
        job(&mut rig.disk);
        second.handle_job_ends();
    }
    assert!(matches!(second.poll_event(), Some(LogEvent::Recovered(Recovered { records: 1, first: 2, .. }))));
}
