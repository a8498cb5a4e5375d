//! What a generated case consists of.

use crate::tools::random_bytes;

/// Small numbers from a seed; zeros when the bytes are at their end.
#[derive(Clone, Debug)]
pub struct Choices {
    bytes: Vec<u8>,
    at: usize,
}

impl Choices {
    /// With `count` numbers that the seed determines.
    #[must_use]
    pub fn new(seed: u64, count: usize) -> Self {
        Self { bytes: random_bytes(seed, count), at: 0 }
    }

    /// A number below `n`, which is at most 256.
    pub fn below(&mut self, n: usize) -> usize {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(byte) % n
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of the texts.
    pub fn choose<'a>(&mut self, options: &[&'a str]) -> &'a str {
        options[self.below(options.len())]
    }
}
