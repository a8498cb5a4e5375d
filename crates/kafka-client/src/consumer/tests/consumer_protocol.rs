//! The consumer protocol: what is its own. What both protocols do is in the other tests, which run with each.

use super::*;

#[test]
fn heartbeats_come_as_often_as_the_coordinator_says_and_say_nothing_that_has_not_changed() {
    let mut it = Harness::new();
    it.append(4);
    it.add(consumer_config());
    it.run_for(60 * SECOND);
    let count = it.cluster.counts[&(ApiKey::ConsumerGroupHeartbeat as i16)];
    assert!((20..24).contains(&count), "{count}");
    assert!(!it.cluster.counts.contains_key(&(ApiKey::JoinGroup as i16)));
    assert_eq!(it.cluster.group.assigned.epochs().len(), 1);
    assert_eq!(it.clients[0].notices, []);
}

#[test]
fn member_that_is_fenced_loses_its_partitions_and_joins_again_under_its_id() {
    for error in [25, 110, 113] {
        let mut it = Harness::new();
        it.append(40);
        it.add(consumer_config());
        it.run_for(2 * SECOND);
        it.cluster.errors.insert(68, VecDeque::from([error]));
        it.append(40);
        it.run_for(20 * SECOND);
        assert_eq!(it.clients[0].ended, [true; 4], "{error}");
        assert_eq!((it.assigned_count(), it.cluster.member_count()), (vec![4], 1));
        let values: BTreeSet<_> = it.delivered.iter().collect();
        assert_eq!(values.len(), 80);
    }
}

#[test]
fn commit_with_an_epoch_that_is_over_is_repeated_with_the_new_one() {
    let mut it = Harness::new();
    it.append(40);
    it.cluster.errors.insert(ApiKey::OffsetCommit as i16, VecDeque::from([113, 113]));
    it.cluster.errors.insert(ApiKey::OffsetFetch as i16, VecDeque::from([113]));
    it.add(consumer_config());
    it.run_for(6 * SECOND);
    assert_eq!(it.cluster.group.committed.values().sum::<i64>(), 40);
    assert_eq!((it.delivered.len(), &it.clients[0].ended[..]), (40, &[][..]));
    assert_eq!(it.clients[0].notices, []);
}

#[test]
fn answer_that_is_lost_is_made_up_for_by_the_next_heartbeat() {
    let mut it = Harness::new();
    it.append(40);
    it.add(consumer_config());
    it.run_for(2 * SECOND);
    // The second member changes the epoch of the first one, whose answer is lost.
    it.add(consumer_config());
    it.cluster.lost.insert(ApiKey::ConsumerGroupHeartbeat as i16);
    it.run_for(30 * SECOND);
    it.append(40);
    it.run_for(5 * SECOND);
    assert_eq!(it.assigned_count(), [2, 2]);
    assert_eq!(it.delivered.len(), 80, "nothing twice");
    assert!(it.clients.iter().all(|client| client.ended.iter().all(|is_lost| !is_lost)));
}

#[test]
fn errors_of_the_coordinator_say_what_can_be_done() {
    for (error, text) in [
        (111, "another member of the group \"group\" has the instance id \"a\"; each member needs its own"),
        (112, "the broker does not have the assignor that is configured for the group \"group\""),
        (35, "the broker does not have the consumer protocol (KIP-848): add consumer to its"),
        (69, "the group \"group\" has members of the classic protocol"),
        (30, "the group can't be joined: GROUP_AUTHORIZATION_FAILED"),
    ] {
        let mut it = Harness::new();
        it.append(40);
        it.cluster.errors.insert(68, VecDeque::from([error]));
        it.add(GroupConsumerConfig { group_instance_id: Some("a".to_owned()), ..consumer_config() });
        it.run_for(10 * SECOND);
        let [ConsumerNotice::Group(notice)] = &it.clients[0].notices[..] else {
            panic!("{:?}", it.clients[0].notices);
        };
        assert!(notice.starts_with(text), "{notice}");
        assert_eq!(it.delivered.len(), 40, "{error}");
    }
}

#[test]
fn broker_without_the_protocol_is_reported() {
    let mut it = Harness::new();
    it.cluster.is_old = true;
    it.add(consumer_config());
    it.run_for(10 * SECOND);
    let notice =
        "the consumer protocol (KIP-848) needs Kafka 4.0 or later: the broker has no ConsumerGroupHeartbeat request";
    assert_eq!(it.clients[0].notices[0], ConsumerNotice::Group(notice.to_owned()));
    assert!(it.clients[0].notices.len() < 8, "{:?}", it.clients[0].notices);
}

#[test]
fn static_member_that_comes_back_has_its_partitions_and_another_one_of_its_name_waits() {
    let mut it = Harness::new();
    let named = |name: &str| GroupConsumerConfig { group_instance_id: Some(name.to_owned()), ..consumer_config() };
    it.add(named("a"));
    it.add(named("b"));
    it.run_for(10 * SECOND);
    let before = it.clients[1].assigned();
    assert_eq!(before.len(), 2);
    it.add(named("b"));
    it.run_for(2 * SECOND);
    assert_eq!(it.clients[2].assigned(), []);
    let end = it.now() + 5 * SECOND;
    let client = &mut it.clients[1];
    client.consumer.close(&mut client.world.cx(), end);
    it.run_for(8 * SECOND);
    assert!(it.clients[1].consumer.is_closed());
    assert_eq!((it.clients[2].assigned(), it.cluster.member_count()), (before, 2));
    assert_eq!(it.clients[0].ended, [false; 2], "those that it gave to the second one");
}

#[test]
fn topic_that_is_created_again_begins_anew() {
    for member in [config(), consumer_config()] {
        let mut it = Harness::new();
        it.append(40);
        it.add(member);
        it.run_for(3 * SECOND);
        it.cluster.topics.clear();
        it.cluster.group.committed.clear();
        it.cluster.creation = 2;
        it.cluster.create("spans", 4);
        it.append(8);
        it.run_for(60 * SECOND);
        assert_eq!(it.delivered.len(), 48, "{:?}", it.clients[0].notices);
        assert_eq!(it.cluster.group.committed.values().sum::<i64>(), 8);
    }
}

#[test]
fn topics_that_match_are_subscribed_to_when_they_come() {
    let mut it = Harness::new();
    let topics = TopicSelection::Matching(Rc::new(|name: &str| name.starts_with("later")));
    it.add(GroupConsumerConfig { topics, ..consumer_config() });
    it.run_for(20 * SECOND);
    it.cluster.create("later-1", 2);
    it.cluster.append("later-1", 1, "a");
    it.run_for(610 * SECOND);
    assert_eq!((it.assigned_count(), it.delivered.len()), (vec![2], 1));
}
