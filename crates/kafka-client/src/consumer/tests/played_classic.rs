//! The coordinator of a group by the classic protocol, and the offsets of groups of both protocols.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::kafka::{ApiKey, Reader, Writer};
use super::played_logs::for_each_partition;
use super::{GROUP, Member, PlayedCluster, Waiting};

impl PlayedCluster {
    pub(super) fn begin_rebalance(&mut self) {
        let group = &mut self.group;
        if !group.is_preparing {
            group.is_preparing = true;
            group.is_completing = false;
            group.rebalances += 1;
            group.prepare_end = self.now + Duration::from_secs(60);
            group.members.values_mut().for_each(|member| member.has_joined = false);
        }
    }

    pub(super) fn join(
        &mut self,
        r: &mut Reader<'_>,
        version: i16,
        node: i32,
        error: i16,
    ) -> Result<String, (i16, String)> {
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
    pub(super) fn read_member(&mut self, r: &mut Reader<'_>, has_instance: bool, node: i32) -> Result<String, i16> {
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

    pub(super) fn sync(&mut self, r: &mut Reader<'_>, version: i16, node: i32, error: i16) -> Result<String, i16> {
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
    pub(super) fn advance_group(&mut self) -> bool {
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

    pub(super) fn answer_waiting(&mut self, waiting: &Waiting, api: ApiKey, w: Writer) {
        self.connections[waiting.connection].is_blocked = false;
        self.send(waiting.connection, (api, waiting.version, waiting.correlation), w);
    }

    pub(super) fn complete_joins(&mut self) {
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

    pub(super) fn put_commit(&mut self, node: i32, r: &mut Reader<'_>, version: i16, w: &mut Writer, error: i16) {
        let error = self.read_member(r, version >= 7, node).err().unwrap_or(error);
        let error = if error == 0 && self.group.is_completing { 27 } else { error };
        if version <= 4 {
            r.i64().unwrap();
        }
        if version >= 3 {
            w.i32(self.throttle_ms);
        }
        for_each_partition(r, w, |r, w, topic| {
            let (index, offset) = (r.i32().unwrap(), r.i64().unwrap());
            if version >= 6 {
                r.i32().unwrap();
            }
            r.nullable_string().unwrap();
            if error == 0 {
                self.group.committed.insert((topic.to_owned(), index), offset);
            }
            w.i32(index);
            w.i16(error);
        });
    }

    pub(super) fn put_offset_fetch(&mut self, node: i32, r: &mut Reader<'_>, version: i16, w: &mut Writer, error: i16) {
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

pub(super) fn put_join(
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

pub(super) fn put_sync(w: &mut Writer, version: i16, error: i16, assignment: &[u8]) {
    w.i32(0);
    w.i16(error);
    if version >= 5 {
        w.null_string();
        w.null_string();
    }
    w.put_bytes(assignment);
}
