//! The ring of consistent hashing: which backend a key belongs to.
//!
//! It has the points of the Go collector's ring, so that collectors of both kinds with the same backends agree about every
//! key. Knows nothing of telemetry and connections.

/// The places on the ring.
const POSITIONS: u32 = 36_000;
/// The points of each endpoint.
const POINTS_PER_ENDPOINT: u32 = 100;
/// A point whose place is taken moves by less than this number of places, or is left out.
const MAX_PROBES: u32 = 10;

/// The points of the endpoints.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ring {
    /// As they were resolved, each with its points. The index of an endpoint is the number under which it is found.
    endpoints: Vec<String>,
    /// Places that are taken, ascending, each with the index of its endpoint.
    points: Vec<(u32, usize)>,
}

impl Ring {
    /// The ring of these endpoints, whose order matters where two of them have a point at the same place.
    pub(super) fn new(endpoints: Vec<String>) -> Self {
        let mut is_taken = vec![false; POSITIONS as usize];
        let mut points = Vec::with_capacity(endpoints.len().saturating_mul(POINTS_PER_ENDPOINT as usize));
        for (index, endpoint) in endpoints.iter().enumerate() {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(endpoint.as_bytes());
            for number in 0..POINTS_PER_ENDPOINT {
                let mut hasher = hasher.clone();
                hasher.update(&number.to_le_bytes());
                let first = hasher.finalize() % POSITIONS;
                let places = (0..MAX_PROBES).map(|probe| (first + probe) % POSITIONS);
                for place in places {
                    if let Some(is_taken) = is_taken.get_mut(place as usize)
                        && !std::mem::replace(is_taken, true)
                    {
                        points.push((place, index));
                        break;
                    }
                }
            }
        }
        points.sort_unstable();
        Self { endpoints, points }
    }

    /// The endpoints, by their indexes.
    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// The index of the endpoint that a key belongs to; `None` without endpoints.
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        self.find_hash(crc32fast::hash(key))
    }

    /// The same for the CRC-32 of a key.
    pub(super) fn find_hash(&self, hash: u32) -> Option<usize> {
        let place = hash % POSITIONS;
        let next = self.points.partition_point(|(taken, _)| *taken < place);
        self.points.get(next).or_else(|| self.points.first()).map(|(_, index)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(endpoints: &[&str]) -> Ring {
        Ring::new(endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect())
    }

    #[test]
    fn key_belongs_to_the_next_point_and_after_the_last_one_to_the_first() {
        let ring = ring(&["a", "b", "c"]);
        assert!(ring.points.len() > 290 && ring.points.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let (last, _) = ring.points[ring.points.len() - 1];
        let beyond = (0..1_000_000_u32).map(u32::to_le_bytes).find(|key| crc32fast::hash(key) % POSITIONS > last);
        assert_eq!(ring.find(&beyond.unwrap()), Some(ring.points[0].1));
        for key in (0..1000_u32).map(u32::to_le_bytes) {
            let place = crc32fast::hash(&key) % POSITIONS;
            let expected = ring.points.iter().find(|(taken, _)| *taken >= place).unwrap_or(&ring.points[0]);
            assert_eq!(ring.find(&key), Some(expected.1));
        }
    }

    #[test]
    fn ring_without_endpoints_finds_nothing() {
        assert_eq!(ring(&[]).find(b"key"), None);
    }

    #[test]
    fn keys_of_an_endpoint_that_leaves_go_to_others_and_no_other_key_moves() {
        let (before, after) = (ring(&["a", "b", "c", "d"]), ring(&["a", "b", "d"]));
        let name = |ring: &Ring, key: &[u8]| ring.endpoints()[ring.find(key).unwrap()].clone();
        let (mut moved, mut of_c, mut others) = (0, 0, 0);
        for key in (0..10_000_u32).map(u32::to_le_bytes) {
            match (name(&before, &key).as_str(), name(&after, &key).as_str()) {
                ("c", _) => of_c += 1,
                (old, new) if old == new => others += 1,
                // A point that had moved away from one of `c` is at its own place now.
                _ => moved += 1,
            }
        }
        assert!(of_c > 1000 && others > 6000 && moved < 300, "{of_c} {others} {moved}");
    }

    #[test]
    fn points_without_a_free_place_are_left_out() {
        let many: Vec<String> = (0..1000).map(|n| format!("backend-{n}")).collect();
        let ring = Ring::new(many);
        assert!(ring.points.len() <= POSITIONS as usize && ring.points.len() > 35_000);
    }
}
