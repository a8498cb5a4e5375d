//! Fewer buckets in a histogram with explicit bounds.

/// The bounds of the buckets and the counts, one more than there are bounds.
pub(crate) type Buckets = (Vec<f64>, Vec<u64>);

/// Joins the buckets on both sides of a bound; `None` if there is no such bound.
pub(crate) fn remove_bound(bounds: &[f64], counts: &[u64], bound: f64) -> Option<Buckets> {
    if bounds.len() + 1 != counts.len() {
        return None;
    }
    let index = bounds.iter().position(|found| (found - bound).abs() < 1e-12)?;
    let (mut bounds, mut counts) = (bounds.to_vec(), counts.to_vec());
    bounds.remove(index);
    let count = counts.remove(index);
    let joined = counts.get_mut(index)?;
    *joined = joined.wrapping_add(count);
    Some((bounds, counts))
}

/// Joins neighbours so that at most so many buckets are left; `None` if there are no more now, or if the bounds do not
/// ascend.
pub(crate) fn limit_buckets(bounds: &[f64], counts: &[u64], most: i64) -> Option<Buckets> {
    let most = usize::try_from(most).ok().filter(|most| *most > 0)?;
    if bounds.len() + 1 != counts.len() || counts.len() <= most {
        return None;
    }
    if !bounds.windows(2).all(|pair| matches!(pair, [a, b] if b > a)) {
        return None;
    }
    let group = counts.len().div_ceil(most);
    let joined = counts.chunks(group).map(|counts| counts.iter().fold(0, |sum: u64, count| sum.wrapping_add(*count)));
    let kept = bounds.iter().skip(group - 1).step_by(group).copied();
    Some((kept.collect(), joined.collect()))
}

/// The number of buckets for [`limit_buckets`].
///
/// # Errors
/// It is not a positive whole number, with the Go collector's sentence.
pub(crate) fn max_buckets(target: f64) -> Result<i64, String> {
    if target < 1.0 || target.trunc() != target || target > i64::MAX as f64 {
        return Err(format!("target_value must be a positive integer when method is \"limit_buckets\", got {target}"));
    }
    Ok(target as i64)
}
