//! A cluster of two brokers with logs and the coordinator of a group, played by the test. The tests of the receiver `kafka` include it too.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use otelcore_pipeline::MonotonicTime;
use otelcore_testkit::PeerStream;

#[path = "coordinator.rs"]
mod coordinator;
#[path = "played_admin.rs"]
mod played_admin;
#[path = "played_classic.rs"]
mod played_classic;
#[path = "played_logs.rs"]
mod played_logs;

use super::kafka;
use coordinator::{Coordinator, GroupTopic};
use kafka::{ApiKey, Compression, Reader, Writer};

pub(super) const GROUP: &str = "group";

#[derive(Default)]
pub(super) struct Log {
    pub(super) leader: i32,
    pub(super) epoch: i32,
    /// What is before it is gone.
    pub(super) start: usize,
    pub(super) values: Vec<String>,
}

/// The topics of the cluster have ids; one that is deleted and created again has another one.
pub(super) fn topic_id(name: &str, number: u8) -> [u8; 16] {
    let mut id = [number; 16];
    for (to, from) in id.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    id
}

struct Connection {
    /// Of which consumer.
    client: usize,
    node: i32,
    stream: PeerStream,
    input: Vec<u8>,
    /// An answer that waits ends further requests until it is sent.
    is_blocked: bool,
}

/// A request whose answer waits.
struct Waiting {
    connection: usize,
    correlation: i32,
    version: i16,
    member: String,
}

#[derive(Default)]
struct Member {
    instance: Option<String>,
    protocols: Vec<(String, Vec<u8>)>,
    heard_at: MonotonicTime,
    has_joined: bool,
    assignment: Vec<u8>,
}

#[derive(Default)]
pub(super) struct PlayedGroup {
    pub(super) coordinator: i32,
    pub(super) generation: i32,
    members: BTreeMap<String, Member>,
    leader: String,
    protocol: String,
    /// Members are joining.
    is_preparing: bool,
    /// Assignments are awaited.
    is_completing: bool,
    prepare_end: MonotonicTime,
    joins: Vec<Waiting>,
    syncs: Vec<Waiting>,
    next_member: u32,
    pub(super) committed: BTreeMap<(String, i32), i64>,
    pub(super) rebalances: usize,
    /// The members of the consumer protocol.
    pub(super) assigned: Coordinator,
}

pub(super) struct PlayedCluster {
    connections: Vec<Connection>,
    pub(super) topics: BTreeMap<String, Vec<Log>>,
    pub(super) group: PlayedGroup,
    /// The groups that the coordinator lists: the name, whether its protocol is that of KIP-848, and the number of members.
    pub(super) listed_groups: Vec<(String, bool, usize)>,
    /// How often topics have been created again.
    pub(super) creation: u8,
    /// Versions without tagged fields.
    pub(super) is_old: bool,
    pub(super) now: MonotonicTime,
    /// The next answers to a request are these errors.
    pub(super) errors: BTreeMap<i16, VecDeque<i16>>,
    pub(super) throttle_ms: i32,
    pub(super) compression: Compression,
    /// Records of one batch.
    pub(super) batch_len: usize,
    pub(super) counts: BTreeMap<i16, usize>,
    /// The answer to the next one of these is lost with its connection.
    pub(super) lost: BTreeSet<i16>,
    /// Requests for these are not answered.
    pub(super) silent: BTreeSet<i16>,
    pub(super) session_timeout: Duration,
    /// Fetch requests that wait for bytes: the connection, until when, and the request.
    fetches: Vec<(usize, MonotonicTime, Vec<u8>)>,
}

impl PlayedCluster {
    pub(super) fn new() -> Self {
        Self {
            connections: Vec::new(),
            topics: BTreeMap::new(),
            group: PlayedGroup::default(),
            listed_groups: Vec::new(),
            creation: 1,
            is_old: false,
            now: MonotonicTime(0),
            errors: BTreeMap::new(),
            throttle_ms: 0,
            compression: Compression::None,
            batch_len: 3,
            counts: BTreeMap::new(),
            lost: BTreeSet::new(),
            silent: BTreeSet::new(),
            session_timeout: Duration::from_secs(10),
            fetches: Vec::new(),
        }
    }

    pub(super) fn create(&mut self, topic: &str, partitions: i32) {
        let logs = self.topics.entry(topic.to_owned()).or_default();
        for index in i32::try_from(logs.len()).unwrap()..partitions {
            logs.push(Log { leader: index % 2, ..Log::default() });
        }
    }

    pub(super) fn append(&mut self, topic: &str, partition: usize, value: &str) {
        self.topics.get_mut(topic).unwrap()[partition].values.push(value.to_owned());
    }

    pub(super) fn accept(&mut self, client: usize, peer: &str, stream: PeerStream) {
        let node = match peer {
            "10.0.0.10:9092" => 0,
            "10.0.0.11:9092" => 1,
            _ => -1,
        };
        self.connections.push(Connection { client, node, stream, input: Vec::new(), is_blocked: false });
    }

    /// The connections of a consumer end, or all of them.
    pub(super) fn close(&mut self, client: Option<usize>) {
        for at in 0..self.connections.len() {
            if client.is_none_or(|client| self.connections[at].client == client) {
                self.end_connection(at);
            }
        }
    }

    fn end_connection(&mut self, at: usize) {
        self.connections[at].stream.shutdown_write();
        self.connections[at].is_blocked = true;
        self.group.joins.retain(|waiting| waiting.connection != at);
        self.group.syncs.retain(|waiting| waiting.connection != at);
        self.fetches.retain(|(connection, _, _)| *connection != at);
    }

    pub(super) fn move_coordinator(&mut self) {
        self.group.coordinator = 1 - self.group.coordinator;
    }

    pub(super) fn move_leaders(&mut self) {
        for log in self.topics.values_mut().flatten() {
            (log.leader, log.epoch) = (1 - log.leader, log.epoch + 1);
        }
    }

    pub(super) fn member_count(&self) -> usize {
        self.group.members.len() + self.group.assigned.len()
    }

    /// Answers what has arrived, and what time has made due; returns whether there was something.
    pub(super) fn play(&mut self, now: MonotonicTime) -> bool {
        self.now = now;
        self.group.assigned.remove_silent_members(now, self.session_timeout);
        let mut has_played = self.advance_group();
        for (at, end, frame) in std::mem::take(&mut self.fetches) {
            self.connections[at].is_blocked = false;
            self.answer(at, &frame, Some(end));
            has_played |= !self.connections[at].is_blocked;
        }
        for at in 0..self.connections.len() {
            loop {
                let connection = &mut self.connections[at];
                connection.input.extend(connection.stream.take_received());
                if connection.is_blocked {
                    break;
                }
                let Some(prefix) = connection.input.first_chunk::<4>() else { break };
                let len = u32::from_be_bytes(*prefix) as usize;
                if connection.input.len() < 4 + len {
                    break;
                }
                let frame: Vec<u8> = connection.input.drain(..4 + len).skip(4).collect();
                has_played = true;
                self.answer(at, &frame, None);
            }
        }
        has_played | self.advance_group()
    }

    /// The highest version of a request; -1 without any.
    fn version(&self, api: ApiKey) -> i16 {
        let range = api.implemented();
        if !self.is_old {
            return range.max;
        }
        (range.min..=range.max).rev().find(|version| !api.is_flexible(*version)).unwrap_or(-1)
    }

    fn send(&mut self, at: usize, (api, version, correlation): (ApiKey, i16, i32), mut w: Writer) {
        if self.lost.remove(&(api as i16)) {
            return self.end_connection(at);
        }
        w.no_tags();
        let mut frame = Writer::new(false);
        let has_tags = api.is_flexible(version) && api != ApiKey::ApiVersions;
        frame.i32((4 + usize::from(has_tags) + w.bytes.len()) as i32);
        frame.i32(correlation);
        if has_tags {
            frame.i8(0);
        }
        frame.bytes.extend(w.bytes);
        self.connections[at].stream.send(frame.bytes);
    }

    fn answer(&mut self, at: usize, frame: &[u8], waits_until: Option<MonotonicTime>) {
        let mut r = Reader::new(frame, false);
        let (key, version, correlation) = (r.i16().unwrap(), r.i16().unwrap(), r.i32().unwrap());
        assert_eq!(r.string(), Ok("test"));
        let api = ApiKey::ALL.into_iter().find(|api| *api as i16 == key).unwrap();
        let is_known = api == ApiKey::ApiVersions || version <= self.version(api);
        assert!(is_known && version >= api.implemented().min, "{api:?} {version}");
        let flexible = api.is_flexible(version);
        if flexible {
            assert_eq!(r.i8(), Ok(0));
        }
        if waits_until.is_none() {
            *self.counts.entry(key).or_default() += 1;
        }
        if self.silent.contains(&key) {
            self.connections[at].is_blocked = true;
            return;
        }
        let error = self.errors.get_mut(&key).and_then(VecDeque::pop_front).unwrap_or(0);
        let mut r = Reader::new(r.rest(), flexible);
        let mut w = Writer::new(flexible);
        let node = self.connections[at].node;
        let waiting = |member: String| Waiting { connection: at, correlation, version, member };
        match api {
            ApiKey::ApiVersions => {
                w.i16(0);
                let known: Vec<ApiKey> = ApiKey::ALL.into_iter().filter(|api| self.version(*api) >= 0).collect();
                w.len(known.len());
                for api in known {
                    w.i16(api as i16);
                    w.i16(0);
                    w.i16(self.version(api));
                    w.no_tags();
                }
                w.i32(0);
            }
            ApiKey::Metadata => self.put_metadata(&mut r, version, &mut w),
            ApiKey::Fetch => {
                let mut of_wait = r.clone();
                of_wait.take(if version <= 14 { 4 } else { 0 }).unwrap();
                let wait = Duration::from_millis(u64::try_from(of_wait.i32().unwrap()).unwrap());
                let has_content = self.put_fetch(node, &mut r, version, &mut w, error);
                let end = waits_until.unwrap_or(self.now + wait);
                if !has_content && end > self.now {
                    self.connections[at].is_blocked = true;
                    self.fetches.push((at, end, frame.to_vec()));
                    return;
                }
            }
            ApiKey::ListOffsets => self.put_list_offsets(node, &mut r, version, &mut w, error),
            ApiKey::FindCoordinator => {
                assert_eq!(r.string(), Ok(GROUP));
                if version >= 1 {
                    w.i32(0);
                }
                w.i16(error);
                if version >= 1 {
                    w.null_string();
                }
                w.i32(if error == 0 { self.group.coordinator } else { -1 });
                w.string(&format!("kafka-{}", self.group.coordinator));
                w.i32(9092);
            }
            ApiKey::JoinGroup => match self.join(&mut r, version, node, error) {
                Ok(member) => {
                    self.connections[at].is_blocked = true;
                    self.group.joins.push(waiting(member));
                    return;
                }
                Err((error, member)) => played_classic::put_join(&mut w, version, (error, -1), ("", "", &member), &[]),
            },
            ApiKey::SyncGroup => match self.sync(&mut r, version, node, error) {
                Ok(member) => {
                    self.connections[at].is_blocked = true;
                    self.group.syncs.push(waiting(member));
                    return;
                }
                Err(error) => played_classic::put_sync(&mut w, version, error, &[]),
            },
            ApiKey::Heartbeat => {
                let error = self.read_member(&mut r, version >= 3, node).err().unwrap_or(error);
                let is_preparing = self.group.is_preparing;
                w.i32(self.throttle_ms);
                w.i16(if error == 0 && is_preparing { 27 } else { error });
            }
            ApiKey::LeaveGroup => {
                assert_eq!(r.string(), Ok(GROUP));
                if version >= 3 {
                    r.count(1).unwrap();
                }
                let member = r.string().unwrap().to_owned();
                if self.group.members.remove(&member).is_some() {
                    self.begin_rebalance();
                }
                w.i32(0);
                w.i16(0);
                if version >= 3 {
                    w.len(0);
                }
            }
            ApiKey::ConsumerGroupHeartbeat => {
                assert_eq!(r.string(), Ok(GROUP));
                let error = if error == 0 && node != self.group.coordinator { 16 } else { error };
                let topic = |(name, logs): (&String, &Vec<Log>)| -> GroupTopic {
                    (name.clone(), topic_id(name, self.creation), logs.len() as i32)
                };
                let topics: Vec<GroupTopic> = self.topics.iter().map(topic).collect();
                self.group.assigned.answer((self.now, error, self.throttle_ms), &topics, &mut r, &mut w);
            }
            ApiKey::OffsetCommit => self.put_commit(node, &mut r, version, &mut w, error),
            ApiKey::OffsetFetch => self.put_offset_fetch(node, &mut r, version, &mut w, error),
            ApiKey::ListGroups => self.put_list_groups(node, version, &mut w, error),
            ApiKey::DescribeGroups => self.put_describe_groups(&mut r, version, &mut w, error),
            ApiKey::ConsumerGroupDescribe => self.put_consumer_group_describe(&mut r, version, &mut w, error),
            ApiKey::DescribeConfigs => self.put_describe_configs(&mut r, version, &mut w, error),
            api => panic!("{api:?}"),
        }
        self.send(at, (api, version, correlation), w);
    }
}
