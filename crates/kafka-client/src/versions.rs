//! Which requests this client has, in which versions, and which version a connection uses.
//!
//! A broker says what it has; the highest version that both have is used. `protocol_version` fixes the versions to those of one
//! release of Kafka. Never sends anything.

/// The requests of this client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ApiKey {
    /// Appends record batches.
    Produce = 0,
    /// Reads record batches.
    Fetch = 1,
    /// The first or the last offset of partitions.
    ListOffsets = 2,
    /// Brokers, topics and leaders.
    Metadata = 3,
    /// Stores the offsets of a group.
    OffsetCommit = 8,
    /// The stored offsets of a group.
    OffsetFetch = 9,
    /// The broker that coordinates a group.
    FindCoordinator = 10,
    /// Becomes a member of a group, or takes part in its rebalance.
    JoinGroup = 11,
    /// Says that a member lives.
    Heartbeat = 12,
    /// Ends a membership.
    LeaveGroup = 13,
    /// The partitions of a member.
    SyncGroup = 14,
    /// The members of groups.
    DescribeGroups = 15,
    /// The groups that a broker coordinates.
    ListGroups = 16,
    /// Chooses a SASL mechanism.
    SaslHandshake = 17,
    /// The versions that a broker has.
    ApiVersions = 18,
    /// An id for an idempotent producer.
    InitProducerId = 22,
    /// The configuration of topics and brokers.
    DescribeConfigs = 32,
    /// One message of a SASL mechanism.
    SaslAuthenticate = 36,
    /// Joins a group, says that a member lives, and gives it partitions, by the protocol of KIP-848.
    ConsumerGroupHeartbeat = 68,
    /// The members of groups by the protocol of KIP-848.
    ConsumerGroupDescribe = 69,
}

impl ApiKey {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 20] = [
        Self::Produce,
        Self::Fetch,
        Self::ListOffsets,
        Self::Metadata,
        Self::OffsetCommit,
        Self::OffsetFetch,
        Self::FindCoordinator,
        Self::JoinGroup,
        Self::Heartbeat,
        Self::LeaveGroup,
        Self::SyncGroup,
        Self::DescribeGroups,
        Self::ListGroups,
        Self::SaslHandshake,
        Self::ApiVersions,
        Self::InitProducerId,
        Self::DescribeConfigs,
        Self::SaslAuthenticate,
        Self::ConsumerGroupHeartbeat,
        Self::ConsumerGroupDescribe,
    ];

    /// The versions that this client implements.
    #[must_use]
    pub fn implemented(self) -> VersionRange {
        let (min, max) = match self {
            // Version 3 is the first with record batches of version 2, 13 the first with ids instead of names.
            Self::Produce => (3, 12),
            // Version 4 is the first with record batches of version 2, 17 and 18 have something for replicas only.
            Self::Fetch => (4, 16),
            Self::ListOffsets => (1, 6),
            // Version 4 is the first that says whether topics may be created.
            Self::Metadata => (4, 12),
            // Version 9 is the first with the epoch of a member, 10 the first with ids instead of names, as of the next.
            Self::OffsetCommit => (2, 9),
            Self::OffsetFetch => (1, 9),
            // Version 4 is the first for several groups.
            Self::FindCoordinator => (0, 3),
            Self::JoinGroup => (2, 7),
            Self::Heartbeat | Self::LeaveGroup => (1, 4),
            Self::SyncGroup => (1, 5),
            Self::DescribeGroups => (0, 6),
            Self::ListGroups => (0, 5),
            // Version 0 does not say where a value comes from.
            Self::DescribeConfigs => (1, 4),
            // Version 0 has messages without a frame after it.
            Self::SaslHandshake => (1, 1),
            Self::ApiVersions => (0, 3),
            Self::InitProducerId => (0, 4),
            Self::SaslAuthenticate => (0, 2),
            // Version 0 was there for tests before Kafka 4.0.
            Self::ConsumerGroupHeartbeat => (1, 1),
            Self::ConsumerGroupDescribe => (0, 1),
        };
        VersionRange { min, max }
    }

    /// Whether a version has compact lengths and tagged fields.
    #[must_use]
    pub fn is_flexible(self, version: i16) -> bool {
        let first = match self {
            Self::Produce | Self::Metadata => 9,
            Self::Fetch => 12,
            Self::ListOffsets | Self::OffsetFetch | Self::JoinGroup => 6,
            Self::OffsetCommit => 8,
            Self::Heartbeat | Self::LeaveGroup | Self::SyncGroup | Self::DescribeConfigs => 4,
            Self::DescribeGroups => 5,
            Self::SaslHandshake => i16::MAX,
            Self::ApiVersions | Self::FindCoordinator | Self::ListGroups => 3,
            Self::InitProducerId | Self::SaslAuthenticate => 2,
            Self::ConsumerGroupHeartbeat | Self::ConsumerGroupDescribe => 0,
        };
        version >= first
    }

    /// Its name in Kafka's documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Produce => "Produce",
            Self::Fetch => "Fetch",
            Self::ListOffsets => "ListOffsets",
            Self::Metadata => "Metadata",
            Self::OffsetCommit => "OffsetCommit",
            Self::OffsetFetch => "OffsetFetch",
            Self::FindCoordinator => "FindCoordinator",
            Self::JoinGroup => "JoinGroup",
            Self::Heartbeat => "Heartbeat",
            Self::LeaveGroup => "LeaveGroup",
            Self::SyncGroup => "SyncGroup",
            Self::DescribeGroups => "DescribeGroups",
            Self::ListGroups => "ListGroups",
            Self::SaslHandshake => "SaslHandshake",
            Self::ApiVersions => "ApiVersions",
            Self::InitProducerId => "InitProducerId",
            Self::DescribeConfigs => "DescribeConfigs",
            Self::SaslAuthenticate => "SaslAuthenticate",
            Self::ConsumerGroupHeartbeat => "ConsumerGroupHeartbeat",
            Self::ConsumerGroupDescribe => "ConsumerGroupDescribe",
        }
    }
}

/// The lowest and the highest version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VersionRange {
    /// The lowest.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

/// The versions that a broker has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerVersions([Option<VersionRange>; ApiKey::ALL.len()]);

impl BrokerVersions {
    /// Records what the broker says of a request. Requests that this client does not have are ignored.
    pub fn set(&mut self, key: i16, range: VersionRange) {
        for (slot, known) in self.0.iter_mut().zip(ApiKey::ALL) {
            if known as i16 == key {
                *slot = Some(range);
            }
        }
    }

    /// The version to use: the highest that both have, or that of `pinned`.
    ///
    /// # Errors
    /// There is none; the text says which versions there are.
    pub fn choose(&self, api: ApiKey, pinned: Option<&KafkaRelease>) -> Result<i16, String> {
        let ours = pinned.map_or_else(|| Some(api.implemented()), |release| release.range(api)).ok_or_else(|| {
            let name = pinned.map_or("", |release| release.0.name);
            format!("protocol_version {name} has no {} request that this client implements", api.name())
        })?;
        let index = ApiKey::ALL.iter().position(|known| *known == api).unwrap_or(0);
        let Some(theirs) = self.0.get(index).copied().flatten() else {
            return Err(format!("the broker has no {} request", api.name()));
        };
        let version = ours.max.min(theirs.max);
        if version < ours.min.max(theirs.min) {
            return Err(format!(
                "the broker has versions {} to {} of the {} request, and this client {} to {}",
                theirs.min,
                theirs.max,
                api.name(),
                ours.min,
                ours.max
            ));
        }
        Ok(version)
    }
}

/// A release of Kafka, for `protocol_version`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KafkaRelease(&'static Release);

#[derive(PartialEq, Eq, Debug)]
struct Release {
    name: &'static str,
    /// The highest version of each request of [`ApiKey::ALL`]; -1 where it has none.
    max: [i16; ApiKey::ALL.len()],
}

impl KafkaRelease {
    /// Reads `1.2`, `1.2.3`, and `0.1.2` or `0.1.2.3` for versions before 1.0, each with or without a `v` in front.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let parts: Vec<&str> = text.split('.').collect();
        if parts.iter().any(|part| part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit())) {
            return None;
        }
        let is_old = parts.first() == Some(&"0");
        let (named, most) = if is_old { (3, 4) } else { (2, 3) };
        if parts.len() < named || parts.len() > most {
            return None;
        }
        let name = parts.get(..named)?.join(".");
        RELEASES.iter().find(|release| release.name == name).map(Self)
    }

    /// The version of a request, if this client implements it.
    fn range(self, api: ApiKey) -> Option<VersionRange> {
        let index = ApiKey::ALL.iter().position(|known| *known == api)?;
        let max = (*self.0.max.get(index)?).min(api.implemented().max);
        (max >= api.implemented().min).then_some(VersionRange { min: api.implemented().min, max })
    }

    /// Why this client can't speak the protocol of this release.
    ///
    /// # Errors
    /// The sentence that says so.
    pub fn check(self) -> Result<(), String> {
        match (self.range(ApiKey::Produce), self.range(ApiKey::Metadata)) {
            (Some(_), Some(_)) => Ok(()),
            _ => {
                Err(format!("protocol_version {} has no record batches of version 2; 0.11.0 is the first", self.0.name))
            }
        }
    }
}

macro_rules! releases {
    ($($name:literal $max:expr;)+) => { &[$(Release { name: $name, max: $max }),+] };
}

const RELEASES: &[Release] = releases! {
    "0.8.0" [0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1];
    "0.8.1" [0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1];
    "0.8.2" [0, 0, 0, 0, 1, 1, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1];
    "0.9.0" [1, 1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1];
    "0.10.0" [2, 2, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1];
    "0.10.1" [2, 3, 1, 2, 2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1];
    "0.10.2" [2, 3, 1, 2, 2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1];
    "0.11.0" [3, 5, 2, 4, 3, 3, 1, 2, 1, 1, 1, 1, 1, 0, 1, 0, 0, -1, -1, -1];
    "1.0" [5, 6, 2, 5, 3, 3, 1, 2, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, -1, -1];
    "1.1" [5, 7, 2, 5, 3, 3, 1, 2, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, -1, -1];
    "2.0" [6, 8, 3, 6, 4, 4, 2, 3, 2, 2, 2, 2, 2, 1, 2, 1, 2, 0, -1, -1];
    "2.1" [7, 10, 4, 7, 6, 5, 2, 3, 2, 2, 2, 2, 2, 1, 2, 1, 2, 0, -1, -1];
    "2.2" [7, 10, 5, 7, 6, 5, 2, 4, 2, 2, 2, 2, 2, 1, 2, 1, 2, 1, -1, -1];
    "2.3" [7, 11, 5, 8, 7, 5, 2, 5, 3, 2, 3, 3, 2, 1, 2, 1, 2, 1, -1, -1];
    "2.4" [8, 11, 5, 9, 8, 6, 3, 6, 4, 4, 4, 5, 3, 1, 3, 2, 2, 1, -1, -1];
    "2.5" [8, 11, 5, 9, 8, 7, 3, 7, 4, 4, 5, 5, 3, 1, 3, 3, 2, 2, -1, -1];
    "2.6" [8, 11, 5, 9, 8, 7, 3, 7, 4, 4, 5, 5, 4, 1, 3, 3, 3, 2, -1, -1];
    "2.7" [8, 12, 5, 9, 8, 7, 3, 7, 4, 4, 5, 5, 4, 1, 3, 4, 3, 2, -1, -1];
    "2.8" [9, 12, 6, 11, 8, 7, 3, 7, 4, 4, 5, 5, 4, 1, 3, 4, 4, 2, -1, -1];
    "3.0" [9, 12, 7, 11, 8, 8, 4, 7, 4, 4, 5, 5, 4, 1, 3, 4, 4, 2, -1, -1];
    "3.1" [9, 13, 7, 12, 8, 8, 4, 7, 4, 4, 5, 5, 4, 1, 3, 4, 4, 2, -1, -1];
    "3.2" [9, 13, 7, 12, 8, 8, 4, 9, 4, 5, 5, 5, 4, 1, 3, 4, 4, 2, -1, -1];
    "3.3" [9, 13, 7, 12, 8, 8, 4, 9, 4, 5, 5, 5, 4, 1, 3, 4, 4, 2, -1, -1];
    "3.4" [9, 13, 7, 12, 8, 8, 4, 9, 4, 5, 5, 5, 4, 1, 3, 4, 4, 2, -1, -1];
    "3.5" [9, 15, 8, 12, 8, 8, 4, 9, 4, 5, 5, 5, 4, 1, 3, 4, 4, 2, -1, -1];
    "3.6" [9, 15, 8, 12, 8, 8, 4, 9, 4, 5, 5, 5, 4, 1, 3, 4, 4, 2, -1, -1];
    "3.7" [10, 16, 8, 12, 9, 9, 4, 9, 4, 5, 5, 5, 4, 1, 3, 4, 4, 2, 0, 0];
    "3.8" [11, 16, 8, 12, 9, 9, 5, 9, 4, 5, 5, 5, 5, 1, 3, 5, 4, 2, 0, 0];
    "3.9" [11, 17, 9, 12, 9, 9, 6, 9, 4, 5, 5, 5, 5, 1, 4, 5, 4, 2, 0, 0];
    "4.0" [12, 17, 10, 13, 9, 9, 6, 9, 4, 5, 5, 6, 5, 1, 4, 5, 4, 2, 1, 1];
    "4.1" [13, 18, 10, 13, 9, 9, 6, 9, 4, 5, 5, 6, 5, 1, 4, 5, 4, 2, 1, 1];
    "4.2" [13, 18, 11, 13, 10, 10, 6, 9, 4, 5, 5, 6, 5, 1, 4, 5, 4, 2, 1, 1];
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_in_go() {
        for (text, name) in
            [("2.1.0", "2.1"), ("v3.9", "3.9"), ("0.11.0.2", "0.11.0"), ("0.10.1", "0.10.1"), ("4.0.0", "4.0")]
        {
            assert_eq!(KafkaRelease::parse(text).map(|release| release.0.name), Some(name), "{text}");
        }
        for text in ["", "2", "2.1.0.0", "0.11", "9.9", "2.x", "2..1", "-1.0", "v"] {
            assert_eq!(KafkaRelease::parse(text), None, "{text}");
        }
    }

    #[test]
    fn highest_version_that_both_have_is_chosen() {
        let mut broker = BrokerVersions::default();
        broker.set(0, VersionRange { min: 0, max: 9 });
        broker.set(3, VersionRange { min: 0, max: 99 });
        broker.set(22, VersionRange { min: 5, max: 6 });
        broker.set(999, VersionRange { min: 5, max: 6 });
        assert_eq!(broker.choose(ApiKey::Produce, None), Ok(9));
        assert_eq!(broker.choose(ApiKey::Metadata, None), Ok(12));
        let pinned = KafkaRelease::parse("2.1.0").unwrap();
        assert_eq!(broker.choose(ApiKey::Produce, Some(&pinned)), Ok(7));
        assert!(broker.choose(ApiKey::InitProducerId, None).unwrap_err().contains("5 to 6"));
        assert_eq!(broker.choose(ApiKey::SaslHandshake, None).unwrap_err(), "the broker has no SaslHandshake request");
        assert!(KafkaRelease::parse("0.10.2").unwrap().check().is_err());
        assert_eq!(KafkaRelease::parse("0.11.0").unwrap().check(), Ok(()));
    }
}
