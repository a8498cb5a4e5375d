//! A cluster of two brokers with logs and the coordinator of a group, played by the test. The tests of the receiver `kafka` include it too.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use otelcore_pipeline::MonotonicTime;
use otelcore_testkit::PeerStream;

#[path = "played_admin.rs"]
mod played_admin;
#[path = "played_coordinator.rs"]
mod played_coordinator;

use super::kafka::record_batch::encode_batch;
use super::kafka::{ApiKey, Compression, Reader, Record, Writer};

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
    pub(super) assigned: played_coordinator::AssignedMembers,
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
        self.remove_silent_members();
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
                Err((error, member)) => put_join(&mut w, version, (error, -1), ("", "", &member), &[]),
            },
            ApiKey::SyncGroup => match self.sync(&mut r, version, node, error) {
                Ok(member) => {
                    self.connections[at].is_blocked = true;
                    self.group.syncs.push(waiting(member));
                    return;
                }
                Err(error) => put_sync(&mut w, version, error, &[]),
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
            ApiKey::ConsumerGroupHeartbeat => self.put_heartbeat(node, &mut r, &mut w, error),
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

    fn put_metadata(&mut self, r: &mut Reader<'_>, version: i16, w: &mut Writer) {
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

    fn put_fetch(&mut self, node: i32, r: &mut Reader<'_>, version: i16, w: &mut Writer, error: i16) -> bool {
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
    fn batch(&self, log: &Log, offset: usize) -> Bytes {
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

    fn put_list_offsets(&mut self, node: i32, r: &mut Reader<'_>, version: i16, w: &mut Writer, error: i16) {
        r.take(if version >= 2 { 5 } else { 4 }).unwrap();
        if version >= 2 {
            w.i32(0);
        }
        let topics = r.count(1).unwrap();
        w.len(topics);
        for _ in 0..topics {
            let topic = r.string().unwrap().to_owned();
            w.string(&topic);
            let partitions = r.count(1).unwrap();
            w.len(partitions);
            for _ in 0..partitions {
                let index = r.i32().unwrap();
                if version >= 4 {
                    r.i32().unwrap();
                }
                let at = r.i64().unwrap();
                r.skip_tags().unwrap();
                let log = &self.topics[&topic][index as usize];
                w.i32(index);
                w.i16(if error == 0 && log.leader != node { 6 } else { error });
                w.i64(-1);
                w.i64(if at == -2 { log.start as i64 } else { log.values.len() as i64 });
                if version >= 4 {
                    w.i32(log.epoch);
                }
                w.no_tags();
            }
            r.skip_tags().unwrap();
            w.no_tags();
        }
    }

    fn begin_rebalance(&mut self) {
        let group = &mut self.group;
        if !group.is_preparing {
            group.is_preparing = true;
            group.is_completing = false;
            group.rebalances += 1;
            group.prepare_end = self.now + Duration::from_secs(60);
            group.members.values_mut().for_each(|member| member.has_joined = false);
        }
    }

    fn join(&mut self, r: &mut Reader<'_>, version: i16, node: i32, error: i16) -> Result<String, (i16, String)> {
        assert_eq!(r.string(), Ok(GROUP));
        r.take(8).unwrap();
        let mut member = r.string().unwrap().to_owned();
        let instance = if version >= 5 { r.nullable_string().unwrap().map(str::to_owned) } else { None };
        assert_eq!(r.string(), Ok("consumer"));
        let count = r.count(1).unwrap();
        let mut protocols = Vec::new();
        for _ in 0..count {
            protocols.push((r.string().unwrap().to_owned(), r.bytes().unwrap().to_vec()));
            r.skip_tags().unwrap();
        }
        if error != 0 {
            return Err((error, member));
        }
        if node != self.group.coordinator {
            return Err((16, member));
        }
        if member.is_empty() {
            let known = self.group.members.iter().find(|(_, m)| instance.is_some() && m.instance == instance);
            let known = known.map(|(id, _)| id.clone());
            self.group.next_member += 1;
            member = known.unwrap_or_else(|| format!("member-{}", self.group.next_member));
            self.group.members.entry(member.clone()).or_default();
            if version >= 4 && instance.is_none() {
                self.group.members.get_mut(&member).unwrap().heard_at = self.now;
                self.begin_rebalance();
                return Err((79, member));
            }
        } else if !self.group.members.contains_key(&member) {
            return Err((25, member));
        }
        self.begin_rebalance();
        let state = self.group.members.get_mut(&member).unwrap();
        (state.instance, state.protocols, state.has_joined) = (instance, protocols, true);
        state.heard_at = self.now;
        Ok(member)
    }

    /// Group, generation, member and instance of a request.
    fn read_member(&mut self, r: &mut Reader<'_>, has_instance: bool, node: i32) -> Result<String, i16> {
        assert_eq!(r.string(), Ok(GROUP));
        let (generation, member) = (r.i32().unwrap(), r.string().unwrap().to_owned());
        if has_instance {
            r.nullable_string().unwrap();
        }
        if node != self.group.coordinator {
            return Err(16);
        }
        if let Some(result) = self.group.assigned.check_epoch(&member, generation) {
            return result.map(|()| member);
        }
        let now = self.now;
        let state = self.group.members.get_mut(&member).ok_or(25_i16)?;
        state.heard_at = now;
        if generation == self.group.generation { Ok(member) } else { Err(22) }
    }

    fn sync(&mut self, r: &mut Reader<'_>, version: i16, node: i32, error: i16) -> Result<String, i16> {
        let member = self.read_member(r, version >= 3, node)?;
        if version >= 5 {
            r.nullable_string().unwrap();
            r.nullable_string().unwrap();
        }
        if error != 0 {
            return Err(error);
        }
        if self.group.is_preparing {
            return Err(27);
        }
        if member == self.group.leader {
            for _ in 0..r.count(1).unwrap() {
                let (of, assignment) = (r.string().unwrap().to_owned(), r.bytes().unwrap().to_vec());
                r.skip_tags().unwrap();
                self.group.members.get_mut(&of).unwrap().assignment = assignment;
            }
            self.group.is_completing = false;
        }
        Ok(member)
    }

    /// Completes joins and syncs, and removes members that are silent.
    fn advance_group(&mut self) -> bool {
        let (now, timeout) = (self.now, self.session_timeout);
        let joined: BTreeSet<String> = self.group.joins.iter().map(|waiting| waiting.member.clone()).collect();
        let is_gone = |id: &String, member: &Member| !joined.contains(id) && member.heard_at + timeout <= now;
        let gone: Vec<String> =
            self.group.members.iter().filter(|(id, m)| is_gone(id, m)).map(|(id, _)| id.clone()).collect();
        for member in &gone {
            self.group.members.remove(member);
            self.begin_rebalance();
        }
        let mut has_played = !gone.is_empty();
        if self.group.members.is_empty() {
            self.group.is_preparing = false;
        }
        if self.group.is_preparing {
            if self.group.prepare_end <= now {
                self.group.members.retain(|_, member| member.has_joined);
            }
            let all_joined = self.group.members.keys().all(|id| joined.contains(id));
            if all_joined && !self.group.members.is_empty() {
                has_played = true;
                self.complete_joins();
            }
        }
        if !self.group.is_preparing && !self.group.is_completing && !self.group.syncs.is_empty() {
            has_played = true;
            for waiting in std::mem::take(&mut self.group.syncs) {
                let assignment = self.group.members.get(&waiting.member).map(|m| m.assignment.clone());
                let mut w = Writer::new(ApiKey::SyncGroup.is_flexible(waiting.version));
                put_sync(&mut w, waiting.version, 0, &assignment.unwrap_or_default());
                self.answer_waiting(&waiting, ApiKey::SyncGroup, w);
            }
        } else if self.group.is_preparing && !self.group.syncs.is_empty() {
            has_played = true;
            for waiting in std::mem::take(&mut self.group.syncs) {
                let mut w = Writer::new(ApiKey::SyncGroup.is_flexible(waiting.version));
                put_sync(&mut w, waiting.version, 27, &[]);
                self.answer_waiting(&waiting, ApiKey::SyncGroup, w);
            }
        }
        has_played
    }

    fn answer_waiting(&mut self, waiting: &Waiting, api: ApiKey, w: Writer) {
        self.connections[waiting.connection].is_blocked = false;
        self.send(waiting.connection, (api, waiting.version, waiting.correlation), w);
    }

    fn complete_joins(&mut self) {
        let group = &mut self.group;
        // One that has left meanwhile on another connection.
        group.joins.retain(|waiting| group.members.contains_key(&waiting.member));
        group.is_preparing = false;
        group.is_completing = true;
        group.generation += 1;
        group.leader = group.joins[0].member.clone();
        let first = &group.members[&group.leader].protocols;
        let is_common = |name: &String| {
            group.members.values().all(|member| member.protocols.iter().any(|(other, _)| other == name))
        };
        group.protocol = first.iter().map(|(name, _)| name).find(|name| is_common(name)).expect("a common one").clone();
        let metadata =
            |member: &Member| member.protocols.iter().find(|(name, _)| *name == group.protocol).unwrap().1.clone();
        let members: Vec<(String, Option<String>, Vec<u8>)> =
            group.members.iter().map(|(id, member)| (id.clone(), member.instance.clone(), metadata(member))).collect();
        let (protocol, leader, generation) = (group.protocol.clone(), group.leader.clone(), group.generation);
        for member in group.members.values_mut() {
            member.heard_at = self.now;
        }
        for waiting in std::mem::take(&mut self.group.joins) {
            let members = if waiting.member == leader { &members[..] } else { &[] };
            let mut w = Writer::new(ApiKey::JoinGroup.is_flexible(waiting.version));
            put_join(&mut w, waiting.version, (0, generation), (&protocol, &leader, &waiting.member), members);
            self.answer_waiting(&waiting, ApiKey::JoinGroup, w);
        }
    }

    fn put_commit(&mut self, node: i32, r: &mut Reader<'_>, version: i16, w: &mut Writer, error: i16) {
        let error = self.read_member(r, version >= 7, node).err().unwrap_or(error);
        let error = if error == 0 && self.group.is_completing { 27 } else { error };
        if version <= 4 {
            r.i64().unwrap();
        }
        if version >= 3 {
            w.i32(self.throttle_ms);
        }
        let topics = r.count(1).unwrap();
        w.len(topics);
        for _ in 0..topics {
            let topic = r.string().unwrap().to_owned();
            w.string(&topic);
            let partitions = r.count(1).unwrap();
            w.len(partitions);
            for _ in 0..partitions {
                let (index, offset) = (r.i32().unwrap(), r.i64().unwrap());
                if version >= 6 {
                    r.i32().unwrap();
                }
                r.nullable_string().unwrap();
                r.skip_tags().unwrap();
                if error == 0 {
                    self.group.committed.insert((topic.clone(), index), offset);
                }
                w.i32(index);
                w.i16(error);
                w.no_tags();
            }
            r.skip_tags().unwrap();
            w.no_tags();
        }
    }

    fn put_offset_fetch(&mut self, node: i32, r: &mut Reader<'_>, version: i16, w: &mut Writer, error: i16) {
        if version >= 8 {
            assert_eq!(r.count(1), Ok(1));
        }
        assert_eq!(r.string(), Ok(GROUP));
        let mut error = if node == self.group.coordinator { error } else { 16 };
        if version >= 9
            && let (Some(member), epoch) = (r.nullable_string().unwrap(), r.i32().unwrap())
            && error == 0
        {
            error = self.group.assigned.check_epoch(member, epoch).map_or(25, |result| result.err().unwrap_or(0));
        }
        if version >= 3 {
            w.i32(0);
        }
        if version >= 8 {
            w.len(1);
            w.string(GROUP);
        }
        let is_all = r.rest().starts_with(if version >= 6 { &[0][..] } else { &[0xff; 4][..] });
        let topics = r.count(1).unwrap();
        if is_all {
            self.put_all_committed(version, w, error);
        } else {
            w.len(topics);
        }
        for _ in 0..topics {
            let topic = r.string().unwrap().to_owned();
            w.string(&topic);
            let partitions = r.count(1).unwrap();
            w.len(partitions);
            for _ in 0..partitions {
                let index = r.i32().unwrap();
                let committed = self.group.committed.get(&(topic.clone(), index)).copied().unwrap_or(-1);
                w.i32(index);
                w.i64(if error == 0 { committed } else { -1 });
                if version >= 5 {
                    w.i32(-1);
                }
                w.string("");
                w.i16(0);
                w.no_tags();
            }
            r.skip_tags().unwrap();
            w.no_tags();
        }
        if version >= 2 {
            w.i16(error);
        }
        if version >= 8 {
            w.no_tags();
        }
    }
}

fn put_join(
    w: &mut Writer,
    version: i16,
    (error, generation): (i16, i32),
    (protocol, leader, member): (&str, &str, &str),
    members: &[(String, Option<String>, Vec<u8>)],
) {
    w.i32(0);
    w.i16(error);
    w.i32(generation);
    if version >= 7 {
        w.nullable_string(Some("consumer"));
    }
    w.string(protocol);
    w.string(leader);
    w.string(member);
    w.len(members.len());
    for (id, instance, metadata) in members {
        w.string(id);
        if version >= 5 {
            w.nullable_string(instance.as_deref());
        }
        w.put_bytes(metadata);
        w.no_tags();
    }
}

fn put_sync(w: &mut Writer, version: i16, error: i16, assignment: &[u8]) {
    w.i32(0);
    w.i16(error);
    if version >= 5 {
        w.null_string();
        w.null_string();
    }
    w.put_bytes(assignment);
}
