//! Any bytes in the files of a log: no panic, bounded work, and what is read was written.

use super::model::Model;
use super::rig::{DIR, Random, Rig, small_config};
use crate::format::{FileKey, HEADER_BYTES, RecordHeader};
use crate::scan::{Found, Progress, Scanner};
use otelcore_reactor::SimDisk;

/// Changes some bytes.
fn damage(random: &mut Random, content: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(content.len());
        match random.below(6) {
            0 => content.truncate(at),
            1 => content.resize(content.len() + random.below(600), random.next() as u8),
            2 => {
                let end = (at + random.below(600)).min(content.len());
                content[at..end].fill(0);
            }
            3 => {
                let from = random.below(content.len());
                let length = random.below(600).min(content.len() - at.max(from));
                content.copy_within(from..from + length, at);
            }
            4 => {
                let end = (at + random.below(64)).min(content.len());
                content[at..end].fill_with(|| random.next() as u8);
            }
            _ if !content.is_empty() => content[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
}

#[test]
fn log_with_damaged_files_opens_or_says_why_not_and_invents_nothing() {
    let mut opened = 0;
    for seed in 0..1500 {
        let mut random = Random(seed);
        let mut model = Model::new(SimDisk::new(seed), small_config());
        model.rest().unwrap();
        for _ in 0..12 {
            model.append(random.below(1500));
            model.rest().unwrap();
            model.mark(random.next(), random.below(3) as u64);
        }
        model.rest().unwrap();
        // The checks of the model count damage by flipped bits.
        model.flips = u64::MAX / 2;
        model.restart();
        let paths = model.rig.disk.paths();
        for _ in 0..1 + random.below(3) {
            let path = &paths[random.below(paths.len())];
            let mut content = model.rig.disk.content(path).unwrap();
            if !content.is_empty() {
                damage(&mut random, &mut content);
            }
            model.rig.disk.write(path, content);
        }
        let before = model.rig.disk.operations();
        model.finish(true).unwrap_or_else(|text| panic!("seed {seed}: {text}"));
        assert!(model.rig.disk.operations() - before < 3000, "seed {seed}");
        opened += u32::from(model.is_open());
    }
    assert!(opened > 700, "{opened}");
}

#[test]
fn scanner_reads_any_bytes_in_linear_time() {
    let key = FileKey { log: [3; 16], number: 5 };
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut bytes = vec![0; HEADER_BYTES];
        let mut sequence = 1;
        while bytes.len() < 20_000 {
            if random.below(3) == 0 {
                // Begins of records, with and without a valid checksum, with any length.
                let header = RecordHeader { sequence, ..RecordHeader::default() };
                let body = vec![0; random.below(5000)];
                let encoded = header.encode(&key, bytes.len() as u64, &[], &body);
                bytes.extend_from_slice(&encoded);
                bytes.resize(bytes.len().next_multiple_of(8), 1);
            } else {
                let body: Vec<u8> = (0..random.below(900)).map(|_| random.next() as u8).collect();
                let header = RecordHeader { sequence, ..RecordHeader::default() };
                bytes.extend_from_slice(&header.encode(&key, bytes.len() as u64, &[], &body));
                bytes.extend_from_slice(&body);
                bytes.resize(bytes.len().next_multiple_of(8), 0);
            }
            sequence += 1;
        }
        damage(&mut random, &mut bytes);
        let mut scanner = Scanner::new(key, HEADER_BYTES as u64, bytes.len().max(HEADER_BYTES) as u64);
        let (mut needed, mut read, mut covered) = (48, 0, HEADER_BYTES as u64);
        for _ in 0..10_000 {
            let position = usize::try_from(scanner.position()).unwrap();
            let end = (position + 1024.max(usize::try_from(needed).unwrap())).min(bytes.len());
            let mut part = bytes.get(position..end).unwrap_or_default().to_vec();
            read += part.len();
            part.resize(end.saturating_sub(position), 0);
            let mut found = Vec::new();
            let progress = scanner.scan(&part, usize::MAX, &mut found);
            for found in found {
                let (start, end) = match found {
                    Found::Bad { range, .. } => (range.start, range.end),
                    Found::Record { offset, header, .. } => (offset, offset + header.length()),
                };
                assert_eq!(start, covered, "every byte is a record's or bad");
                covered = end;
            }
            match progress {
                Progress::NeedsBytes(bytes) => needed = bytes,
                Progress::End => break,
            }
        }
        assert!(scanner.is_at_end(), "seed {seed}");
        assert!(read <= 2 * bytes.len() + 1024, "seed {seed}: {read} of {}", bytes.len());
    }
}

#[test]
fn log_file_without_any_segment_left_is_named() {
    let mut rig = Rig::opened();
    rig.append(1, 10);
    rig.run();
    let mut rig = rig.restart();
    for path in rig.disk.paths() {
        let length = rig.disk.content(&path).unwrap().len();
        rig.disk.write(&path, vec![1; length]);
    }
    rig.run();
    let text = format!("{:?}", rig.take_events());
    assert!(text.contains("Damaged") && text.contains(DIR), "{text}");
}
