//! Reading a directory without changing it.

use std::path::Path;

use super::rig::{DIR, Rig, body};
use crate::{LogReader, OpenError};

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
