//! The known size of the longest message that a peer accepts.
//!
//! Learnt from refusals, and raised again over time, since the limit of a peer may be changed. Never reads the text of
//! a refusal.

use std::time::Duration;

use crate::Mono;

/// How long a limit is applied before twice as much is tried.
const BELIEVED: Duration = Duration::from_mins(10);
/// No limit below this is applied: a peer that accepts less accepts almost nothing.
const LEAST: usize = 1024;
/// A limit above this is not stored: it is treated as no limit.
const MOST: usize = 1 << 32;

/// The limit that is applied for one peer, in bytes.
#[derive(Debug, Default)]
pub(crate) struct SizeLimit {
    known: Option<(usize, Mono)>,
}

impl SizeLimit {
    /// The length of the longest message to send now.
    pub(crate) fn bytes(&mut self, now: Mono) -> usize {
        while let Some((bytes, since)) = self.known {
            if now.since(since) < BELIEVED {
                return bytes;
            }
            self.known = (bytes < MOST).then(|| (bytes.saturating_mul(2), since + BELIEVED));
        }
        usize::MAX
    }

    /// A message of `size` bytes was refused; `said` is the limit that the peer named.
    pub(crate) fn refused(&mut self, now: Mono, size: usize, said: Option<u64>) {
        let said = said.and_then(|said| usize::try_from(said).ok()).filter(|said| (LEAST..size).contains(said));
        let limit = match said {
            Some(said) => said,
            None => (size / 2).max(LEAST).min(self.bytes(now)),
        };
        self.known = Some((limit, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_that_a_peer_names_is_believed_if_it_can_be_true() {
        let mut limit = SizeLimit::default();
        let now = Mono(5);
        assert_eq!(limit.bytes(now), usize::MAX);
        limit.refused(now, 5 << 20, Some(4 << 20));
        assert_eq!(limit.bytes(now), 4 << 20);
        for said in [Some(0), Some(6 << 20), None] {
            let mut limit = SizeLimit::default();
            limit.refused(now, 5 << 20, said);
            assert_eq!(limit.bytes(now), 5 << 19);
        }
        limit.refused(now, 100, None);
        assert_eq!(limit.bytes(now), LEAST);
    }

    #[test]
    fn limit_is_forgotten_by_doubling() {
        let mut limit = SizeLimit::default();
        limit.refused(Mono(0), 8 << 20, Some(4 << 20));
        assert_eq!(limit.bytes(Mono(0) + Duration::from_secs(599)), 4 << 20);
        assert_eq!(limit.bytes(Mono(0) + Duration::from_secs(600)), 8 << 20);
        assert_eq!(limit.bytes(Mono(0) + Duration::from_secs(1900)), 32 << 20);
        assert_eq!(limit.bytes(Mono(0) + Duration::from_hours(24)), usize::MAX);
    }
}
