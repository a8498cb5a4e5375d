//! A cluster of two brokers with topics of three partitions, played by the test: it answers requests, keeps the records, recognises
//! batches that it has, and has faults.

use std::collections::{BTreeMap, VecDeque};

use otelcore_testkit::PeerStream;

use super::address;
use crate::record_batch::{self, RecordBatch};
use crate::versions::ApiKey;
use crate::wire::{Reader, Writer};

#[derive(Default)]
struct Log {
    leader: i32,
    batches: Vec<RecordBatch>,
    /// The sequence number that follows, by producer.
    sequences: BTreeMap<i64, i32>,
}

struct Connection {
    node: i32,
    stream: PeerStream,
    input: Vec<u8>,
}

pub(super) struct PlayedCluster {
    connections: Vec<Connection>,
    topics: BTreeMap<String, Vec<Log>>,
    /// Versions of Kafka 2.1, without tagged fields.
    pub(super) is_old: bool,
    pub(super) is_down: bool,
    /// The answers to so many requests with batches are not sent; the connection ends in place of them.
    pub(super) drop_answers: u32,
    /// What the next batches are answered with, in place of being written.
    pub(super) errors: VecDeque<i16>,
    pub(super) max_batch_bytes: usize,
    pub(super) throttle_ms: i32,
    /// Sent in place of every answer.
    pub(super) hostile: Option<Vec<u8>>,
    pub(super) next_producer: i64,
    pub(super) produce_requests: usize,
    pub(super) metadata_requests: usize,
    pub(super) duplicates: usize,
}

impl PlayedCluster {
    pub(super) fn new() -> Self {
        Self {
            connections: Vec::new(),
            topics: BTreeMap::new(),
            is_old: false,
            is_down: false,
            drop_answers: 0,
            errors: VecDeque::new(),
            max_batch_bytes: usize::MAX,
            throttle_ms: 0,
            hostile: None,
            next_producer: 0,
            produce_requests: 0,
            metadata_requests: 0,
            duplicates: 0,
        }
    }

    pub(super) fn accept(&mut self, peer: &str, stream: PeerStream) {
        let node = (-1..2).find(|node| address(*node) == peer).expect("a known address");
        if self.is_down {
            stream.fail(std::io::ErrorKind::ConnectionRefused);
        }
        self.connections.push(Connection { node, stream, input: Vec::new() });
    }

    /// The connections end.
    pub(super) fn close_all(&mut self) {
        self.connections.drain(..).for_each(|connection| connection.stream.shutdown_write());
    }

    pub(super) fn move_leaders(&mut self, topic: &str) {
        self.topics.get_mut(topic).into_iter().flatten().for_each(|log| log.leader = 1 - log.leader);
    }

    pub(super) fn values(&self, topic: &str) -> Vec<String> {
        let batches = self.topics.get(topic).into_iter().flatten().flat_map(|log| &log.batches);
        batches.flat_map(|batch| &batch.records).map(|r| String::from_utf8_lossy(&r.value).into_owned()).collect()
    }

    pub(super) fn counts(&self, topic: &str) -> Vec<usize> {
        let count = |log: &Log| log.batches.iter().map(|batch| batch.records.len()).sum();
        self.topics.get(topic).into_iter().flatten().map(count).collect()
    }

    /// Answers what has arrived; returns whether there was something.
    pub(super) fn play(&mut self) -> bool {
        let mut has_played = false;
        for at in 0..self.connections.len() {
            while let Some(connection) = self.connections.get_mut(at) {
                connection.input.extend(connection.stream.take_received());
                let Some(prefix) = connection.input.first_chunk::<4>() else { break };
                let len = u32::from_be_bytes(*prefix) as usize;
                if connection.input.len() < 4 + len {
                    break;
                }
                let frame: Vec<u8> = connection.input.drain(..4 + len).skip(4).collect();
                let node = connection.node;
                has_played = true;
                let answer = match &self.hostile {
                    Some(bytes) => Answer::Bytes(bytes.clone()),
                    None => self.answer(node, &frame),
                };
                let stream = &self.connections[at].stream;
                match answer {
                    Answer::Bytes(bytes) => stream.send(bytes),
                    Answer::None => {}
                    Answer::Close => stream.shutdown_write(),
                }
            }
        }
        self.connections.retain(|connection| !connection.stream.is_closed());
        has_played
    }

    fn version(&self, api: ApiKey) -> i16 {
        match (api, self.is_old) {
            (ApiKey::Produce | ApiKey::Metadata, true) => 7,
            (ApiKey::InitProducerId, true) => 1,
            (api, _) => api.implemented().max,
        }
    }

    fn answer(&mut self, node: i32, frame: &[u8]) -> Answer {
        let mut r = Reader::new(frame, false);
        let (key, version, correlation) = (r.i16().unwrap(), r.i16().unwrap(), r.i32().unwrap());
        assert_eq!(r.string(), Ok("test"));
        let api = ApiKey::ALL.into_iter().find(|api| *api as i16 == key).unwrap();
        let flexible = api.is_flexible(version);
        if flexible {
            assert_eq!(r.i8(), Ok(0));
        }
        let mut r = Reader::new(r.rest(), flexible);
        let mut w = Writer::new(flexible);
        let mut is_answered = true;
        match api {
            ApiKey::ApiVersions => self.put_versions(&mut w),
            ApiKey::Metadata => self.put_metadata(&mut r, version, &mut w),
            ApiKey::InitProducerId => {
                w.i32(0);
                w.i16(0);
                w.i64(self.next_producer);
                w.i16(0);
                self.next_producer += 1;
            }
            ApiKey::Produce => {
                is_answered = self.put_produce(node, &mut r, version, &mut w);
                if is_answered && self.drop_answers > 0 {
                    self.drop_answers -= 1;
                    return Answer::Close;
                }
            }
            api => panic!("no producer sends {api:?}"),
        }
        if !is_answered {
            return Answer::None;
        }
        w.no_tags();
        let mut frame = Writer::new(false);
        let has_tags = flexible && api != ApiKey::ApiVersions;
        frame.i32((4 + usize::from(has_tags) + w.bytes.len()) as i32);
        frame.i32(correlation);
        if has_tags {
            frame.i8(0);
        }
        frame.bytes.extend(w.bytes);
        Answer::Bytes(frame.bytes)
    }

    fn put_versions(&self, w: &mut Writer) {
        w.i16(0);
        w.len(ApiKey::ALL.len());
        for api in ApiKey::ALL {
            w.i16(api as i16);
            w.i16(0);
            w.i16(self.version(api));
            w.no_tags();
        }
        w.i32(0);
    }

    fn put_metadata(&mut self, r: &mut Reader<'_>, version: i16, w: &mut Writer) {
        self.metadata_requests += 1;
        let mut names = Vec::new();
        for _ in 0..r.count(1).unwrap() {
            if version >= 10 {
                r.take(16).unwrap();
            }
            names.push(r.string().unwrap().to_owned());
            r.skip_tags().unwrap();
        }
        let may_create = r.i8() == Ok(1);
        w.i32(self.throttle_ms);
        w.len(2);
        for node in 0..2 {
            w.i32(node);
            w.string(&format!("kafka-{node}"));
            w.i32(9092);
            w.null_string();
            w.no_tags();
        }
        w.null_string();
        w.i32(0);
        w.len(names.len());
        for name in names {
            if may_create && !self.topics.contains_key(&name) {
                let log = |partition| Log { leader: partition % 2, ..Log::default() };
                self.topics.insert(name.clone(), (0..3).map(log).collect());
            }
            let logs = self.topics.get(&name).map_or(&[][..], |logs| logs);
            w.i16(if logs.is_empty() { 3 } else { 0 });
            w.string(&name);
            if version >= 10 {
                w.bytes.extend([0; 16]);
            }
            w.bool(false);
            w.len(logs.len());
            for (index, log) in logs.iter().enumerate() {
                w.i16(0);
                w.i32(index as i32);
                w.i32(log.leader);
                if version >= 7 {
                    w.i32(0);
                }
                (0..3).for_each(|_| w.len(0));
                w.no_tags();
            }
            if version >= 8 {
                w.i32(0);
            }
            w.no_tags();
        }
    }

    /// Returns whether there is an answer.
    fn put_produce(&mut self, node: i32, r: &mut Reader<'_>, version: i16, w: &mut Writer) -> bool {
        self.produce_requests += 1;
        assert_eq!(r.nullable_string(), Ok(None));
        let acks = r.i16().unwrap();
        r.i32().unwrap();
        let topics = r.count(1).unwrap();
        w.len(topics);
        for _ in 0..topics {
            let topic = r.string().unwrap().to_owned();
            let partitions = r.count(1).unwrap();
            w.string(&topic);
            w.len(partitions);
            for _ in 0..partitions {
                let index = r.i32().unwrap();
                let error = self.append(node, &topic, index, r.bytes().unwrap());
                r.skip_tags().unwrap();
                w.i32(index);
                w.i16(error);
                w.i64(0);
                w.i64(-1);
                if version >= 5 {
                    w.i64(0);
                }
                if version >= 8 {
                    w.len(0);
                    w.null_string();
                }
                w.no_tags();
            }
            r.skip_tags().unwrap();
            w.no_tags();
        }
        w.i32(self.throttle_ms);
        acks != 0
    }

    fn append(&mut self, node: i32, topic: &str, index: i32, bytes: &[u8]) -> i16 {
        let (batch, rest) = record_batch::decode(bytes, 64 << 20).unwrap();
        assert!(rest.is_empty());
        let Some(log) = self.topics.get_mut(topic).and_then(|logs| logs.get_mut(index as usize)) else { return 3 };
        if log.leader != node {
            return 6;
        }
        if bytes.len() > self.max_batch_bytes {
            return 10;
        }
        if batch.producer.0 >= 0 {
            let next = log.sequences.entry(batch.producer.0).or_insert(0);
            let end = batch.first_sequence + batch.records.len() as i32;
            if end == *next {
                self.duplicates += 1;
                return 0;
            }
            if batch.first_sequence != *next {
                return 45;
            }
        }
        // A batch that is in the log is recognised: an error is of one that is not.
        if let Some(error) = self.errors.pop_front() {
            return error;
        }
        if batch.producer.0 >= 0 {
            log.sequences.insert(batch.producer.0, batch.first_sequence + batch.records.len() as i32);
        }
        log.batches.push(batch);
        0
    }
}

enum Answer {
    Bytes(Vec<u8>),
    None,
    Close,
}
