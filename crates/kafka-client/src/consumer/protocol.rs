//! What members of a consumer group tell each other through the coordinator: subscriptions and assignments.
//!
//! The forms are those of the Java client, versions 0 to 3. Sends nothing.

use std::collections::BTreeMap;

use crate::messages::group::GroupMember;
use crate::wire::{Reader, WireError, Writer};

/// Partitions by their topics, both in order.
pub(crate) type Assignment = BTreeMap<String, Vec<i32>>;

/// The highest version of a subscription that is written.
const VERSION: i16 = 3;

/// What a member wants, and what it had before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) topics: Vec<String>,
    pub(crate) owned: Assignment,
    /// The generation in which it got `owned`; -1 if it is not known.
    pub(crate) generation: i32,
    pub(crate) rack_id: String,
}

fn put_assignment(w: &mut Writer, assignment: &Assignment) {
    w.len(assignment.len());
    for (topic, partitions) in assignment {
        w.string(topic);
        w.len(partitions.len());
        partitions.iter().for_each(|index| w.i32(*index));
    }
}

fn read_assignment(r: &mut Reader<'_>) -> Result<Assignment, WireError> {
    let mut assignment = Assignment::new();
    for _ in 0..r.count(6)? {
        let topic = r.string()?.to_owned();
        let count = r.count(4)?;
        let partitions: &mut Vec<i32> = assignment.entry(topic).or_default();
        for _ in 0..count {
            partitions.push(r.i32()?);
        }
    }
    for partitions in assignment.values_mut() {
        partitions.sort_unstable();
        partitions.dedup();
    }
    Ok(assignment)
}

impl Subscription {
    /// `is_sticky`: the assignor reads what the member had before from the user data. `is_cooperative`: the member keeps it meanwhile.
    pub(crate) fn encode(&self, is_sticky: bool, is_cooperative: bool) -> Vec<u8> {
        let mut w = Writer::new(false);
        w.i16(VERSION);
        w.len(self.topics.len());
        self.topics.iter().for_each(|topic| w.string(topic));
        if is_sticky {
            let mut user_data = Writer::new(false);
            put_assignment(&mut user_data, &self.owned);
            user_data.i32(self.generation);
            w.put_bytes(&user_data.bytes);
        } else {
            w.i32(-1);
        }
        let nothing = Assignment::new();
        put_assignment(&mut w, if is_cooperative { &self.owned } else { &nothing });
        w.i32(self.generation);
        w.nullable_string(Some(self.rack_id.as_str()).filter(|rack| !rack.is_empty()));
        w.bytes
    }

    /// Reads a subscription of any version. User data that is not that of a sticky assignor is ignored.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes, false);
        let version = r.i16()?;
        let mut subscription = Self { generation: -1, ..Self::default() };
        for _ in 0..r.count(2)? {
            subscription.topics.push(r.string()?.to_owned());
        }
        subscription.topics.sort_unstable();
        subscription.topics.dedup();
        let user_data = r.bytes()?;
        if version >= 1 {
            subscription.owned = read_assignment(&mut r)?;
        }
        if version >= 2 {
            subscription.generation = r.i32()?;
        }
        if version >= 3 {
            subscription.rack_id = r.nullable_string()?.unwrap_or_default().to_owned();
        }
        let mut r = Reader::new(user_data, false);
        if subscription.owned.is_empty()
            && !user_data.is_empty()
            && let Ok(owned) = read_assignment(&mut r)
        {
            subscription.owned = owned;
            if subscription.generation < 0 {
                subscription.generation = r.i32().unwrap_or(-1);
            }
        }
        Ok(subscription)
    }
}

/// A member of the group, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) subscription: Subscription,
}

impl Member {
    /// Reads what the coordinator has of a member; what can't be read subscribes to nothing.
    pub(crate) fn of(member: GroupMember) -> Self {
        let subscription = Subscription::decode(&member.metadata).unwrap_or_default();
        Self { id: member.member, instance: member.instance, subscription }
    }
}

pub(crate) fn encode_assignment(assignment: &Assignment) -> Vec<u8> {
    let mut w = Writer::new(false);
    w.i16(0);
    put_assignment(&mut w, assignment);
    w.i32(-1);
    w.bytes
}

/// An assignment without content is one of nothing.
pub(crate) fn decode_assignment(bytes: &[u8]) -> Result<Assignment, WireError> {
    if bytes.is_empty() {
        return Ok(Assignment::new());
    }
    let mut r = Reader::new(bytes, false);
    r.i16()?;
    read_assignment(&mut r)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned() -> Assignment {
        [("logs".to_owned(), vec![0, 2]), ("spans".to_owned(), vec![1])].into()
    }

    #[test]
    fn subscription_is_read_as_written() {
        let subscription = Subscription {
            topics: vec!["logs".into(), "spans".into()],
            owned: owned(),
            generation: 7,
            rack_id: "a".into(),
        };
        for (is_sticky, is_cooperative) in [(true, false), (true, true), (false, true)] {
            let bytes = subscription.encode(is_sticky, is_cooperative);
            assert_eq!(Subscription::decode(&bytes), Ok(subscription.clone()));
        }
        let without = Subscription { owned: Assignment::new(), ..subscription.clone() };
        assert_eq!(Subscription::decode(&subscription.encode(false, false)), Ok(without));
    }

    #[test]
    fn subscription_of_version_0_has_topics_only() {
        let bytes = [&[0, 0, 0, 0, 0, 1, 0, 1, b'a', 0xff, 0xff, 0xff, 0xff][..]].concat();
        let read = Subscription::decode(&bytes).unwrap();
        assert_eq!((read.topics, read.generation), (vec!["a".to_owned()], -1));
        assert!(Subscription::decode(&bytes[..9]).is_err());
    }

    #[test]
    fn assignment_is_read_as_written_and_may_be_empty() {
        assert_eq!(decode_assignment(&encode_assignment(&owned())), Ok(owned()));
        assert_eq!(decode_assignment(&[]), Ok(Assignment::new()));
        assert!(decode_assignment(&[0, 0, 0x7f, 0xff, 0xff, 0xff]).is_err());
    }
}
