//! What the played cluster answers about its topics and their records.

use bytes::Bytes;

use super::super::kafka::record_batch::encode_batch;
use super::super::kafka::{Reader, Record, Writer};
use super::{Log, PlayedCluster, topic_id};

impl PlayedCluster {
    pub(super) fn put_metadata(&mut self, r: &mut Reader<'_>, version: i16, w: &mut Writer) {
        let is_all = r.rest().starts_with(if version >= 9 { &[0][..] } else { &[0xff; 4][..] });
        let count = r.count(1).unwrap();
        let mut names: Vec<String> = Vec::new();
        for _ in 0..count {
            if version >= 10 {
                r.take(16).unwrap();
            }
            names.push(r.string().unwrap().to_owned());
            r.skip_tags().unwrap();
        }
        assert_eq!(r.i8(), Ok(0), "topics are not created");
        if is_all {
            names = self.topics.keys().cloned().collect();
        }
        w.i32(self.throttle_ms);
        w.len(2);
        for node in 0..2 {
            w.i32(node);
            w.string(&format!("kafka-{node}"));
            w.i32(9092);
            w.null_string();
            w.no_tags();
        }
        w.nullable_string(Some("cluster"));
        w.i32(0);
        w.len(names.len());
        for name in names {
            let logs = self.topics.get(&name).map_or(&[][..], |logs| logs);
            w.i16(if logs.is_empty() { 3 } else { 0 });
            w.string(&name);
            if version >= 10 {
                w.topic_id(topic_id(&name, self.creation));
            }
            w.bool(name.starts_with("__"));
            w.len(logs.len());
            for (index, log) in logs.iter().enumerate() {
                w.i16(0);
                w.i32(index as i32);
                w.i32(log.leader);
                if version >= 7 {
                    w.i32(log.epoch);
                }
                w.len(2);
                (0..2).for_each(|node| w.i32(node));
                w.len(1);
                w.i32(log.leader);
                if version >= 5 {
                    w.len(0);
                }
                w.no_tags();
            }
            if version >= 8 {
                w.i32(0);
            }
            w.no_tags();
        }
    }

    pub(super) fn put_fetch(
        &mut self,
        node: i32,
        r: &mut Reader<'_>,
        version: i16,
        w: &mut Writer,
        error: i16,
    ) -> bool {
        let mut has_content = false;
        if version <= 14 {
            assert_eq!(r.i32(), Ok(-1));
        }
        r.take(13).unwrap();
        w.i32(self.throttle_ms);
        if version >= 7 {
            r.take(8).unwrap();
            w.i16(0);
            w.i32(0);
        }
        let topics = r.count(1).unwrap();
        w.len(topics);
        for _ in 0..topics {
            let topic = if version >= 13 {
                let id = r.topic_id().unwrap();
                w.topic_id(id);
                self.topics.keys().find(|name| topic_id(name, self.creation) == id).cloned()
            } else {
                let name = r.string().unwrap();
                w.string(name);
                Some(name.to_owned())
            };
            let partitions = r.count(1).unwrap();
            w.len(partitions);
            for _ in 0..partitions {
                let index = r.i32().unwrap();
                let epoch = if version >= 9 { r.i32().unwrap() } else { -1 };
                let offset = r.i64().unwrap();
                r.take(if version >= 12 { 4 } else { 0 } + 12).unwrap();
                r.skip_tags().unwrap();
                let missing = Log { leader: -1, ..Log::default() };
                let log = topic.as_ref().map_or(&missing, |topic| &self.topics[topic][index as usize]);
                let error = match error {
                    0 if topic.is_none() => 100,
                    0 if log.leader != node => 6,
                    0 if epoch >= 0 && epoch != log.epoch => 74 + i16::from(epoch > log.epoch),
                    0 if offset < log.start as i64 || offset > log.values.len() as i64 => 1,
                    error => error,
                };
                let records = if error == 0 { self.batch(log, offset as usize) } else { Bytes::new() };
                has_content |= error != 0 || !records.is_empty();
                w.i32(index);
                w.i16(error);
                w.i64(log.values.len() as i64);
                w.i64(log.values.len() as i64);
                if version >= 5 {
                    w.i64(log.start as i64);
                }
                w.null_array();
                if version >= 11 {
                    w.i32(-1);
                }
                w.put_bytes(&records);
                w.no_tags();
            }
            r.skip_tags().unwrap();
            w.no_tags();
        }
        has_content
    }

    /// The batch that an offset is in: batches begin at multiples of their length.
    pub(super) fn batch(&self, log: &Log, offset: usize) -> Bytes {
        let base = offset / self.batch_len * self.batch_len;
        let values = log.values.iter().skip(base).take(self.batch_len);
        if offset >= log.values.len() {
            return Bytes::new();
        }
        let record = |value: &String| Record { value: Bytes::copy_from_slice(value.as_bytes()), ..Record::default() };
        let records: Vec<Record> = values.map(record).collect();
        let mut bytes = encode_batch(&records, self.compression).to_vec();
        bytes[..8].copy_from_slice(&(base as i64).to_be_bytes());
        bytes[12..16].copy_from_slice(&log.epoch.to_be_bytes());
        bytes.into()
    }

    pub(super) fn put_list_offsets(&mut self, node: i32, r: &mut Reader<'_>, version: i16, w: &mut Writer, error: i16) {
        r.take(if version >= 2 { 5 } else { 4 }).unwrap();
        if version >= 2 {
            w.i32(0);
        }
        for_each_partition(r, w, |r, w, topic| {
            let index = r.i32().unwrap();
            if version >= 4 {
                r.i32().unwrap();
            }
            let at = r.i64().unwrap();
            let log = &self.topics[topic][index as usize];
            w.i32(index);
            w.i16(if error == 0 && log.leader != node { 6 } else { error });
            w.i64(-1);
            w.i64(if at == -2 { log.start as i64 } else { log.values.len() as i64 });
            if version >= 4 {
                w.i32(log.epoch);
            }
        });
    }
}

/// Reads an array of topics with partitions that have fields, and writes one with what `each` writes for each partition.
pub(super) fn for_each_partition(
    r: &mut Reader<'_>,
    w: &mut Writer,
    mut each: impl FnMut(&mut Reader<'_>, &mut Writer, &str),
) {
    let topics = r.count(1).unwrap();
    w.len(topics);
    for _ in 0..topics {
        let topic = r.string().unwrap();
        w.string(topic);
        let partitions = r.count(1).unwrap();
        w.len(partitions);
        for _ in 0..partitions {
            each(r, w, topic);
            r.skip_tags().unwrap();
            w.no_tags();
        }
        r.skip_tags().unwrap();
        w.no_tags();
    }
}
