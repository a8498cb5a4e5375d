//! Choices read from an input; after its end they are zeros, the smallest choices.

/// The unread rest of an input.
#[derive(Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether the input is at its end.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    /// One of these.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A length, usually short, and as many bytes, or the remaining ones if there are fewer.
    pub fn bytes(&mut self) -> &'a [u8] {
        let len = match self.byte() {
            short @ 0..=0xf7 => usize::from(short),
            long => usize::from(long & 7) << 8 | usize::from(self.byte()),
        };
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// Divides the bytes into pieces whose size follows from `options`.
pub fn pieces(bytes: &[u8], options: u8) -> impl Iterator<Item = &[u8]> {
    const SIZES: [usize; 8] = [usize::MAX, 1, 2, 9, 33, 100, 1000, 16384];
    bytes.chunks(SIZES[usize::from(options) % SIZES.len()])
}

/// FNV-1a, for comparing bodies.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}
