//! Which partition a record goes to: hashes of keys as the Go client and the Java client compute them, and choices without a key.
//!
//! Knows neither topics nor brokers.

/// How records are distributed over the partitions of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Partitioner {
    /// A record with a key goes to the partition that FNV-1a of the key gives, with the sign handled as in Sarama; records without one
    /// stay with one partition until a batch is complete.
    #[default]
    StickySaramaCompatible,
    /// The same with Murmur2, as the Java client.
    StickyMurmur2,
    /// Each record to the next partition, whatever its key is.
    RoundRobin,
    /// Each batch to the partition with the fewest waiting records, whatever the keys are.
    LeastBackup,
}

impl Partitioner {
    /// The partition of a key among `count`; `None` where keys do not matter.
    #[must_use]
    pub fn of_key(self, key: &[u8], count: usize) -> Option<usize> {
        let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        let index = match self {
            Self::StickySaramaCompatible => {
                let count = i32::try_from(count).unwrap_or(i32::MAX);
                (fnv1a(key).cast_signed() % count).unsigned_abs()
            }
            Self::StickyMurmur2 => (murmur2(key) & 0x7fff_ffff) % count,
            Self::RoundRobin | Self::LeastBackup => return None,
        };
        usize::try_from(index).ok()
    }
}

fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by franz-go 1.21: the key, the number of partitions, and the partitions by FNV-1a and by Murmur2.
    const OF_GO: &[(&str, usize, usize, usize)] = &[
        ("", 3, 0, 0),
        ("", 7, 2, 2),
        ("", 12, 3, 9),
        ("a", 3, 0, 1),
        ("a", 7, 6, 5),
        ("a", 12, 0, 4),
        ("foobar", 1, 0, 0),
        ("foobar", 7, 4, 0),
        ("foobar", 12, 0, 6),
        ("0102030405060708090a0b0c0d0e0f10", 3, 2, 1),
        ("0102030405060708090a0b0c0d0e0f10", 7, 6, 6),
        ("0102030405060708090a0b0c0d0e0f10", 12, 2, 1),
        ("zz9", 3, 1, 2),
        ("zz9", 12, 4, 2),
        ("hello world", 7, 4, 2),
        ("hello world", 12, 1, 7),
    ];

    #[test]
    fn partitions_of_keys_are_those_of_go() {
        for (key, count, fnv, murmur) in OF_GO {
            let of = |partitioner: Partitioner| partitioner.of_key(key.as_bytes(), *count);
            assert_eq!(of(Partitioner::StickySaramaCompatible), Some(*fnv), "{key} {count}");
            assert_eq!(of(Partitioner::StickyMurmur2), Some(*murmur), "{key} {count}");
            assert_eq!((of(Partitioner::RoundRobin), of(Partitioner::LeastBackup)), (None, None));
        }
        assert_eq!(Partitioner::StickySaramaCompatible.of_key(b"x", 0), Some(0));
    }
}
