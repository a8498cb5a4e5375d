//! Brokers of Kafka: nodes of the simulated world that answer the requests of producers and of the members of one group.
//!
//! The versions of requests are the lowest that the client has, apart from those of the consumer protocol.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use otelcore_kafka_client::{ApiKey, Reader, Writer};
use otelcore_pipeline::{
    Budget, Cx, Endpoint, Event, Graph, GraphBuilder, Listener, Logger, MonotonicTime, NoopLogSink, Outcome,
    PipelineInput, Receiver, StartError, Stream,
};

use crate::kafka_cluster::{
    GroupState, Member, NOT_COORDINATOR, NOT_LEADER, REBALANCE_IN_PROGRESS, SharedCluster, UNKNOWN_MEMBER,
    UNKNOWN_TOPIC,
};
use crate::kafka_coordinator;

/// A request whose answer waits.
enum Waiting {
    /// For records, until then.
    Fetch(MonotonicTime, Vec<u8>),
    Join(String),
    Sync(String),
}

struct Connection {
    io: Box<dyn Stream>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// With the correlation id. Later requests of the connection wait too.
    waiting: Option<(i32, Waiting)>,
}

/// A broker.
struct Broker {
    node: i32,
    cluster: SharedCluster,
    listener: Option<Box<dyn Listener>>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
}

enum Answer {
    Body(Writer),
    Wait(Waiting),
    None,
    /// The connection ends.
    Close,
}

/// The count of an array that is not there.
const NULL_ARRAY: [u8; 4] = [0xff; 4];

const LISTENER: u64 = 0;
const TICK: u64 = 1 << 40;
const TICK_INTERVAL: Duration = Duration::from_millis(20);

/// A graph that listens on port 9092 as the broker of this number; its node is called `kafka-N`.
pub(crate) fn broker_graph(cluster: &SharedCluster, number: usize) -> Graph {
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), Logger::new(Arc::new(NoopLogSink)));
    let (connections, cluster) = (BTreeMap::new(), cluster.clone());
    let broker = Broker { node: number as i32, cluster, listener: None, connections, next: 1 };
    builder.add_receiver("kafka".parse().unwrap(), Box::new(broker));
    builder.build()
}

impl Broker {
    fn serve(&mut self, now: MonotonicTime, key: u64) {
        let Some(mut connection) = self.connections.remove(&key) else { return };
        let mut buf = [0; 4096];
        let is_ended = loop {
            match connection.io.read(&mut buf) {
                Ok(0) => break true,
                Ok(n) => connection.incoming.extend_from_slice(&buf[..n]),
                Err(e) => break e.kind() != ErrorKind::WouldBlock,
            }
        };
        if is_ended || !self.answer_all(now, &mut connection) {
            return;
        }
        while !connection.outgoing.is_empty() {
            let Ok(n @ 1..) = connection.io.write(&connection.outgoing) else { break };
            connection.outgoing.drain(..n);
        }
        let _ = connection.io.flush();
        self.connections.insert(key, connection);
    }

    /// `false` if the connection ends.
    fn answer_all(&mut self, now: MonotonicTime, connection: &mut Connection) -> bool {
        loop {
            let (correlation, answer) = if let Some((correlation, waiting)) = connection.waiting.take() {
                (correlation, self.answer_waiting(now, waiting))
            } else {
                let Some(prefix) = connection.incoming.first_chunk::<4>() else { return true };
                let len = 4 + u32::from_be_bytes(*prefix) as usize;
                if connection.incoming.len() < len {
                    return true;
                }
                let frame: Vec<u8> = connection.incoming.drain(..len).skip(4).collect();
                self.answer(now, &frame)
            };
            match answer {
                Answer::Close => return false,
                Answer::None => {}
                Answer::Wait(waiting) => {
                    connection.waiting = Some((correlation, waiting));
                    return true;
                }
                Answer::Body(body) => {
                    let mut frame = Writer::new(false);
                    frame.i32(4 + body.bytes.len() as i32);
                    frame.i32(correlation);
                    frame.bytes.extend(body.bytes);
                    connection.outgoing.extend(frame.bytes);
                }
            }
        }
    }

    fn answer_waiting(&mut self, now: MonotonicTime, waiting: Waiting) -> Answer {
        match waiting {
            Waiting::Fetch(until, body) => self.fetch(now, Some(until), &body),
            Waiting::Join(member) => self.join_answer(now, member),
            Waiting::Sync(member) => self.sync_answer(now, member),
        }
    }

    fn answer(&mut self, now: MonotonicTime, frame: &[u8]) -> (i32, Answer) {
        let mut r = Reader::new(frame, false);
        let (key, version, correlation) = (r.i16().unwrap(), r.i16().unwrap(), r.i32().unwrap());
        r.nullable_string().unwrap();
        let api = ApiKey::ALL.into_iter().find(|api| *api as i16 == key).unwrap();
        assert!(api == ApiKey::ApiVersions || version == self.version(api), "{api:?}");
        let is_flexible = api != ApiKey::ApiVersions && api.is_flexible(version);
        let mut w = Writer::new(is_flexible);
        if is_flexible {
            assert_eq!(r.i8(), Ok(0));
            r = Reader::new(r.rest(), true);
            w.no_tags();
        }
        let has_consumer_protocol = self.cluster.borrow().coordinator.is_some();
        let answer = match api {
            ApiKey::ApiVersions => {
                // A version that is not there is answered in the lowest one.
                w.i16(if version == 0 { 0 } else { 35 });
                w.len(ApiKey::ALL.len());
                for api in ApiKey::ALL {
                    w.i16(api as i16);
                    w.i16(0);
                    w.i16(self.version(api));
                }
                Answer::Body(w)
            }
            ApiKey::Metadata if has_consumer_protocol => {
                self.cluster.borrow().put_metadata_with_ids(&mut r, &mut w);
                Answer::Body(w)
            }
            ApiKey::Metadata => self.metadata(&mut r, w),
            ApiKey::InitProducerId => {
                let mut cluster = self.cluster.borrow_mut();
                w.i32(0);
                w.i16(0);
                w.i64(cluster.next_producer);
                w.i16(0);
                cluster.next_producer += 1;
                Answer::Body(w)
            }
            ApiKey::Produce => self.produce(&mut r, w),
            ApiKey::Fetch => self.fetch(now, None, r.rest()),
            ApiKey::ListOffsets => self.list_offsets(&mut r, w),
            ApiKey::FindCoordinator => {
                let node = self.cluster.borrow().broker_for(0);
                w.i16(0);
                w.i32(node);
                w.string(&format!("kafka-{node}"));
                w.i32(9092);
                Answer::Body(w)
            }
            ApiKey::JoinGroup => self.join(now, &mut r),
            ApiKey::SyncGroup => self.sync(now, &mut r),
            ApiKey::Heartbeat | ApiKey::LeaveGroup => self.heartbeat(now, &mut r, api == ApiKey::LeaveGroup, w),
            ApiKey::ConsumerGroupHeartbeat => {
                let is_lost = self.cluster.borrow_mut().group_heartbeat(self.node, now, &mut r, &mut w);
                if is_lost { Answer::Close } else { Answer::Body(w) }
            }
            ApiKey::OffsetCommit if has_consumer_protocol => {
                self.cluster.borrow_mut().commit_of_member(self.node, &mut r, &mut w);
                Answer::Body(w)
            }
            ApiKey::OffsetFetch if has_consumer_protocol => {
                self.cluster.borrow().committed_of_group(self.node, &mut r, &mut w);
                Answer::Body(w)
            }
            ApiKey::OffsetCommit => self.commit(now, &mut r, w),
            ApiKey::OffsetFetch => self.offset_fetch(&mut r, w),
            api => {
                self.cluster.borrow().put_state(api, self.node, &mut r, &mut w);
                Answer::Body(w)
            }
        };
        (correlation, answer)
    }

    /// The version of a request that this broker has.
    fn version(&self, api: ApiKey) -> i16 {
        let needed = self.cluster.borrow().coordinator.as_ref().and_then(|_| kafka_coordinator::version(api));
        needed.unwrap_or_else(|| api.implemented().min)
    }

    fn metadata(&self, r: &mut Reader<'_>, mut w: Writer) -> Answer {
        let cluster = self.cluster.borrow();
        let is_all = r.rest().starts_with(&NULL_ARRAY);
        let mut names: Vec<&str> = (0..r.count(1).unwrap()).map(|_| r.string().unwrap()).collect();
        if is_all {
            names = cluster.topics.keys().map(String::as_str).collect();
        }
        w.i32(0);
        let running: Vec<usize> = (0..cluster.is_running.len()).filter(|i| cluster.is_running[*i]).collect();
        w.len(running.len());
        for node in running {
            w.i32(node as i32);
            w.string(&format!("kafka-{node}"));
            w.i32(9092);
            w.null_string();
        }
        w.null_string();
        w.i32(0);
        w.len(names.len());
        for name in names {
            let logs = cluster.topics.get(name).map_or(0, Vec::len);
            w.i16(if logs == 0 { UNKNOWN_TOPIC } else { 0 });
            w.string(name);
            w.bool(false);
            w.len(logs);
            for index in 0..logs {
                w.i16(0);
                w.i32(index as i32);
                w.i32(cluster.broker_for(index));
                w.len(0);
                w.len(0);
            }
        }
        Answer::Body(w)
    }

    fn produce(&self, r: &mut Reader<'_>, mut w: Writer) -> Answer {
        let mut cluster = self.cluster.borrow_mut();
        r.nullable_string().unwrap();
        let acks = r.i16().unwrap();
        r.i32().unwrap();
        for_each_topic(r, &mut w, |r, w, topic| {
            let index = r.i32().unwrap();
            let error = cluster.append(self.node, topic, index, r.bytes().unwrap());
            w.i32(index);
            w.i16(error);
            w.i64(0);
            w.i64(-1);
        });
        w.i32(cluster.throttle_ms);
        if cluster.lost_answers > 0 {
            cluster.lost_answers -= 1;
            return Answer::Close;
        }
        if acks == 0 { Answer::None } else { Answer::Body(w) }
    }

    fn fetch(&self, now: MonotonicTime, until: Option<MonotonicTime>, body: &[u8]) -> Answer {
        let cluster = self.cluster.borrow();
        let (mut r, mut w) = (Reader::new(body, false), Writer::new(false));
        r.i32().unwrap();
        let max_wait = Duration::from_millis(r.i32().unwrap() as u64);
        r.take(9).unwrap();
        w.i32(cluster.throttle_ms);
        let mut has_content = false;
        for_each_topic(&mut r, &mut w, |r, w, topic| {
            let (index, offset) = (r.i32().unwrap(), r.i64().unwrap());
            let max_bytes = r.i32().unwrap() as usize;
            let (error, end, bytes) = match cluster.read(self.node, topic, index, offset, max_bytes) {
                Ok((end, bytes)) => (0, end, bytes),
                Err(error) => (error, -1, Vec::new()),
            };
            has_content |= error != 0 || !bytes.is_empty();
            w.i32(index);
            w.i16(error);
            w.i64(end);
            w.i64(end);
            w.null_array();
            w.put_bytes(&bytes);
        });
        let until = until.unwrap_or(now + max_wait);
        if has_content || until <= now { Answer::Body(w) } else { Answer::Wait(Waiting::Fetch(until, body.to_vec())) }
    }

    fn list_offsets(&self, r: &mut Reader<'_>, mut w: Writer) -> Answer {
        let cluster = self.cluster.borrow();
        r.i32().unwrap();
        for_each_topic(r, &mut w, |r, w, topic| {
            let (index, at) = (r.i32().unwrap(), r.i64().unwrap());
            let is_leader = cluster.broker_for(index as usize) == self.node;
            w.i32(index);
            w.i16(if is_leader { 0 } else { NOT_LEADER });
            w.i64(-1);
            w.i64(if at == -2 { 0 } else { cluster.topics[topic][index as usize].end });
        });
        Answer::Body(w)
    }

    fn join(&self, now: MonotonicTime, r: &mut Reader<'_>) -> Answer {
        let mut cluster = self.cluster.borrow_mut();
        r.string().unwrap();
        let session_timeout = Duration::from_millis(r.i32().unwrap() as u64);
        r.i32().unwrap();
        let mut member = r.string().unwrap().to_owned();
        r.string().unwrap();
        let protocols =
            (0..r.count(1).unwrap()).map(|_| (r.string().unwrap().to_owned(), r.bytes().unwrap().to_vec())).collect();
        if cluster.broker_for(0) != self.node {
            return join_error(NOT_COORDINATOR, &member);
        }
        if member.is_empty() {
            cluster.group.next_member += 1;
            member = format!("member-{}", cluster.group.next_member);
        } else if !cluster.group.members.contains_key(&member) {
            return join_error(UNKNOWN_MEMBER, &member);
        }
        cluster.begin_rebalance(now);
        let joined = Member { protocols, session_timeout, heard_at: now, has_joined: true, assignment: Vec::new() };
        cluster.group.members.insert(member.clone(), joined);
        Answer::Wait(Waiting::Join(member))
    }

    fn join_answer(&self, now: MonotonicTime, member: String) -> Answer {
        let mut cluster = self.cluster.borrow_mut();
        cluster.advance_group(now);
        let is_joining = matches!(cluster.group.state, GroupState::Joining(_));
        let Some(state) = cluster.group.members.get_mut(&member) else { return join_error(UNKNOWN_MEMBER, &member) };
        state.heard_at = now;
        if is_joining {
            return Answer::Wait(Waiting::Join(member));
        }
        let group = &cluster.group;
        let mut w = Writer::new(false);
        w.i32(0);
        w.i16(0);
        w.i32(group.generation);
        w.string(&group.protocol);
        w.string(&group.leader);
        w.string(&member);
        let members = if member == group.leader { group.members.iter().collect() } else { Vec::new() };
        w.len(members.len());
        for (id, member) in members {
            w.string(id);
            w.put_bytes(&member.protocols.iter().find(|(name, _)| *name == group.protocol).unwrap().1);
        }
        Answer::Body(w)
    }

    fn sync(&self, now: MonotonicTime, r: &mut Reader<'_>) -> Answer {
        let mut cluster = self.cluster.borrow_mut();
        r.string().unwrap();
        let (generation, member) = (r.i32().unwrap(), r.string().unwrap().to_owned());
        let error = cluster.member_error(self.node, &member, generation, now);
        if error != 0 {
            return sync_body(error, &[]);
        }
        let group = &mut cluster.group;
        if member == group.leader && group.state == GroupState::Syncing {
            for _ in 0..r.count(1).unwrap() {
                let (of, assignment) = (r.string().unwrap(), r.bytes().unwrap());
                if let Some(member) = group.members.get_mut(of) {
                    member.assignment = assignment.to_vec();
                }
            }
            group.state = GroupState::Stable;
        }
        Answer::Wait(Waiting::Sync(member))
    }

    fn sync_answer(&self, now: MonotonicTime, member: String) -> Answer {
        let mut cluster = self.cluster.borrow_mut();
        cluster.advance_group(now);
        let state = cluster.group.state;
        let Some(of) = cluster.group.members.get_mut(&member) else { return sync_body(UNKNOWN_MEMBER, &[]) };
        of.heard_at = now;
        match state {
            GroupState::Syncing => Answer::Wait(Waiting::Sync(member)),
            GroupState::Joining(_) => sync_body(REBALANCE_IN_PROGRESS, &[]),
            GroupState::Stable => sync_body(0, &of.assignment),
        }
    }

    fn heartbeat(&self, now: MonotonicTime, r: &mut Reader<'_>, leaves: bool, mut w: Writer) -> Answer {
        let mut cluster = self.cluster.borrow_mut();
        r.string().unwrap();
        let generation = if leaves { cluster.group.generation } else { r.i32().unwrap() };
        let member = r.string().unwrap();
        let mut error = cluster.member_error(self.node, member, generation, now);
        if leaves && error == 0 {
            cluster.group.members.remove(member);
            cluster.begin_rebalance(now);
        } else if error == 0 && matches!(cluster.group.state, GroupState::Joining(_)) {
            error = REBALANCE_IN_PROGRESS;
        }
        w.i32(cluster.throttle_ms);
        w.i16(error);
        Answer::Body(w)
    }

    fn commit(&self, now: MonotonicTime, r: &mut Reader<'_>, mut w: Writer) -> Answer {
        let mut cluster = self.cluster.borrow_mut();
        r.string().unwrap();
        let (generation, member) = (r.i32().unwrap(), r.string().unwrap());
        r.i64().unwrap();
        let mut error = cluster.member_error(self.node, member, generation, now);
        if error == 0 && cluster.group.state == GroupState::Syncing {
            error = REBALANCE_IN_PROGRESS;
        }
        for_each_topic(r, &mut w, |r, w, topic| {
            let (index, offset) = (r.i32().unwrap(), r.i64().unwrap());
            r.nullable_string().unwrap();
            if error == 0 {
                cluster.group.committed.insert((topic.to_owned(), index), offset);
            }
            w.i32(index);
            w.i16(error);
        });
        Answer::Body(w)
    }

    fn offset_fetch(&self, r: &mut Reader<'_>, mut w: Writer) -> Answer {
        let cluster = self.cluster.borrow();
        r.string().unwrap();
        let is_coordinator = cluster.broker_for(0) == self.node;
        if r.rest().starts_with(&NULL_ARRAY) {
            cluster.put_all_offsets(&mut w);
            return Answer::Body(w);
        }
        for_each_topic(r, &mut w, |r, w, topic| {
            let index = r.i32().unwrap();
            let committed = cluster.group.committed.get(&(topic.to_owned(), index)).copied();
            w.i32(index);
            w.i64(committed.filter(|_| is_coordinator).unwrap_or(-1));
            w.string("");
            w.i16(if is_coordinator { 0 } else { NOT_COORDINATOR });
        });
        Answer::Body(w)
    }
}

/// Reads an array of topics with partitions, and writes one with what `each` writes for each partition.
fn for_each_topic(r: &mut Reader<'_>, w: &mut Writer, mut each: impl FnMut(&mut Reader<'_>, &mut Writer, &str)) {
    let topics = r.count(1).unwrap();
    w.len(topics);
    for _ in 0..topics {
        let topic = r.string().unwrap();
        w.string(topic);
        let partitions = r.count(1).unwrap();
        w.len(partitions);
        (0..partitions).for_each(|_| each(r, w, topic));
    }
}

fn join_error(error: i16, member: &str) -> Answer {
    let mut w = Writer::new(false);
    w.i32(0);
    w.i16(error);
    w.i32(-1);
    w.string("");
    w.string("");
    w.string(member);
    w.len(0);
    Answer::Body(w)
}

fn sync_body(error: i16, assignment: &[u8]) -> Answer {
    let mut w = Writer::new(false);
    w.i32(0);
    w.i16(error);
    w.put_bytes(assignment);
    Answer::Body(w)
}

impl Receiver for Broker {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.listener = Some(cx.listen(LISTENER, &Endpoint::Tcp { host: String::new(), port: 9092 })?);
        self.cluster.borrow_mut().is_running[self.node as usize] = true;
        cx.set_timer(TICK, cx.now() + TICK_INTERVAL);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, _: &mut PipelineInput<'_>) {
        match local {
            LISTENER => {
                while let Some(Ok(io)) = self.listener.as_mut().map(|listener| listener.accept(self.next)) {
                    let (incoming, outgoing) = (Vec::new(), Vec::new());
                    self.connections.insert(self.next, Connection { io, incoming, outgoing, waiting: None });
                    self.next += 1;
                }
            }
            TICK => {
                cx.set_timer(TICK, cx.now() + TICK_INTERVAL);
                if self.cluster.borrow().broker_for(0) == self.node {
                    let mut cluster = self.cluster.borrow_mut();
                    cluster.advance_group(cx.now());
                    cluster.advance_coordinator(cx.now());
                }
                let keys: Vec<u64> = self.connections.keys().copied().collect();
                keys.into_iter().for_each(|key| self.serve(cx.now(), key));
            }
            key => self.serve(cx.now(), key),
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}
