//! The order of things that need each other: extensions that use extensions, pipelines that connectors join.
//!
//! Knows numbers only; the caller says what they stand for.

/// Things that need each other in a circle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// The members in the order of their needs; the first one is the last one's need.
    pub path: Vec<usize>,
}

/// An order of the numbers `0..needs.len()` in which each one comes after all that it needs. Numbers that do not need each
/// other keep their order. The time is linear in the needs.
///
/// # Errors
/// A cycle, the first that is found.
pub fn order_by_needs(needs: &[Vec<usize>]) -> Result<Vec<usize>, Cycle> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        /// On the path that is being followed.
        Open,
        Done,
    }
    let mut states = vec![State::New; needs.len()];
    let mut order = Vec::with_capacity(needs.len());
    // The path from a root, each with the number of its needs that have been followed.
    let mut path: Vec<(usize, usize)> = Vec::new();
    for root in 0..needs.len() {
        if states[root] == State::New {
            states[root] = State::Open;
            path.push((root, 0));
        }
        while let Some((node, followed)) = path.last_mut() {
            let Some(next) = needs[*node].get(*followed).copied() else {
                states[*node] = State::Done;
                order.push(*node);
                path.pop();
                continue;
            };
            *followed += 1;
            match states.get(next) {
                Some(State::New) => {
                    states[next] = State::Open;
                    path.push((next, 0));
                }
                Some(State::Open) => {
                    let path = path.iter().map(|(node, _)| *node).skip_while(|node| *node != next).collect();
                    return Err(Cycle { path });
                }
                Some(State::Done) | None => {}
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_without_needs_is_the_given_one() {
        assert_eq!(order_by_needs(&[vec![], vec![], vec![]]), Ok(vec![0, 1, 2]));
        assert_eq!(order_by_needs(&[]), Ok(vec![]));
    }

    #[test]
    fn order_has_what_is_needed_first() {
        assert_eq!(order_by_needs(&[vec![2], vec![], vec![1]]), Ok(vec![1, 2, 0]));
        assert_eq!(order_by_needs(&[vec![1, 2], vec![3], vec![3], vec![]]), Ok(vec![3, 1, 2, 0]));
        let long: Vec<Vec<usize>> = (0..100_000).map(|i| if i == 99_999 { vec![] } else { vec![i + 1] }).collect();
        assert_eq!(order_by_needs(&long).unwrap()[0], 99_999);
    }

    #[test]
    fn cycle_is_an_error_with_its_path() {
        assert_eq!(order_by_needs(&[vec![1], vec![2], vec![3], vec![1]]), Err(Cycle { path: vec![1, 2, 3] }));
        assert_eq!(order_by_needs(&[vec![0]]), Err(Cycle { path: vec![0] }));
    }
}
