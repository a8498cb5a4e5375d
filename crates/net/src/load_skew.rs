//! The loads of a server's connections, and which of them carries more than its share.
//!
//! ```text
//!  requests are recorded --the first request after the end of the interval--> loads are compared, and begin at zero
//!       ^                                                                                     |
//!       +-------- `record` returns the connection that is to end, if there is one ------------+
//! ```
//! A connection is to end if it carried more than `max_ratio` times the mean of the connections that had requests in the
//! interval, and no more than all the others together: where one client makes most of the load, its next server would be
//! as loaded as this one. Of several it is the one with the highest load, so that at most one ends in an interval.
//!
//! It owns numbers only and never ends a connection. A request costs an addition, the end of an interval a step for each
//! connection. There is no timer: where there are no requests there is nothing to compare.

use crate::config::LoadSkewConfig;

/// What a request costs beside its bytes. A request of one span takes about as long as this many bytes of a large request.
const REQUEST_LOAD: u64 = 8 << 10;
/// A connection with less load than ten requests in an interval is never too heavy.
const MIN_LOAD: u64 = 10 * REQUEST_LOAD;

#[derive(Clone, Copy, Debug, Default)]
struct ConnectionLoad {
    /// `None`: no connection has this number.
    opened_at: Option<u64>,
    /// In this interval.
    load: u64,
    /// It was returned already.
    is_ending: bool,
}

/// A connection that carried more than its share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct HeavyConnection {
    pub(crate) slot: usize,
    /// Its part of the load of all connections, in percent.
    pub(crate) percent: f64,
    /// The number of connections that had requests.
    pub(crate) connections: u64,
}

/// The loads of the connections of one server. Times are nanoseconds.
#[derive(Debug)]
pub(crate) struct LoadSkew {
    max_ratio: f64,
    interval: u64,
    began_at: u64,
    connections: Vec<ConnectionLoad>,
}

impl LoadSkew {
    pub(crate) fn new(config: &LoadSkewConfig) -> Self {
        let interval = u64::try_from(config.interval.as_nanos()).unwrap_or(u64::MAX);
        Self { max_ratio: config.max_ratio, interval, began_at: 0, connections: Vec::new() }
    }

    /// A connection was accepted.
    pub(crate) fn open(&mut self, slot: usize, now: u64) {
        if slot >= self.connections.len() {
            self.connections.resize(slot + 1, ConnectionLoad::default());
        }
        if let Some(connection) = self.connections.get_mut(slot) {
            *connection = ConnectionLoad { opened_at: Some(now), ..ConnectionLoad::default() };
        }
    }

    /// A connection has ended.
    pub(crate) fn remove(&mut self, slot: usize) {
        if let Some(connection) = self.connections.get_mut(slot) {
            *connection = ConnectionLoad::default();
        }
        // What one moment of many connections needed is not kept.
        while self.connections.last().is_some_and(|connection| connection.opened_at.is_none()) {
            self.connections.pop();
        }
        if self.connections.capacity() / 4 > self.connections.len().max(16) {
            self.connections.shrink_to(2 * self.connections.len());
        }
    }

    /// Requests came, of this many bytes together. Returns the connection that is to end, if an interval has ended and
    /// there is one.
    pub(crate) fn record(&mut self, slot: usize, requests: u64, bytes: u64, now: u64) -> Option<HeavyConnection> {
        let heavy = if now >= self.began_at.saturating_add(self.interval) { self.end_interval(now) } else { None };
        if let Some(connection) = self.connections.get_mut(slot) {
            let load = requests.saturating_mul(REQUEST_LOAD).saturating_add(bytes);
            connection.load = connection.load.saturating_add(load);
        }
        heavy
    }

    fn end_interval(&mut self, now: u64) -> Option<HeavyConnection> {
        let began_at = std::mem::replace(&mut self.began_at, now);
        let loads = || self.connections.iter().map(|connection| connection.load);
        let total = loads().fold(0_u64, u64::saturating_add);
        let connections = loads().filter(|load| *load > 0).count() as u64;
        let limit = self.max_ratio * total as f64 / connections.max(1) as f64;
        let is_heavy = |connection: &ConnectionLoad| {
            let load = connection.load;
            let was_open = connection.opened_at.is_some_and(|at| at <= began_at);
            was_open && !connection.is_ending && load >= MIN_LOAD && load as f64 > limit && load <= total - load
        };
        let heavy = self.connections.iter().enumerate().filter(|(_, connection)| is_heavy(connection));
        let heaviest = heavy.max_by_key(|(_, connection)| connection.load).map(|(slot, connection)| HeavyConnection {
            slot,
            percent: 100.0 * connection.load as f64 / total as f64,
            connections,
        });
        for (slot, connection) in self.connections.iter_mut().enumerate() {
            connection.load = 0;
            connection.is_ending |= heaviest.is_some_and(|heaviest| heaviest.slot == slot);
        }
        heaviest
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SEC: u64 = 1_000_000_000;

    fn skew(connections: usize) -> LoadSkew {
        let config = LoadSkewConfig { max_ratio: 2.0, interval: Duration::from_secs(60) };
        let mut skew = LoadSkew::new(&config);
        (0..connections).for_each(|slot| skew.open(slot, 0));
        skew
    }

    /// Each connection makes this number of requests; then the interval ends. Returns the connection that is to end.
    fn run_interval(skew: &mut LoadSkew, now: &mut u64, requests: &[u64]) -> Option<usize> {
        let mut heavy = None;
        for (slot, count) in requests.iter().enumerate() {
            for _ in 0..*count {
                let found = skew.record(slot, 1, 1000, *now);
                heavy = heavy.or(found);
            }
        }
        *now += 60 * SEC;
        heavy.map(|heavy| heavy.slot)
    }

    /// The connections that are to end after each of these intervals.
    fn run(connections: usize, intervals: &[&[u64]]) -> Vec<Option<usize>> {
        let (mut skew, mut now) = (skew(connections), 0);
        let mut ended: Vec<_> =
            intervals.iter().map(|requests| run_interval(&mut skew, &mut now, requests)).skip(1).collect();
        ended.push(run_interval(&mut skew, &mut now, &[1]));
        ended
    }

    #[test]
    fn heaviest_connection_is_to_end_and_only_one_in_an_interval() {
        assert_eq!(run(6, &[&[20, 300, 20, 350, 20, 20]]), [Some(3)]);
        let loads: &[u64] = &[20, 300, 20, 350, 20, 20];
        assert_eq!(run(6, &[loads, loads, loads]), [Some(3), Some(1), None], "each is told once");
    }

    #[test]
    fn even_loads_are_left_alone() {
        assert_eq!(run(4, &[&[50, 60, 40, 70]]), [None]);
        assert_eq!(run(2, &[&[500, 500]]), [None]);
        assert_eq!(run(8, &[&[500, 500, 0, 0, 0, 0, 0, 0]]), [None], "connections without requests have no share");
    }

    #[test]
    fn connection_with_most_of_the_load_stays() {
        assert_eq!(run(1, &[&[1000]]), [None]);
        assert_eq!(run(8, &[&[1000, 20, 20, 20, 20, 20, 20, 20]]), [None]);
        assert_eq!(run(8, &[&[1000, 500, 20, 20, 20, 20, 20, 450]]), [Some(0)], "the others carry as much");
        assert_eq!(run(8, &[&[1000, 500, 20, 20, 20, 20, 20, 20]]), [Some(1)], "the heaviest of the others goes");
    }

    #[test]
    fn few_requests_are_no_load() {
        assert_eq!(run(5, &[&[7, 8, 1, 1, 1]]), [None]);
        assert_eq!(run(5, &[&[13, 14, 1, 1, 1]]), [Some(1)]);
    }

    #[test]
    fn bytes_and_requests_are_both_load() {
        let mut skew = skew(5);
        (0..5).for_each(|slot| assert_eq!(skew.record(slot, 20, 2000, SEC), None));
        skew.record(2, 1, 400_000, SEC);
        let heavy = skew.record(0, 1, 0, 61 * SEC).unwrap();
        assert_eq!((heavy.slot, heavy.connections), (2, 5));
        assert!(heavy.percent > 40.0 && heavy.percent < 50.0, "{}", heavy.percent);
    }

    #[test]
    fn connection_is_compared_after_a_whole_interval() {
        let (mut skew, mut now) = (skew(6), 0);
        skew.open(0, SEC);
        let loads = [100, 20, 20, 20, 20, 20];
        assert_eq!(run_interval(&mut skew, &mut now, &loads), None);
        assert_eq!(run_interval(&mut skew, &mut now, &loads), None, "it was opened in that interval");
        assert_eq!(run_interval(&mut skew, &mut now, &loads), Some(0));
    }

    #[test]
    fn ended_connection_has_no_load_and_its_number_is_used_again() {
        let (mut skew, mut now) = (skew(6), 0);
        assert_eq!(run_interval(&mut skew, &mut now, &[90, 20, 20, 20, 20, 20]), None);
        skew.remove(0);
        skew.open(0, now);
        assert_eq!(run_interval(&mut skew, &mut now, &[20; 6]), None);
        assert_eq!(run_interval(&mut skew, &mut now, &[20; 6]), None);
        (0..6).for_each(|slot| skew.remove(slot));
        assert!(skew.connections.is_empty());
        assert_eq!(skew.record(3, 1, 1, now + 600 * SEC), None, "a number without a connection");
    }

    #[test]
    fn heavy_clients_are_spread_over_servers_and_stay_there() {
        // Eight clients, each with a connection to one of four servers; the first two make most requests.
        let clients: [u64; 8] = [200, 180, 20, 20, 20, 20, 20, 20];
        for first_choice in 0..4_usize {
            let mut servers: Vec<LoadSkew> = (0..4).map(|_| skew(0)).collect();
            let mut server_of = [0_usize; 8];
            (0..8).for_each(|client| servers[0].open(client, 0));
            let (mut now, mut next, mut moves) = (0, first_choice, Vec::new());
            for interval in 0..20 {
                for _ in 0..20 {
                    for (client, requests) in clients.iter().enumerate() {
                        for _ in 0..requests / 20 {
                            let server = server_of[client];
                            let Some(heavy) = servers[server].record(client, 1, 1000, now) else { continue };
                            // The client takes the next address of the name, which may be that of the same server.
                            servers[server].remove(heavy.slot);
                            server_of[heavy.slot] = next % 4;
                            servers[next % 4].open(heavy.slot, now);
                            next += 1;
                            moves.push(interval);
                        }
                    }
                    now += 3 * SEC;
                }
            }
            assert_ne!(server_of[0], server_of[1], "{first_choice}: {server_of:?}");
            assert!(!moves.is_empty() && moves.iter().all(|interval| *interval < 10), "they stay: {moves:?}");
        }
    }
}
