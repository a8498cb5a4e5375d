//! Limits how often the same message is written: the first `first` in each second, then every `thereafter`-th.
//!
//! As in zap's sampler, messages are counted by a hash of their text in a table of fixed size, and a count restarts one
//! second after its first message. The dropped messages are not reported.

use std::time::Duration;

use otelcore_pipeline::MonotonicTime;

const RESET_INTERVAL: Duration = Duration::from_secs(1);
const COUNTER_COUNT: usize = 4096;

#[derive(Clone, Copy, Debug, Default)]
struct MessageCounter {
    reset_at: MonotonicTime,
    count: u64,
}

/// Decides which messages are written.
#[derive(Debug)]
pub(crate) struct Sampler {
    first: u64,
    thereafter: u64,
    /// Allocated when the first message is counted.
    counters: Vec<MessageCounter>,
}

impl Sampler {
    /// Converts the settings as zap does: with a negative `first` every message is written, with a negative
    /// `thereafter` none after the first ones.
    pub(crate) fn new(first: i64, thereafter: i64) -> Self {
        Self { first: first.cast_unsigned(), thereafter: thereafter.cast_unsigned(), counters: Vec::new() }
    }

    /// True if no message at all will be written, so that none needs to be made.
    pub(crate) fn writes_nothing(&self) -> bool {
        self.first == 0 && self.thereafter == 0
    }

    /// Whether this message is written.
    #[cfg(test)]
    pub(crate) fn should_write(&mut self, now: MonotonicTime, message: &[u8]) -> bool {
        self.should_write_hash(now, fnv32a(message))
    }

    /// The same for a message whose hash is already computed with [`fnv32a`].
    pub(crate) fn should_write_hash(&mut self, now: MonotonicTime, hash: u32) -> bool {
        if self.thereafter == 1 {
            return true;
        }
        self.counters.resize(COUNTER_COUNT, MessageCounter::default());
        let index = usize::try_from(hash).unwrap_or(0) % COUNTER_COUNT;
        let Some(counter) = self.counters.get_mut(index) else { return true };
        if counter.reset_at > now {
            counter.count = counter.count.saturating_add(1);
        } else {
            *counter = MessageCounter { reset_at: now + RESET_INTERVAL, count: 1 };
        }
        // A `thereafter` of zero writes none beyond the first.
        counter.count <= self.first || (counter.count - self.first).checked_rem(self.thereafter) == Some(0)
    }
}

/// FNV-1a, 32 bits wide.
pub(crate) fn fnv32a(text: &[u8]) -> u32 {
    text.iter().fold(2_166_136_261, |hash, b| (hash ^ u32::from(*b)).wrapping_mul(16_777_619))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn written_numbers(sampler: &mut Sampler, now: u64, message: &str, times: usize) -> Vec<usize> {
        (1..=times).filter(|_| sampler.should_write(MonotonicTime(now), message.as_bytes())).collect()
    }

    #[test]
    fn sampler_writes_the_first_two_of_a_second_and_then_every_third() {
        let mut sampler = Sampler::new(2, 3);
        assert_eq!(written_numbers(&mut sampler, 5, "Traces", 9), [1, 2, 5, 8]);
        assert_eq!(written_numbers(&mut sampler, 5, "Logs", 3), [1, 2], "another message has a count of its own");
        assert_eq!(
            written_numbers(&mut sampler, 4 + SECOND, "Traces", 2),
            [2],
            "the eleventh, still in the same second"
        );
        assert_eq!(written_numbers(&mut sampler, 5 + SECOND, "Traces", 4), [1, 2], "a new second");
    }

    #[test]
    fn sampler_with_thereafter_one_writes_all_and_with_zero_only_the_first() {
        assert_eq!(written_numbers(&mut Sampler::new(2, 1), 0, "x", 4), [1, 2, 3, 4]);
        assert_eq!(written_numbers(&mut Sampler::new(0, 1), 0, "x", 2), [1, 2]);
        assert_eq!(written_numbers(&mut Sampler::new(2, 0), 0, "x", 5), [1, 2]);
        assert_eq!(written_numbers(&mut Sampler::new(-1, 0), 0, "x", 5), [1, 2, 3, 4, 5]);
        assert_eq!(written_numbers(&mut Sampler::new(1, -5), 0, "x", 5), [1]);
        assert!(Sampler::new(0, 0).writes_nothing());
        assert!(!Sampler::new(1, 0).writes_nothing());
    }

    #[test]
    fn hash_of_a_text_is_fnv_1a() {
        assert_eq!(fnv32a(b""), 0x811c_9dc5);
        assert_eq!(fnv32a(b"foobar"), 0xbf9c_f968);
    }
}
