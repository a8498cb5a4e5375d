//! What the played cluster says of itself: groups, their members, and configurations.

use super::super::kafka::{Reader, Writer};
use super::PlayedCluster;

impl PlayedCluster {
    pub(super) fn put_list_groups(&self, node: i32, version: i16, w: &mut Writer, error: i16) {
        if version >= 1 {
            w.i32(0);
        }
        w.i16(error);
        let is_coordinator = node == self.group.coordinator && error == 0;
        let groups = if is_coordinator { &self.listed_groups[..] } else { &[] };
        w.len(groups.len());
        for (group, has_consumer_protocol, _) in groups {
            w.string(group);
            w.string("consumer");
            if version >= 4 {
                w.string("Stable");
            }
            if version >= 5 {
                w.string(if *has_consumer_protocol { "Consumer" } else { "Classic" });
            }
            w.no_tags();
        }
    }

    fn members_of(&self, group: &str) -> usize {
        self.listed_groups.iter().find(|(listed, _, _)| listed == group).map_or(0, |(_, _, members)| *members)
    }

    pub(super) fn put_describe_groups(&self, r: &mut Reader<'_>, version: i16, w: &mut Writer, error: i16) {
        if version >= 1 {
            w.i32(0);
        }
        let groups = r.count(1).unwrap();
        w.len(groups);
        for _ in 0..groups {
            let group = r.string().unwrap();
            w.i16(error);
            if version >= 6 {
                w.null_string();
            }
            w.string(group);
            ["Stable", "consumer", "range"].into_iter().for_each(|text| w.string(text));
            let members = if error == 0 { self.members_of(group) } else { 0 };
            w.len(members);
            for _ in 0..members {
                w.string("member");
                if version >= 4 {
                    w.null_string();
                }
                w.string("client");
                w.string("/10.0.0.1");
                w.put_bytes(b"metadata");
                w.put_bytes(b"assignment");
                w.no_tags();
            }
            if version >= 3 {
                w.i32(i32::MIN);
            }
            w.no_tags();
        }
    }

    pub(super) fn put_consumer_group_describe(&self, r: &mut Reader<'_>, version: i16, w: &mut Writer, error: i16) {
        w.i32(0);
        let groups = r.count(1).unwrap();
        w.len(groups);
        for _ in 0..groups {
            let group = r.string().unwrap();
            w.i16(error);
            w.null_string();
            w.string(group);
            w.string("Stable");
            w.i32(1);
            w.i32(1);
            w.string("uniform");
            let members = self.members_of(group);
            w.len(members);
            for _ in 0..members {
                w.string("member");
                w.null_string();
                w.null_string();
                w.i32(1);
                w.string("client");
                w.string("/10.0.0.1");
                w.len(1);
                w.string("spans");
                w.null_string();
                for _ in 0..2 {
                    w.len(1);
                    w.topic_id([1; 16]);
                    w.string("spans");
                    w.len(1);
                    w.i32(0);
                    w.no_tags();
                    w.no_tags();
                }
                if version >= 1 {
                    w.i8(1);
                }
                w.no_tags();
            }
            w.i32(i32::MIN);
            w.no_tags();
        }
    }

    pub(super) fn put_describe_configs(&self, r: &mut Reader<'_>, version: i16, w: &mut Writer, error: i16) {
        w.i32(0);
        let resources = r.count(1).unwrap();
        w.len(resources);
        for _ in 0..resources {
            let (kind, name) = (r.i8().unwrap(), r.string().unwrap());
            w.i16(error);
            w.null_string();
            w.i8(kind);
            w.string(name);
            let keys = r.count(1).unwrap();
            w.len(keys);
            for _ in 0..keys {
                let key = r.string().unwrap();
                w.string(key);
                w.nullable_string(match key {
                    "log.retention.hours" => Some("2"),
                    "retention.ms" => Some("604800000"),
                    "retention.bytes" => Some("-1"),
                    "min.insync.replicas" => Some("1"),
                    _ => None,
                });
                w.bool(false);
                w.i8(5);
                w.bool(false);
                w.len(0);
                if version >= 3 {
                    w.i8(0);
                    w.null_string();
                }
                w.no_tags();
            }
            r.skip_tags().unwrap();
            w.no_tags();
        }
    }

    pub(super) fn put_all_committed(&self, version: i16, w: &mut Writer, error: i16) {
        let topics: Vec<&String> = if error == 0 { self.topics.keys().collect() } else { Vec::new() };
        w.len(topics.len());
        for topic in topics {
            w.string(topic);
            let of_topic = self.group.committed.iter().filter(|((of, _), _)| of == topic);
            let offsets: Vec<(i32, i64)> = of_topic.map(|((_, index), offset)| (*index, *offset)).collect();
            w.len(offsets.len());
            for (index, offset) in offsets {
                w.i32(index);
                w.i64(offset);
                if version >= 5 {
                    w.i32(-1);
                }
                w.string("");
                w.i16(0);
                w.no_tags();
            }
            w.no_tags();
        }
    }
}
