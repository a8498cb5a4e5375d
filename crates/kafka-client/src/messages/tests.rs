use proptest::prelude::*;

use super::consumer_group::{
    HeartbeatOf, MemberState, consumer_group_heartbeat_request, read_consumer_group_heartbeat,
};
use super::*;

/// A metadata answer of one broker and one topic with three partitions.
fn metadata_answer(version: i16) -> Vec<u8> {
    let flexible = ApiKey::Metadata.is_flexible(version);
    let mut w = Writer::new(flexible);
    w.i32(5);
    w.len(1);
    w.i32(1);
    w.string("localhost");
    w.i32(9092);
    w.null_string();
    w.no_tags();
    w.string("cluster");
    w.i32(1);
    w.len(1);
    w.i16(0);
    w.string("spans");
    if version >= 10 {
        w.bytes.extend([7; 16]);
    }
    w.bool(false);
    w.len(3);
    for (index, leader) in [(2, 1), (0, -1), (1, 4)] {
        w.i16(if leader < 0 { 5 } else { 0 });
        w.i32(index);
        w.i32(leader);
        if version >= 7 {
            w.i32(9);
        }
        for _ in 0..if version >= 5 { 3 } else { 2 } {
            w.len(1);
            w.i32(1);
        }
        w.no_tags();
    }
    if version >= 8 {
        w.i32(0);
    }
    w.no_tags();
    if (8..=10).contains(&version) {
        w.i32(0);
    }
    w.no_tags();
    w.bytes
}

fn produce_answer(version: i16) -> Vec<u8> {
    let mut w = Writer::new(ApiKey::Produce.is_flexible(version));
    w.len(1);
    w.string("spans");
    w.len(2);
    for (index, error) in [(0, 0), (1, 87)] {
        w.i32(index);
        w.i16(error);
        w.i64(100);
        w.i64(-1);
        if version >= 5 {
            w.i64(0);
        }
        if version >= 8 {
            w.len(usize::from(error != 0));
            if error != 0 {
                w.i32(0);
                w.string("bad record");
                w.no_tags();
            }
            w.null_string();
        }
        w.no_tags();
    }
    w.no_tags();
    w.i32(12);
    w.no_tags();
    w.bytes
}

#[test]
fn metadata_of_every_version_is_read() {
    let range = ApiKey::Metadata.implemented();
    for version in range.min..=range.max {
        let metadata = read_metadata(version, &metadata_answer(version)).unwrap();
        assert_eq!(metadata.throttle_ms, 5);
        assert_eq!(metadata.brokers, [BrokerAddress { id: 1, host: "localhost".to_owned(), port: 9092 }]);
        let topic = &metadata.topics[0];
        assert_eq!((topic.name.as_str(), topic.error), ("spans", ErrorCode::NONE));
        let partitions: Vec<_> = topic.partitions.iter().map(|p| (p.index, p.leader)).collect();
        assert_eq!(partitions, [(0, None), (1, Some(4)), (2, Some(1))], "{version}");
    }
}

#[test]
fn produce_answer_of_every_version_is_read() {
    let range = ApiKey::Produce.implemented();
    for version in range.min..=range.max {
        let response = read_produce(version, &produce_answer(version)).unwrap();
        assert_eq!(response.throttle_ms, 12);
        let errors: Vec<_> = response.partitions.iter().map(|p| (p.index, p.error.0)).collect();
        assert_eq!(errors, [(0, 0), (1, 87)]);
        let text = response.partitions[1].error_message.as_deref();
        assert_eq!(text, (version >= 8).then_some("bad record"));
    }
}

#[test]
fn unsupported_api_versions_is_answered_in_version_0() {
    let mut w = Writer::new(false);
    w.i16(35);
    w.len(1);
    w.i16(18);
    w.i16(0);
    w.i16(2);
    let (error, versions) = read_api_versions(3, &w.bytes).unwrap();
    assert_eq!(error, ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(versions.choose(ApiKey::ApiVersions, None), Ok(2));
}

#[test]
fn counts_above_the_limits_are_refused() {
    let mut w = Writer::new(false);
    w.i32(0);
    w.len(MAX_BROKERS + 1);
    w.bytes.resize(MAX_BROKERS * 20, 0);
    assert_eq!(read_metadata(4, &w.bytes), Err(WireError::TooMany));
    let mut w = Writer::new(false);
    w.i32(0);
    w.len(0);
    w.null_string();
    w.i32(0);
    w.len(1);
    w.i16(0);
    w.string("t");
    w.bool(false);
    w.len(MAX_PARTITIONS + 1);
    w.bytes.resize(MAX_PARTITIONS * 20, 0);
    assert_eq!(read_metadata(4, &w.bytes), Err(WireError::TooMany));
}

fn read_all(version: i16, bytes: &[u8]) {
    let _ = read_metadata(version.clamp(4, 12), bytes);
    let _ = read_produce(version.clamp(3, 12), bytes);
    let _ = read_api_versions(version.clamp(0, 3), bytes);
    let _ = read_sasl_handshake(bytes);
    let _ = read_sasl_authenticate(version.clamp(0, 2), bytes);
    let _ = read_init_producer_id(version.clamp(0, 4), bytes);
}

/// Reads bytes as the answer to each request in each version.
fn read_any(bytes: &Bytes) {
    for api in ApiKey::ALL {
        let range = api.implemented();
        for version in range.min..=range.max {
            let _ = crate::any_answer::read_any_answer(api, version, bytes);
        }
    }
}

fn heartbeat_answer() -> Vec<u8> {
    let mut w = Writer::new(true);
    w.i32(100);
    w.i16(0);
    w.null_string();
    w.nullable_string(Some("member"));
    w.i32(7);
    w.i32(5000);
    w.i8(1);
    w.len(1);
    w.topic_id([3; 16]);
    w.len(2);
    w.i32(0);
    w.i32(4);
    w.no_tags();
    w.no_tags();
    w.no_tags();
    w.bytes
}

#[test]
fn heartbeat_of_the_consumer_protocol_says_all_or_only_its_epoch() {
    let of = HeartbeatOf { group: "g", member: "m", epoch: 5, instance: None };
    let short = consumer_group_heartbeat_request(of, None).concat();
    // Group, member, epoch, no instance, no rack, no timeout, no topics, pattern, assignor or partitions, no tags.
    assert_eq!(short, [&[2, b'g', 2, b'm', 0, 0, 0, 5, 0, 0, 255, 255, 255, 255][..], &[0; 5]].concat());
    let (topics, owned) = (vec!["t".to_owned()], vec![([9; 16], vec![1])]);
    let state = MemberState {
        rack_id: None,
        rebalance_timeout_ms: 60,
        topics: &topics,
        assignor: Some("range"),
        owned: &owned,
    };
    let long = consumer_group_heartbeat_request(of, Some(&state)).concat();
    let tail = [&[2, 2, b't', 0, 6][..], b"range", &[2], &[9; 16], &[2, 0, 0, 0, 1, 0, 0]].concat();
    assert!(long.ends_with(&tail), "{long:?}");
}

#[test]
fn answer_to_a_heartbeat_has_the_epoch_and_the_assignment() {
    let answer = read_consumer_group_heartbeat(1, &heartbeat_answer()).unwrap();
    assert_eq!((answer.throttle_ms, answer.epoch, answer.interval_ms), (100, 7, 5000));
    assert_eq!(answer.assignment, Some(vec![([3; 16], vec![0, 4])]));
    let mut bytes = heartbeat_answer();
    let at = bytes.iter().position(|byte| *byte == 3).unwrap() - 2;
    bytes.truncate(at);
    bytes.extend([0xff, 0]);
    assert_eq!(read_consumer_group_heartbeat(1, &bytes).unwrap().assignment, None);
}

proptest! {
    #[test]
    fn answers_of_groups_that_are_cut_or_changed_anywhere_never_panic(at in 0_usize..200, byte: u8, cut: bool) {
        let mut bytes = heartbeat_answer();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        read_any(&bytes.into());
    }

    #[test]
    fn random_answers_to_any_request_never_panic(bytes: Vec<u8>) {
        read_any(&bytes.into());
    }

    #[test]
    fn answers_that_are_cut_or_changed_anywhere_never_panic(version in 3_i16..=12, at in 0_usize..200, byte: u8, cut: bool) {
        for mut bytes in [metadata_answer(version.max(4)), produce_answer(version)] {
            let at = at % bytes.len();
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            read_all(version, &bytes);
        }
    }

    #[test]
    fn random_bytes_never_panic(version in 0_i16..=12, bytes: Vec<u8>) {
        read_all(version, &bytes);
        let _ = crate::record_batch::decode(&bytes, 1 << 16);
    }
}
