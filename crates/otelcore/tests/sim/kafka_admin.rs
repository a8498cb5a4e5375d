//! What the brokers say of the cluster, in the lowest version of each request: all topics, configurations, and groups with their offsets.

use otelcore_kafka_client::{ApiKey, Reader, Writer};

use crate::kafka_cluster::Cluster;

impl Cluster {
    /// Answers a request that reads the state of the cluster.
    pub(crate) fn put_state(&self, api: ApiKey, node: i32, r: &mut Reader<'_>, w: &mut Writer) {
        match api {
            ApiKey::DescribeConfigs => put_configs(r, w),
            ApiKey::ListGroups => {
                w.i16(0);
                let groups = if self.broker_for(0) == node { &self.listed_groups[..] } else { &[] };
                w.len(groups.len());
                for group in groups {
                    w.string(group);
                    w.string("consumer");
                }
            }
            ApiKey::DescribeGroups => {
                let groups = r.count(1).unwrap();
                w.len(groups);
                for _ in 0..groups {
                    w.i16(0);
                    w.string(r.string().unwrap());
                    ["Stable", "consumer", "range"].into_iter().for_each(|text| w.string(text));
                    w.len(0);
                }
            }
            api => panic!("no client sends {api:?} here"),
        }
    }

    /// The offsets of a group that has read everything.
    pub(crate) fn put_all_offsets(&self, w: &mut Writer) {
        w.len(self.topics.len());
        for (topic, logs) in &self.topics {
            w.string(topic);
            w.len(logs.len());
            for (index, log) in (0..).zip(logs) {
                w.i32(index);
                w.i64(log.end);
                w.string("");
                w.i16(0);
            }
        }
    }
}

fn put_configs(r: &mut Reader<'_>, w: &mut Writer) {
    w.i32(0);
    let resources = r.count(1).unwrap();
    w.len(resources);
    for _ in 0..resources {
        let (kind, name) = (r.i8().unwrap(), r.string().unwrap());
        w.i16(0);
        w.null_string();
        w.i8(kind);
        w.string(name);
        let keys = r.count(1).unwrap();
        w.len(keys);
        for _ in 0..keys {
            w.string(r.string().unwrap());
            w.string("24");
            // It can be written, is of the broker's file, and is no secret.
            w.bool(false);
            w.i8(5);
            w.bool(false);
            w.len(0);
        }
    }
}
