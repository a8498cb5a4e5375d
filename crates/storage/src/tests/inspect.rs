//! Reading a directory without changing it.

use std::path::Path;

use super::rig::{DIR, Rig, body};
use crate::{LogReader, OpenError, lock_log};

fn contents(rig: &Rig) -> Vec<(std::path::PathBuf, Option<Vec<u8>>)> {
    rig.disk.paths().into_iter().map(|path| (path.clone(), rig.disk.content(path))).collect()
}

#[test]
fn reader_finds_every_record_and_the_damage_and_changes_nothing() {
    let mut rig = Rig::opened();
    for number in 1..=40 {
        rig.append(number, 400);
        rig.run();
    }
    rig.log.mark_delivered(10..12);
    rig.run();
    let mut rig = rig.restart();
    let segment = Path::new(DIR).join("0000000000000002.seg");
    let mut bytes = rig.disk.content(&segment).unwrap();
    bytes[1000] ^= 1;
    rig.disk.write(&segment, bytes);
    let before = contents(&rig);

    let mut reader = LogReader::open(&mut rig.disk, Path::new(DIR)).unwrap();
    let segments: Vec<_> = reader.segments().collect();
    assert_eq!(segments.iter().map(|segment| segment.sequences.end - segment.sequences.start).sum::<u64>(), 40);
    assert_eq!(segments.iter().map(|segment| segment.undelivered).sum::<u64>(), 38);
    assert_eq!(segments.iter().map(|segment| segment.items).sum::<u64>(), (1..=40).sum::<u64>());
    let (mut records, mut damage) = (Vec::new(), Vec::new());
    while let Some(step) = reader.read(&mut rig.disk, 3000).unwrap() {
        records.extend(step.records);
        damage.extend(step.damage);
    }
    assert_eq!((records.len(), damage.len()), (39, 1));
    assert_eq!((&damage[0].segment, damage[0].bytes), (&segment, 464));
    assert!(records.iter().all(|record| record.body == body(record.sequence as u8, 400)));
    assert!(reader.is_delivered(10) && !reader.is_delivered(12));
    let (done, all) = reader.progress();
    assert_eq!(done, all);
    assert_eq!(contents(&rig), before);
    let other = LogReader::open(&mut rig.disk, Path::new("/none")).unwrap_err();
    assert!(matches!(other, OpenError::Io(_)), "{other}");
}

#[test]
fn given_up_records_are_read_with_their_reasons_and_damage_among_them_is_found() {
    let mut rig = Rig::opened();
    for number in 1..=6 {
        rig.append(number, 300);
    }
    rig.run();
    for record in rig.read_all().into_iter().rev() {
        let reason = format!("refused {}", record.sequence);
        rig.log.bury(record, &reason).unwrap();
    }
    rig.run();
    let open = |rig: &mut Rig| {
        let reader = LogReader::open(&mut rig.disk, Path::new(DIR)).unwrap();
        let mut dead = reader.dead_records(&mut rig.disk).unwrap();
        let (mut records, mut damage, mut torn) = (Vec::new(), Vec::new(), 0);
        while let Some(step) = dead.read(&mut rig.disk, 1).unwrap() {
            records.extend(step.records);
            damage.extend(step.damage);
            torn += step.torn_bytes;
        }
        (records, damage, torn)
    };
    let (records, damage, torn) = open(&mut rig);
    assert_eq!(records.iter().map(|dead| dead.record.sequence).collect::<Vec<_>>(), [6, 5, 4, 3, 2, 1]);
    assert!(records.iter().all(|dead| dead.reason == format!("refused {}", dead.record.sequence)));
    assert!(records.iter().all(|dead| dead.record.body == body(dead.record.sequence as u8, 300)));
    let context = |sequence| format!("context {sequence}");
    assert!(records.iter().all(|dead| dead.record.meta.context == context(dead.record.sequence)));
    assert_eq!((damage.len(), torn), (0, 0));

    let path = Path::new(DIR).join("dead/0000000000000001.seg");
    let whole = rig.disk.content(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[700] ^= 1;
    rig.disk.write(&path, bytes);
    let (records, damage, torn) = open(&mut rig);
    assert_eq!((records.len(), damage.len(), torn), (5, 1, 0));
    assert_eq!(damage[0].segment, path);
    rig.disk.write(&path, whole[..whole.len() - 8].to_vec());
    let (records, damage, torn) = open(&mut rig);
    assert!(records.len() == 5 && damage.is_empty() && torn > 0);
}

#[test]
fn log_that_is_open_can_not_be_locked_and_one_that_was_never_opened_has_no_lock() {
    let mut rig = Rig::opened();
    let in_use = lock_log(&mut rig.disk, Path::new(DIR));
    assert!(matches!(in_use, Err(OpenError::InUse(path)) if path == Path::new(DIR)));
    assert!(lock_log(&mut rig.disk, Path::new("/none")).unwrap().is_none());
}
