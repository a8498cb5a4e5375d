//! Sampling a share of all traces by a hash of their ids, as the Go collector does: mixed fleets agree.

use crate::traces::TraceId;

/// FNV-1a with 64 bits, of the salt and the id.
pub(crate) fn hash(salt: &[u8], id: &TraceId) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    salt.iter().chain(id).fold(0xcbf2_9ce4_8422_2325, step)
}

/// The largest hash that a share of `percentage` samples: the product of the largest integer and the ratio, rounded to
/// 64 bits of precision and then down, which is how Go computes it.
pub(crate) fn threshold(percentage: f64) -> u64 {
    const MANTISSA_BITS: u32 = 52;
    let ratio = percentage / 100.0;
    if ratio.is_nan() || ratio <= 0.0 {
        return 0;
    }
    if ratio >= 1.0 {
        return u64::MAX;
    }
    let bits = ratio.to_bits();
    let biased = i32::try_from(bits >> MANTISSA_BITS & 0x7ff).unwrap_or(0);
    let fraction = bits & ((1 << MANTISSA_BITS) - 1);
    // `ratio` is `mantissa * 2^exponent`.
    let (mantissa, exponent) =
        if biased == 0 { (fraction, -1074) } else { (fraction | 1 << MANTISSA_BITS, biased - 1075) };
    let product = u128::from(u64::MAX) * u128::from(mantissa);
    let excess = (128 - product.leading_zeros()).saturating_sub(64);
    let mut rounded = product >> excess;
    if excess > 0 {
        let rest = product & ((1 << excess) - 1);
        let half = 1u128 << (excess - 1);
        if rest > half || rest == half && rounded & 1 == 1 {
            rounded += 1;
        }
    }
    let shift = exponent + i32::try_from(excess).unwrap_or(0);
    let value = match u32::try_from(-shift) {
        Ok(right) => rounded.checked_shr(right).unwrap_or(0),
        Err(_) => rounded.checked_shl(shift.unsigned_abs()).unwrap_or(u128::MAX),
    };
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threshold_is_the_share_of_the_largest_integer() {
        assert_eq!(threshold(0.0), 0);
        assert_eq!(threshold(-5.0), 0);
        assert_eq!(threshold(100.0), u64::MAX);
        assert_eq!(threshold(150.0), u64::MAX);
        assert_eq!(threshold(50.0), u64::MAX / 2);
        assert_eq!(threshold(25.0), u64::MAX / 4);
        assert_eq!(threshold(f64::MIN_POSITIVE), 0);
        // The nearest double of a tenth is a little more than a tenth.
        assert!(threshold(10.0).abs_diff(u64::MAX / 10) < 200);
    }

    #[test]
    fn hash_is_fnv_1a() {
        assert_eq!(
            hash(b"", &[0; 16]),
            [0u8; 16].iter().fold(0xcbf2_9ce4_8422_2325u64, |h, _| h.wrapping_mul(0x0100_0000_01b3))
        );
        assert_ne!(hash(b"a", &[1; 16]), hash(b"b", &[1; 16]));
    }
}
