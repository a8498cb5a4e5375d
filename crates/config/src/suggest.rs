//! The nearest known name to a misspelt one.
//!
//! Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours count one each.

/// A name with more characters than this is not treated as a misspelling.
const MAX_NAME: usize = 64;

/// The candidate that is most likely meant by `name`: at most a third of its letters differ, or one in a short name.
/// Upper and lower case are the same letter.
///
/// For lists that are part of the program; for a list from a file use [`crate::Diagnostics::nearest`], which has a
/// budget.
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let mut unlimited = u64::MAX;
    within(name, candidates, &mut unlimited)
}

/// The same, within `budget` steps: `None` when they are used up.
pub(crate) fn within<T: AsRef<str>>(
    name: &str,
    candidates: impl IntoIterator<Item = T>,
    budget: &mut u64,
) -> Option<T> {
    let wanted: Vec<char> = name.chars().take(MAX_NAME + 1).flat_map(char::to_lowercase).collect();
    if wanted.len() > MAX_NAME || *budget == 0 {
        return None;
    }
    let mut most = (wanted.len() / 3).max(1);
    let mut best: Option<T> = None;
    for candidate in candidates {
        let text = candidate.as_ref();
        let (steps, distance) = distance(&wanted, text, most);
        crate::steps::add(steps);
        *budget = budget.saturating_sub(steps as u64);
        if *budget == 0 {
            return None;
        }
        if let Some(distance) = distance.filter(|_| text != name) {
            best = Some(candidate);
            // Only a closer one is better.
            match distance.checked_sub(1) {
                Some(closer) => most = closer,
                None => return best,
            }
        }
    }
    best
}

/// The steps that it took, and the distance if it is at most `most`. Computes only what can be within that.
fn distance(a: &[char], b: &str, most: usize) -> (usize, Option<usize>) {
    // Lower case never has more characters than bytes, nor fewer than a quarter of them.
    if b.len() > (a.len() + most).saturating_mul(4) || b.len() < a.len().saturating_sub(most) {
        return (1, None);
    }
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    if a.len().abs_diff(b.len()) > most {
        return (1 + b.len(), None);
    }
    let mut steps = 1 + b.len();
    let far = most + 1;
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).map(|j| j.min(far)).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut next = vec![far; b.len() + 1];
        if let Some(first) = next.first_mut() {
            *first = (i + 1).min(far);
        }
        let at = |r: &[usize], k: usize| r.get(k).copied().unwrap_or(far);
        // Outside of this band the lengths alone differ by more.
        let band = i.saturating_sub(most)..(i + most + 1).min(b.len());
        steps += band.len();
        for j in band {
            let cb = b.get(j);
            let mut cost = (at(&row, j) + usize::from(Some(ca) != cb)).min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == cb && b.get(j - 1) == Some(ca);
            if swapped {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            if let Some(cell) = next.get_mut(j + 1) {
                *cell = cost.min(far);
            }
        }
        if next.iter().all(|cost| *cost >= far) {
            return (steps, None);
        }
        before = std::mem::replace(&mut row, next);
    }
    (steps, row.last().copied().filter(|distance| *distance <= most))
}

#[cfg(test)]
mod tests {
    use super::{nearest, within};

    #[test]
    fn a_typo_finds_its_name_and_a_stranger_finds_none() {
        let known = ["endpoint", "timeout", "tls", "compression"];
        assert_eq!(nearest("endpont", known), Some("endpoint"));
        assert_eq!(nearest("tiemout", known), Some("timeout"));
        assert_eq!(nearest("Endpoint", known), Some("endpoint"));
        assert_eq!(nearest("tsl", known), Some("tls"));
        assert_eq!(nearest("banana", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn the_closest_of_several_is_taken_and_the_first_of_equals() {
        assert_eq!(nearest("endpoin", ["endpoint2", "endpoint", "endpoinx"]), Some("endpoint"));
        assert_eq!(nearest("abcdefghi", ["abcdefxyz", "abcdefghx"]), Some("abcdefghx"));
        assert_eq!(nearest("ÄRGER", ["ärgers"]), Some("ärgers"));
    }

    #[test]
    fn a_list_without_end_costs_no_more_than_the_budget() {
        let mut budget = 10_000;
        let mut seen = 0_u64;
        let endless = std::iter::repeat("endless_name").inspect(|_| seen += 1);
        assert_eq!(within("another_name", endless, &mut budget), None);
        assert!(budget == 0 && seen <= 10_000);
        assert_eq!(within("timeot", ["timeout"], &mut budget), None, "nothing is left");
    }
}
