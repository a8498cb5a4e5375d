//! The nearest known name to a misspelt one.
//!
//! Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours count one each.

/// A name with more characters than this is not treated as a misspelling.
const MAX_NAME: usize = 64;

/// The candidate that is most likely meant by `name`: at most a third of its letters differ, or one in a short name.
/// Upper and lower case are the same letter.
///
/// For lists that are part of the program; for a list from a file use [`crate::Diagnostics::nearest_name`], which has a
/// budget.
pub fn nearest_name<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let mut unlimited = u64::MAX;
    nearest_within_budget(name, candidates, &mut unlimited)
}

/// The same, within `budget` steps: `None` when they are used up.
pub(crate) fn nearest_within_budget<T: AsRef<str>>(
    name: &str,
    candidates: impl IntoIterator<Item = T>,
    budget: &mut u64,
) -> Option<T> {
    let wanted: Vec<char> = name.chars().take(MAX_NAME + 1).flat_map(char::to_lowercase).collect();
    if wanted.len() > MAX_NAME || *budget == 0 {
        return None;
    }
    let mut max_distance = (wanted.len() / 3).max(1);
    let mut best: Option<T> = None;
    for candidate in candidates {
        let text = candidate.as_ref();
        let (steps, distance) = distance(&wanted, text, max_distance);
        crate::steps::add(steps);
        *budget = budget.saturating_sub(steps as u64);
        if *budget == 0 {
            return None;
        }
        if let Some(distance) = distance.filter(|_| text != name) {
            best = Some(candidate);
            // Only a closer one is better.
            match distance.checked_sub(1) {
                Some(closer) => max_distance = closer,
                None => return best,
            }
        }
    }
    best
}

/// The steps that it took, and the distance if it is at most `max_distance`. Computes only what can be within that.
fn distance(a: &[char], b: &str, max_distance: usize) -> (usize, Option<usize>) {
    // Lower case never has more characters than bytes, nor fewer than a quarter of them.
    if b.len() > (a.len() + max_distance).saturating_mul(4) || b.len() < a.len().saturating_sub(max_distance) {
        return (1, None);
    }
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    if a.len().abs_diff(b.len()) > max_distance {
        return (1 + b.len(), None);
    }
    let mut steps = 1 + b.len();
    let above_max = max_distance + 1;
    let mut previous_row: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).map(|j| j.min(above_max)).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut next = vec![above_max; b.len() + 1];
        if let Some(first) = next.first_mut() {
            *first = (i + 1).min(above_max);
        }
        let at = |r: &[usize], k: usize| r.get(k).copied().unwrap_or(above_max);
        // Outside of this band the lengths alone differ by more.
        let band = i.saturating_sub(max_distance)..(i + max_distance + 1).min(b.len());
        steps += band.len();
        for j in band {
            let cb = b.get(j);
            let mut cost = (at(&row, j) + usize::from(Some(ca) != cb)).min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == cb && b.get(j - 1) == Some(ca);
            if swapped {
                cost = cost.min(at(&previous_row, j - 1) + 1);
            }
            if let Some(cell) = next.get_mut(j + 1) {
                *cell = cost.min(above_max);
            }
        }
        if next.iter().all(|cost| *cost >= above_max) {
            return (steps, None);
        }
        previous_row = std::mem::replace(&mut row, next);
    }
    (steps, row.last().copied().filter(|distance| *distance <= max_distance))
}

#[cfg(test)]
mod tests {
    use super::{nearest_name, nearest_within_budget};

    #[test]
    fn misspelt_name_finds_the_known_name_and_an_unrelated_name_finds_none() {
        let known = ["endpoint", "timeout", "tls", "compression"];
        assert_eq!(nearest_name("endpont", known), Some("endpoint"));
        assert_eq!(nearest_name("tiemout", known), Some("timeout"));
        assert_eq!(nearest_name("Endpoint", known), Some("endpoint"));
        assert_eq!(nearest_name("tsl", known), Some("tls"));
        assert_eq!(nearest_name("banana", known), None);
        assert_eq!(nearest_name("", known), None);
    }

    #[test]
    fn closest_of_several_names_is_returned_and_the_first_of_equals() {
        assert_eq!(nearest_name("endpoin", ["endpoint2", "endpoint", "endpoinx"]), Some("endpoint"));
        assert_eq!(nearest_name("abcdefghi", ["abcdefxyz", "abcdefghx"]), Some("abcdefghx"));
        assert_eq!(nearest_name("ÄRGER", ["ärgers"]), Some("ärgers"));
    }

    #[test]
    fn endless_candidates_stop_at_the_budget() {
        let mut budget = 10_000;
        let mut seen = 0_u64;
        let endless = std::iter::repeat("endless_name").inspect(|_| seen += 1);
        assert_eq!(nearest_within_budget("another_name", endless, &mut budget), None);
        assert!(budget == 0 && seen <= 10_000);
        assert_eq!(nearest_within_budget("timeot", ["timeout"], &mut budget), None, "nothing is left");
    }
}
